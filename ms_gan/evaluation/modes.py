"""Stacked images: how many of the combinations of classes a generator makes, and how evenly.

An image of Stacked MNIST has a digit in each of its three channels: 1,000 modes (Metz et al. 2017,
arXiv:1611.02163, section 3.3.1). The classifier of digits reads each channel by itself. As in Lin
et al. 2018 (arXiv:1712.04086, section 4.1): 26,000 samples, the number of modes among them, and
KL(shares of the modes || equal shares) in nats, which even a perfect generator does not bring to 0:
the floor is that of real images, as many.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ms_gan import data
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation import evaluator, metrics
from ms_gan.runs.headline import Headline
from ms_gan.runs.sampling import Sampler

NUM = 26_000  # samples of the published protocol
CHUNK = 2_000  # images that are read at once
MODE_KL = Headline("mode_kl", "KL of the modes", "KL")
KEYS = ("modes", MODE_KL.key)


def shipped_for(dataset: data.Dataset) -> clf.Classifier | None:
    """The shipped classifier that reads one channel of these images; None: they are not stacked,
    or of another size."""
    known = data.DATASETS.get(dataset.name)
    if known is None or known.stacks is None:
        return None
    found = clf.shipped_for(known.stacks, (1, *dataset.image_shape[1:]))
    return found and found[0]


class RealModes:
    """Real stacked images, read once.

    Args:
        classifier: of one channel.
        train: real images, of which `num` are read for the floor.
        num: samples of each generator.
        host: let the classifier run with NumPy.

    Attributes:
        floor: what `compare` gives, of real images.
    """

    def __init__(
        self,
        classifier: clf.Classifier,
        train: data.Dataset,
        *,
        num: int = NUM,
        host: bool = False,
    ):
        self.classifier, self.num, self.host = classifier, min(num, len(train)), host
        self.num_modes = classifier.num_classes ** train.image_shape[0]
        rows = evaluator.some_rows(len(train), self.num)
        self.floor = self._measure(
            train.images[rows[start : start + CHUNK]] for start in range(0, len(rows), CHUNK)
        )

    def compare(self, sampler: Sampler, *, seed: int) -> dict[str, float]:
        """{"modes": how many, "mode_kl": of their shares} of what `generate --seed` makes."""
        return self._measure(images for images, _ in sampler.chunks(seed, self.num, size=CHUNK))

    def _measure(self, chunks: Iterator[np.ndarray]) -> dict[str, float]:
        found = np.concatenate([self._read(images) for images in chunks])
        return {
            "modes": metrics.modes(found, self.num_modes),
            MODE_KL.key: metrics.class_kl(found, self.num_modes),
        }

    def _read(self, images: np.ndarray) -> np.ndarray:
        """The mode of each image [N, C, H, W], int [N]: its classes as the digits of a number."""
        classes = self.classifier.num_classes
        mode = np.zeros(len(images), np.int64)
        for channel in range(images.shape[1]):
            one = images[:, channel : channel + 1]
            _, probabilities = clf.predict(self.classifier, one, host=self.host)
            mode = mode * classes + probabilities.argmax(axis=1)
        return mode


def table(made: dict[str, float], floor: dict[str, float], total: int) -> str:
    """The numbers for people, those of real images beside them."""
    return "\n".join(
        [
            f"{'':<29}{'generated':>11}{'floor':>11}   ideal",
            f"{'modes':<29}{made['modes']:>11}{floor['modes']:>11}   {total}",
            f"{MODE_KL.title:<29}{made[MODE_KL.key]:>11.4f}{floor[MODE_KL.key]:>11.4f}   floor",
        ]
    )
