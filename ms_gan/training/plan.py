"""How many updates fit into some minutes: a few are measured and undone, the rest is computed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mindspore import Tensor

from ms_gan.runs import checkpoint, film, visualise
from ms_gan.runs.run_dir import RunDir
from ms_gan.training.state import TrainState
from ms_gan.training.trainer import Feed, Intervals, Quality

Clock = Callable[[], float]

LAPS = 3  # at least; the median of them counts
LAP = 0.05  # seconds that one lasts at least, so that waiting for the device does not count
MEASURING = (0.3, 5.0)  # seconds: the least and the most
SHARE = 0.01  # of the time that is planned, to measure in
CLOSING = 1.0  # seconds of film and curves, beside those for the frames


@dataclass(frozen=True)
class Costs:
    """Seconds on this machine.

    Args:
        step: an update, what it receives included.
        picture: one of the fixed samples, written.
        save: a checkpoint.
        evaluation: 0 where there is none.
    """

    step: float
    picture: float = 0.0
    save: float = 0.0
    evaluation: float = 0.0

    def beside(self, steps: int, every: Intervals) -> float:
        """Of all that a run of so many steps does beside its updates."""
        pictures = 1 + times(every.sample, steps)  # the untrained generator's too
        return (
            pictures * self.picture
            + times(every.save, steps) * self.save
            + (times(every.evaluate, steps) * self.evaluation if every.evaluate else 0.0)
            + CLOSING
            + min(pictures, film.FRAMES) * self.picture
        )


def times(every: int, steps: int) -> int:
    """How often something comes after step 0 that `trainer.is_due` every so many steps."""
    if every == 0:
        return 1
    whole = (steps - 1) // every
    return 1 + whole - (whole > 0 and steps - whole * every < every / 4)


def steps_within(seconds: float, costs: Costs, every: Callable[[int], Intervals]) -> int:
    """The largest number of steps whose run takes no longer; at least 1.

    Args:
        every: steps of the run -> its intervals.
    """

    def fits(steps: int) -> bool:
        return steps * costs.step + costs.beside(steps, every(steps)) <= seconds

    if not fits(1):
        return 1
    least, most = 1, 2
    while fits(most):
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if fits(middle) else (least, middle)
    return least


def measure(
    state: TrainState,
    feed: Feed,
    run: RunDir,
    gallery: Callable[..., Any],
    quality: Quality | None,
    *,
    seconds: float,
) -> Costs:
    """The costs of a run, once everything is compiled. The state is as before, to the last bit.

    Args:
        state, feed, run, gallery, quality: as for :func:`ms_gan.training.trainer.train`.
        seconds: that are planned.
    """
    measuring = min(max(MEASURING[0], SHARE * seconds), MEASURING[1])
    kept = [parameter.asnumpy().copy() for parameter in state.parameters]
    step = seconds_of_all_steps(state, feed, measuring)
    for parameter, values in zip(state.parameters, kept, strict=True):
        parameter.set_data(Tensor(values))

    def picture() -> None:
        visualise.save_png(trial.with_suffix(".png"), gallery(state.shown()))

    trial = run.path / ".plan.0.ckpt"  # a name that RunDir.prune removes
    try:
        picture()  # compiles
        costs = [
            seconds_of(picture),
            seconds_of(lambda: checkpoint.save(trial, state.parameters, state.meta)),
            0.0 if quality is None else seconds_of(lambda: quality.rehearse(state.shown())),
        ]
    finally:
        for path in (trial, trial.with_suffix(".png")):
            path.unlink(missing_ok=True)
    return Costs(step, *costs)


def seconds_of_all_steps(state: TrainState, feed: Feed, seconds: float) -> float:
    """The mean of the compiled steps of a run, each as often as it comes.

    Args:
        seconds: how long to measure, all together.
    """
    updates = state.updates
    cycle = [updates.parts(step) for step in range(updates.cycle)]
    total = 0.0
    for parts in dict.fromkeys(cycle):
        update = updates.at(cycle.index(parts))
        share = cycle.count(parts) / len(cycle)
        once = seconds_of_a_step(lambda k, update=update: update(*feed.at(k)), share * seconds)
        total += share * once
    return total


def seconds_of_a_step(
    update: Callable[[int], tuple], seconds: float, clock: Clock = time.monotonic
) -> float:
    """The median over laps of several updates each; the first update, which compiles, is none.

    Args:
        update: does the k-th update and returns the step's outputs.
        seconds: how long to measure, if that gives enough laps.
    """
    done = 0

    def lap(updates: int) -> float:
        nonlocal done
        start = clock()
        for _ in range(updates):
            outputs = update(done)
            done += 1
        outputs[1].asnumpy()  # waits for the device; it is computed last
        return (clock() - start) / updates

    lap(1)
    updates = max(1, math.ceil(LAP / max(lap(1), 1e-6)))
    laps, until = [], clock() + seconds
    while len(laps) < LAPS or clock() < until:
        laps.append(lap(updates))
    return statistics.median(laps)


def seconds_of(do: Callable[[], Any], clock: Clock = time.monotonic) -> float:
    start = clock()
    do()
    return clock() - start
