"""A folder of pictures of any kind and size as a data set."""

from __future__ import annotations

import dataclasses
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ImageColor

from ms_gan.data import cache, finding, reading
from ms_gan.data.classes import Arrangement, NoTraining, arrange
from ms_gan.data.dataset import (
    DataError,
    Dataset,
    Size,
    check_fit,
    data_error,
    existing_folder,
    sides,
)
from ms_gan.data.decoding import Look, decode
from ms_gan.data.found import NAMED, Found, by_reason, listed, number
from ms_gan.data.reading import Reading
from ms_gan.system.output import Say, shown

SPOKEN = 10  # broken files that one line names
Colour = int | str | tuple[int, int, int]


def load(
    *,
    root: str | None = None,
    size: Size | None = None,
    channels: int | None = None,
    fit: Literal["crop", "pad", "stretch", "tiles"] = "crop",
    background: Colour | None = None,
    broken: Literal["stop", "skip"] = "stop",
    split: str = "train",
    labelled: bool = False,
    say: Say | None = None,
) -> Dataset:
    """Every picture below a folder, brought to one size; class folders give the labels.

    Args:
        root: the folder.
        size: height and width in pixels, a number or [height, width]; null: 64.
        channels: 1 (grey) or 3 (colour); null: 3.
        fit: 'crop': the largest centred part of that shape; 'pad': the whole picture on the
            background; 'stretch': the whole picture, distorted; 'tiles': cut into as many parts of
            that size as fit, not scaled.
        background: behind what is transparent and beside what is padded: a grey value 0 to 255,
            [red, green, blue] or a name such as white; null: 0, black.
        broken: 'stop' at pictures that cannot be read, all of which are named; 'skip' them.
    """
    check_fit("image_folder", size, channels)
    height, width = sides(size or 64)
    look = Look(height, width, channels or 3, fit, colour(background))
    if root is None:
        remedy = "set data.root=FOLDER (evaluate and train-classifier: --data-root FOLDER)"
        raise data_error("image_folder", "no root", "a folder of pictures", remedy)
    folder = existing_folder(root, "data root")
    say = say or (lambda line: None)
    found = finding.walk(folder)
    unlisted = [(f"{finding.named(parts)}/", why) for parts, why in found.unlisted]
    options = {**dataclasses.asdict(look), "split": split}
    kept = cache.place(folder, found, options)
    if held := cache.read(kept, say):
        dataset, unread = held
        say(f"data: decoded before, taken from {shown(kept)}")
    else:
        dataset, unread = read(folder, found, look, split, labelled, say)
    if labelled and not dataset.classes:
        raise without_classes(folder, dataset.found.remarks)
    if not len(dataset) and dataset.found.formats:
        raise too_small(folder, dataset, look)
    if (unlisted or unread) and broken == "stop":
        raise stopped(folder, [*unlisted, *unread], len(dataset))
    if not held and len(dataset):
        cache.write(kept, dataset, unread, say)
    dataset = completed(dataset, folder, found, [*unlisted, *unread], say)
    if split == "train":  # of the test pictures it would be the same
        for remark in dataset.found.remarks:
            say(f"data: {remark}")
    return dataset


def read(
    folder: Path, found: finding.Walk, look: Look, split: str, labelled: bool, say: Say
) -> tuple[Dataset, list[tuple[str, str]]]:
    """The pictures among the files, without those that cannot be read, and these.

    Where classes are wanted, and there are none, no picture is read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of metadata that nobody asked for
        pictures, others = [], []
        for file in found.files:
            why = finding.why_no_picture(folder, file)
            if why is None:
                pictures.append(file.parts)
            else:
                others.append((finding.named(file.parts), why))
        if not pictures:
            raise nothing(folder, "no pictures", [*others, *found.left_out])
        try:
            order = arrange(pictures, found.folders, split)
        except NoTraining as error:
            wrong = f"a split without pictures to train on: {error}"
            wanted, remedy = "a folder called train", "set data.root to the folder to train on"
            raise data_error(shown(folder), wrong, wanted, remedy) from None
        if labelled and not order.classes:
            raise without_classes(folder, order.remarks)
        result = reading.read(
            lambda parts: folder.joinpath(*parts).read_bytes(), order.pictures, look, say
        )
    return made(order, result, look, others), result.broken


def made(
    order: Arrangement, result: Reading, look: Look, others: Sequence[tuple[str, str]]
) -> Dataset:
    """The data set of what was arranged and read; `others`: what is no picture, and why."""
    is_tiled = look.fit == "tiles"
    counts = [fact.grid[0] * fact.grid[1] for fact in result.facts]
    labels = np.repeat([order.labels[row] for row in result.rows], counts).astype(np.int32)
    classes = tuple(shown(name) for name in order.classes)
    md5 = {"pictures": result.md5}
    if order.reordered:  # the same pictures with other labels are other data
        md5["classes"] = "in the order of their numbers"
    left_out, remarks, names = [*others, *order.left_out], [*order.remarks, *result.remarks], []
    small = f"smaller than a tile of {look.width}x{look.height}"
    for row, fact in zip(result.rows, result.facts, strict=True):
        parts = order.pictures[row]
        name = "/".join((*parts[:-1], os.path.splitext(parts[-1])[0]))
        places = itertools.product(*map(range, fact.grid))
        names += [f"{name}#{i},{j}" for i, j in places] if is_tiled else [name]
        if not fact.grid[0] * fact.grid[1]:
            left_out.append((finding.named(parts), small))
    if is_tiled:
        too_small = [name for name, why in left_out if why == small]
        whole = number(len(result.facts) - len(too_small), "picture")
        line = f"{number(sum(counts), 'tile')} of {look.width}x{look.height} from {whole}"
        if too_small:
            line += f"; left out, since they are smaller: {listed(too_small, NAMED)}"
        remarks.append(line)
    in_classes = np.bincount(labels, minlength=len(classes)).tolist()
    report = Found(
        result.sizes if result.facts else "none of which can be read",
        dict(Counter(fact.format for fact in result.facts)),
        dict(zip(classes, in_classes, strict=True)) if classes else {},
        by_reason(left_out),
        remarks,
        "tile" if is_tiled else "picture",
    )
    return Dataset(
        "image_folder", result.images, labels, classes, "", md5, report, order.has_test,
        tuple(names),
    )  # fmt: skip


def completed(
    dataset: Dataset,
    folder: Path,
    found: finding.Walk,
    unread: Sequence[tuple[str, str]],
    say: Say,
) -> Dataset:
    """The data set with what was left out before any picture was looked at."""
    left_out = [(name, why) for why, names in dataset.found.left_out.items() for name in names]
    left_out += [*found.left_out, *((f"{name} ({why})", "broken") for name, why in unread)]
    if not len(dataset):
        raise nothing(folder, "no pictures that can be read", left_out)
    report = dataclasses.replace(dataset.found, left_out=by_reason(left_out))
    if unread:
        names = listed([f"{name} ({why})" for name, why in unread], SPOKEN)
        say(f"data: left out as they cannot be read: {names}")
    what = "pictures" if report.unit == "picture" else "tiles of pictures"
    return dataclasses.replace(dataset, source=f"{what} in {shown(folder)}", found=report)


def too_small(folder: Path, dataset: Dataset, look: Look) -> DataError:
    """What is said of a folder without a picture of which a tile can be cut."""
    wrong = f"every picture is smaller than a tile ({dataset.found.sizes})"
    wanted = f"pictures of {look.width}x{look.height} pixels or more"
    return data_error(shown(folder), wrong, wanted, "choose a smaller data.size")


def without_classes(folder: Path, remarks: Sequence[str]) -> DataError:
    """What is said of a folder whose pictures should have classes."""
    why = next((remark for remark in remarks if remark.startswith("no classes")), "no classes")
    wanted = "the pictures in two or more sub-folders, one for each class"
    return data_error(shown(folder), why, wanted, "sort them into such folders")


def nothing(folder: Path, wrong: str, left_out: Sequence[tuple[str, str]]) -> DataError:
    """What is said of a folder without a picture that can be used."""
    counts = [f"{len(names):,} {why}" for why, names in by_reason(left_out).items()]
    wrong += f" (there are: {', '.join(counts)})" if counts else ""
    wanted = "files that Pillow reads, such as .png, .jpg, .tif, .gif, .webp, .bmp"
    return data_error(shown(folder), wrong, wanted, "correct the root or convert them")


def colour(background: Colour | None) -> tuple[int, int, int]:
    """Red, green and blue of a background as a recipe gives it."""
    given = 0 if background is None else background
    try:
        if isinstance(given, str):
            return ImageColor.getrgb(given)[:3]
        parts = tuple(given) if isinstance(given, list | tuple) else (given,) * 3
        if len(parts) == 3 and all(0 <= part <= 255 for part in parts):
            return parts
    except ValueError:
        pass
    wanted = "a grey value 0 to 255, [red, green, blue] or the name of a colour"
    raise data_error("image_folder", f"background {background!r}", wanted, "change it")


def stopped(root: Path, unread: Sequence[tuple[str, str]], whole: int) -> DataError:
    """What is said of pictures that cannot be read: all of them at once."""
    (first, why), *others = unread
    wrong = f"unreadable picture ({why})"
    if others:
        names = [f"{name} ({why})" for name, why in others[: SPOKEN - 1]]
        more = ", …" if len(others) > len(names) else ""
        wrong += f", and {len(others):,} more: {', '.join(names)}{more}"
    remedy = "repair or remove them"
    if whole:
        remedy += f", or leave them out with data.broken=skip, and go on with {whole:,}"
    return data_error(shown(root / first), wrong, "whole pictures", remedy)


def _picture(path: Path, content: bytes, size: int, channels: int) -> np.ndarray:
    """One picture alone as `load` brings it in, uint8 [C, size, size]."""
    return decode(content, Look(size, size, channels), name=path.name)[0]
