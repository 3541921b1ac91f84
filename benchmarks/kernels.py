"""The kernels of one update, by type: how many are launched and how long they take together.

What MindSpore's profiler sees between two calls of the compiled step, so it counts what runs, not
what was written.

    python -m benchmarks.kernels gan_mnist dcgan28_mnist [--batch 128]
"""

from __future__ import annotations

import argparse
import csv
import logging
import tempfile
from pathlib import Path

from benchmarks import measure

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
UPDATES = 3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("recipes", nargs="+", help="names in configs/")
    options.add_argument("--batch", type=int, help="images (as in the recipe)")
    arguments = options.parse_args()
    from ms_gan.recipe import reader
    from ms_gan.system import runtime

    overrides = [] if arguments.batch is None else [f"data.batch_size={arguments.batch}"]
    configs = [reader.load(CONFIGS / f"{name}.yaml", overrides) for name in arguments.recipes]
    convolutions = any(c.model.name not in runtime.FULLY_CONNECTED for c in configs)
    runtime.limit_instruction_set(convolutions=convolutions)
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


def kernels(config, folder: Path) -> dict[str, dict[str, float]]:
    """Kernel type -> launches and milliseconds of one update, most time first."""
    import numpy as np

    import mindspore as ms
    from mindspore.profiler import ProfilerActivity, profile, tensorboard_trace_handler

    from ms_gan import build
    from ms_gan.runs import sampling

    size, batch = config.data.size or 28, config.data.batch_size * config.train.d_steps
    state = build.build_training(config, (1, size, size), 10, {})
    num = batch if config.train.same_latents else batch + config.data.batch_size
    z, uniform, draw = sampling.training_noise(0, 0, num, state.latent_dim, state.draws)
    inputs = (
        ms.Tensor(np.random.default_rng(0).uniform(-1, 1, (batch, 1, size, size)), ms.float32),
        ms.Tensor(z),
        ms.Tensor(np.arange(batch, dtype=np.int32) % 10) if state.num_classes else None,
        ms.Tensor(uniform[:batch]) if state.uniform else None,
        ms.Tensor(draw[:batch]) if state.draws else None,
    )
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
