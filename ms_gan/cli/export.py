"""`ms-gan export`: a generator or a classifier as a file that other programs run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ms_gan.cli.console import DEVICES, say, say_replaced
from ms_gan.cli.evaluate import check_target
from ms_gan.cli.source import add_generator, generator_file
from ms_gan.errors import UsageError, near_miss
from ms_gan.export import packages
from ms_gan.runs import shipped
from ms_gan.system import runtime

if TYPE_CHECKING:
    from ms_gan.export.subject import Port, Subject


def add_parser(commands: argparse._SubParsersAction) -> None:
    export = commands.add_parser("export", help="a generator or classifier as ONNX or MindIR")
    add_generator(export, [*shipped.GENERATORS, *shipped.TRANSLATORS])
    export.add_argument(
        "--classifier", metavar="FILE",
        help="export a classifier of train-classifier instead, or the shipped one: mnist",
    )  # fmt: skip
    export.add_argument(
        "--format", choices=packages.PACKAGES, default="onnx",
        help="onnx, for ONNX Runtime and others; mindir, for MindSpore (%(default)s)",
    )  # fmt: skip
    export.add_argument(
        "--out", type=Path, metavar="FILE",
        help="(named after the checkpoint and beside it; of a shipped one, here)",
    )  # fmt: skip
    export.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    export.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    path = source(arguments)
    suffix = f".{arguments.format}"
    beside = Path(path.name) if shipped.owns(path) else path
    out = arguments.out or beside.with_suffix(suffix)
    check_target(out, suffix)
    packages.check(arguments.format)

    runtime.import_mindspore(arguments.device)
    from ms_gan import build
    from ms_gan.evaluation import classifier
    from ms_gan.export import formats, subject

    runtime.set_device(arguments.device)
    runtime.set_mode("graph")
    if arguments.classifier is None:
        net = subject.of_generator(build.load_sampler(path))
    else:
        net = subject.of_classifier(*classifier.load(path))
    difference = formats.write(net, arguments.format, out)
    say(f"{title(net)} -> {out}")
    say(f"inputs: {described(net.inputs)}; outputs: {described(net.outputs)}")
    rows = ", ".join(map(str, formats.BATCHES[:-1]))
    say(
        f"compared with {path} on {rows} and {formats.BATCHES[-1]} rows: largest difference "
        f"{difference:.1e}, of {net.tolerance:.0e} allowed"
    )
    say_replaced(out)
    return 0


def source(arguments: argparse.Namespace) -> Path:
    """The file of the net that was asked for."""
    name = arguments.classifier
    if name is None:
        return generator_file(arguments)
    given = arguments.checkpoint or arguments.pretrained
    if given is not None:
        raise UsageError(f"--classifier {name}: there is a generator too, {given}; give one")
    if name in shipped.CLASSIFIERS:
        return shipped.ASSETS / shipped.CLASSIFIERS[name]
    path = Path(name)
    if not path.suffix and not path.exists():
        known = " or ".join(shipped.CLASSIFIERS)
        raise UsageError(
            f"--classifier {name}: no such file; expected one of train-classifier, or "
            f"{known}{near_miss(name, shipped.CLASSIFIERS)}"
        )
    return path


def title(net: Subject) -> str:
    """What was exported, in a few words."""
    about = net.about
    if about["kind"] == "classifier":
        return f"classifier of {about['data']}"
    trained = "" if about["step"] is None else f" after {about['step']} steps"
    return f"{about['recipe']}{trained}"


def described(ports: Sequence[Port]) -> str:
    """`z float32 [N, 100], labels int32 [N]`"""
    return ", ".join(f"{p.name} {p.dtype} [{', '.join(['N', *map(str, p.shape)])}]" for p in ports)
