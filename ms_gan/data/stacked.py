"""Stacked MNIST: three digits as the channels of one image, 1,000 modes that can be counted.

Metz et al. 2016, arXiv:1611.02163, section 3.3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ms_gan.data import digits, mnist
from ms_gan.data.dataset import Dataset, Size, data_error
from ms_gan.data.download import Progress
from ms_gan.data.partition import hold_out
from ms_gan.system import streams
from ms_gan.system.output import Say
from ms_gan.system.streams import Choice

CHANNELS = 3
NUM = 128_000  # training images
MOST = 10_000_000  # images; their labels alone take 160 MB
TEST = 5  # there is one test image for so many of them
FIRST = 1000  # numbers of the permutations, which no stream has


class Stacked:
    """Images uint8 [N, C, H, W] that are composed when they are asked for, as an array gives them.

    Args:
        digits: uint8 [M, H, W].
        rows: int [N, C], which digit each channel is.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, digits: np.ndarray, rows: np.ndarray):
        self.digits, self.rows = digits, rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (*self.rows.shape, *self.digits.shape[1:])

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Of all images, were they composed."""
        return self.size

    def __getitem__(self, index: Any) -> np.ndarray:
        """What an array of all images gives, as an array of its own that may be written to."""
        if not isinstance(index, tuple):
            return self.digits[self.rows[index]]
        first, *rest = index
        if first is Ellipsis:
            return self[:][index]
        images = self[first]
        return images[tuple(rest) if images.ndim < self.ndim else (slice(None), *rest)]

    def take(self, rows: np.ndarray, axis: int = 0) -> Stacked:
        """These images, not composed yet."""
        if axis != 0:
            raise ValueError(f"axis {axis}: expected 0, the images")
        return Stacked(self.digits, self.rows.take(rows, axis=0))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


def loader(of: str) -> Callable[..., Dataset]:
    """The function that loads images composed of 'mnist' or of 'digits'."""

    def load(
        *,
        root: str | None = None,
        size: Size | None = None,
        channels: int | None = None,
        num: int = NUM,
        split: str = "train",
        say: Say | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Images of three channels, each a digit of MNIST (arXiv:1611.02163); 1,000 classes.

        Args:
            root: folder that must hold MNIST's files; nothing is downloaded. null: as for mnist.
            size: height and width in pixels, a number or [height, width]; null: 28.
            channels: 3, one for each digit; null: 3.
            num: training images, each the same one whatever the number is; a fifth as many are
                composed of the test digits.
        """
        check(num, channels)
        singles = mnist.loader("mnist")(
            root=root, size=size, split=split, say=say, progress=progress
        )
        return composed("stacked_mnist", singles, num if split == "train" else num_of_tests(num))

    def load_digits(
        *,
        size: Size | None = None,
        channels: int | None = None,
        num: int = NUM,
        split: str = "train",
    ) -> Dataset:
        """Stacked MNIST of the 1,797 digits inside scikit-learn, one of six for the test alone.

        Args:
            size: height and width in pixels, a number or [height, width]; null: 28.
            channels: 3, one for each digit; null: 3.
            num: training images, each the same one whatever the number is; a fifth as many are
                composed of the digits that are held out.
        """
        check(num, channels)
        train, test = hold_out(digits.load(size=size))
        singles = train if split == "train" else test
        return composed("stacked_digits", singles, num if split == "train" else num_of_tests(num))

    return {"mnist": load, "digits": load_digits}[of]


def check(num: int, channels: int | None) -> None:
    """DataError for a number of images or of channels that cannot be."""
    if not 1 <= num <= MOST:
        raise data_error("stacked_mnist", f"num {num}", f"1 to {MOST:,}", "change data.num")
    if channels not in (None, CHANNELS):
        wanted = f"{CHANNELS}, one for each digit"
        raise data_error("stacked_mnist", f"channels {channels}", wanted, "change it")


def num_of_tests(num: int) -> int:
    """Test images beside so many training images."""
    return -(-num // TEST)


def composed(name: str, singles: Dataset, num: int) -> Dataset:
    """`num` images of digits [M, 1, H, W]; which ones is a function of a fixed seed and the index.

    Each channel goes through all digits in an order of its own, then in another one, so each digit
    occurs as often as any other.
    """
    rows = np.stack([chosen(len(singles), num, channel) for channel in range(CHANNELS)], axis=1)
    labels = np.zeros(num, np.int32)
    for channel in range(CHANNELS):
        labels = 10 * labels + singles.labels[rows[:, channel]]
    return Dataset(
        name,
        Stacked(singles.images[:, 0], rows),
        labels,
        tuple(f"{label:03d}" for label in range(10**CHANNELS)),
        f"three of {len(singles):,} digits each, from {singles.source}",
        singles.md5,
    )


def chosen(total: int, num: int, channel: int) -> np.ndarray:
    """int [num]: the digits of a channel, each of `total` as often as any other."""
    rounds = [
        streams.chosen(Choice.STACK, total, FIRST + CHANNELS * turn + channel)
        for turn in range(-(-num // total))
    ]
    return np.concatenate(rounds)[:num]
