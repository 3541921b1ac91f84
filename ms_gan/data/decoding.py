"""One picture, of whatever kind, as bytes 0 .. 255 of the size and the colours asked for."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ms_gan.data import finding

ORIENTATION = 0x0112  # the one tag of EXIF that is read
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SAMPLE_FORMAT = 339  # of TIFF; 1: no sign
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners give
UNUSED_ALPHA = ("BMP", "DIB", "TGA")  # their fourth byte is 0 where it means nothing
logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it logs is raised as well
SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Unreadable(ValueError):
    """Why a picture cannot be read, in a few words."""


@dataclass(frozen=True)
class Look:
    """What every picture is brought to.

    Args:
        height, width: pixels.
        channels: 1 (grey) or 3 (colour).
        fit: 'crop': the largest centred part of that shape; 'pad': the whole picture on the
            background; 'stretch': the whole picture, distorted; 'tiles': all of the parts of that
            size side by side, not scaled, from a grid in the middle.
        background: red, green, blue of what is transparent or beside the picture.
    """

    height: int
    width: int
    channels: int
    fit: str = "crop"
    background: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Values:
    """The values of a picture of more than 8 bits.

    Args:
        kind: 'whole numbers' or 'fractions'.
        low, high: the smallest and the largest value.
        gaps: whether some are no finite numbers.
    """

    kind: str
    low: float
    high: float
    gaps: bool = False

    def join(self, other: Values | None) -> Values:
        if other is None:
            return self
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Values(self.kind, low, high, self.gaps or other.gaps)

    @property
    def span(self) -> tuple[float, float]:
        """The values that become black and white: the depth or the scale that holds all of them,
        else the smallest and the largest one."""
        scales = (1, 255) if self.kind == "fractions" else (2**bits - 1 for bits in DEPTHS)
        if self.low >= 0:
            for white in scales:
                if self.high <= white:
                    return 0, white
        return self.low, self.high


@dataclass(frozen=True)
class Facts:
    """What is to be known of a decoded picture.

    Args:
        size: width and height as stored.
        format: Pillow's name of it.
        several: whether there are more frames or pages than the first one.
        transparent: whether some of it shows the background.
        plain: whether it is of one colour throughout.
        values: of a picture of more than 8 bits, else None.
        grid: rows and columns of its tiles; either may be 0.
    """

    size: tuple[int, int]
    format: str
    several: bool
    transparent: bool
    plain: bool
    values: Values | None
    grid: tuple[int, int] = (1, 1)


def decode(
    content: bytes, look: Look, *, name: str = "", span: tuple[float, float] | None = None
) -> tuple[np.ndarray, Facts]:
    """The first frame of a picture, turned upright: uint8 [C, H, W], and what it was.

    With 'tiles', uint8 [K, C, H, W], row after row of the grid.

    Args:
        content: of the file.
        name: of the file, whose ending tells what its content does not.
        span: the values that become black and white in a picture of more than 8 bits; None: the
            span of its own values.

    Raises:
        Unreadable: whatever Pillow stumbles over.
    """
    try:
        return _decoded(content, look, name, span)
    except Exception as error:  # plugins raise a dozen kinds for bytes that they do not expect
        raise Unreadable(_reason(content, error)) from None


def _decoded(
    content: bytes, look: Look, name: str, span: tuple[float, float] | None
) -> tuple[np.ndarray, Facts]:
    picture = Image.open(io.BytesIO(content), formats=finding.formats(name))
    size, format, several = picture.size, picture.format, _several(picture)
    picture.load()
    clear, turn = transparency(picture, content), orientation(picture)
    values = None
    if picture.mode[0] in "IF":
        picture, values = eight_bits(picture, span)
    picture, transparent = on_background(picture, clear, format, look.background)
    if picture.mode == "LAB":  # which Pillow converts to RGB alone
        picture = picture.convert("RGB")
    if turn in TURNS:
        picture = picture.transpose(TURNS[turn])
    picture = picture.convert("L" if look.channels == 1 else "RGB")
    grid = (1, 1)
    if look.fit == "tiles":
        picture, grid = trimmed(picture, look)
    else:
        picture = fitted(picture, look)
    extrema = picture.getextrema()
    plain = all(low == high for low, high in (extrema if look.channels == 3 else (extrema,)))
    facts = Facts(size, format, several, transparent, plain, values, grid)
    if look.fit == "tiles":
        return cut(np.asarray(picture), grid, look), facts
    pixels = np.asarray(picture).reshape(look.height, look.width, look.channels)
    return pixels.transpose(2, 0, 1), facts


def _reason(content: bytes, error: Exception) -> str:
    if not content:
        return "empty file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "unknown format"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, MemoryError):
        return "too large for the memory"
    return " ".join(str(error).split())[:120] or type(error).__name__


def _several(picture: Image.Image) -> bool:
    """Whether there is a second frame; the photo pairs of phones (MPO) are one photo."""
    try:
        return picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
    except Exception:  # a second frame that cannot be read is none
        picture.seek(0)
        return False


def orientation(picture: Image.Image) -> int | None:
    """How a picture was turned, 1 to 8; None where its EXIF does not say or cannot be read.

    Nothing else of it is read, and it is not written again, as `ImageOps.exif_transpose` does.
    """
    if picture.format == "TIFF":  # has turned itself while it was loaded
        return None
    try:
        turn = picture.getexif().get(ORIENTATION)
    except Exception:  # what cameras and tools get wrong in it is no reason to lose the picture
        return None
    return turn if isinstance(turn, int) else None


def transparency(picture: Image.Image, content: bytes) -> np.ndarray | None:
    """bool [H, W]: where a grey picture is clear, because a PNG calls that value transparent.

    Pillow knows this for other modes; for grey that is not of 8 bits it compares values with others
    than those that stand in the picture.
    """
    clear = picture.info.get("transparency")
    if content[:8] != SIGNATURE or content[25] != 0 or not isinstance(clear, int):
        return None
    bits, values = content[24], np.asarray(picture)
    if bits < 8 and clear < 2**bits:
        clear = clear * 255 // (2**bits - 1)
    return np.where(values, 255, 0) == clear if bits == 1 else values == clear


def eight_bits(
    picture: Image.Image, span: tuple[float, float] | None
) -> tuple[Image.Image, Values]:
    """A picture of whole numbers of 16 or 32 bits, or of fractions, as grey of 8 bits.

    What is no finite number becomes black.
    """
    numbers = np.asarray(picture).astype(np.float64)
    if is_unsigned(picture):  # of 32 bits, which Pillow takes for signed ones
        numbers[numbers < 0] += 2.0**32
    finite = np.isfinite(numbers)
    some = numbers[finite] if finite.any() else np.zeros(1)
    kind = "fractions" if picture.mode[0] == "F" else "whole numbers"
    values = Values(kind, float(some.min()), float(some.max()), not finite.all())
    black, white = span or values.span
    numbers = np.where(finite, numbers, black) - black
    scaled = np.clip(numbers * 255 / ((white - black) or 1), 0, 255)
    return Image.fromarray(scaled.astype(np.uint8)), values


def is_unsigned(picture: Image.Image) -> bool:
    """Whether a TIFF says that its whole numbers have no sign."""
    tags = getattr(picture, "tag_v2", {})
    return picture.mode == "I" and bool(tags) and tags.get(SAMPLE_FORMAT, 1) in (1, (1,))


def on_background(
    picture: Image.Image, clear: np.ndarray | None, format: str, background: tuple[int, int, int]
) -> tuple[Image.Image, bool]:
    """What is transparent shows the background; and whether anything is."""
    if clear is not None:
        picture = picture.convert("RGBA")
        picture.putalpha(Image.fromarray(np.where(clear, 0, 255).astype(np.uint8)))
    elif "transparency" in picture.info or picture.mode[-1] in "Aa":
        if picture.mode == "La":
            picture = picture.convert("LA")
        picture = picture.convert("RGBA")
    else:
        return picture, False
    least, most = picture.getchannel("A").getextrema()
    if most == 0 and format in UNUSED_ALPHA:
        return picture.convert("RGB"), False
    ground = Image.new("RGBA", picture.size, (*background, 255))
    return Image.alpha_composite(ground, picture), least < 255


def fitted(picture: Image.Image, look: Look) -> Image.Image:
    """The picture, L or RGB, brought to its size."""
    size, method = (look.width, look.height), Image.Resampling.BICUBIC
    if look.fit == "crop":
        return ImageOps.fit(picture, size, method)
    if look.fit == "stretch":
        return picture.resize(size, method)
    scale = min(look.width / picture.width, look.height / picture.height)
    inner = [max(1, min(most, round(side * scale)))
             for side, most in zip(picture.size, size, strict=True)]  # fmt: skip
    ground = Image.new("RGB", size, look.background).convert(picture.mode)
    place = tuple((most - side) // 2 for most, side in zip(size, inner, strict=True))
    ground.paste(picture.resize(inner, method), place)
    return ground


def trimmed(picture: Image.Image, look: Look) -> tuple[Image.Image, tuple[int, int]]:
    """The middle of a picture that whole tiles cover, and their rows and columns; a picture that
    is too small as it is."""
    rows, columns = picture.height // look.height, picture.width // look.width
    if not rows * columns:
        return picture, (rows, columns)
    width, height = columns * look.width, rows * look.height
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height)), (rows, columns)


def cut(pixels: np.ndarray, grid: tuple[int, int], look: Look) -> np.ndarray:
    """uint8 [rows * H, columns * W(, C)] -> tiles uint8 [rows * columns, C, H, W]."""
    shape = look.height, look.width, look.channels
    rows, columns = grid
    if not rows * columns:
        return np.empty((0, shape[2], *shape[:2]), np.uint8)
    parts = pixels.reshape(rows, shape[0], columns, shape[1], shape[2])
    return parts.transpose(0, 2, 4, 1, 3).reshape(rows * columns, shape[2], *shape[:2])
