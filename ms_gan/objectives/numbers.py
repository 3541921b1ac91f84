"""Random numbers of a step: who gets which columns of them.

Ascend ignores the seeds of random operators inside a graph, and numbers that the host draws are a
function of (seed, step). So a part of an objective announces `numbers`, how many uniform numbers
in [0, 1) it wants for each image; the host gives one array [N, K] a step, and every part gets its
columns of it.
"""

from __future__ import annotations

from mindspore import nn


class Columns(nn.Cell):
    """The columns of one part.

    Args:
        first, width: the part gets columns first to first + width - 1; 0: none.

    Inputs: float32 [N, K] or None. Outputs: float32 [N, width], or None where width is 0.
    """

    def __init__(self, first: int, width: int):
        super().__init__(auto_prefix=False)
        self.first, self.width = first, width

    def construct(self, numbers):
        if self.width == 0 or numbers is None:
            return None
        if self.width == numbers.shape[1]:
            return numbers
        return numbers[:, self.first : self.first + self.width]


class Numbers:
    """Allots the columns, part after part; `widths` is what the host has to draw, in that order."""

    def __init__(self):
        self.widths: list[int] = []

    def allot(self, width: int) -> Columns:
        """The next `width` columns."""
        columns = Columns(sum(self.widths), width)
        self.widths.append(width)
        return columns
