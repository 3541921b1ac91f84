"""Numbers that change while training, computed in the graph from the step: nothing recompiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype
from mindspore.nn.learning_rate_schedule import LearningRateSchedule

Span = Callable[[int], tuple[int, int]]  # updates of the whole run -> (after, steps)
NAME = "ramp_"  # how the names of a ramp's own values begin; no checkpoint holds them
_counter = itertools.count()  # two ramps of one graph need two names


class RampSchedule(LearningRateSchedule):
    """`start` until step `after`, then to `end` within `steps`, then `end`.

    R3GAN's burn-in is a cosine ramp (Huang et al. 2024, arXiv:2501.05441, appendix); a linear one
    to 0 is the usual decay of a learning rate. Also a learning-rate schedule for MindSpore's
    optimizers.

    `after` and `steps` are values in the graph and no constants, so that a graph that is compiled
    already can learn how long the run will be, and trains bit for bit as if it had known.

    Args:
        start, end: the two values.
        steps: length of the change, updates.
        after: where it begins, updates.
        shape: 'cosine' or 'linear'.
        span: gives (after, steps) of a run of so many updates, in place of these two. Who trains
            tells it how many, with :meth:`settle`; until then it is one.

    Inputs: int32 scalar or [1], the updates done so far. Outputs: float32 scalar.
    """

    def __init__(
        self,
        start: float,
        end: float,
        steps: int = 1,
        after: int = 0,
        shape: str = "cosine",
        *,
        span: Span | None = None,
    ):
        super().__init__()
        self.start, self.end = float(start), float(end)
        self.cosine = shape == "cosine"
        self.span = span
        name = f"{NAME}{next(_counter)}"
        values = (after, steps) if span is None else span(1)
        self.after, self.length = (
            Parameter(Tensor(value, mstype.float32), name=f"{name}.{what}", requires_grad=False)
            for what, value in zip(("after", "steps"), values, strict=True)
        )

    def settle(self, updates: int) -> None:
        """Say how many updates the whole run has."""
        if self.span is not None:
            for parameter, value in zip((self.after, self.length), self.span(updates), strict=True):
                parameter.set_data(Tensor(value, mstype.float32))

    def construct(self, global_step):
        share = (global_step.reshape(()).astype(mstype.float32) - self.after) / self.length
        share = ops.clamp(share, 0.0, 1.0)
        if self.cosine:
            share = 0.5 - 0.5 * ops.cos(math.pi * share)
        return self.start + (self.end - self.start) * share


def settle(net: nn.Cell, updates: int) -> None:
    """Tell every ramp in a Cell how many updates the run has, as they count them."""
    for _, cell in net.cells_and_names():
        if isinstance(cell, RampSchedule):
            cell.settle(updates)


class Weight(nn.Cell):
    """The weight of a part of an objective: a number, or a schedule of the updates so far.

    Args:
        value: the number, or a Cell (updates) -> scalar.
        updates: the counter that a schedule reads: the global_step of the optimizer concerned.
        times: a constant factor of both, such as the interval of a lazy penalty.

    Inputs: float32 scalar. Outputs: the weight times it.
    """

    def __init__(
        self, value: float | nn.Cell, updates: Parameter | None = None, times: float = 1.0
    ):
        super().__init__(auto_prefix=False)
        self.schedule = value if isinstance(value, nn.Cell) else None
        self.factor = float(times if isinstance(value, nn.Cell) else times * value)
        self.updates = updates

    def construct(self, x: Tensor) -> Tensor:
        if self.schedule is not None:
            x = self.schedule(self.updates) * x
        return x if self.factor == 1.0 else self.factor * x
