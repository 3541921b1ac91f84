"""CIFAR-10 as people have it: pictures in folders or in an archive, Python's or C's batches.

Krizhevsky 2009; 50,000 + 10,000 colour images of 32x32. It is not downloaded.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import pickletools
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ms_gan.data import cache, image_folder, reading
from ms_gan.data.classes import NoTraining, arrange
from ms_gan.data.dataset import (
    Dataset,
    Size,
    check_fit,
    data_error,
    fit,
    md5_of,
    read_bytes,
)
from ms_gan.data.decoding import Look
from ms_gan.data.finding import File, Parts, Walk, has_picture_ending
from ms_gan.data.search import home_folder
from ms_gan.system.output import Say, shown

CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
SIDE = 32
PIXELS = 3 * SIDE * SIDE
BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
FOLDER = re.compile(r"cifar10(?!\d)")  # a name in lower case, letters and digits only, begins so
ARCHIVE = re.compile(r"\.(tar|tar\.(gz|xz|bz2)|tgz|txz)$")
LOOK = Look(SIDE, SIDE, 3)
AGAIN = "copy or unpack it again"
LARGEST_FILE, LARGEST_ARCHIVE = 64 << 20, 1 << 30  # bytes; of CIFAR-10 they have half of that
NUMPY = re.compile(r"numpy\.(_?core)\.(multiarray|numeric)")  # whichever NumPy wrote a pickle
NUMBERS = re.compile(r"[|<>=]?[biuf][1248]")  # types of arrays that are read


def load(
    *,
    root: str | None = None,
    size: Size | None = None,
    channels: int | None = None,
    split: str = "train",
    say: Say | None = None,
) -> Dataset:
    """CIFAR-10, 50,000 colour images of 32x32 of ten classes; it is not downloaded.

    Args:
        root: its folder or the one above: pictures in train/CLASS and test/CLASS, the same in a tar
            file, or the batches for Python or C, unpacked or not; or the tar file itself. null: the
            folder in the environment variable MS_GAN_DATA, or else ./data, then the user's cache
            folder.
        size: height and width in pixels, a number or [height, width]; null: 32.
        channels: 1 (grey) or 3 (colour); null: 3.
    """
    check_fit("cifar10", size, channels)
    say = say or (lambda line: None)
    path = find(root)
    if path.is_file():
        dataset = of_archive(path, split, say)
    elif batches(path):
        contents = {file.name: read_bytes(file) for file in batches(path)}
        dataset = of_batches(contents, path, split, f"batches in {path}")
    else:
        dataset = image_folder.load(root=str(path), size=SIDE, channels=3, split=split, say=say)
        dataset = checked(dataset, path)
    return fit(dataclasses.replace(dataset, name="cifar10", names=()), size, channels)


# ---- where it is -------------------------------------------------------------------------------


def find(root: str | os.PathLike | None) -> Path:
    """The folder that holds batches or pictures, or the archive.

    Raises:
        DataError: it is nowhere.
    """
    if root is not None and Path(os.path.expanduser(root)).is_file():
        return Path(os.path.expanduser(root))
    home = home_folder(root)
    if root is not None:
        bases = [*named(home), home]
    else:
        folders = [home] if os.environ.get("MS_GAN_DATA") else [Path("data"), home]
        bases = [
            base
            for folder in folders
            for base in (*named(folder), *([folder] if is_named(folder.resolve()) else []))
        ]
    for base in bases:
        for path in (base, *named(base)):
            if path.is_file() or batches(path) or has_pictures(path):
                return path
    wrong = "no CIFAR-10, which is not downloaded"
    wanted = (
        "train/CLASS/*.png and test/CLASS/*.png (or .jpg), a tar file of them, "
        "cifar-10-batches-py or cifar-10-batches-bin"
    )
    remedy = f"put one of these into {home / 'cifar10'}, or set data.root or MS_GAN_DATA"
    raise data_error(home, wrong, wanted, remedy)


def is_named(path: Path) -> bool:
    """Whether a name says CIFAR-10 (and not CIFAR-100)."""
    return bool(FOLDER.match(re.sub("[^a-z0-9]", "", path.name.lower())))


def named(folder: Path) -> list[Path]:
    """Folders in it that are named after the data set, then archives."""
    try:
        children = sorted(child for child in folder.iterdir() if is_named(child))
    except OSError:
        return []
    archives = [path for path in children if path.is_file() and ARCHIVE.search(path.name.lower())]
    return [path for path in children if path.is_dir()] + archives


def batches(folder: Path) -> list[Path]:
    """The files of batches in a folder, of one kind."""
    for kind in ("", ".bin"):
        names = [f"{name}{kind}" for names in BATCHES.values() for name in names]
        if found := [folder / name for name in names if (folder / name).is_file()]:
            return found
    return []


def has_pictures(folder: Path) -> bool:
    """Whether a folder has class folders in train/ and test/."""
    return all((folder / split / CLASSES[0]).is_dir() for split in BATCHES)


# ---- pictures ----------------------------------------------------------------------------------


def checked(dataset: Dataset, path: Path) -> Dataset:
    """The data set, if it is CIFAR-10."""
    if dataset.classes != CLASSES:
        others = ", ".join(name for name in CLASSES if name not in dataset.classes)
        wrong = f"{dataset.num_classes} classes" + (f", without {others}" if others else "")
        raise data_error(shown(path), wrong, f"{', '.join(CLASSES)}", "correct the root")
    if dataset.found.sizes != f"{SIDE}x{SIDE} pixels":
        wrong = f"pictures of {dataset.found.sizes}"
        remedy = "use data.name=image_folder for other sizes"
        raise data_error(shown(path), wrong, f"{SIDE}x{SIDE}", remedy)
    return dataset


def of_archive(path: Path, split: str, say: Say) -> Dataset:
    """What lies in a tar file: batches, or pictures, which are kept decoded."""
    about = path.stat()
    walk = Walk(files=[File((path.name,), about.st_size, about.st_mtime_ns)])
    kept = cache.place(path, walk, {"cifar10": split})
    if held := cache.read(kept, say):
        say(f"data: decoded before, taken from {shown(kept)}")
        return placed(held[0], path)
    files = dict(unpacked(path, say))
    found = {parts[-1]: content for parts, content in files.items() if is_batch(parts[-1])}
    if found:
        return of_batches(found, path, split, f"batches of {shown(path.name)} in {path.parent}")
    dataset = checked(of_pictures(path, files, split, say), path)
    cache.write(kept, dataset, [], say)
    return placed(dataset, path)


def placed(dataset: Dataset, path: Path) -> Dataset:
    """The data set with where it came from."""
    return dataclasses.replace(dataset, source=f"pictures of {shown(path.name)} in {path.parent}")


def unpacked(path: Path, say: Say) -> Iterator[tuple[Parts, bytes]]:
    """(path, content) of the pictures and batches in a tar file; nothing is written."""
    say(f"data: reading {shown(path)}")
    total = 0
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
                hidden = any(part.startswith(".") for part in parts)
                if hidden or not member.isfile():
                    continue
                if is_batch(parts[-1]) or has_picture_ending(parts[-1]):
                    total += member.size
                    if max(member.size, total - LARGEST_ARCHIVE) > LARGEST_FILE:
                        raise tarfile.TarError(f"{shown(member.name)} has {member.size:,} bytes")
                    yield parts, archive.extractfile(member).read()
    except Exception as error:  # tar, zlib and lzma raise a dozen kinds for bytes not their own
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        wrong = f"a damaged archive ({reason})"
        raise data_error(shown(path), wrong, "a whole tar file", "copy it again") from None


def is_batch(name: str) -> bool:
    """Whether a file of that name is a batch of either kind."""
    return any(name.removesuffix(".bin") in names for names in BATCHES.values())


def of_pictures(path: Path, files: dict[Parts, bytes], split: str, say: Say) -> Dataset:
    """The pictures of an archive: the same as if it had been unpacked."""
    nothing = data_error(
        shown(path), "no CIFAR-10 in it", "pictures in train/CLASS and test/CLASS, or batches",
        "take another file",
    )  # fmt: skip
    if not files:
        raise nothing
    try:
        order = arrange(sorted(files), split=split)
    except NoTraining:
        raise nothing from None
    result = reading.read(files.__getitem__, order.pictures, LOOK, say)
    if result.broken:
        name, why = result.broken[0]
        wrong = f"{len(result.broken):,} unreadable pictures, such as {name} ({why})"
        raise data_error(shown(path), wrong, "whole pictures", "copy the archive again")
    return image_folder.made(order, result, LOOK, [])


# ---- batches -----------------------------------------------------------------------------------


def of_batches(contents: dict[str, bytes], path: Path, split: str, source: str) -> Dataset:
    """The images of a split in batches for Python, or for C (`.bin`)."""
    is_binary = any(name.endswith(".bin") for name in contents)
    names = [f"{name}.bin" if is_binary else name for name in BATCHES[split]]
    missing = [name for name in names if name not in contents]
    if missing:
        raise data_error(path, f"without {', '.join(missing)}", ", ".join(names), AGAIN)
    read = of_binary if is_binary else of_pickle
    parts = [read(f"{path}/{name}", contents[name]) for name in names]
    images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Dataset(
        "cifar10", images, labels, CLASSES, f"{split} {source}",
        {name: md5_of(contents[name]) for name in names},
    )  # fmt: skip


def of_binary(where: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 32, 32] and labels int32 [N] of a batch for C."""
    record = 1 + PIXELS
    if not content or len(content) % record:
        wrong = f"{len(content):,} bytes"
        raise data_error(where, wrong, f"a multiple of {record:,} (label and image)", AGAIN)
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return together(where, rows[:, 1:], rows[:, 0])


def of_pickle(where: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The same of a batch for Python; nothing in the pickle is called but what makes arrays."""
    try:
        check_places(content)
        held = Arrays(io.BytesIO(content), encoding="bytes").load()
    except Refused as error:
        wrong = f"a pickle that asks for {error}, which no batch of CIFAR-10 does"
        raise data_error(where, wrong, "arrays and texts alone", "take it from elsewhere") from None
    except Exception as error:  # whatever a pickle makes of bytes that are none
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise data_error(where, f"no whole pickle ({reason})", "a batch", AGAIN) from None
    pixels, labels = (entry(held, name) for name in ("data", "labels"))
    if isinstance(labels, list) and labels and all(type(label) is int for label in labels):
        try:
            labels = np.array(labels, np.int64)
        except OverflowError:
            labels = None
    good = isinstance(pixels, np.ndarray) and isinstance(labels, np.ndarray)
    good = good and labels.dtype.kind in "iu" and pixels.dtype == np.uint8
    if not good or pixels.shape != (labels.size, PIXELS):
        wanted = f"'data' uint8 [N, {PIXELS}] and N 'labels'"
        raise data_error(where, "no batch of CIFAR-10", wanted, AGAIN)
    return together(where, pixels, labels.reshape(-1))


def entry(held: Any, name: str) -> Any:
    """What stands under a name, which is bytes where Python 2 wrote it."""
    found = held.get(name.encode(), held.get(name)) if isinstance(held, dict) else None
    return found.array if isinstance(found, Pickled) else found


def together(where: str, pixels: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 3072] as images, and labels, which must be of the ten classes."""
    if not len(labels) or labels.min() < 0 or labels.max() >= len(CLASSES):
        wrong = f"labels {labels.min()} to {labels.max()}" if len(labels) else "no images"
        raise data_error(where, wrong, f"0 to {len(CLASSES) - 1}", AGAIN)
    return pixels.reshape(-1, 3, SIDE, SIDE), labels.astype(np.int32)


class Refused(pickle.UnpicklingError):
    """A pickle asks for something that is no part of an array; the text names it."""


def check_places(content: bytes) -> None:
    """Refuse a pickle that notes something at a place beyond its own length: Python makes room for
    all places up to it: 4 GB for 9 bytes with place 268,435,455."""
    for opcode, argument, _ in pickletools.genops(content):
        if "PUT" in opcode.name and argument > len(content):
            raise Refused(f"{argument:,} places")


class Kind:
    """The type of an array in a pickle; None: of one that is passed over."""

    def __init__(self, name: str | bytes, *_: Any):
        name = name.decode() if isinstance(name, bytes) else name
        self.dtype = np.dtype(name) if NUMBERS.fullmatch(name) else None

    def __setstate__(self, state: tuple) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if self.dtype is not None and order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class Pickled:
    """An array in a pickle. NumPy is not asked to make it: it allocates whatever shape it is told,
    and believes of a type that its bytes are pointers."""

    array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, is_fortran, content = state
        self.put(content, kind, shape, "F" if is_fortran else "C")

    def put(self, content: bytes, kind: Kind, shape: tuple[int, ...], order: str) -> Pickled:
        if kind.dtype is not None:
            self.array = np.frombuffer(content, kind.dtype).reshape(shape, order=order)
        return self


class Arrays(pickle.Unpickler):
    """Reads pickles of dicts, lists, texts and arrays; whatever else they ask for is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return encoded
        if (module, name) == ("numpy", "dtype"):
            return Kind
        if (module, name) == ("numpy", "ndarray"):
            return name  # it is only named
        if NUMPY.fullmatch(module) and name == "_reconstruct":
            return lambda *_: Pickled()
        if NUMPY.fullmatch(module) and name == "_frombuffer":
            return lambda *held: Pickled().put(*held)
        raise Refused(f"{module}.{name}")


def encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as Python 3 pickles them in Python 2's way; no other codec is needed."""
    if encoding not in ("latin1", b"latin1"):
        raise Refused(f"the codec {encoding}")
    return text.encode("latin1")
