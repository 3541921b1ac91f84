"""One whole picture of a file as it is, and back into one: nothing is scaled or cut."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ms_gan.data import decoding, finding
from ms_gan.data.dataset import data_error, read_bytes
from ms_gan.system.output import shown

LOSSY = ("JPEG", "MPO")  # their pixels are near what was stored, not equal to it
CONVERTED = ("CMYK", "LAB", "YCbCr", "HSV")  # a colour profile of these is not of the RGB


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright.

    Args:
        pixels: uint8 [C, H, W], C is 1 (grey) or 3 (red, green, blue).
        alpha: uint8 [H, W], 0 where it is clear; None: the file has no transparency.
        remarks: what was left or brought to 8 bits, for people.
        lossy: whether its format changes pixels when it stores them.
        profile: the colour profile of the file (ICC).
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    remarks: Sequence[str] = ()
    lossy: bool = False
    profile: bytes | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[1:]


def read(path: Path) -> Picture:
    """The first frame of a picture, of any kind that Pillow reads.

    Raises:
        DataError: it cannot be opened or is no whole picture.
    """
    content = read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of metadata that nobody asked for
            return _read(content, path.name)
    except Exception as error:  # plugins raise a dozen kinds for bytes that they do not expect
        wrong = f"unreadable picture ({decoding._reason(content, error)})"
        raise data_error(shown(path), wrong, "a whole picture", "repair or leave it out") from None


def _read(content: bytes, name: str) -> Picture:
    picture = Image.open(io.BytesIO(content), formats=finding.formats(name))
    format, remarks = picture.format, []
    if decoding._several(picture):
        remarks.append("the first of several frames")
    picture.load()
    profile = None if picture.mode in CONVERTED else picture.info.get("icc_profile")
    clear, turn = decoding.transparency(picture, content), decoding.orientation(picture)
    if picture.mode[0] in "IF":
        picture, values = decoding.eight_bits(picture, None)
        remarks.append(f"brought to 8 bits, {values.span[0]:g} is black, {values.span[1]:g} white")
    elif content[:8] == decoding.SIGNATURE and content[24] > 8:
        remarks.append("brought to 8 bits")
    picture, alpha = parted(picture, clear, format)
    if turn in decoding.TURNS:
        picture = picture.transpose(decoding.TURNS[turn])
        alpha = alpha and alpha.transpose(decoding.TURNS[turn])
    return Picture(
        as_array(picture), None if alpha is None else np.asarray(alpha), tuple(remarks),
        format in LOSSY, profile,
    )  # fmt: skip


def parted(
    picture: Image.Image, clear: np.ndarray | None, format: str
) -> tuple[Image.Image, Image.Image | None]:
    """The colours, L or RGB, and the transparency, L, or None where there is none.

    Args:
        clear: bool [H, W] of :func:`decoding.transparency`.
    """
    grey, alpha = picture.mode in ("1", "L", "LA", "La"), None
    if clear is not None:
        alpha = Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))
    elif "transparency" in picture.info or picture.mode[-1] in "Aa":
        if picture.mode == "La":
            picture = picture.convert("LA")
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.getextrema()[1] == 0 and format in decoding.UNUSED_ALPHA:
            alpha = None
        picture = picture.convert("RGB")  # drops the alpha, keeps the colours under it
    if picture.mode == "LAB":  # which Pillow converts to RGB alone
        picture = picture.convert("RGB")
    return picture.convert("L" if grey else "RGB"), alpha


def as_array(picture: Image.Image) -> np.ndarray:
    """L or RGB -> uint8 [C, H, W]."""
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
