"""Which compiled step does which update: a pure function of the step number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Protocol

from mindspore import nn


class Levels(Protocol):
    """:class:`ms_gan.models.growth.Growth`"""

    def level(self, step: int) -> int: ...


@dataclass(frozen=True)
class Updates:
    """The compiled steps of a run; most have one.

    A run has steps of its own for each level of nets that grow, and for each set of lazy parts
    that may meet (Karras et al. 2020, arXiv:1912.04958, section 3.1): a part whose `every` is 16 is
    in every sixteenth update, from the first on. All steps share the nets, the average and the
    clock. Each is compiled when it is first used. Nothing is stored, so a run that goes on is where
    it was.

    Args:
        steps: for each level, the step for each answer of :meth:`parts`.
        intervals: in every how many updates each part is in.
        growth: says at which level an update is; None: there is one.
    """

    steps: Sequence[Mapping[tuple[bool, ...], nn.Cell]]
    intervals: tuple[int, ...] = ()
    growth: Levels | None = None

    @property
    def cycle(self) -> int:
        """After how many updates the sets of parts come again."""
        return lcm(*self.intervals)

    def parts(self, step: int) -> tuple[bool, ...]:
        """Which parts are in the update after so many."""
        return parts_of(self.intervals, step)

    def at(self, step: int) -> nn.Cell:
        """The Cell of the update after so many."""
        level = 0 if self.growth is None else self.growth.level(step)
        return self.steps[level][self.parts(step)]

    def all(self) -> list[nn.Cell]:
        """Every Cell, in the order of the levels."""
        return [step for steps in self.steps for step in steps.values()]


def parts_of(intervals: Sequence[int], step: int) -> tuple[bool, ...]:
    """Which parts are in the update after so many."""
    return tuple(step % every == 0 for every in intervals)


def sets_of(intervals: Sequence[int]) -> list[tuple[bool, ...]]:
    """The sets of parts that may meet, the first update's first."""
    return list(dict.fromkeys(parts_of(intervals, step) for step in range(lcm(*intervals))))
