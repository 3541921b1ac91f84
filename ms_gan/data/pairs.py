"""Two data sets as one: an image of the second lies behind one of the first, as more channels."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ms_gan.data.dataset import Dataset, data_error
from ms_gan.data.found import NAMED, Found, by_reason, listed
from ms_gan.system import streams
from ms_gan.system.output import shown
from ms_gan.system.streams import Choice

JOINT = " paired with "  # between the two sources
SECOND = "pair."  # begins the md5 keys of the second set
ALONE = "without a partner"


def any_with_any(first: Dataset, second: Dataset) -> Dataset:
    """As many rows as the larger one has; the other one's images come again, each as often as any.

    Who lies with whom is always the same, and no image k lies with an image k: what belongs
    together by chance is not taught. There are no classes.
    """
    for dataset in (first, second):
        if not len(dataset):
            wrong = "has no image left, since one alone cannot be held out and trained on"
            raise data_error(dataset.source, wrong, "two or more", "add images")
    one, other = any_rows(len(first), len(second))
    both = joined(first, second, one, other, [])
    return replace(both, labels=np.zeros(len(one), np.int32), classes=(), names=())


def any_rows(one: int, other: int) -> tuple[np.ndarray, np.ndarray]:
    """int [max(one, other)] each: the rows of both sets that lie together."""
    num = max(one, other)
    order = streams.chosen(Choice.PAIR, num)
    partner = np.empty(num, np.int64)
    partner[order] = np.roll(order, -1)  # one circle through all: none is its own partner
    return np.arange(num) % one, partner % other


def by_name(first: Dataset, second: Dataset) -> tuple[Dataset, str]:
    """Pictures of the same name, in the order of the first set, and a line about the others.

    Raises:
        DataError: sets without names, a name that occurs twice, none in common.
    """
    one, other = (rows_by_name(dataset) for dataset in (first, second))
    common = [name for name in one if name in other]
    if not common:
        wrong = (
            f"no picture has the same name as one in {second.source}, such as "
            f"{shown(next(iter(one), ''))} and {shown(next(iter(other), ''))}"
        )
        remedy = "rename them, or set data.match=none"
        raise data_error(first.source, wrong, "the same path below the root but its ending", remedy)
    left_out = [(shown(name), ALONE) for name in one if name not in other]
    left_out += [(shown(name), f"{ALONE} (pair)") for name in other if name not in one]
    rows = (np.array([of[name] for name in common], np.int64) for of in (one, other))
    line = f"{len(common):,} pairs of the same name"
    if left_out:
        names = listed([name for name, _ in left_out], NAMED)
        line += f"; left out, since they have no partner: {names}"
    return joined(first, second, *rows, left_out), line


def rows_by_name(dataset: Dataset) -> dict[str, int]:
    """name -> row, accents written in one way."""
    if not dataset.names:
        wrong = f"names, but the images of {dataset.name} have none"
        wanted = "two folders of pictures (image_folder)"
        raise data_error("data.match", wrong, wanted, "set data.match=none")
    names = [unicodedata.normalize("NFC", name) for name in dataset.names]
    twice = [shown(name) for name, count in Counter(names).items() if count > 1]
    if twice:
        wrong = f"names that occur twice without their ending: {listed(twice, NAMED)}"
        raise data_error(dataset.source, wrong, "each name once", "remove or rename one of each")
    return {name: row for row, name in enumerate(names)}


def joined(
    first: Dataset,
    second: Dataset,
    one: np.ndarray,
    other: np.ndarray,
    left_out: Sequence[tuple[str, str]],
) -> Dataset:
    """Rows `one` of the first set with rows `other` of the second, named and labelled as the
    first."""
    if first.image_shape != second.image_shape:
        wrong = f"images {list(second.image_shape)}, but those of {first.name} are "
        wrong += f"{list(first.image_shape)}"
        remedy = "set data.size and data.channels, and leave out those of data.pair"
        raise data_error(f"data.pair: {second.name}", wrong, "the same shape", remedy)
    channels, height, width = first.image_shape
    images = np.empty((len(one), 2 * channels, height, width), np.uint8)
    images[:, :channels], images[:, channels:] = first.images[one], second.images[other]
    return replace(
        first,
        images=images,
        labels=first.labels[one],
        source=f"{first.source}{JOINT}{second.source}",
        md5={**first.md5, **{f"{SECOND}{name}": md5 for name, md5 in second.md5.items()}},
        found=both_found(first, second, left_out),
        has_test=True,
        names=tuple(first.names[row] for row in one) if first.names else (),
    )


def both_found(
    first: Dataset, second: Dataset, left_out: Sequence[tuple[str, str]]
) -> Found | None:
    """What was found in both folders; None where neither is one."""
    if not (first.found or second.found):
        return None
    _, height, width = first.image_shape
    one, other = (dataset.found or Found(f"{width}x{height} pixels") for dataset in (first, second))
    out = [(name, why) for why, names in one.left_out.items() for name in names]
    out += [(name, f"{why} (pair)") for why, names in other.left_out.items() for name in names]
    return Found(
        one.sizes if one.sizes == other.sizes else f"{one.sizes}{JOINT}{other.sizes}",
        dict(Counter(one.formats) + Counter(other.formats)),
        left_out=by_reason([*out, *left_out]),
        remarks=[*one.remarks, *other.remarks],
        unit=one.unit,
    )


def counted(both: Dataset) -> Dataset:
    """The set with the number of its images in each class."""
    if both.found is None:
        return both
    counts = np.bincount(both.labels, minlength=both.num_classes).tolist()
    classes = dict(zip(both.classes, counts, strict=False))
    return replace(both, found=replace(both.found, classes=classes))
