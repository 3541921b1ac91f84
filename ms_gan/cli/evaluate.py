"""`ms-gan evaluate` and `ms-gan train-classifier`: numbers for samples."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.cli.console import (
    DEVICES,
    DownloadProgress,
    command,
    natural,
    positive,
    say,
    say_replaced,
)
from ms_gan.cli.source import (
    add_generator,
    add_truncation,
    generator_file,
    loaded,
    truncated,
)  # fmt: skip
from ms_gan.errors import UsageError
from ms_gan.recipe import reader, schema
from ms_gan.runs import shipped
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import program, runtime
from ms_gan.system.provenance import git_commit
from ms_gan.version import __version__

if TYPE_CHECKING:
    from ms_gan.data import Dataset
    from ms_gan.evaluation.classifier import Classifier
    from ms_gan.runs.sampling import Sampler
    from ms_gan.runs.translating import Translator

Size = int | tuple[int, int]
NUM = 10_000  # samples


def image_size(text: str) -> Size:
    """`32`, or height x width, `48x32`"""
    sides = tuple(positive(side) for side in text.lower().split("x"))
    if len(sides) > 2:
        raise ValueError(text)
    return sides if len(set(sides)) > 1 else sides[0]


def add_parsers(commands: argparse._SubParsersAction) -> None:
    classifier = commands.add_parser(
        "train-classifier", help="train the classifier whose features `evaluate` compares"
    )
    classifier.add_argument("--data", default="mnist", help="a labelled data set (%(default)s)")
    classifier.add_argument("--data-root", metavar="DIR", help="its folder (as for recipes)")
    classifier.add_argument(
        "--size", type=image_size, metavar="SIZE",
        help="height and width in pixels, 32 or 48x32 (as stored)",
    )  # fmt: skip
    classifier.add_argument("--channels", type=int, choices=(1, 3), help="(as stored)")
    classifier.add_argument("--out", type=Path, metavar="FILE", help="(<data>_classifier.ckpt)")
    classifier.add_argument("--epochs", type=positive, default=10, help="(%(default)s)")
    classifier.add_argument("--seed", type=natural, default=0, help="(%(default)s)")
    classifier.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    classifier.add_argument(
        "overrides", nargs="*", metavar="data.key=value", help="for example data.fit=pad"
    )
    classifier.set_defaults(run=run_train_classifier)

    evaluate = commands.add_parser("evaluate", help="measure how near samples are to real images")
    add_generator(evaluate, [*shipped.GENERATORS, *shipped.TRANSLATORS])
    evaluate.add_argument(
        "--num", type=positive,
        help="samples (10000; of stacked images 26000), or test pictures that are compared",
    )  # fmt: skip
    evaluate.add_argument("--seed", type=natural, default=1, help="of the latents (%(default)s)")
    evaluate.add_argument(
        "--out", type=Path, metavar="FILE.json",
        help="(*.evaluation.json beside the checkpoint; of a shipped one, here)",
    )  # fmt: skip
    evaluate.add_argument(
        "--classifier", type=Path, metavar="FILE", help="of train-classifier (the shipped one)"
    )
    evaluate.add_argument("--data", help="the data set (the one that the checkpoint names)")
    evaluate.add_argument("--data-root", metavar="DIR", help="its folder (as for recipes)")
    evaluate.add_argument(
        "--pair-root", metavar="DIR", help="the folder of data.pair, of a generator of pairs"
    )
    add_truncation(evaluate)
    evaluate.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    evaluate.set_defaults(run=run_evaluate)


def run_train_classifier(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(f"{arguments.data}_classifier.ckpt")
    check_target(out, ".ckpt")
    options = options_given(arguments)

    runtime.import_mindspore(arguments.device)
    from ms_gan import data
    from ms_gan.evaluation import classifier

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    given = {"say": say, "progress": DownloadProgress(), "labelled": True}
    train, test = data.splits(arguments.data, **options, **given)
    say(f"data: {train.name}, {len(train)} images {list(train.image_shape)} to train, "
        f"{len(test)} to test ({train.source})")  # fmt: skip
    if not len(test):
        raise UsageError(
            f"{train.name}: no image can be held out to test with, each class has one alone; "
            "expected classes of two or more; add pictures or join classes"
        )
    net = classifier.train(train, epochs=arguments.epochs, seed=arguments.seed, show=say)
    accuracy = classifier.accuracy(net, test)
    meta = {
        "data": train.name,
        "classes": list(train.classes),
        "accuracy": accuracy,
        "test_images": len(test),
        "md5": {"train": train.md5, "test": test.md5},
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "command": command(arguments.words),
        "git_commit": git_commit(),
        "ms_gan": __version__,
    }
    classifier.save(out, net, meta)
    say(f"test accuracy {100 * accuracy:.2f} % of {len(test)} images -> {out}")
    say_replaced(out)
    if doubt := classifier.doubt(accuracy, test):
        say(f"warning: {doubt}: train it longer (--epochs) or with more pictures")
    return 0


def options_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of the data set, from `--data-root` and its like and from `data.key=value`."""
    from ms_gan import data

    given = {
        "root": arguments.data_root, "size": arguments.size, "channels": arguments.channels
    }  # fmt: skip
    words = [f"data.{k}={spelled(v)}" for k, v in given.items() if v is not None]
    of_training = {field.name for field in dataclasses.fields(schema.Data)}
    for word in arguments.overrides:
        section, _, key = word.partition("=")[0].partition(".")
        if section != "data" or key in of_training:
            known = ", ".join(f"data.{k}" for k in free_options(arguments.data))
            raise UsageError(f"{word}: not an option of {arguments.data}; expected one of {known}")
        words.append(word)
    tree: dict[str, Any] = {"name": "classifier", "data": {"name": arguments.data}}
    for word in words:
        reader.apply_override(tree, word)
    return data.DATA.resolve(reader.from_dict(tree).data, data.GIVEN).options


def free_options(name: str) -> dict[str, Any]:
    """The options of a data set that a recipe may give, with their defaults."""
    from ms_gan import data

    accepted = data.DATA.accepted(name)
    return {k: v.default for k, v in accepted.items() if k not in data.GIVEN}


def spelled(value: Any) -> str:
    """A value as it is typed behind `key=`."""
    return value if isinstance(value, str) else json.dumps(value)


def run_evaluate(arguments: argparse.Namespace) -> int:
    path = generator_file(arguments)
    beside = Path(path.name) if shipped.owns(path) else path
    out = arguments.out or beside.with_suffix(".evaluation.json")
    check_target(out, ".json")
    picture = (arguments.out or beside).with_suffix(".nearest.png")

    sampler = loaded(path, arguments.device)
    from ms_gan.runs.report import Report
    from ms_gan.runs.translating import Translator

    sampler = truncated(sampler, arguments.truncation, path)
    name = data_name(arguments, sampler.meta, path)
    judge = find_classifier(arguments, name, sampler, path)
    kind = evaluate_pictures if isinstance(sampler, Translator) else evaluate_samples
    result, test_images = kind(arguments, sampler, path, name, judge, picture)
    write_evaluation(arguments, out, path, sampler.meta, judge, name, result, test_images)
    say(f"written to {out}")
    say_replaced(out, picture)
    if (run := RunDir(out.parent)).report_file.is_file():
        Report(run, say).write()
    return 0


def evaluate_pictures(
    arguments: argparse.Namespace, translator: Translator, path: Path, name: str,
    classifier: ClassifierFile | None, picture: Path,
) -> tuple[dict[str, Any], int]:  # fmt: skip
    """What is measured of a generator that receives pictures, and of how many."""
    from ms_gan import build
    from ms_gan.cli import judge

    arguments.num = arguments.num or NUM
    result = judge.of_pictures(
        arguments, translator, path, lambda size: build.load_sampler(path, size=size),
        classifier and classifier.net,
    )  # fmt: skip
    return result, result.pop("pictures")


def evaluate_samples(
    arguments: argparse.Namespace, sampler: Sampler, path: Path, name: str,
    judge: ClassifierFile | None, picture: Path,
) -> tuple[dict[str, Any], int]:  # fmt: skip
    """What is measured of samples, and how many test images they were compared with."""
    from ms_gan import data
    from ms_gan.cli.judge import of_modes
    from ms_gan.evaluation import evaluator, modes
    from ms_gan.runs import visualise

    options = data_options(arguments, sampler, name)
    given = {**options, "say": say, "progress": DownloadProgress()}
    whole = load_data(name, given, recipe_root(sampler, name))
    if stacked := modes.shipped_for(whole):
        arguments.num = arguments.num or modes.NUM
        say(f"{path}: {arguments.num} samples; the floor is that of real images")
        return of_modes(arguments, sampler, whole, stacked), 0
    arguments.num = arguments.num or NUM
    train, test = data.split(whole, **given)
    again = training_command(name, sampler, options)
    num, seed = arguments.num, arguments.seed
    patches = evaluator.RealPatches(*data.halves(whole, train, test), num=num, seed=seed)
    real = None
    if judge is not None:
        check_classes(judge, train, again)
        real = evaluator.RealImages(judge.net, train, test, num=num)
        say(f"{path}: {num} samples against {len(test)} test images of {name}")
    else:
        say(f"{path}: {patches.num} samples against as many real images of {name}")
        say(advice(whole, again))
    result = evaluator.compare(sampler, real, patches, seed=seed)
    found = evaluator.memorisation(sampler, train, test, num=num, seed=seed)
    for part, numbers in zip(("generated", "floor"), found.numbers(), strict=True):
        result[part].update(numbers)
    result["nearest"] = {"samples": len(found.distances), "test_images": len(found.real_distances)}
    say(evaluator.table(result, train.classes))
    for doubt in evaluator.doubts(real, patches, test):
        say(f"warning: {doubt}")
    visualise.save_png(picture, found.picture())
    say(f"samples beside their nearest training images: {picture}")
    return result, len(test)


# --- which classifier -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ClassifierFile:
    """A classifier that takes the images of the generator, and its file."""

    file: Path
    net: Classifier
    about: dict[str, Any]


def find_classifier(
    arguments: argparse.Namespace, name: str, sampler: Sampler, path: Path
) -> ClassifierFile | None:
    """The classifier that was named, which must fit; else a shipped one that fits; else None."""
    from ms_gan.evaluation import classifier

    file = arguments.classifier
    if file is None:
        known = classifier.shipped_for(name, sampler.image_shape)
        return known and ClassifierFile(shipped.ASSETS / shipped.CLASSIFIERS[name], *known)
    judge = ClassifierFile(file, *classifier.load(file))
    if judge.about.get("data") != name:
        raise UsageError(
            f"{file}: is a classifier of {judge.about.get('data')}, but {path} was trained on "
            f"{name}; choose another with --classifier, or say --data"
        )
    if judge.net.image_shape != sampler.image_shape:
        raise UsageError(
            f"{path}: makes images {list(sampler.image_shape)}, but {file.name} takes "
            f"{list(judge.net.image_shape)}; train one with {training_command(name, sampler)} "
            "and give it with --classifier"
        )
    return judge


def check_classes(judge: ClassifierFile, train: Dataset, command: str) -> None:
    """Whether the classifier and the images here have the same classes."""
    known, here = judge.about.get("classes") or [], list(train.classes)
    other = next((pair for pair in zip(known, here, strict=False) if pair[0] != pair[1]), None)
    if judge.net.num_classes != len(here):
        wrong = f"knows {judge.net.num_classes} classes, but {train.name} has {len(here)} here"
    elif other is not None:
        wrong = f"knows other classes, such as '{other[0]}' in place of '{other[1]}'"
    else:
        return
    remedy = f"train one on these data with {command}" if here else "leave --classifier out"
    raise UsageError(f"{judge.file}: {wrong}; {remedy}")


def advice(whole: Dataset, command: str) -> str:
    """What to do for the numbers that need a classifier."""
    needs = "precision, recall and the other numbers of a classifier are left out"
    if whole.num_classes < 2:
        return f"{needs}: these images have no classes (sub-folders)"
    file = f"{whole.name}_classifier.ckpt"
    return f"{needs}; for them: {command}, then evaluate with --classifier {file}"


def training_command(name: str, sampler: Sampler, options: dict[str, Any] | None = None) -> str:
    """The command that trains a classifier of such images."""
    channels, height, width = sampler.image_shape
    size = str(height) if height == width else f"{height}x{width}"
    words = ["train-classifier", "--data", name, "--size", size, "--channels", str(channels)]
    options = dict(options or {})
    if root := options.pop("root", None):
        words += ["--data-root", str(root)]
    default = free_options(name)
    for key, value in options.items():
        if key not in ("size", "channels") and value != default[key]:
            words.append(f"data.{key}={spelled(value)}")
    return program.called(*words)


# --- which images ---------------------------------------------------------------------------------


def data_name(arguments: argparse.Namespace, meta: Mapping[str, Any], path: Path) -> str:
    """The data set that was named, else that of the checkpoint."""
    name = arguments.data or meta.get("data")
    if name is None:
        raise UsageError(
            f"{path}: does not say what it was trained on; say it with --data, "
            "for the MindSpore tutorial --data mnist"
        )
    return name


def data_options(arguments: argparse.Namespace, sampler: Sampler, name: str) -> dict[str, Any]:
    """The options with which the generator's real images were made, as far as it says them.

    The folder is the one that was given, else that of the recipe if it is still there.
    """
    recipe = reader.from_dict(sampler.meta["config"]).data
    options = dict(recipe.options) if recipe.name == name else {}
    channels, height, width = sampler.image_shape
    options.update(size=height if height == width else (height, width), channels=channels)
    root = arguments.data_root or recipe_root(sampler, name)
    is_there = arguments.data_root or (root and Path(root).expanduser().is_dir())
    return {**options, "root": root if is_there else None}


def recipe_root(sampler: Sampler, name: str) -> str | None:
    """The folder of the images in the recipe, if it says one."""
    recipe = reader.from_dict(sampler.meta["config"]).data
    return recipe.options.get("root") if recipe.name == name else None


def load_data(name: str, options: dict[str, Any], recorded: str | None) -> Dataset:
    """The real images; where they cannot be found, the error says where they were."""
    from ms_gan import data

    try:
        return data.load(name, **options)
    except data.DataError as error:
        if recorded and not options["root"]:
            raise UsageError(f"{error}; its folder was {recorded}, which is not there") from None
        raise


def write_evaluation(
    arguments: argparse.Namespace, out: Path, path: Path, meta: Mapping[str, Any],
    judge: ClassifierFile | None, name: str, result: dict[str, Any], test_images: int,
) -> None:  # fmt: skip
    """The JSON file: the numbers, and what one needs to know to repeat them."""
    import hashlib

    from ms_gan.evaluation import evaluator
    from ms_gan.system import files

    def described(checkpoint: Path) -> dict[str, str]:
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        return {"file": checkpoint.name, "sha256": digest}

    content = {
        "checkpoint": {
            **described(path), "recipe": meta["config"]["name"], "step": meta.get("step")
        },
        "classifier": judge
        and {**described(judge.file), "accuracy": judge.about.get("accuracy")},
        "data": name,
        "num": arguments.num,
        "test_images": test_images,
        "seed": arguments.seed,
        "k": evaluator.NEIGHBOURS,
        **result,
        "command": command(arguments.words),
        "git_commit": git_commit(),
        "ms_gan": __version__,
    }  # fmt: skip
    files.write(out, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def check_target(path: Path, suffix: str) -> None:
    """Before long work: whether the file can be written at all."""
    if path.suffix != suffix or path.is_dir():
        raise UsageError(f"--out {path}: expected the name of a file that ends in {suffix}")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"--out {path}: {path.parent} is not a folder that can be written to")
