"""Quality against minutes: the checkpoints of several runs in one picture.

A step's time is given, not taken from the run: what runs on a busy machine, or what is too slow to
be run at all (the tutorial's own way has the same weights after the same steps), can be put beside
what was measured by run_benchmark.sh on a quiet one.

    bash scripts/run_train.sh --config default --run-dir runs/ours every.keep=100
    bash scripts/run_train.sh --config gan_mnist --run-dir runs/tutorial every.keep=100
    python -m benchmarks.quality --line "the tutorial's way" runs/tutorial 240 last \\
        --line "the default recipe" runs/ours 39.3 average

The picture and, beside it, a JSON file with the numbers of `ms-gan evaluate` for every checkpoint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from ms_gan import build, data
from ms_gan.evaluation import classifier, evaluator
from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.runs import shipped
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import runtime

WEIGHTS = ("average", "last")  # the moving average of the generator, or its newest weights
KEPT = (DISTANCE.key, "precision", "recall", "coverage")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--line", nargs=4, action="append", required=True,
        metavar=("NAME", "RUN", "MILLISECONDS", "WEIGHTS"),
        help="a run folder, its time per step, and 'average' or 'last'",
    )  # fmt: skip
    options.add_argument("--points", type=int, default=8, help="checkpoints of a run (%(default)s)")
    options.add_argument("--out", type=Path, default=Path("quality.png"), help="(%(default)s)")
    arguments = options.parse_args()
    for name, run, _, weights in arguments.line:
        if weights not in WEIGHTS:
            options.error(f"{name}: expected average or last, got {weights}")
        if not RunDir(run).checkpoint_files():
            options.error(f"{run}: not a run folder with checkpoints")
    runtime.set_device("auto")
    runtime.set_mode("graph")
    net = classifier.load(shipped.ASSETS / shipped.CLASSIFIERS["mnist"])[0]
    real = evaluator.RealImages(net, *data.splits("mnist"), num=10_000)
    lines = {}
    for name, run, milliseconds, weights in arguments.line:
        lines[name] = []
        for step, path in chosen(RunDir(run).checkpoint_files(), arguments.points):
            sampler = build.load_sampler(path, averaged=weights == "average")
            point = {"step": step, "minutes": step * float(milliseconds) / 60_000,
                     **kept(real.compare(sampler, seed=1))}  # fmt: skip
            lines[name].append(point)
            print(f"{name}, {point['minutes']:.1f} min: {point}", flush=True)
    result = {"floor": kept(real.floor), "lines": lines}
    arguments.out.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    draw(result, arguments.out)


def chosen(files: list[tuple[int, Path]], points: int) -> list[tuple[int, Path]]:
    """Those of (step, path) whose steps grow by about the same factor, first and last included."""
    wanted = np.geomspace(files[0][0], files[-1][0], points)
    return sorted({min(files, key=lambda file, w=w: abs(file[0] - w)) for w in wanted})


def kept(values: dict[str, Any]) -> dict[str, float]:
    return {key: round(values[key], 3) for key in KEPT}


def draw(result: dict[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, points in result["lines"].items():
        minutes, distances = ([p[key] for p in points] for key in ("minutes", DISTANCE.key))
        axes.plot(minutes, distances, marker=".", label=name)
    axes.axhline(result["floor"][DISTANCE.key], color="grey", linestyle=":", label="real images")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("minutes of training, 2 CPU cores")
    axes.set_ylabel(DISTANCE.title)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
