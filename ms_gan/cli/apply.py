"""`ms-gan apply`: what can be said to it; :mod:`ms_gan.cli.applying` is what it does.

Apart, because that needs NumPy and Pillow, which `--help` need not wait for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ms_gan.cli.console import DEVICES
from ms_gan.runs import shipped

DESCRIPTION = """\
Apply a generator that receives pictures to pictures of any size and kind. What it was trained for
decides what it does: it makes them larger, fills a hole (--mask, --hole or --rectangle), or
translates them (--to, where it knows both ways). Each picture becomes a PNG in --out."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    apply = commands.add_parser(
        "apply", help="a generator that receives pictures, on pictures of any size",
        description=DESCRIPTION,
    )  # fmt: skip
    apply.add_argument(
        "pictures", nargs="*", metavar="CKPT_OR_RUN PICTURE",
        help="a .ckpt file or the folder of a run, unless --pretrained names one; then pictures, "
        "or folders of pictures",
    )  # fmt: skip
    apply.add_argument("--pretrained", choices=shipped.TRANSLATORS, help="which shipped generator")
    apply.add_argument("--out", type=Path, default=Path("applied"), help="folder (%(default)s)")
    add_hole(apply)
    apply.add_argument(
        "--to", choices=("a", "b"),
        help="the domain of what is made, of a generator that knows two: b, that of data.pair, "
        "from a picture of the other one, a; or a from b",
    )  # fmt: skip
    apply.add_argument("--device", choices=DEVICES, default="auto", help="(%(default)s)")
    apply.set_defaults(run=run_apply)


def add_hole(parser: argparse.ArgumentParser) -> None:
    """The options that :func:`ms_gan.cli.holes.given` reads."""
    group = parser.add_argument_group("where the hole is", "one of them, to fill holes")
    group.add_argument(
        "--mask", type=Path, metavar="FILE",
        help="a picture of the same size that is not black in the hole; or a folder of such ones, "
        "each with the name of its picture",
    )  # fmt: skip
    group.add_argument(
        "--hole",
        metavar="COLOUR",
        help="all pixels of exactly this colour: magenta, '#ff00ff', '#00000000' (clear black)",
    )
    group.add_argument("--rectangle", metavar="LEFT,TOP,WIDTH,HEIGHT", help="in pixels")


def run_apply(arguments: argparse.Namespace) -> int:
    from ms_gan.cli import applying

    return applying.run(arguments)
