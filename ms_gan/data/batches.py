"""Seeded batches in the range of the generator's tanh."""

import numpy as np

from ms_gan.data.dataset import Dataset, data_error
from ms_gan.system import streams
from ms_gan.system.streams import Stream
from ms_gan.system.workers import ALONE, Share


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0 .. 255 of any shape -> float32 in [-1, 1]."""
    x = images.astype(np.float32)
    x /= 127.5
    x -= 1
    return x


class Batches:
    """The batches of a training run as a pure function of (seed, index): nothing to save on stop.

    Args:
        dataset: the images.
        batch_size: images per batch, of all workers together, 1 .. len(dataset).
        seed: whole number >= 0.
        sampling: 'shuffle': every epoch is a new permutation, its last partial batch dropped;
            'random': every batch is drawn uniformly with replacement.
        flip: mirror every image, left and right, with probability 1/2 each time it is drawn.
        share: of a worker, whose rows of every batch are given.

    Attributes:
        batch_size: images that :meth:`at` gives.

    Raises:
        DataError: a bad batch_size, seed or sampling.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        sampling: str = "shuffle",
        flip: bool = False,
        share: Share = ALONE,
    ):
        samplings = ("shuffle", "random")
        fewer = "choose a smaller data.batch_size" if len(dataset) > 1 else "one image is too few"
        for wrong, good, expected, remedy in (
            (f"batch_size {batch_size}", 1 <= batch_size <= len(dataset),
             f"1 to {len(dataset)}, the number of images", f"{fewer}, or add images"),
            (f"seed {seed}", seed >= 0, "a number >= 0", "change it"),
            (f"sampling {sampling!r}", sampling in samplings, f"one of {samplings}", "change it"),
        ):  # fmt: skip
            if not good:
                raise data_error(dataset.name, wrong, expected, remedy)
        self.dataset, self.drawn, self.share = dataset, batch_size, share
        self.batch_size = batch_size // share.size
        self.seed, self.sampling, self.flip = seed, sampling, flip
        self.steps_per_epoch = len(dataset) // batch_size
        self._current: tuple[int, np.ndarray] | None = None  # epoch and its order

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index` >= 0: float32 [B, C, H, W] in [-1, 1] and int32 [B]."""
        if index < 0:
            raise data_error(self.dataset.name, f"batch {index}", "a number >= 0", "change it")
        rows = self._drawn(index) if self.sampling == "random" else self._shuffled(index)
        own = self.share.of(self.drawn)
        rows = rows[own]
        images = self.dataset.images[rows]
        if self.flip:
            mirrored = streams.rng(Stream.FLIP, self.seed, index).random(self.drawn)[own] < 0.5
            images[mirrored] = images[mirrored, ..., ::-1]
        return to_float(images), self.dataset.labels[rows]

    def _drawn(self, index: int) -> np.ndarray:
        rng = streams.rng(Stream.DRAW, self.seed, index)
        return rng.integers(len(self.dataset), size=self.drawn)

    def _shuffled(self, index: int) -> np.ndarray:
        epoch, step = divmod(index, self.steps_per_epoch)
        current = self._current
        if current is None or current[0] != epoch:
            rng = streams.rng(Stream.ORDER, self.seed, epoch)
            current = self._current = (epoch, rng.permutation(len(self.dataset)))
        return current[1][step * self.drawn : (step + 1) * self.drawn]
