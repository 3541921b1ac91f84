"""A data set in memory, and what every module that makes one needs: errors, bytes, sizes."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from ms_gan.data.found import Found
from ms_gan.errors import UserError
from ms_gan.system import memory

Size = int | tuple[int, int]  # of a square, or (height, width)


class DataError(UserError, ValueError):
    """One line: `path: what is wrong; what was expected; what to do`."""


def data_error(where: object, wrong: str, expected: str, remedy: str) -> DataError:
    """The error to raise, on one line whatever the parts hold."""
    return DataError(" ".join(f"{where}: {wrong}; expected {expected}; {remedy}".splitlines()))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in memory, with their labels and where they came from."""

    name: str
    images: np.ndarray = field(repr=False)  # uint8 [N, C, H, W]; or what composes them, `Stacked`
    labels: np.ndarray = field(repr=False)  # int32 [N]; all 0 when there are no classes
    classes: tuple[str, ...]  # names by label; () when unlabelled
    source: str  # for people
    md5: dict[str, str]  # of the content, however it is stored: name without .gz -> md5
    found: Found | None = field(default=None, repr=False)  # of a folder of pictures: what is there
    has_test: bool | None = None  # whether there are test images apart; None: as its kind has
    # Of pictures: path below the root without its ending; of a tile #row,column follows it.
    names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 when unlabelled."""
        return len(self.classes)

    @property
    def class_shares(self) -> np.ndarray:
        """float64 [num_classes]: how much of the data each class is."""
        return np.bincount(self.labels, minlength=self.num_classes)[: self.num_classes] / len(self)

    def described(self) -> str:
        """What there is, in one line for people."""
        line = f"{self.name}, {len(self)} images {list(self.image_shape)} ({self.source})"
        return f"{line}; {self.found.short()}" if self.found else line

    def listing(self) -> Iterator[str]:
        """The same, a line for every class and for every file that was left out."""
        yield f"{self.name}, {len(self)} images {list(self.image_shape)} ({self.source})"
        counts = np.bincount(self.labels, minlength=self.num_classes).tolist()
        found = self.found or Found("", classes=dict(zip(self.classes, counts, strict=False)))
        yield from found.listing()

    def take(self, rows: np.ndarray) -> "Dataset":
        """These rows alone, in this order."""
        names = tuple(self.names[row] for row in rows) if self.names else ()
        images = self.images.take(rows, axis=0)
        return replace(self, images=images, labels=self.labels[rows], names=names)


def read_bytes(path: Path) -> bytes:
    try:
        if why := memory.excess(path.stat().st_size):
            raise data_error(path, why, "a file of this data set", "copy or download it again")
        return path.read_bytes()
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
        raise data_error(path, wrong, "a file", "check the path and its rights") from None


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def existing_folder(path: str | os.PathLike, origin: str) -> Path:
    """The folder with `~` expanded; `origin` says in an error who named it."""
    folder = Path(os.path.expanduser(path))
    if not folder.is_dir():
        wrong = "a file, not a folder" if folder.exists() else "no such folder"
        raise data_error(folder, wrong, f"the {origin}", "correct or create it")
    return folder


def sides(size: Size) -> tuple[int, int]:
    """(height, width) of a size as a recipe gives it."""
    return tuple(size) if isinstance(size, list | tuple) else (size, size)


def resize(images: np.ndarray, size: Size, method: Image.Resampling) -> np.ndarray:
    """uint8 [N, H, W] -> [N, height, width]."""
    height, width = sides(size)
    resized = np.empty((len(images), height, width), np.uint8)
    for row, image in zip(resized, images, strict=True):
        row[:] = Image.fromarray(image).resize((width, height), method)
    return resized


def check_fit(name: str, size: Size | None, channels: int | None) -> None:
    """DataError for a size or a number of channels that no image has."""
    if size is not None and not (len(sides(size)) == 2 and min(sides(size)) >= 1):
        wanted = "a whole number of pixels >= 1, or [height, width]"
        raise data_error(name, f"size {size}", wanted, "change it")
    if channels not in (None, 1, 3):
        raise data_error(name, f"channels {channels}", "1 (grey) or 3 (colour)", "change it")


def fit(dataset: Dataset, size: Size | None, channels: int | None) -> Dataset:
    """Bring images [N, C, H, W], grey or colour, to the size and the channels asked for.

    Grey from colour is the brightness that Pillow's mode "L" is (ITU-R 601-2), colour from grey
    three equal channels.
    """
    check_fit(dataset.name, size, channels)
    images = dataset.images
    if channels == 1 and images.shape[1] == 3:
        red, green, blue = (images[:, i].astype(np.uint32) for i in range(3))
        # Pillow's whole numbers, so that a picture is the same whoever makes it grey
        grey = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
        images = grey.astype(np.uint8)[:, None]
    if size is not None and images.shape[2:] != sides(size):
        planes = [resize(plane, size, Image.Resampling.BILINEAR) for plane in images.swapaxes(0, 1)]
        images = np.stack(planes, axis=1)
    if channels == 3 and images.shape[1] == 1:
        images = np.repeat(images, 3, axis=1)
    return replace(dataset, images=images)
