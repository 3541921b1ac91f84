"""The one number that stands for the quality of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """What captions, curves and closing lines show, and what best.ckpt is chosen by.

    Args:
        key: of the log; the log has the value of real images, or what else is best, as `floor`.
        title: on the axis of its curve.
        short: in captions and lines.
        smaller: whether smaller is better.
        logarithmic: the axis of its curve.
    """

    key: str
    title: str
    short: str
    smaller: bool = True
    logarithmic: bool = True

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one < other if self.smaller else one > other

    def said(self, value: float, digits: int = 2) -> str:
        """`distance 3.09`"""
        return f"{self.short} {value:.{digits}f}"
