"""Bare updates with MindSpore's own convolutions and with oneDNN's operators, and PyTorch's.

    python -m benchmarks.convolutions [--recipes dcgan28_mnist srgan_x2] [--rounds 5] [--one-core]

Every way runs in a process of its own, in turn, on images of no data set. Prints a line for each
recipe: the median, smallest and largest time of an update in ms, and the same of the ratios within
a round, which a busy machine disturbs less. With --one-core every way has one core, which it may
share with others, and its own computing time is what counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from statistics import median

from benchmarks import run
from benchmarks.systems import SYSTEMS

SYSTEM_OF = {system.recipe: name for name, system in SYSTEMS.items()}  # that PyTorch trains too
RECIPES = ("dcgan28_mnist", "r3gan_mnist", "dcgan_mnist", "stylegan_sprites", "srgan_x2")
OURS = ("native", "onednn")
TORCH = {"torch": (), "compile": ("--compile",)}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--recipes", nargs="+", default=RECIPES, help="names in configs/")
    options.add_argument("--rounds", type=int, default=5, help="processes of each way (5)")
    options.add_argument("--budget", type=float, default=4.0, help="seconds of each measurement")
    options.add_argument("--ways", nargs="+", choices=(*OURS, *TORCH), default=[*OURS, *TORCH])
    options.add_argument("--one-core", action="store_true", help="computing time on one core")
    options.add_argument("--out", type=Path, default=Path("convolutions.json"))
    arguments = options.parse_args()
    if arguments.one_core:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.environ.update(BENCHMARK_CLOCK="cpu", OMP_NUM_THREADS="1")
    rounds: dict[str, run.Rounds] = {recipe: [] for recipe in arguments.recipes}
    with_torch = importlib.util.find_spec("torch") is not None
    for number in range(arguments.rounds):
        for recipe in arguments.recipes:
            known = with_torch and recipe in SYSTEM_OF
            ways = [way for way in arguments.ways if way in OURS or known]
            turn = number % len(ways)
            rounds[recipe].append({})
            for way in ways[turn:] + ways[:turn]:  # another one is first in every round
                found = run.child(command(recipe, way), ("--budget", arguments.budget))
                rounds[recipe][-1][way] = found
                run.say(f"round {number + 1}: {recipe}, {way}: {run.shown(found, 'step_ms', 'ms')}")
    results = {"machine": run.machine(), "rounds": rounds}
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for recipe in arguments.recipes:
        print(recipe)
        for line in lines(rounds[recipe]):
            print(f"  {line}")
    return 0


def command(recipe: str, way: str) -> tuple[str, ...]:
    """Of a child; a recipe of ours without a moving average, as PyTorch trains it."""
    if way in OURS:
        same = SYSTEMS[SYSTEM_OF[recipe]].overrides if recipe in SYSTEM_OF else ()
        words = (f"runtime.convolutions={way}", "train.ema_decay=0", *same)
        return ("benchmarks.recipes", recipe, *words)
    return ("benchmarks.pytorch", SYSTEM_OF[recipe], *TORCH[way])


def lines(rounds: run.Rounds) -> list[str]:
    """What is printed of one recipe."""
    found = []
    times = {way: [middle(one.get(way, {})) for one in rounds] for way in (*OURS, *TORCH)}
    for way, values in times.items():
        if spread := run.spread(values):
            peak = run.spread([one.get(way, {}).get("peak_mib") for one in rounds])
            first = run.spread([one.get(way, {}).get("first_step_s") for one in rounds])
            found.append(
                f"{way}: {run.ranged(spread, '.1f', '')} ms; peak {run.ranged(peak, '.0f', '')} "
                f"MiB; first step {run.ranged(first, '.1f', '')} s"
            )
    for below in ("native", *TORCH):
        if spread := run.spread(run.divided(times["onednn"], times[below])):
            found.append(f"onednn / {below}: {run.ranged(spread, '.2f', '')}")
    return found


def middle(result: dict) -> float | None:
    found = result.get("step_ms")
    return median(found) if isinstance(found, list) else found


if __name__ == "__main__":
    sys.exit(main())
