"""Real images: MNIST and its kin, CIFAR-10, embedded digits, folders of pictures; two sets joined;
seeded batches.

Everything is plain numpy. A data set is stored as uint8 and becomes float32 in [-1, 1], the range
of the generator's tanh, one batch at a time.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ms_gan.data import cifar10, digits, image_folder, mnist, pairs, stacked
from ms_gan.data.batches import Batches, to_float
from ms_gan.data.dataset import DataError, Dataset, data_error, sides
from ms_gan.data.download import Progress
from ms_gan.data.idx import read_idx
from ms_gan.data.known import IDX_SETS
from ms_gan.data.partition import halves, hold_out
from ms_gan.data.search import find_idx, home_folder
from ms_gan.errors import near_miss
from ms_gan.recipe.registry import Registry, settled
from ms_gan.recipe.schema import ConfigError, Part
from ms_gan.system.output import Say

__all__ = [
    "DATA", "DATASETS", "Batches", "DataError", "Dataset", "Known", "find_idx", "halves",
    "home_folder", "load", "read_idx", "split", "splits", "to_float",
]  # fmt: skip

# What the program passes on, if a loader takes it; `labelled`: refuse images without classes,
# before they are read.
GIVEN = ("split", "say", "progress", "labelled")
MATCHES = ("none", "names")


@dataclass(frozen=True)
class Known:
    """A row of `DATASETS`.

    Args:
        load: its keyword-only arguments are the options of `data:` in a recipe. It may also take
            `split` ('train' or 'test'; without, the set has one part only), `say` and `progress`.
        like: the data set that its images look like, which it may stand in for and whose
            classifier may judge it.
        stacks: the data set that each channel of its images looks like, whose classifier reads
            them channel by channel.
    """

    load: Callable[..., Dataset]
    like: str | None = None
    stacks: str | None = None

    @property
    def has_test(self) -> bool:
        """Whether there may be test images apart; `Dataset.has_test` knows where it depends."""
        return "split" in inspect.signature(self.load).parameters


DATASETS = {
    **{name: Known(mnist.loader(name)) for name in IDX_SETS},
    "digits": Known(digits.load, like="mnist"),
    "stacked_mnist": Known(stacked.loader("mnist"), stacks="mnist"),
    "stacked_digits": Known(stacked.loader("digits"), like="stacked_mnist", stacks="mnist"),
    "cifar10": Known(cifar10.load),
    "image_folder": Known(image_folder.load),
}


class Sets(Registry):
    """The table of data sets, which knows that a recipe may join two of them."""

    def resolve(self, part: Any, given: Iterable[str] = ()) -> Any:
        """The part with all its options, and its pair with all of those."""
        whole = super().resolve(part, given)
        pair = getattr(whole, "pair", None)
        return whole if pair is None else replace(whole, pair=paired(whole.options, pair))


LOADERS = {name: known.load for name, known in DATASETS.items()}
DATA, PAIR = Sets("data", LOADERS), Registry("data.pair", LOADERS)


def load(
    name: str,
    *,
    split: str = "train",
    fallback: str | None = None,
    say: Say | None = None,
    progress: Progress | None = None,
    labelled: bool = False,
    pair: Part | None = None,
    match: str = "none",
    **options: Any,
) -> Dataset:
    """Load a data set by its name in `DATASETS`; the MNIST kind is downloaded when not found.

    With `pair`, two sets joined along the channels, uint8 [N, 2 C, H, W]. They always have test
    images apart: where a set has none of its own, one image of six is held out.

    Args:
        name: a row of `DATASETS`.
        split: 'train' or 'test'; ignored by sets that have only one part.
        fallback: the data set to go on with when this one cannot be downloaded and that one looks
            like it ('digits' for 'mnist').
        say, progress: receive one-line messages; (file, bytes done, bytes in all or 0).
        labelled: refuse images that have no classes.
        pair: a second data set; its options are those of the first where it does not say them.
        match: 'names': pictures of the same name lie together; 'none': any with any.
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
    if match not in MATCHES:
        raise data_error(name, f"match {match!r}", f"one of {MATCHES}", "change it")
    if pair is not None:
        given = {"fallback": fallback, "say": say, "progress": progress, "labelled": labelled}
        return _joined(name, options, pair, match, split, given)
    if match != "none":
        raise data_error(name, f"match {match!r} without a pair", "a pair", "give data.pair")
    options = plain({k: v for k, v in options.items() if v is not None})
    part = Part(name, options)
    DATA.check(part, DATA.accepted(name), GIVEN)
    given = {"split": split, "say": say, "progress": progress, "labelled": labelled}
    try:
        return DATA.call(part, DATASETS[name].load, **given)
    except mnist.NotToBeHad as error:
        other = stand_in(name, fallback)
        if other is None:
            raise error.error from None
        known = DATA.accepted(other)
        dataset = load(other, split=split, **{k: v for k, v in options.items() if k in known})
        if say is not None:
            images = f"{len(dataset):,} images made of " if other != fallback else ""
            say(
                f"{name}: {error}; using {images}the {digits.NUM:,} embedded digits instead; "
                f"{error.remedy}"
            )
        return dataset


def stand_in(name: str, fallback: str | None) -> str | None:
    """The row that replaces a data set: the fallback, or what is stacked of it. Digits stand in for
    digits only."""
    rows = (fallback, f"stacked_{fallback}")
    return next((row for row in rows if row in DATASETS and DATASETS[row].like == name), None)


def splits(name: str, **options: Any) -> tuple[Dataset, Dataset]:
    """The training and the test images of a data set, as :func:`load` takes its options.

    Where a data set has no test split, one image of six is held out, always the same ones.
    """
    return split(load(name, **options), **options)


def split(whole: Dataset, **options: Any) -> tuple[Dataset, Dataset]:
    """The same for training images that are loaded already; `options` are those of `load`."""
    if has_test(whole):
        return whole, load(whole.name, **options, split="test")
    return hold_out(whole)


def has_test(whole: Dataset) -> bool:
    """Whether there are test images apart."""
    if whole.has_test is not None:
        return whole.has_test
    return whole.name in DATASETS and DATASETS[whole.name].has_test


def paired(options: Mapping[str, Any], pair: Part) -> Part:
    """What a data set is paired with, with all its options: those that are not given are as the
    first data set has them, but for the folder.

    Raises:
        ConfigError: an unknown name or option, or another size than that of the first.
    """
    accepted = {k: v for k, v in PAIR.accepted(pair.name).items() if k not in GIVEN}
    pair = replace(pair, options=plain(pair.options))
    PAIR.check(pair, accepted)
    own = {k: v for k, v in settled(pair, accepted).options.items() if v is not None}
    for key in ("size", "channels"):
        one, other = options.get(key), own.get(key)
        if None not in (one, other) and sides(one) != sides(other):
            raise ConfigError(
                f"data.pair.{key}: {other}, but data.{key} is {one}; expected the same of both; "
                f"leave data.pair.{key} out"
            )
    as_first = {k: v for k, v in options.items() if k in accepted and k != "root"}
    defaults = {k: v.default for k, v in accepted.items()}
    return Part(pair.name, {**defaults, **as_first, **own})


def plain(options: Mapping[str, Any]) -> Any:
    """The options with a folder as text, as recipes have it."""
    if isinstance(root := options.get("root"), os.PathLike):
        return {**options, "root": os.fspath(root)}
    return options


def _joined(
    name: str,
    options: Mapping[str, Any],
    pair: Part,
    match: str,
    split: str,
    given: Mapping[str, Any],
) -> Dataset:
    """A split of two data sets joined; `given`: other arguments of :func:`load`."""
    if pair.name == "image_folder" and pair.options.get("root") is None:
        remedy = "set data.pair.root=FOLDER"
        raise data_error("data.pair: image_folder", "no root", "a folder of pictures", remedy)
    say = given["say"] or (lambda line: None)
    first = load(name, **options, **given)
    channels, height, width = first.image_shape
    size = height if height == width else [height, width]
    second = paired({**options, "size": size, "channels": channels}, pair)
    other = load(pair.name, **second.options, **{**given, "fallback": None, "labelled": False})
    sets = ((first, options), (other, second.options))
    tell = say if split == "train" else (lambda line: None)
    if match == "none":
        parts = [_part(dataset, split, own, tell) for dataset, own in sets]
        return pairs.counted(pairs.any_with_any(*parts))
    if has_test(first) and has_test(other):
        parts = [_part(dataset, split, own, tell) for dataset, own in sets]
        both, line = pairs.by_name(*parts)
        say(f"data: {line}")
        return pairs.counted(both)
    both, line = pairs.by_name(first, other)
    tell(f"data: {line}")
    return pairs.counted(
        replace(_part(replace(both, has_test=False), split, {}, tell), has_test=True)
    )


def _part(whole: Dataset, split: str, options: Mapping[str, Any], say: Say) -> Dataset:
    """The training or the test images of a data set; where it has none apart, a line says so."""
    if has_test(whole):
        known = DATA.accepted(whole.name)  # of what stands in for another one, too
        own = {k: v for k, v in options.items() if k in known}
        return whole if split == "train" else load(whole.name, split="test", **own)
    train, test = hold_out(whole)
    say(f"data: {len(test):,} of {len(whole):,} ({whole.source}) are held out to measure with")
    return train if split == "train" else test
