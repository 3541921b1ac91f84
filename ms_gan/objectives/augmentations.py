"""Random transformations in front of the discriminator, for small data sets.

A discriminator learns a small data set by heart. If it only ever sees transformed images, real and
generated ones alike, it cannot, and the generator still learns the untransformed distribution,
because its gradient passes through the transformation (Zhao et al. 2020, arXiv:2006.10738).
"""

from __future__ import annotations

import numpy as np

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

MOST = {"brightness": 2, "saturation": 1, "contrast": 1}  # beyond, images turn into negatives


class DiffAugment(nn.Cell):
    """Colour, then translation, then cutout, each by numbers of its own for every image.

    Zhao et al. 2020, arXiv:2006.10738, section 4.1, and its code for the colours: with u uniform in
    [-1, 1), brightness b adds b u to an image, saturation s multiplies what sets a pixel's channels
    apart from their mean by 1 + s u, contrast c what sets values apart from the mean of the image
    by 1 + c u; nothing is clipped. The paper has b = 0.5, s = 1, c = 0.5; here all are off unless
    they are asked for.

    A translation by whole pixels is a product with a 0-1 matrix on each side, a cutout a product
    with a mask: pixels stay what they are to the last bit, and all have derivatives of any order.
    What comes in from outside, and the hole, have the value `fill`: the background of digits (-1),
    where the paper has grey (0).

    Args:
        image_shape: (C, H, W).
        translation: the largest shift as a share of the size, at most 1; 0: none.
        cutout: side of the hole as a share of the size, less than 1; 0: none. Its centre lies
            anywhere in the image, so part of it may lie outside.
        fill: in [-1, 1].
        brightness: the largest change of all pixels, at most 2; 0: none. Try 0.5.
        saturation: the largest change of the colours' strength, at most 1; 0: none. Try 1.
        contrast: the largest change of the contrast, at most 1; 0: none. Try 0.5.

    Inputs: x float32 [N, C, H, W]; numbers float32 [N, 4], or [N, 7] with a colour, in [0, 1).
    Outputs: float32 [N, C, H, W].
    """

    numbers = 4  # random numbers per image: shift down and right, hole down and right; colours

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        translation: float = 0.125,
        cutout: float = 0.5,
        fill: float = -1.0,
        brightness: float = 0.0,
        saturation: float = 0.0,
        contrast: float = 0.0,
    ):
        super().__init__(auto_prefix=False)
        if not 0 <= translation <= 1:
            raise ValueError(f"translation: expected 0 to 1, got {translation}")
        if not 0 <= cutout < 1:
            raise ValueError(f"cutout: expected 0 <= x < 1, got {cutout}")
        if not -1 <= fill <= 1:
            raise ValueError(f"fill: expected -1 to 1, got {fill}")
        colours = {"brightness": brightness, "saturation": saturation, "contrast": contrast}
        for name, strength in colours.items():
            if not 0 <= strength <= MOST[name]:
                raise ValueError(f"{name}: expected 0 to {MOST[name]}, got {strength}")
        if saturation and image_shape[0] == 1:
            raise ValueError("saturation: the images are grey, they have none; leave it out")
        self.brightness, self.saturation, self.contrast = map(float, colours.values())
        self.coloured = any(colours.values())
        if self.coloured:
            self.numbers = 7
        sizes = image_shape[1:]
        self.shifts = tuple(int(size * translation + 0.5) for size in sizes)
        self.holes = tuple(int(size * cutout + 0.5) for size in sizes)
        self.shifted, self.cut = max(self.shifts) > 0, min(self.holes) > 0
        if not (self.shifted or self.cut or self.coloured):
            raise ValueError(f"changes no pixel of images {list(image_shape)}; make a share larger")
        if self.cut and all(hole >= size for hole, size in zip(self.holes, sizes, strict=True)):
            raise ValueError(f"cutout: {cutout} leaves nothing of images {list(image_shape)}")
        self.fill = float(fill)
        self.places = tuple(Tensor(np.arange(size, dtype=np.float32)) for size in sizes)

    def construct(self, x, numbers):
        if self.coloured:
            x = self.colour(x, 2.0 * numbers[:, 4:].reshape((-1, 3, 1, 1)) - 1.0)
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

    def colour(self, x, u):
        """Images in other light; u [N, 3, 1, 1] in [-1, 1)."""
        if self.brightness > 0:
            x = x + self.brightness * u[:, 0:1]
        if self.saturation > 0:
            mean = x.mean(axis=1, keep_dims=True)
            x = mean + (x - mean) * (1.0 + self.saturation * u[:, 1:2])
        if self.contrast > 0:
            mean = x.mean(axis=(1, 2, 3), keep_dims=True)
            x = mean + (x - mean) * (1.0 + self.contrast * u[:, 2:3])
        return x

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
