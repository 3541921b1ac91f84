"""Nets that grow, as the compiled step of one level sees them."""

from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from mindspore import dtype as mstype
from mindspore.nn.learning_rate_schedule import LearningRateSchedule

from ms_gan.training.schedules import RampSchedule

NAME = "clock."  # how the name of the clock's counter begins, whoever reads it


class Clock(nn.Cell):
    """The updates of the whole run, in the graph and in every checkpoint.

    Every level of nets that grow has optimizers of its own, whose counters begin at 0 again: what
    is meant in steps of the run (ramps, the average, blending) reads this one.

    Inputs: a value that is computed after everything that reads the clock. Outputs: the same, once
    the clock has moved.
    """

    def __init__(self):
        super().__init__(auto_prefix=False)
        zero = Tensor(np.zeros(1, np.int32))
        self.steps = Parameter(zero, name=f"{NAME}steps", requires_grad=False)

    def construct(self, after):
        now = ops.depend(self.steps.value(), after)
        return ops.depend(after, ops.assign(self.steps, now + 1))


class OnClock(LearningRateSchedule):
    """A schedule that reads the clock in place of an optimizer's own counter.

    Args:
        schedule: of the updates of the run.
        steps: those of the clock.
    """

    def __init__(self, schedule: nn.Cell, steps: Parameter):
        nn.Cell.__init__(self, auto_prefix=False)  # LearningRateSchedule would rename what is read
        self.schedule, self.steps = schedule, steps

    def construct(self, global_step):
        return self.schedule(self.steps)


class Share(nn.Cell):
    """How far a level is blended in, a scalar in [0, 1], from the clock.

    Args:
        after, length: when it begins, and how long it takes, in updates; length 0: it is at once.
        steps: those of the clock.
    """

    def __init__(self, after: int, length: int, steps: Parameter):
        super().__init__(auto_prefix=False)
        self.ramp = RampSchedule(0.0, 1.0, length, after, "linear") if length else None
        self.steps = steps

    def construct(self):
        if self.ramp is None:
            return Tensor(1.0, mstype.float32)
        return self.ramp(self.steps)


class AtLevel(nn.Cell):
    """A net at one of its levels, in place of the net.

    Args:
        net: with `at(x, labels, level, share)`.
        level: known when the graph is compiled.
        share: a :class:`Share`.

    Inputs and outputs: those of the net.
    """

    def __init__(self, net: nn.Cell, level: int, share: Share):
        super().__init__(auto_prefix=False)
        self.net, self.level, self.share = net, level, share
        self.num_classes = net.num_classes

    def construct(self, x, labels=None):
        return self.net.at(x, labels, self.level, self.share())


class View(nn.Cell):
    """Real images as D sees them at a level: [N, C, H, W] -> the same."""

    def __init__(self, discriminator: nn.Cell, level: int, share: Share):
        super().__init__(auto_prefix=False)
        self.net, self.level, self.share = discriminator, level, share

    def construct(self, real):
        return self.net.view(real, self.level, self.share())
