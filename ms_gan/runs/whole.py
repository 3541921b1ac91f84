"""What a generator makes of one whole picture: its colours, its transparency, its known pixels.

Pictures are uint8 [C, H, W], C is 1 (grey) or 3 (red, green, blue); transparency is uint8 [H, W] or
None. What had to be done to a picture to suit the generator is said in a few words.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ms_gan.runs import tiles
from ms_gan.runs.translating import Translator
from ms_gan.runs.visualise import to_uint8

Made = tuple[np.ndarray, np.ndarray | None, list[str]]  # pixels, transparency, what is to be said


def upscale(translator: Translator, pixels: np.ndarray, alpha: np.ndarray | None) -> Made:
    """The picture `tiles.scale_of` times larger.

    A grey generator makes the brightness of a colour picture (Y of YCbCr, as Pillow has it), the
    colours are enlarged bicubic, and so is the transparency.
    """
    scale, channels, said = tiles.scale_of(translator), translator.image_shape[0], []
    if len(pixels) == channels:
        large = upscaled(translator, pixels)
    elif channels == 1:
        brightness, *colours = image_of(pixels).convert("YCbCr").split()
        large = upscaled(translator, np.asarray(brightness)[None])
        parts = [Image.fromarray(large[0]), *(bicubic(colour, scale) for colour in colours)]
        large = array_of(Image.merge("YCbCr", parts).convert("RGB"))
        said.append("the generator is grey: brightness by it, colours bicubic")
    else:
        large = grey(upscaled(translator, np.repeat(pixels, channels, axis=0)))
        said.append("the generator makes colours, of which the brightness is kept")
    if alpha is not None:
        alpha = np.asarray(bicubic(Image.fromarray(alpha), scale))
    return large, alpha, said


def upscaled(translator: Translator, pixels: np.ndarray) -> np.ndarray:
    """A picture of as many channels as the generator has, never held as floats."""
    scale = tiles.scale_of(translator)
    large = np.empty((len(pixels), *(scale * side for side in pixels.shape[1:])), np.uint8)
    for rows, columns, piece in tiles.enlarge(translator, pixels):
        large[:, rows, columns] = to_uint8(piece)
    return large


def bicubic(picture: Image.Image, scale: int) -> Image.Image:
    size = tuple(scale * side for side in picture.size)
    return picture.resize(size, Image.Resampling.BICUBIC)


def fill(
    translator: Translator, pixels: np.ndarray, alpha: np.ndarray | None, hole: np.ndarray
) -> Made:
    """The picture with its hole filled; what is known comes back to the last bit.

    What is made is opaque. A grey generator fills each colour by itself.

    Args:
        hole: bool [H, W], somewhere but not everywhere.
    """
    channels, said = translator.image_shape[0], []
    if len(pixels) == channels:
        made = filled(translator, pixels, hole)
    elif channels == 1:
        made = np.concatenate([filled(translator, one[None], hole) for one in pixels])
        said.append("the generator is grey: red, green and blue are filled each by itself")
    else:
        made = grey(filled(translator, np.repeat(pixels, channels, axis=0), hole))
        said.append("the generator makes colours, of which the brightness is kept")
    if alpha is not None:
        alpha = np.where(hole, np.uint8(255), alpha)
    return np.where(hole, made, pixels), alpha, said


def filled(translator: Translator, pixels: np.ndarray, hole: np.ndarray) -> np.ndarray:
    return to_uint8(tiles.fill(translator, pixels, hole))


def translate(
    translator: Translator,
    pixels: np.ndarray,
    alpha: np.ndarray | None,
    *,
    to: str = "b",
    background: tuple[int, int, int] = (0, 0, 0),
) -> Made:
    """The picture in the other domain, as grey or in colours as the generator makes it, opaque.

    Args:
        to: as :func:`tiles.translate` takes it.
        background: red, green, blue of what shows where the picture is clear.
    """
    channels, said = translator.image_shape[0] // 2, []
    if len(pixels) != channels:
        said.append("made grey" if channels == 1 else "grey taken for colours")
    if alpha is not None and alpha.min() < 255:
        ground = Image.new("RGB", pixels.shape[:0:-1], background)
        colours = image_of(pixels).convert("RGB")
        pixels = array_of(Image.composite(colours, ground, Image.fromarray(alpha)))
        said.append(f"on #{bytes(background).hex()} where it is transparent")
    if len(pixels) != channels:
        pixels = array_of(image_of(pixels).convert("L" if channels == 1 else "RGB"))
    return to_uint8(tiles.translate(translator, pixels, to)), None, said


def image_of(pixels: np.ndarray) -> Image.Image:
    if len(pixels) == 1:
        return Image.fromarray(np.ascontiguousarray(pixels[0]))
    return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def array_of(picture: Image.Image) -> np.ndarray:
    array = np.asarray(picture)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def grey(pixels: np.ndarray) -> np.ndarray:
    """Colours -> the brightness alone, uint8 [1, H, W]."""
    return array_of(image_of(pixels).convert("L"))


def png(pixels: np.ndarray, alpha: np.ndarray | None = None, profile: bytes | None = None) -> bytes:
    """The content of a PNG file that holds a picture to the last bit.

    Args:
        profile: what its colours mean (ICC).
    """
    picture = image_of(pixels)
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    file = io.BytesIO()
    picture.save(file, "PNG", icc_profile=profile)
    return file.getvalue()
