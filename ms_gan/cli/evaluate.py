"""`ms-gan evaluate` and `ms-gan train-classifier`: numbers for samples."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ms_gan.cli.console import (
    DEVICES,
    DownloadProgress,
    command,
    natural,
    positive,
    say,
)
from ms_gan.cli.source import add_generator, generator_file
from ms_gan.errors import UsageError
from ms_gan.runs import shipped
from ms_gan.system import runtime
from ms_gan.system.provenance import git_commit
from ms_gan.version import __version__


def add_parsers(commands: argparse._SubParsersAction) -> None:
    classifier = commands.add_parser(
        "train-classifier", help="train the classifier whose features `evaluate` compares"
    )
    classifier.add_argument("--data", default="mnist", help="a labelled data set (%(default)s)")
    classifier.add_argument("--data-root", metavar="DIR", help="its folder (as for recipes)")
    classifier.add_argument("--size", type=positive, help="height and width, pixels (as stored)")
    classifier.add_argument("--channels", type=int, choices=(1, 3), help="(as stored)")
    classifier.add_argument("--out", type=Path, metavar="FILE", help="(<data>_classifier.ckpt)")
    classifier.add_argument("--epochs", type=positive, default=10, help="(%(default)s)")
    classifier.add_argument("--seed", type=natural, default=0, help="(%(default)s)")
    classifier.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    classifier.set_defaults(run=run_train_classifier)

    evaluate = commands.add_parser("evaluate", help="measure how near samples are to real images")
    add_generator(evaluate)
    evaluate.add_argument("--num", type=positive, default=10_000, help="samples (%(default)s)")
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
    evaluate.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    evaluate.set_defaults(run=run_evaluate)


def run_train_classifier(arguments: argparse.Namespace) -> int:
    out = arguments.out or Path(f"{arguments.data}_classifier.ckpt")
    check_target(out, ".ckpt")

    from ms_gan import data
    from ms_gan.evaluation import classifier

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    train, test = data.splits(
        arguments.data, root=arguments.data_root, size=arguments.size,
        channels=arguments.channels, say=say, progress=DownloadProgress(),
    )  # fmt: skip
    say(f"data: {train.name}, {len(train)} images {list(train.image_shape)} to train, "
        f"{len(test)} to test ({train.source})")  # fmt: skip
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
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    path = generator_file(arguments)
    beside = Path(path.name) if shipped.owns(path) else path
    out = arguments.out or beside.with_suffix(".evaluation.json")
    check_target(out, ".json")
    picture = (arguments.out or beside).with_suffix(".nearest.png")

    from ms_gan import build, data
    from ms_gan.evaluation import classifier, evaluator
    from ms_gan.runs import visualise

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    sampler = build.load_sampler(path)
    meta = sampler.meta
    name = arguments.data or meta.get("data")
    file = arguments.classifier or shipped_classifier(name, path)
    net, about = classifier.load(file)
    check_classifier(file, net, about, name, meta["image_shape"], path)
    channels, size, _ = meta["image_shape"]
    train, test = data.splits(
        name, root=evaluation_root(arguments, meta, name), size=size, channels=channels, say=say,
        progress=DownloadProgress(),
    )  # fmt: skip
    if train.num_classes != net.num_classes:
        raise UsageError(
            f"{file}: knows {net.num_classes} classes, but {name} has {train.num_classes} here; "
            "train one on these data with ms-gan train-classifier"
        )
    say(f"{path}: {arguments.num} samples against {len(test)} test images of {name}")
    real = evaluator.RealImages(net, train, test, num=arguments.num)
    result = {
        "generated": real.compare(sampler, seed=arguments.seed),
        "floor": real.floor,
        "reference_shares": real.shares.tolist(),
    }
    found = evaluator.memorisation(sampler, train, test, num=arguments.num, seed=arguments.seed)
    for part, numbers in zip(("generated", "floor"), found.numbers(), strict=True):
        result[part].update(numbers)
    result["nearest"] = {"samples": len(found.distances), "test_images": len(found.real_distances)}
    say(evaluator.table(result, train.classes))
    visualise.save_png(picture, found.picture())
    write_evaluation(arguments, out, path, meta, file, about, result, len(test))
    say(f"written to {out}")
    say(f"samples beside their nearest training images: {picture}")
    return 0


def shipped_classifier(name: str | None, path: Path) -> Path:
    """The classifier of a data set, if the package has one."""
    if name is None:
        raise UsageError(
            f"{path}: does not say what it was trained on; say it with --data, "
            "for the MindSpore tutorial --data mnist"
        )
    if name not in shipped.CLASSIFIERS:
        raise UsageError(
            f"{path}: was trained on {name}, for which no classifier is shipped; train one with "
            f"ms-gan train-classifier --data {name} and give it with --classifier"
        )
    return shipped.ASSETS / shipped.CLASSIFIERS[name]


def check_classifier(
    file: Path, net: Any, about: dict[str, Any], name: str | None, image_shape: Any, path: Path
) -> None:
    """Whether generator and classifier are about the same images."""
    if name is None or about.get("data") != name:
        raise UsageError(
            f"{file}: is a classifier of {about.get('data')}, but {path} was trained on "
            f"{name or 'unknown data'}; choose another with --classifier, or say --data"
        )
    if list(net.image_shape) != list(image_shape):
        raise UsageError(
            f"{path}: makes images {list(image_shape)}, but {file.name} takes "
            f"{list(net.image_shape)}; train one with ms-gan train-classifier --data {name} "
            f"--channels {image_shape[0]} --size {image_shape[1]} and give it with --classifier"
        )


def evaluation_root(arguments: argparse.Namespace, meta: dict[str, Any], name: str) -> Any:
    """The folder that was given, else that of the recipe if it is still there."""
    recipe = meta["config"].get("data", {})
    root = recipe.get("root") if recipe.get("name") == name else None
    if arguments.data_root or not root or not Path(root).expanduser().is_dir():
        return arguments.data_root
    return root


def write_evaluation(
    arguments: argparse.Namespace, out: Path, path: Path, meta: dict[str, Any], file: Path,
    about: dict[str, Any], result: dict[str, Any], test_images: int,
) -> None:  # fmt: skip
    """The JSON file: the numbers, and what one needs to know to repeat them."""
    import hashlib
    import json

    from ms_gan.evaluation import evaluator
    from ms_gan.system import files

    def described(checkpoint: Path) -> dict[str, str]:
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        return {"file": checkpoint.name, "sha256": digest}

    content = {
        "checkpoint": {
            **described(path), "recipe": meta["config"]["name"], "step": meta.get("step")
        },
        "classifier": {**described(file), "accuracy": about.get("accuracy")},
        "data": about["data"],
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
