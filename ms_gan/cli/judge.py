"""`ms-gan evaluate` of generators that the usual comparison does not fit: those that receive
pictures, which have a truth to be compared with, and those of stacked images, which have modes."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.cli.console import DownloadProgress, say
from ms_gan.errors import UsageError
from ms_gan.recipe import reader

if TYPE_CHECKING:
    from ms_gan.data import Dataset
    from ms_gan.evaluation.classifier import Classifier
    from ms_gan.recipe.schema import Data
    from ms_gan.runs.sampling import Sampler
    from ms_gan.runs.translating import Translator

Load = Callable[[tuple[int, int]], Any]


def of_pictures(
    arguments: argparse.Namespace,
    translator: Translator,
    path: Path,
    load: Load,
    classifier: Classifier | None,
) -> dict[str, Any]:
    """What is measured of a generator that receives pictures, printed as a table.

    Args:
        path: of the generator, for messages.
        load: (H, W) -> the same generator for pictures of that size.
        classifier: of such images, if there is one.
    """
    from ms_gan.evaluation import translation

    config = reader.from_dict(translator.meta["config"])
    judge = translation.JUDGES[config.input.name]
    where = source(config.data, arguments, translator)
    if judge.whole and where["options"].get("fit") == "tiles":
        return of_whole_pictures(translator, path, where, load)
    train, test, matched = pictures(where)
    num = min(arguments.num, len(test))
    say(f"{path}: {num} of {len(test)} test pictures ({test.source})")
    options = {"matched": matched} if where["pair"] is not None else {}
    found = judge(
        translator, train, test, seed=arguments.seed, num=num, classifier=classifier,
        **{key: value for key, value in options.items() if key in judge.options},
    )  # fmt: skip
    made = found.compare(translator, seed=arguments.seed)
    say(translation.table(made, found.floors))
    result = {"made": made, "floors": found.floors, "pictures": num, "source": test.source}
    if judge is translation.Swapping:
        result |= of_labels(where, translator, arguments.seed)
    return result


def source(recipe: Data, arguments: argparse.Namespace, translator: Translator) -> dict[str, Any]:
    """The arguments with which :func:`ms_gan.data.load` gives the generator's real images: name,
    options, pair, match."""
    name = arguments.data or recipe.name
    options = dict(recipe.options) if recipe.name == name else {}
    channels, height, width = translator.image_shape
    pair = recipe.pair
    options |= {"size": height if height == width else (height, width)}
    options |= {"channels": channels // (1 if pair is None else 2)}
    if arguments.data_root:
        options["root"] = arguments.data_root
    if arguments.pair_root:
        if pair is None:
            raise UsageError("--pair-root: this generator was not trained on pairs; leave it out")
        pair = dataclasses.replace(pair, options={**pair.options, "root": arguments.pair_root})
    return {"name": name, "options": options, "pair": pair, "match": recipe.match}


def pictures(where: Mapping[str, Any]) -> tuple[Dataset, Dataset, bool]:
    """Training and test images, and whether the pictures of a pair belong together.

    Where both sets have test images apart, and these the same names, they are paired by them.
    """
    from ms_gan import data

    given = {**where["options"], "say": say, "progress": DownloadProgress()}
    pair, match = where["pair"], where["match"]
    if pair is None:
        return *data.splits(where["name"], **given), False
    train, test = data.splits(where["name"], **given, pair=pair, match=match)
    if match == "names":
        return train, test, True
    given["say"] = lambda line: None
    other = data.paired(where["options"], pair)
    apart = data.load(where["name"], **given), data.load(other.name, **other.options)
    if not all(map(data.has_test, apart)):
        return train, test, False
    try:
        _, test = data.splits(where["name"], **given, pair=pair, match="names")
    except data.DataError:
        return train, test, False
    say("data: pictures of the same name belong together: they are compared one by one")
    return train, test, True


def of_labels(where: Mapping[str, Any], translator: Translator, seed: int) -> dict[str, Any]:
    """What classifiers learn of translated images, where both domains have the same classes."""
    from ms_gan import data
    from ms_gan.evaluation import transfer

    given = {"say": lambda line: None, "progress": DownloadProgress()}
    pair = data.paired(where["options"], where["pair"])
    a = data.splits(where["name"], **where["options"], **given)
    b = data.splits(pair.name, **pair.options, **given)
    if not transfer.possible(a, b):
        return {}
    say("both domains have the same classes: classifiers learn from translated images (minutes)")
    found = transfer.transfer(translator, a, b, seed=seed, say=say)
    say(transfer.table(found))
    return {"transfer": found}


def of_whole_pictures(
    translator: Translator, path: Path, where: Mapping[str, Any], load: Load
) -> dict[str, Any]:
    """Super-resolution of the whole pictures of a folder, a line for each of a few."""
    from ms_gan.data import picture
    from ms_gan.evaluation import translation, whole
    from ms_gan.runs import tiles

    root, channels = where["options"].get("root"), where["options"]["channels"]
    folder, names = whole.files(root)
    tiled = load(tiles.tile_size(translator))
    found = whole.Whole(tiles.scale_of(tiled), channels=channels)
    say(f"{path}: {len(names)} whole pictures in {folder}")
    for parts in names:
        pixels = picture.read(folder.joinpath(*parts)).pixels
        made, bicubic = found.add(pixels, lambda small: tiles.restore(tiled, small))
        if len(names) <= whole.LISTED:
            beside = f"PSNR {made['psnr']:.2f} dB, bicubic {bicubic['psnr']:.2f}"
            say(f"{'/'.join(parts)}: {beside}")
    made, floors = found.means()
    say(translation.table(made, floors))
    return {"made": made, "floors": floors, "pictures": found.num, "source": f"{folder}"}


def of_modes(
    arguments: argparse.Namespace, sampler: Sampler, train: Dataset, classifier: Classifier
) -> dict[str, Any]:
    """The modes of stacked images, printed as a table."""
    from ms_gan.evaluation import modes

    real = modes.RealModes(classifier, train, num=arguments.num)
    made = real.compare(sampler, seed=arguments.seed)
    say(modes.table(made, real.floor, real.num_modes))
    return {"generated": made, "floor": real.floor}
