"""`ms-gan train`: a recipe to a run directory."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from ms_gan import session
from ms_gan.cli.console import DownloadProgress, command, say
from ms_gan.recipe import reader
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir

DEFAULT_CONFIG = reader.CONFIGS / "default.yaml"


def add_parser(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="train a recipe; the same command again continues")
    train.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, help="a recipe (%(default)s)"
    )
    train.add_argument("--run-dir", type=Path, help="folder of the run (runs/<name of the recipe>)")
    train.add_argument("--dry-run", action="store_true", help="check and show the recipe only")
    train.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="for example train.epochs=12"
    )
    train.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace) -> int:
    """Train to the end (0), or to a signal (128 + its number) with everything saved."""
    again = command(arguments.words)
    run = session.start(
        arguments.config, arguments.run_dir, arguments.overrides,
        say=say, download=DownloadProgress(), command=again,
    )  # fmt: skip
    if arguments.dry_run:
        from ms_gan import build

        say(reader.dump(run.config).rstrip())
        say(build.summary(run.state))
        return 0
    if run.train():
        return finished(run.run, run.state.step, run.headline)
    say(f"interrupted at step {run.state.step} of {run.steps}; everything is saved")
    say(f"to continue: {again}")
    return 128 + run.interrupted


def finished(run: RunDir, step: int, headline: Headline) -> int:
    """Say what there is now and what can be done with it."""
    script = os.environ.get("MS_GAN_SCRIPT")
    program = ["ms-gan", "generate"]
    if script:
        program = ["bash", str(Path(script).with_name("run_generate.sh"))]
    say(f"complete at step {step}: {run.gif_file}, {run.curves_file}, {run.sample_file(step)}")
    if best := best_line(run, headline):
        say(best)
    say(f"new images: {shlex.join([*program, str(run.generator_file)])}")
    say("train longer with train.steps=…, or anew with --run-dir")
    return 0


def best_line(run: RunDir, headline: Headline) -> str | None:
    """Which evaluation of the log best.ckpt comes from."""
    rows = [row for row in run.read_log() if headline.key in row]
    if not rows or not run.best_file.is_file():
        return None
    best = rows[0]
    for row in rows[1:]:
        if headline.better(row[headline.key], best[headline.key]):
            best = row
    return (
        f"best at step {best['step']}: {headline.said(best[headline.key])} "
        f"(floor {best['floor']:.2f}): {run.best_file}"
    )
