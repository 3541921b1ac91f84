"""Images that are held out where a data set has no test images apart: always the same ones."""

from __future__ import annotations

import numpy as np

from ms_gan.data.dataset import Dataset
from ms_gan.system import streams

HELD_OUT = 6  # one image of so many


def hold_out(whole: Dataset) -> tuple[Dataset, Dataset]:
    """The images but for one of six, and these; all tiles of a picture stay together."""
    picture = pictures(whole)
    first = np.unique(picture, return_index=True)[1]  # a row of each picture, for its label
    order = streams.chosen(streams.Choice.SPLIT, len(first))
    chosen = held_out(whole.labels[first], order, -(-len(first) // HELD_OUT))
    out = np.isin(picture, chosen)
    return whole.take(np.flatnonzero(~out)), whole.take(np.flatnonzero(out))


def pictures(whole: Dataset) -> np.ndarray:
    """int [N]: of which picture each image is; numbers in the order in which they begin."""
    if not (whole.names and whole.found and whole.found.unit == "tile"):
        return np.arange(len(whole))
    numbers: dict[str, int] = {}
    names = (name.rpartition("#")[0] for name in whole.names)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def held_out(labels: np.ndarray, order: np.ndarray, num: int) -> np.ndarray:
    """The first `num` rows of an order, passing over the last image that a class has left."""
    left, rows = np.bincount(labels), []
    for row in order:
        if len(rows) == num:
            break
        if left[labels[row]] > 1:
            left[labels[row]] -= 1
            rows.append(row)
    return np.array(rows, np.int64)


def halves(whole: Dataset, train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Two large sets of real images that have none in common: training and test images where there
    are test images apart, else the halves of all images, always the same ones.

    Args:
        train, test: what :func:`ms_gan.data.split` made of `whole`.
    """
    if train is whole:
        return train, test
    order, half = streams.chosen(streams.Choice.SPLIT, len(whole)), len(whole) // 2
    one, other = order[half : 2 * half], order[:half]
    return whole.take(np.sort(one)), whole.take(np.sort(other))
