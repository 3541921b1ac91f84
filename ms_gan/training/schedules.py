"""Numbers that change while training, computed in the graph from the step: nothing recompiles."""

from __future__ import annotations

import math

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype
from mindspore.nn.learning_rate_schedule import LearningRateSchedule


class RampSchedule(LearningRateSchedule):
    """`start` until step `after`, then to `end` within `steps`, then `end`.

    R3GAN's burn-in is a cosine ramp (Huang et al. 2024, arXiv:2501.05441, appendix); a linear one
    to 0 is the usual decay of a learning rate. Also a learning-rate schedule for MindSpore's
    optimizers.

    Args:
        start, end: the two values.
        steps: length of the change, updates.
        after: where it begins, updates.
        shape: 'cosine' or 'linear'.

    Inputs: int32 scalar or [1], the updates done so far. Outputs: float32 scalar.
    """

    def __init__(self, start: float, end: float, steps: int, after: int = 0, shape: str = "cosine"):
        super().__init__()
        self.start, self.end = float(start), float(end)
        self.after, self.length = float(after), float(steps)
        self.cosine = shape == "cosine"

    def construct(self, global_step):
        share = (global_step.reshape(()).astype(mstype.float32) - self.after) / self.length
        share = ops.clamp(share, 0.0, 1.0)
        if self.cosine:
            share = 0.5 - 0.5 * ops.cos(math.pi * share)
        return self.start + (self.end - self.start) * share


class Weight(nn.Cell):
    """The weight of a part of an objective: a number, or a schedule of the updates so far.

    Args:
        value: the number, or a Cell (updates) -> scalar.
        updates: the global_step of the optimizer concerned, which a schedule reads.

    Inputs: float32 scalar. Outputs: the weight times it.
    """

    def __init__(self, value: float | nn.Cell, updates: Parameter | None = None):
        super().__init__(auto_prefix=False)
        self.schedule = value if isinstance(value, nn.Cell) else None
        self.factor = None if isinstance(value, nn.Cell) else float(value)
        self.updates = updates

    def construct(self, x: Tensor) -> Tensor:
        if self.schedule is not None:
            return self.schedule(self.updates) * x
        return x if self.factor == 1.0 else self.factor * x
