"""Real images: MNIST and its kin (IDX files), embedded digits, folders of pictures; seeded batches.

Everything is plain numpy. A data set is stored as uint8 and becomes float32 in [-1, 1], the range
of the generator's tanh, one batch at a time.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ms_gan.data import digits, image_folder, mnist
from ms_gan.data.batches import Batches, to_float
from ms_gan.data.dataset import DataError, Dataset, data_error
from ms_gan.data.download import Progress, Say
from ms_gan.data.idx import read_idx
from ms_gan.data.known import IDX_SETS
from ms_gan.data.search import find_idx, home_folder
from ms_gan.errors import near_miss
from ms_gan.recipe.registry import Registry
from ms_gan.recipe.schema import Part
from ms_gan.system import streams

__all__ = [
    "DATA", "DATASETS", "Batches", "DataError", "Dataset", "Known", "find_idx", "halves",
    "home_folder", "load", "read_idx", "split", "splits", "to_float",
]  # fmt: skip

HELD_OUT = 6  # one image of so many, where a data set has no test split
# What the program passes on, if a loader takes it; `labelled`: refuse images without classes,
# before they are read.
GIVEN = ("split", "say", "progress", "labelled")


@dataclass(frozen=True)
class Known:
    """A row of `DATASETS`.

    Args:
        load: its keyword-only arguments are the options of `data:` in a recipe. It may also take
            `split` ('train' or 'test'; without, the set has one part only), `say` and `progress`.
        like: the data set that its images look like, which it may stand in for and whose
            classifier may judge it.
    """

    load: Callable[..., Dataset]
    like: str | None = None

    @property
    def has_test(self) -> bool:
        """Whether there may be test images apart; `Dataset.has_test` knows where it depends."""
        return "split" in inspect.signature(self.load).parameters


DATASETS = {
    **{name: Known(mnist.loader(name)) for name in IDX_SETS},
    "digits": Known(digits.load, like="mnist"),
    "image_folder": Known(image_folder.load),
}
DATA = Registry("data", {name: known.load for name, known in DATASETS.items()})


def load(
    name: str,
    *,
    split: str = "train",
    fallback: str | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
    labelled: bool = False,
    **options: Any,
) -> Dataset:
    """Load a data set by its name in `DATASETS`; the MNIST kind is downloaded when not found.

    Args:
        name: a row of `DATASETS`.
        split: 'train' or 'test'; ignored by sets that have only one part.
        fallback: the data set to go on with when this one cannot be downloaded and that one looks
            like it ('digits' for 'mnist').
        say, progress: receive one-line messages; (file, bytes done, bytes in all or 0).
        labelled: refuse images that have no classes.
        options: of its row. None stands for the default.

    Raises:
        DataError: unknown name, missing or damaged files, failed download.
        ConfigError: an option that the data set does not have, or of another type.
    """
    if name not in DATASETS:
        wrong = f"no such data set{near_miss(str(name), DATASETS)}"
        raise data_error(name, wrong, f"one of {', '.join(DATASETS)}", "choose one of these")
    stand_ins = [known for known, row in DATASETS.items() if row.like]
    if fallback not in (None, *stand_ins):
        raise data_error(name, f"fallback {fallback!r}", f"one of {stand_ins}", "change it")
    if split not in ("train", "test"):
        raise data_error(name, f"split {split!r}", "'train' or 'test'", "change it")
    options = {k: v for k, v in options.items() if v is not None}
    if isinstance(options.get("root"), os.PathLike):  # recipes, which the check is for, have text
        options["root"] = os.fspath(options["root"])
    part = Part(name, options)
    DATA.check(part, DATA.accepted(name), GIVEN)
    given = {"split": split, "say": say, "progress": progress, "labelled": labelled}
    try:
        return DATA.call(part, DATASETS[name].load, **given)
    except mnist.NotToBeHad as error:
        if fallback is None or DATASETS[fallback].like != name:  # digits stand in for digits only
            raise error.error from None
        dataset = load(fallback, size=options.get("size"), channels=options.get("channels"))
        if say is not None:
            say(
                f"{name}: {error}; using the {len(dataset):,} embedded digits instead; "
                f"{error.remedy}"
            )
        return dataset


def splits(name: str, **options: Any) -> tuple[Dataset, Dataset]:
    """The training and the test images of a data set, as :func:`load` takes its options.

    Where a data set has no test split, one image of six is held out, always the same ones.
    """
    return split(load(name, **options), **options)


def split(whole: Dataset, **options: Any) -> tuple[Dataset, Dataset]:
    """The same for training images that are loaded already; `options` are those of `load`."""
    known = DATASETS.get(whole.name)
    has_test = known is not None and known.has_test if whole.has_test is None else whole.has_test
    if has_test:
        return whole, load(whole.name, **options, split="test")
    order = streams.chosen(streams.Choice.SPLIT, len(whole))
    out = held_out(whole.labels, order, -(-len(whole) // HELD_OUT))
    return whole.take(np.setdiff1d(order, out)), whole.take(np.sort(out))


def halves(whole: Dataset, train: Dataset, test: Dataset) -> tuple[Dataset, Dataset]:
    """Two large sets of real images that have none in common: training and test images where there
    are test images apart, else the halves of all images, always the same ones.

    Args:
        train, test: what :func:`split` made of `whole`.
    """
    if train is whole:
        return train, test
    order, half = streams.chosen(streams.Choice.SPLIT, len(whole)), len(whole) // 2
    one, other = order[half : 2 * half], order[:half]
    return whole.take(np.sort(one)), whole.take(np.sort(other))


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
