"""Random transformations in front of the discriminator, for small data sets.

A discriminator learns a small data set by heart. If it only ever sees transformed images, real and
generated ones alike, it cannot, and the generator still learns the untransformed distribution,
because its gradient passes through the transformation (Zhao et al. 2020, arXiv:2006.10738).
"""

from __future__ import annotations

import numpy as np

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype


class DiffAugment(nn.Cell):
    """Translation, then cutout, each by numbers of its own for every image.

    Zhao et al. 2020, arXiv:2006.10738, section 4.1. A translation by whole pixels is a product
    with a 0-1 matrix on each side, a cutout a product with a mask: pixels stay what they are to
    the last bit, and both have derivatives of any order. What comes in from outside, and the hole,
    have the value `fill`: the background of digits (-1), where the paper has grey (0).

    Args:
        image_shape: (C, H, W).
        translation: the largest shift as a share of the size, at most 1; 0: none.
        cutout: side of the hole as a share of the size, less than 1; 0: none. Its centre lies
            anywhere in the image, so part of it may lie outside.
        fill: in [-1, 1].

    Inputs: x float32 [N, C, H, W]; numbers float32 [N, 4] in [0, 1). Outputs: float32 [N, C, H, W].
    """

    numbers = 4  # random numbers per image: shift down and right, hole down and right

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        translation: float = 0.125,
        cutout: float = 0.5,
        fill: float = -1.0,
    ):
        super().__init__(auto_prefix=False)
        if not 0 <= translation <= 1:
            raise ValueError(f"translation: expected 0 to 1, got {translation}")
        if not 0 <= cutout < 1:
            raise ValueError(f"cutout: expected 0 <= x < 1, got {cutout}")
        if not -1 <= fill <= 1:
            raise ValueError(f"fill: expected -1 to 1, got {fill}")
        sizes = image_shape[1:]
        self.shifts = tuple(int(size * translation + 0.5) for size in sizes)
        self.holes = tuple(int(size * cutout + 0.5) for size in sizes)
        self.shifted, self.cut = max(self.shifts) > 0, min(self.holes) > 0
        if not (self.shifted or self.cut):
            raise ValueError(f"changes no pixel of images {list(image_shape)}; make a share larger")
        if self.cut and all(hole >= size for hole, size in zip(self.holes, sizes, strict=True)):
            raise ValueError(f"cutout: {cutout} leaves nothing of images {list(image_shape)}")
        self.fill = float(fill)
        self.places = tuple(Tensor(np.arange(size, dtype=np.float32)) for size in sizes)

    def construct(self, x, numbers):
        visible = ops.ones_like(x)  # 1 where the image is, else 0
        if self.shifted:
            down = self.translation(0, numbers[:, 0])  # [N, H, H]
            right = self.translation(1, numbers[:, 1])  # [N, W, W]
            x = ops.matmul(ops.expand_dims(down, 1), x)
            x = ops.matmul(x, ops.expand_dims(right.swapaxes(1, 2), 1))
            visible = visible * outer(down.sum(axis=2), right.sum(axis=2))
        if self.cut:
            kept = 1.0 - outer(self.hole(0, numbers[:, 2]), self.hole(1, numbers[:, 3]))
            x, visible = x * kept, visible * kept
        return x + self.fill * (1.0 - visible)

    def translation(self, axis, uniform):
        """0-1 matrices [N, size, size]: row i takes what stands at i - shift, if anything."""
        most, places = self.shifts[axis], self.places[axis]
        shift = ops.floor(uniform * (2 * most + 1)) - most  # [N]
        moves = places.reshape((1, -1, 1)) - places.reshape((1, 1, -1))
        return (moves == shift.reshape((-1, 1, 1))).astype(mstype.float32)

    def hole(self, axis, uniform):
        """[N, size]: 1 where the hole is, else 0."""
        length, places = self.holes[axis], self.places[axis].reshape((1, -1))
        centres = places.shape[1] + 1 - length % 2
        start = (ops.floor(uniform * centres) - length // 2).reshape((-1, 1))
        return ops.logical_and(places >= start, places < start + length).astype(mstype.float32)


def outer(rows, columns):
    """[N, H] and [N, W] -> [N, 1, H, W]."""
    return ops.expand_dims(ops.expand_dims(rows, 2) * ops.expand_dims(columns, 1), 1)


AUGMENTATIONS: dict[str, type[nn.Cell]] = {"diff_augment": DiffAugment}
