"""When a net that grows has which size: a pure function of the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Growth:
    """Levels of a net, each twice as high and wide as the one before, and when they begin.

    Progressive GAN, Karras et al. 2018, arXiv:1710.10196, section 2: a new level is blended in over
    the first updates of its time, then trained at full strength. Nothing is stored: a run that goes
    on at step k is where it was.

    Args:
        steps: updates of each level, 0: it is passed over; the last one goes on until the run ends.
        fade: share of a level's updates in which it is blended in, 0 <= fade <= 1.

    Raises:
        ValueError: steps or share that cannot be.
    """

    def __init__(self, steps: Sequence[int], fade: float = 0.5):
        if not steps or any(type(step) is not int or step < 0 for step in steps):
            raise ValueError(
                f"levels: {list(steps)} is not a list of steps, one whole number of 0 or more for "
                "each level"
            )
        if not 0.0 <= fade <= 1.0:
            raise ValueError(f"fade: {fade!r} is not a share; use 0.0 to 1.0")
        self.steps = tuple(steps)
        self.starts = tuple(sum(steps[:level]) for level in range(len(steps)))
        # What nothing was trained before has nothing to be blended with.
        self.fading = tuple(
            round(fade * step) if start else 0
            for step, start in zip(steps, self.starts, strict=True)
        )

    @property
    def levels(self) -> int:
        return len(self.steps)

    def level(self, step: int) -> int:
        """The level of the update after so many."""
        return max(level for level, start in enumerate(self.starts) if step >= start)

    def share(self, step: int) -> float:
        """How far the newest level is blended in, in [0, 1]."""
        level = self.level(step)
        if not self.fading[level]:
            return 1.0
        return min(1.0, (step - self.starts[level]) / self.fading[level])

    def shares(self, step: int) -> np.ndarray:
        """What each level contributes to the image, float32 [levels], their sum is 1."""
        level, share = self.level(step), self.share(step)
        shares = np.zeros(self.levels, np.float32)
        shares[level] = share
        if level:
            shares[level - 1] = 1.0 - share
        return shares

    def grown(self, step: int) -> bool:
        """Whether the last level is there at full strength."""
        return self.level(step) == self.levels - 1 and self.share(step) == 1.0

    def size(self, image_shape: tuple[int, int, int]) -> tuple[int, int]:
        """(H, W) of the first level.

        Raises:
            ValueError: images of that size cannot be halved so often.
        """
        return first_size("levels", image_shape, self.levels)


def first_size(option: str, image_shape: tuple[int, int, int], sizes: int) -> tuple[int, int]:
    """(H, W) of the smallest of so many sizes, each half of the next; 2x2 or more.

    Raises:
        ValueError: images cannot be halved so often.
    """
    _, height, width = image_shape
    most = 1
    while all(side % 2**most == 0 and side >= 2 ** (most + 1) for side in (height, width)):
        most += 1
    if not 1 <= sizes <= most:
        raise ValueError(
            f"{option}: images of {height}x{width} cannot have {sizes} sizes, each half of the "
            f"next; give a list of {f'1 to {most}' if most > 1 else '1'}"
        )
    return height // 2 ** (sizes - 1), width // 2 ** (sizes - 1)
