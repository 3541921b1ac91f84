"""The plain loop. It receives built objects and knows no recipe, table or command line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mindspore import Parameter, Tensor

from ms_gan.errors import UserError
from ms_gan.runs import checkpoint, film, visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.report import Report
from ms_gan.runs.run_dir import RunDir
from ms_gan.runs.sampling import Sampler
from ms_gan.system import workers
from ms_gan.training.signs import Signs
from ms_gan.training.state import TrainState

PENDING = 1000  # steps whose losses wait on the device to be looked at
# What a worker has of its own: it comes from its own images, or is rounded on its own device.
OWN = (".moving_mean", ".moving_variance", ".u", "path_length.mean", "path_length.newest")


class TrainingDiverged(UserError, RuntimeError):
    """A loss, a score, a weight or what an optimizer keeps became infinite or not a number.

    Attributes:
        what: and at which step, without where one can go on.
    """

    def __init__(self, message: str, what: str = ""):
        super().__init__(message)
        self.what = what or message


class Intervals(Protocol):
    """In steps; 0: only at the end. :class:`ms_gan.recipe.schema.Every`."""

    log: int
    sample: int
    evaluate: int
    save: int
    keep: int


class Quality(Protocol):
    """What measures the generator while it trains, such as :class:`ms_gan.evaluation.monitor`."""

    improved: bool  # whether the newest headline is the best so far
    latest: Mapping[str, Any]  # the newest evaluation, for best.ckpt

    def measure(self, step: int, sampler: Sampler, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets at this step beside `row`, which holds losses and mean scores."""

    def rehearse(self, sampler: Sampler) -> None:
        """Take as long as `measure` does, without a trace."""


class Watch(Protocol):
    """What is told of all that is logged and sampled: :class:`ms_gan.runs.board.Board`."""

    def row(self, step: int, row: Mapping[str, Any]) -> None: ...

    def picture(self, step: int, picture: np.ndarray) -> None: ...


class Feed(Protocol):
    """:class:`ms_gan.training.feed.Feed`"""

    def at(self, step: int) -> tuple[Tensor | None, ...]: ...


def is_due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every `every` steps is due before update `step`.

    The end is always due, and step 0 where there are others; what would come less than a quarter of
    an interval before the end is not.
    """
    if step == total or every == 0:
        return step == total
    return step == 0 or (step % every == 0 and total - step >= every / 4)


def train(
    state: TrainState,
    feed: Feed,
    run: RunDir,
    *,
    steps: int,
    every: Intervals,
    gallery: Callable[[Sampler], np.ndarray],
    headline: Headline,
    show: Callable[..., None],
    quality: Quality | None = None,
    watch: Watch | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> bool:
    """Train until `steps`; return whether the end was reached (False: `stop` said so).

    Everything due at step k happens before update k, so what is saved as step k has seen exactly k
    updates, and step 0 shows the untrained generator.

    Args:
        state: is changed.
        feed: what each step receives.
        run: gets everything that is written.
        steps: the whole length, those that are done included; ramps that are shares of the run
            follow it.
        every: the intervals.
        gallery: the picture of a generator, uint8 [H, W] or [H, W, 3], in samples/.
        headline: in the captions of the film and in the curves.
        show: receives (step, values) at every logged step, and `last`.
        quality: measures the shown generator every `every.evaluate` steps and at the end.
        watch: is told too what is logged and sampled.
        stop: is asked before every update.
        say: receives a line about the film or the page, where there is something to say.

    Raises:
        TrainingDiverged: names the step and the newest checkpoint whose values are all finite.
    """
    state.settle(steps)
    images, report = state.rows.real * workers.size(), Report(run, say)
    values: dict[str, float] = {}
    clock, clock_step = time.monotonic(), state.step
    outputs = None
    losses: list[tuple[Tensor, Tensor]] = []  # since they were looked at: no step waits for them
    signs = Signs(run.read_log())
    while True:
        step = state.step
        stopped = step < steps and stop()
        save = stopped or (step > 0 and is_due(step, every.save, steps))
        evaluate = quality is not None and is_due(step, every.evaluate, steps)
        sample = is_due(step, every.sample, steps)
        log = save or evaluate or is_due(step, every.log, steps)
        if outputs is not None and (log or sample or len(losses) == PENDING):
            check_losses(losses, state, run)
            values = read(outputs, state, run)
            check_finite(state, run)
            losses.clear()
        if outputs is not None and log:
            now = time.monotonic()
            seconds = max(now - clock, 1e-6)  # a coarse clock may not have moved
            values["images_per_second"] = (step - clock_step) * images / seconds
            row = {name: round(value, 6) for name, value in values.items()}
            if evaluate:
                row |= quality.measure(step, state.shown(), row)
                if quality.improved:
                    save_generator(state, run.best_file, evaluation=quality.latest)
            if found := signs.new(row):
                for text in found:
                    say(f"warning: step {step}: {text}")
                row["warning"] = "; ".join([*filter(None, [row.get("warning")]), *found])
            run.log(step, **row)
            if watch is not None:
                watch.row(step, row)
            show(step, values, last=stopped or step == steps)
            clock, clock_step = time.monotonic(), step  # without the time of the evaluation
        if sample:
            picture = gallery(state.shown())
            visualise.save_png(run.sample_file(step), picture)
            if watch is not None:
                watch.picture(step, picture)
        if save:
            check_equal(state)
            save_all(state, run, every.keep)
        if stopped or step >= steps:
            draw(state, run, headline, report)
            return not stopped
        if sample or save:
            report.refresh()
        outputs = state.update(*feed.at(step))
        losses.append(outputs[:2])
        state.step += 1


def follow(
    state: TrainState,
    feed: Feed,
    *,
    steps: int,
    every: Intervals,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """The same updates on a worker that writes nothing, since the first one does.

    Raises:
        WorkersError: it holds other values than the first one at a save.
    """
    state.settle(steps)
    while True:
        step = state.step
        stopped = step < steps and stop()
        if stopped or (step > 0 and is_due(step, every.save, steps)):
            check_equal(state)
        if stopped or step >= steps:
            return not stopped
        state.update(*feed.at(step))
        state.step += 1


def check_equal(state: TrainState) -> None:
    """Raise WorkersError where workers do not hold the same weights, averages and optimizers."""
    if workers.size() > 1:
        shared = (p for p in state.parameters if not p.name.endswith(OWN))
        values = {"step": np.array(state.step)} | {p.name: p.asnumpy() for p in shared}
        workers.check_equal(values, f"at step {state.step}")


def read(outputs: tuple, state: TrainState, run: RunDir) -> dict[str, float]:
    """Bring the step's outputs to the host as the values that are logged."""
    names = ("loss_d", "loss_g", *(f"loss_{term}" for term in state.terms))
    losses = {
        name: float(x.asnumpy())
        for name, x in zip(names, (*outputs[:2], *outputs[4:]), strict=True)
    }
    real, fake = (x.asnumpy().astype(np.float64) for x in outputs[2:4])
    values = {
        **losses,
        "real_score": real.mean(),
        "fake_score": fake.mean(),
        "d_real": sigmoid(real).mean(),
        "d_fake": sigmoid(fake).mean(),
        "real_spread": spread(real),
        "fake_spread": spread(fake),
    }
    if state.skipped:
        values["skipped_updates"] = sum(float(counter.asnumpy()) for counter in state.skipped)
    for name, value in values.items():
        if not math.isfinite(value):
            raise diverged(f"{name} became {value}", state, run)
    return values


def check_losses(losses: list[tuple[Tensor, Tensor]], state: TrainState, run: RunDir) -> None:
    """Raise TrainingDiverged with the first of the last steps at which a loss was not finite."""
    first = state.step - len(losses) + 1
    for step, pair in enumerate(losses, first):
        for name, loss in zip(("loss_d", "loss_g"), pair, strict=True):
            if not math.isfinite(value := float(loss.asnumpy())):
                raise diverged(f"{name} became {value}", state, run, step)


def check_finite(state: TrainState, run: RunDir) -> None:
    """Raise TrainingDiverged where something that training changes holds infinity or NaN.

    The losses of a step are those of the weights before it, so they may still be finite. A gradient
    that is not finite is found here too: what Adam and RMSProp keep of it never becomes finite.
    """
    if found := checkpoint.not_finite({p.name: p.asnumpy() for p in state.parameters}):
        raise diverged(found, state, run)


def diverged(
    what: str, state: TrainState, run: RunDir, step: int | None = None
) -> TrainingDiverged:
    """The error that says what happened and where one can go on."""
    last = last_finite(run)
    goes_on = f"the newest checkpoint whose values are all finite is {last}" if last else (
        "no checkpoint whose values are all finite was saved"
    )  # fmt: skip
    what = f"{what} at step {state.step if step is None else step}"
    return TrainingDiverged(f"{what}; {goes_on}", what)


def last_finite(run: RunDir) -> Path | None:
    """The newest checkpoint that can be read and holds neither infinity nor NaN."""
    for _, path in reversed(run.checkpoint_files()):
        with suppress(checkpoint.CheckpointError):
            if not checkpoint.not_finite(checkpoint.load(path)[0]):
                return path
    return None


def spread(scores: np.ndarray) -> float:
    """The standard deviation of the scores of images; of patches, of their means."""
    with np.errstate(invalid="ignore"):  # what is not finite is said of the means
        return scores.reshape(len(scores), -1).mean(axis=1).std()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def save_all(state: TrainState, run: RunDir, keep: int) -> None:
    """The checkpoint to go on from, then the generator alone, then remove old checkpoints.

    Raises:
        TrainingDiverged: a value is not finite; nothing is written.
    """
    try:
        checkpoint.save(run.checkpoint_file(state.step), state.parameters, state.meta)
        save_generator(state, run.generator_file)
    except checkpoint.NotFinite as error:
        raise diverged(str(error), state, run) from None
    run.prune(keep)


def complete(
    state: TrainState,
    run: RunDir,
    keep: int,
    headline: Headline,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Do again what follows the last checkpoint: a kill may have come in between."""
    save_generator(state, run.generator_file)
    run.prune(keep)
    draw(state, run, headline, Report(run, say))


def draw(state: TrainState, run: RunDir, headline: Headline, report: Report) -> None:
    """Film, curves and page; the run remembers of which step they are."""
    whole = film.draw(run, headline, report.say)
    report.write()
    if whole:
        run.note_drawn(state.step)


def save_generator(state: TrainState, path: Path, **meta: Any) -> None:
    """The shown generator alone, under the names `generator.…`."""
    shown = [
        Parameter(p, name="generator." + p.name.partition(".")[2])
        for p in state.shown().net.get_parameters()
    ]
    checkpoint.save(path, shown, {**state.meta, **meta})
