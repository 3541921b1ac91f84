"""The kernels of one update, by type: how many are launched and how long they take together.

What MindSpore's profiler sees between two calls of the compiled step, so it counts what runs, not
what was written.

    python -m benchmarks.kernels gan_mnist dcgan28_mnist [--batch 128] [--convolutions onednn]
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import measure

UPDATES = 3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("recipes", nargs="+", help="names in configs/")
    options.add_argument("--batch", type=int, help="images (as in the recipe)")
    options.add_argument("--convolutions", choices=("native", "onednn"), default="native")
    arguments = options.parse_args()
    from ms_gan.convolution import choice
    from ms_gan.recipe import reader
    from ms_gan.system import runtime

    overrides = [] if arguments.batch is None else [f"data.batch_size={arguments.batch}"]
    configs = [reader.load(reader.find(name), overrides) for name in arguments.recipes]
    convolutions = [c for c in configs if c.model.name not in runtime.FULLY_CONNECTED]
    isas = {c.runtime.onednn_isa for c in configs}
    if len(isas) > 1:
        options.error(f"runtime.onednn_isa is of the process, but the recipes say {sorted(isas)}")
    isa = isas.pop()
    choice.use(choice.chosen(arguments.convolutions, began=None, isa=isa, say=print))
    native = bool(convolutions) and choice.library_in_use() is None
    runtime.limit_instruction_set(convolutions=native, isa=isa)
    rounded = all(c.runtime.onednn_fpmath == "bf16" for c in configs)
    runtime.set_fpmath("bf16" if rounded else "strict")
    runtime.set_device("CPU")
    runtime.set_mode("graph")
    logging.disable(logging.WARNING)
    found = {}
    for config in configs:
        with tempfile.TemporaryDirectory(prefix="ms_gan_kernels_") as folder:
            found[config.name] = kernels(config, Path(folder))
    measure.report(**found)


class Noise:
    """Images of no data set, whose values do not matter here."""

    def __init__(self, shape: tuple[int, int, int], batch_size: int):
        self.shape, self.batch_size = shape, batch_size

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images = np.random.default_rng(index).uniform(-1, 1, (self.batch_size, *self.shape))
        return images.astype(np.float32), np.arange(self.batch_size, dtype=np.int32) % 10


def kernels(config, folder: Path) -> dict[str, dict[str, float]]:
    """Kernel type -> launches and milliseconds of one update, most time first."""
    from mindspore.profiler import ProfilerActivity, profile, tensorboard_trace_handler

    from ms_gan import build
    from ms_gan.portability import cases
    from ms_gan.training.feed import Feed

    shape = cases.image_shape(config)
    state = build.build_training(config, shape, 10, {})
    inputs = Feed(Noise(shape, config.data.batch_size), state.rows, seed=0).at(0)
    state.update(*inputs)[1].asnumpy()  # compiles
    handler = tensorboard_trace_handler(str(folder))
    with profile(activities=[ProfilerActivity.CPU], on_trace_ready=handler):
        for _ in range(UPDATES):
            state.update(*inputs)[1].asnumpy()
    (file,) = folder.glob("*/FRAMEWORK/cpu_op_type_info_*.csv")
    with open(file, encoding="utf-8") as lines:
        rows = [
            (row["op_type"], int(row["type_occurrences"]), float(row["total_compute_time"]))
            for row in csv.DictReader(lines)
        ]
    rows.sort(key=lambda row: -row[2])
    return {
        name: {"launches": count // UPDATES, "ms": round(ms_ / UPDATES, 4)}
        for name, count, ms_ in rows
    }


if __name__ == "__main__":
    main()
