"""Which generator a command is about: a file, a run, or one that comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_gan.errors import UsageError
from ms_gan.runs import shipped
from ms_gan.runs.run_dir import RunDir


def add_generator(parser: argparse.ArgumentParser) -> None:
    """The arguments that :func:`generator_file` reads."""
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, metavar="CKPT_OR_RUN",
        help=".ckpt file or run folder (a shipped generator)",
    )  # fmt: skip
    parser.add_argument(
        "--pretrained", choices=shipped.GENERATORS,
        help="a shipped generator (mnist, the best one, which takes --label)",
    )  # fmt: skip


def generator_file(arguments: argparse.Namespace) -> Path:
    """The file that was asked for; without one, the best generator that comes with the package."""
    path, name = arguments.checkpoint, arguments.pretrained
    if path is None:
        return shipped.ASSETS / shipped.GENERATORS[name or "mnist"]
    if name is not None:
        raise UsageError(f"--pretrained {name}: there is a checkpoint too, {path}; give one")
    return RunDir(path).generator_file if path.is_dir() else path
