"""The plain loop. It receives built objects and knows no recipe, registry or command line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mindspore import Parameter, Tensor

from ms_gan.errors import UserError
from ms_gan.runs import checkpoint, sampling, visualise
from ms_gan.runs.run_dir import RunDir
from ms_gan.training.state import TrainState


class TrainingDiverged(UserError, RuntimeError):
    """A loss became infinite or not a number."""


def is_due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every `every` steps is due before update `step`.

    The end is always due; what would come less than a quarter of an interval before it is not.
    """
    if step == total:
        return True
    return every > 0 and step % every == 0 and total - step >= every / 4


def train(
    state: TrainState,
    batches: Any,
    run: RunDir,
    *,
    seed: int,
    steps: int,
    d_steps: int,
    same_latents: bool,
    every: Any,
    fixed_latents: np.ndarray,
    show: Callable[..., None],
    monitor: Any = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train until `steps`; return whether the end was reached (False: `stop` said so).

    Everything due at step k happens before update k, so what is saved as step k has seen exactly k
    updates, and step 0 shows the untrained generator. `monitor`, a :class:`ms_gan.evaluation.monitor.Monitor`
    or None, measures the shown generator every `every.evaluate` steps and at the end.

    Raises:
        TrainingDiverged: names the step and the last good checkpoint.
    """
    batch = batches.batch_size
    values: dict[str, float] = {}
    clock, clock_step = time.monotonic(), state.step
    outputs = None
    while True:
        step = state.step
        stopped = step < steps and stop()
        save = stopped or (step > 0 and is_due(step, every.save, steps))
        evaluate = monitor is not None and is_due(step, every.evaluate, steps)
        if outputs is not None and (save or evaluate or is_due(step, every.log, steps)):
            values = read(outputs, step, run)
            now = time.monotonic()
            values["images_per_second"] = (step - clock_step) * d_steps * batch / (now - clock)
            row = {name: round(value, 6) for name, value in values.items()}
            if evaluate:
                row |= monitor.judge(step, state.shown(), state.latent_dim, row)
                if monitor.improved:
                    save_generator(state, run.best_file, evaluation=monitor.latest)
            run.log(step, **row)
            show(step, values, last=stopped or step == steps)
            clock, clock_step = time.monotonic(), step  # without the time of the evaluation
        if is_due(step, every.sample, steps):
            labels = sampling.class_labels(len(fixed_latents), state.num_classes)
            images = sampling.generate(state.shown(), fixed_latents, labels)
            visualise.save_png(run.sample_file(step), visualise.class_grid(images, labels))
        if save:
            save_all(state, run, every.keep)
        if stopped or step >= steps:
            draw(run)
            return not stopped
        outputs = update(state, batches, seed, d_steps, same_latents)
        state.step += 1


def update(state: TrainState, batches: Any, seed: int, d_steps: int, same_latents: bool) -> tuple:
    """One step: fresh images and latents for every discriminator update."""
    parts = [batches.at(state.step * d_steps + i) for i in range(d_steps)]
    real, labels = (x[0] if d_steps == 1 else np.concatenate(x) for x in zip(*parts, strict=True))
    num = batches.batch_size * (d_steps + (not same_latents))
    z, uniform, draw = sampling.training_noise(seed, state.step, num, state.latent_dim, state.draws)
    return state.update(
        Tensor(real),
        Tensor(z),
        Tensor(labels) if state.num_classes else None,
        Tensor(uniform[: len(real)]) if state.uniform else None,
        Tensor(draw[: len(real)]) if state.draws else None,
    )


def read(outputs: tuple, step: int, run: RunDir) -> dict[str, float]:
    """Bring the step's outputs to the host as the values that are logged."""
    loss_d, loss_g = (float(x.asnumpy()) for x in outputs[:2])
    real, fake = (x.asnumpy().astype(np.float64) for x in outputs[2:])
    for name, value in (("loss_d", loss_d), ("loss_g", loss_g)):
        if not math.isfinite(value):
            saved = run.checkpoint_files()
            last = f"the last good checkpoint is {saved[-1][1]}" if saved else "nothing was saved"
            raise TrainingDiverged(
                f"{name} became {value} at step {step}; {last}; try a smaller learning rate"
            )
    return {
        "loss_d": loss_d,
        "loss_g": loss_g,
        "real_score": real.mean(),
        "fake_score": fake.mean(),
        "d_real": sigmoid(real).mean(),
        "d_fake": sigmoid(fake).mean(),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def save_all(state: TrainState, run: RunDir, keep: int) -> None:
    """The checkpoint to go on from, then the generator alone, then remove old checkpoints."""
    checkpoint.save(
        run.checkpoint_file(state.step), state.parameters, {**state.meta, "step": state.step}
    )
    save_generator(state, run.generator_file)
    run.prune(keep)


def complete(state: TrainState, run: RunDir, keep: int) -> None:
    """Do again what follows the last checkpoint: a kill may have come in between."""
    save_generator(state, run.generator_file)
    run.prune(keep)
    draw(run)


def save_generator(state: TrainState, path: Path, **meta: Any) -> None:
    """The shown generator alone, under the names `generator.…`."""
    shown = [
        Parameter(p, name=p.name.replace("average.", "generator.", 1))
        for p in state.shown().get_parameters()
    ]
    checkpoint.save(path, shown, {**state.meta, "step": state.step, **meta})


def draw(run: RunDir) -> None:
    """progress.gif and curves.png from what lies in the run directory."""
    import imageio.v3 as iio

    log = run.read_log()
    distances = {
        row["step"]: f"  distance {row['frechet_classifier_distance']:.1f}"
        for row in log
        if "frechet_classifier_distance" in row
    }
    frames = [
        visualise.captioned(iio.imread(path), f"step {step}{distances.get(step, '')}")
        for step, path in run.sample_files()
    ]
    if frames:
        visualise.save_gif(run.gif_file, frames, pause=2000)
    visualise.save_curves(run.curves_file, log)
