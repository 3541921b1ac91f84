"""What the folder of a run says about how it goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.convolution import choice
from ms_gan.errors import UsageError
from ms_gan.recipe import reader
from ms_gan.recipe.changes import Change, changed, described, is_record, repeated
from ms_gan.recipe.schema import Config, ConfigError, Ramp, settled
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.session import asked
from ms_gan.system.output import Say

if TYPE_CHECKING:
    from ms_gan.runs.weights import Weights

Plan = dict[str, Any]  # minutes, steps, and what was measured for them, in seconds


def continued(config: Config, run: RunDir, words: Sequence[str], say: Say) -> tuple[Config, Change]:
    """The recipe as the run goes on with it, and what `words` of --change change in it.

    Raises:
        RunError: the run was made by another recipe.
        UsageError: there is no run yet.
        ConfigError: a key that cannot change.
    """
    if not run.exists:
        run.check(config, asked.resolved)
        if words:
            raise UsageError(
                f"--change: there is no run in {run.path} yet; give {' '.join(words)} by itself"
            )
        return config, {}
    given, records = config, changes(run)
    config, lines = repeated(given, records, asked.resolved)
    new, change = changed(config, words, asked.resolved)
    if change:
        with suppress(RunError):  # a kill came between the recipe and the manifest
            run.check(new, asked.resolved)
            return new, change
    written = config
    if records and "diverged" in records[-1]:
        with suppress(RunError):  # a kill came between the manifest and the recipe
            run.check(before := repeated(given, records[:-1], asked.resolved)[0], asked.resolved)
            written = before
    run.check(written, asked.resolved)
    for line in lines:
        say(line)
    if change:
        say(f"--change: {described(change)}")
    return new, change


def changes(run: RunDir) -> list[dict[str, Any]]:
    """`{"step": k, "changed": Change}` of the manifest, without what somebody has edited."""
    return [record for record in run.manifest.get("changes", []) if is_record(record)]


def halved(config: Config) -> tuple[Config, Change]:
    """The recipe with half of both learning rates, and what that changes in it."""

    def half(lr: float | Ramp) -> float | Ramp:
        if isinstance(lr, Ramp):
            return dataclasses.replace(lr, start=lr.start / 2, end=lr.end / 2)
        return lr / 2

    before = config.optimizer
    now = dataclasses.replace(before, lr_d=half(before.lr_d), lr_g=half(before.lr_g))
    new = dataclasses.replace(config, optimizer=now)
    trees = [reader.to_dict(recipe)["optimizer"] for recipe in (config, new)]
    return new, {f"optimizer.{key}": [tree[key] for tree in trees] for key in ("lr_d", "lr_g")}


def convolutions(run: RunDir) -> str | None:
    """Which convolutions a run used last, as :func:`choice.name` says; None: it is new."""
    sessions = run.manifest.get("sessions")
    if not sessions:
        return None
    last = sessions[-1] if isinstance(sessions, list) else None
    found = last.get("convolutions") if isinstance(last, dict) else None
    return found if found in choice.NAMES else choice.NATIVE


def plan(run: RunDir, minutes: float | None) -> Plan:
    """What this run planned when it was asked for so many minutes; empty where it did not."""
    if minutes is None:
        return {}
    plans = [run.manifest.get("plan")]
    if "sessions" not in run.manifest:  # lost; its checkpoints hold it as well
        plans += [checkpoint_plan(path) for _, path in reversed(run.checkpoint_files())]
    for plan in plans:
        if isinstance(plan, dict) and plan.get("minutes") == minutes:
            if type(plan.get("steps")) is int and plan["steps"] > 0:
                return plan
    return {}


def checkpoint_plan(path: Path) -> Any:
    """The plan that a checkpoint holds, whatever that is; None where it holds none."""
    from ms_gan.runs import checkpoint

    with suppress(checkpoint.CheckpointError):
        return (checkpoint.load(path)[1] or {}).get("plan")
    return None


def newest(run: RunDir) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    return max((step for step, _ in run.checkpoint_files()), default=0)


def starting_weights(run: RunDir, sources: Sequence[str | Path], say: Say) -> Weights | None:
    """What the run starts from, read; None where it goes on from a checkpoint of its own.

    Raises:
        RunError: it was started from other weights, or from none.
        CheckpointError: weights that cannot be used.
    """
    recorded = [
        source
        for source in run.manifest.get("from", [])
        if {"given", "file", "sha256"} <= set(source)
    ]
    begun = bool(run.checkpoint_files())
    if not sources and (begun or not recorded):
        return None
    from ms_gan.runs import weights

    if sources and (recorded or begun):
        if not recorded or not weights.are_those(sources, recorded):
            of = " and ".join(source["file"] for source in recorded)
            started = f"was started from {of}" if of else "was not started from weights"
            raise RunError(
                f"{run.path}: {started}; leave --from out to continue it, or choose "
                "another folder with --run-dir"
            )
    if begun:
        return None
    return weights.read_again(recorded) if recorded else weights.read(sources, say)


def say_length(run: RunDir, config: Config, plan: Plan, steps: int | None, say: Say) -> None:
    """Say how a run that goes on has its length, where that is no matter of course."""
    if plan:
        say(f"plan: {steps:,} steps in {plan['minutes']:g} min, as was measured when it began")
    if steps is None or not newest(run) or settled(config, 1) == settled(config, 10**6):
        return
    with suppress(ConfigError):
        before = reader.load(run.config_file).train.steps
        if before not in (None, steps):
            say(
                "the ramps of this recipe are shares of the run: they follow its length, which was "
                f"{before:,} steps and is now {steps:,}"
            )
