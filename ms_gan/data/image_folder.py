"""A folder of pictures of any kind and size as a data set."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ms_gan.data.dataset import Dataset, check_fit, data_error, existing_folder, read_bytes

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def load(
    *, root: str | None = None, size: int | None = None, channels: int | None = None
) -> Dataset:
    """Every picture below a folder, cut to its centred square and scaled.

    Args:
        root: the folder.
        size: height and width in pixels; null: 64.
        channels: 1 (grey) or 3 (colour); null: 3.
    """
    check_fit("image_folder", size, channels)
    return pictures_below(root, size or 64, channels or 3)


def pictures_below(root: str | os.PathLike | None, size: int, channels: int) -> Dataset:
    """Every picture below a folder; first-level sub-folders are classes if all lie in one."""
    if root is None:
        raise data_error("image_folder", "no root", "a folder of pictures", "set the data root")
    root = existing_folder(root, "data root")
    names = sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    names = [n for n in names if not any(part.startswith(".") for part in n.parts)]
    if not names:
        raise data_error(root, "no pictures", f"files in {', '.join(ENDINGS)}", "correct the root")
    images = np.empty((len(names), channels, size, size), np.uint8)
    digest = hashlib.md5(usedforsecurity=False)
    for row, name in zip(images, names, strict=True):
        content = read_bytes(root / name)
        digest.update(os.fsencode(name.as_posix()) + b"\0" + content)
        row[:] = _picture(root / name, content, size, channels)
    tops = [name.parts[0] for name in names]
    classes = tuple(sorted(set(tops)))
    if len(classes) < 2 or any(len(name.parts) == 1 for name in names):
        classes = ()
    labels = np.array([classes.index(top) if classes else 0 for top in tops], np.int32)
    md5 = {"pictures": digest.hexdigest()}
    return Dataset("image_folder", images, labels, classes, f"pictures in {root}", md5)


def _picture(path: Path, content: bytes, size: int, channels: int) -> np.ndarray:
    """Decode one picture, turned upright, its largest centred square scaled: uint8 [C, size, size].

    What is transparent becomes black, the background of the other data sets.
    """
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if picture.mode.startswith("I"):  # 16 bits: Pillow would cut at 255 instead of scaling
            picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(black, picture)
        picture = picture.convert("L" if channels == 1 else "RGB")
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        wanted, remedy = "a whole PNG, JPEG, BMP or WebP", "repair or remove it"
        raise data_error(path, f"unreadable picture ({reason})", wanted, remedy) from None
    return np.asarray(picture).reshape(size, size, channels).transpose(2, 0, 1)
