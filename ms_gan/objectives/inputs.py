"""What the generator receives, made inside the step from real images and numbers of the host.

An input is a Cell `(real, z, numbers) -> what the generator gets`. It says `shape`, (C, H, W) of
what it gives, or None for vectors, whether it wants `latents`, and `numbers`, how many uniform
numbers of an image it wants. Whoever uses a trained generator on a picture calls the same Cell.
"""

from __future__ import annotations

import functools

import numpy as np

from mindspore import Tensor, nn, ops
from mindspore import dtype as mstype

from ms_gan.objectives.augmentations import outer
from ms_gan.objectives.resize import bicubic
from ms_gan.system import streams
from ms_gan.system.streams import Choice


class Input(nn.Cell):
    """Something that the generator receives.

    Attributes:
        shape: (C, H, W) of what is given; None: vectors such as latents.
        latents: whether it wants normal numbers, `latent_dim` for each image.
        numbers: uniform numbers of an image.
        shown: what each of :meth:`columns` is.

    Inputs: real float32 [N, C, H, W]; z float32 [N, latent_dim] or None; numbers float32
    [N, numbers] in [0, 1) or None. Outputs: float32 [N, ...].
    """

    shape: tuple[int, int, int] | None = None
    latents: bool = False
    numbers: int = 0
    shown: tuple[str, ...] = ("given", "made", "true")

    def __init__(self):
        super().__init__(auto_prefix=False)

    def columns(
        self, real: np.ndarray, received: np.ndarray, made: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Pictures that show what the generator does: what it received, what it made, the truth.

        Arrays [N, C, H, W], each of the size that is shown.
        """
        factor = real.shape[2] // received.shape[2]
        seen = received[:, : real.shape[1]].repeat(factor, axis=2).repeat(factor, axis=3)
        return seen, made, real


class Latents(Input):
    """Normal numbers and nothing else (Goodfellow et al. 2014, arXiv:1406.2661, algorithm 1)."""

    latents = True

    def construct(self, real, z=None, numbers=None):
        return z


class LowResolution(Input):
    """The image made smaller, bicubic with antialiasing, as Pillow makes it: along the lines, then
    along the columns, each in the 256 steps that a file holds.

    Args:
        image_shape: (C, H, W), H and W divisible by `scale`.
        scale: how many times smaller.
    """

    def __init__(self, *, image_shape: tuple[int, int, int], scale: int = 4):
        super().__init__()
        channels, height, width = image_shape
        if scale < 2 or height % scale or width % scale:
            raise ValueError(f"scale: {scale} does not divide images of {height}x{width}; use 2")
        self.shape = (channels, height // scale, width // scale)
        self.matrices = bicubic((height, width), self.shape[1:])

    def construct(self, real, z=None, numbers=None):
        down, across = self.matrices
        return stepped(ops.matmul(down, stepped(ops.matmul(real, across))))


class Masked(Input):
    """The image with a hole, and where the hole is: a rectangle, or strokes of a brush.

    Yu et al. 2019, arXiv:1806.03589, section 3.2 (free-form masks). Departs: strokes are taken
    from a bank of STROKES masks that is always the same.

    Args:
        image_shape: (C, H, W).
        smallest, largest: sides of a rectangle as shares of the image's, each drawn on its own.
        strokes: share of holes that are strokes, 0 to 1.

    Outputs: float32 [N, C + 1, H, W]: the image with 0 (mid-grey) in the hole, and 1 in the hole,
    0 elsewhere.
    """

    numbers = 6  # strokes or not, height, width, top, left, which strokes

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        smallest: float = 0.25,
        largest: float = 0.5,
        strokes: float = 0.5,
    ):
        super().__init__()
        channels, *sides = image_shape
        if not 0 < smallest <= largest <= 1:
            raise ValueError(
                f"smallest, largest: expected 0 < smallest <= largest <= 1, got {smallest} and "
                f"{largest}"
            )
        if not 0 <= strokes <= 1:
            raise ValueError(f"strokes: expected 0 to 1, got {strokes}")
        self.shape = (channels + 1, *sides)
        self.low = tuple(max(1, round(smallest * side)) for side in sides)
        self.high = tuple(max(1, round(largest * side)) for side in sides)
        self.places = tuple(Tensor(np.arange(side, dtype=np.float32)) for side in sides)
        self.strokes = float(strokes)
        self.bank = Tensor(stroke_bank(*sides).reshape(STROKES, -1))

    def construct(self, real, z=None, numbers=None):
        return self.given(real, self.mask(numbers))

    def given(self, real, mask):
        """The image with this hole, float32 [N, 1, H, W] of 0 and 1, and the hole."""
        return ops.concat((real * (1.0 - mask), mask), axis=1)

    def mask(self, numbers):
        """float32 [N, 1, H, W]: 1 in the hole."""
        n = numbers.shape[0]
        rectangle = outer(
            self.side(0, numbers[:, 1], numbers[:, 3]), self.side(1, numbers[:, 2], numbers[:, 4])
        )
        if self.strokes == 0:
            return rectangle
        which = ops.floor(numbers[:, 5] * STROKES).astype(mstype.int32)
        strokes = ops.matmul(ops.one_hot(which, STROKES).astype(mstype.float32), self.bank)
        brushed = (numbers[:, 0] < self.strokes).astype(mstype.float32).reshape((n, 1, 1, 1))
        return brushed * strokes.reshape(rectangle.shape) + (1.0 - brushed) * rectangle

    def side(self, axis, length, start):
        """[N, side]: 1 where the rectangle is, of a uniform length at a uniform place."""
        low, high = self.low[axis], self.high[axis]
        places = self.places[axis].reshape((1, -1))
        length = (low + ops.floor(length * (high - low + 1))).reshape((-1, 1))
        start = ops.floor(start.reshape((-1, 1)) * (places.shape[1] - length + 1))
        return ops.logical_and(places >= start, places < start + length).astype(mstype.float32)


class First(Input):
    """The first picture of a pair: what is to be translated (Isola et al. 2017, arXiv:1611.07004).

    Args:
        image_shape: (2 C, H, W) of the pair, joined along the channels.
    """

    def __init__(self, *, image_shape: tuple[int, int, int]):
        super().__init__()
        if image_shape[0] % 2:
            raise ValueError("needs pairs of pictures; give data.pair")
        self.shape = (image_shape[0] // 2, *image_shape[1:])

    def construct(self, real, z=None, numbers=None):
        return real[:, : self.shape[0]]

    def columns(self, real, received, made):
        half = self.shape[0]
        return received, made[:, half:], real[:, half:]


class Both(Input):
    """Both pictures of a pair, one of each domain (Zhu et al. 2017, arXiv:1703.10593).

    Args:
        image_shape: (2 C, H, W) of the pair, joined along the channels.
    """

    shown = ("a", "a_to_b", "b", "b_to_a")

    def __init__(self, *, image_shape: tuple[int, int, int]):
        super().__init__()
        if image_shape[0] % 2:
            raise ValueError("needs pictures of two domains; give data.pair")
        self.shape = tuple(image_shape)

    def construct(self, real, z=None, numbers=None):
        return real

    def columns(self, real, received, made):
        """One of each domain, and what becomes of it in the other one."""
        half = self.shape[0] // 2
        return real[:, :half], made[:, half:], real[:, half:], made[:, :half]


INPUTS: dict[str, type[Input]] = {
    "latents": Latents,
    "low_resolution": LowResolution,
    "masked": Masked,
    "first": First,
    "both": Both,
}
STROKES = 128  # masks in the bank


def stepped(x):
    """Values in [-1, 1] rounded to the 256 that a file holds."""
    return ops.round((ops.clamp(x, -1.0, 1.0) + 1.0) * 127.5) / 127.5 - 1.0


@functools.cache
def stroke_bank(height: int, width: int) -> np.ndarray:
    """float32 [STROKES, H, W] of 0 and 1: wandering lines of a round brush, always the same ones.

    Each covers between a tenth and four tenths of the picture.
    """
    rng = streams.fixed(Choice.STROKES)
    rows, columns = np.mgrid[:height, :width]
    masks = np.zeros((STROKES, height, width), np.float32)
    for mask in masks:
        wanted = rng.uniform(0.1, 0.4)
        while mask.mean() < wanted:
            brush = rng.uniform(0.05, 0.1) * min(height, width)
            place = rng.uniform(0, 1, 2) * (height, width)
            angle = rng.uniform(0, 2 * np.pi)
            for _ in range(rng.integers(2, 6)):
                angle += rng.uniform(-1.0, 1.0)
                end = place + rng.uniform(0.1, 0.4) * min(height, width) * np.array(
                    (np.sin(angle), np.cos(angle))
                )
                for share in np.linspace(0, 1, 16):
                    y, x = place + share * (end - place)
                    near = (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= max(brush, 0.71) ** 2
                    mask[near] = 1.0
                place = np.clip(end, 0, (height, width))
    return masks
