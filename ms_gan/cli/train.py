"""`ms-gan train`: a recipe to a run directory."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from ms_gan import session
from ms_gan.cli.console import DownloadProgress, called, command, say
from ms_gan.recipe import reader
from ms_gan.runs import shipped
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import msrun, workers

DEFAULT_CONFIG = reader.CONFIGS / "default.yaml"


def add_parser(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="train a recipe; the same command again continues")
    add_options(train)
    train.add_argument("--dry-run", action="store_true", help="check and show the recipe only")
    train.add_argument(
        "--list-data", action="store_true",
        help="show what the recipe's data are only: every class, every file that is left out",
    )  # fmt: skip
    train.set_defaults(run=run_train)


def add_options(train: argparse.ArgumentParser) -> None:
    """Which run, and how it goes on."""
    train.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, help="a recipe (%(default)s)"
    )
    train.add_argument("--run-dir", type=Path, help="folder of the run (runs/<name of the recipe>)")
    train.add_argument(
        "--from", dest="weights", action="append", default=[], metavar="CKPT",
        help="start a new run from these weights: a .ckpt file, a run folder or shipped ones "
        f"({', '.join(shipped.GENERATORS)}); again for a discriminator in a file of its own",
    )  # fmt: skip
    train.add_argument(
        "--change", action="append", default=[], metavar="KEY=VALUE",
        help="go on with this run from its newest checkpoint with another value, for example "
        "optimizer.lr_d=1e-4",
    )  # fmt: skip
    train.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value",
        help="for example train.minutes=5",
    )  # fmt: skip


def run_train(arguments: argparse.Namespace) -> int:
    """Train to the end (0), or to a signal (128 + its number) with everything saved."""
    if arguments.list_data:
        return list_data(arguments)
    if workers.is_started():
        say(msrun.greeting(int(os.environ.get("RANK_ID", 0)), workers.asked()))
    again = command(arguments.words)
    run = session.start(
        arguments.config, arguments.run_dir, arguments.overrides,
        weights=arguments.weights, changes=arguments.change,
        say=say, download=DownloadProgress(), command=again,
    )  # fmt: skip
    if arguments.dry_run:
        from ms_gan import build

        for line in run.dataset.listing():
            say(line)
        say(reader.dump(run.config).rstrip())
        say(build.summary(run.state))
        if run.steps is None:
            say("train.minutes: how many steps fit is measured when training begins")
        return 0
    complete = run.train()
    if not workers.is_first():
        return 0  # the first one says how it went
    if complete:
        return finished(run)
    say(f"interrupted at step {run.state.step} of {run.steps}; everything is saved")
    say(f"to continue: {again}")
    return 128 + run.interrupted


def list_data(arguments: argparse.Namespace) -> int:
    """Say all that there is to say of the data, also where some of it would stop a training."""
    config = session.resolved(reader.load(reader.find(arguments.config), arguments.overrides))
    options = config.data.options
    lenient = {**options, "broken": "skip"} if "broken" in options else options
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, options=lenient))
    run = RunDir.of(config, arguments.run_dir)
    for line in session.images.load(config, run, say, DownloadProgress()).listing():
        say(line)
    return 0


def finished(done: session.Session) -> int:
    """Say what there is now and what can be done with it."""
    from ms_gan.runs.translating import Translator

    run, step = done.run, done.state.step
    say(f"complete at step {step}: {run.gif_file}, {run.curves_file}, {run.sample_file(step)}")
    if run.report_file.is_file():
        say(f"all of it as a page: {run.report_file}")
    if best := best_line(run, done.headline):
        say(best)
    if isinstance(done.state.sampler, Translator):
        say(f"pictures of pictures: {called('apply', str(run.generator_file))} PICTURE…")
    else:
        say(f"new images: {called('generate', str(run.generator_file))}")
    say("train longer with train.steps=… or train.minutes=…, or anew with --run-dir")
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
    floor = f" (floor {best['floor']:.2f})" if "floor" in best else ""
    value = headline.said(best[headline.key])
    return f"best at step {best['step']}: {value}{floor}: {run.best_file}"
