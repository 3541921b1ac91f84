"""Generators from picture to picture: how near what they make is to the truth.

One judge for each input, a row of `JUDGES`. Every number stands beside floors: what one gets from
the same pictures without any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ms_gan import data
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation import evaluator, pyramid, restoration, whole
from ms_gan.objectives.resize import enlarged
from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.translating import Translator
from ms_gan.system import streams
from ms_gan.system.streams import Stream

NUM = 500  # test pictures that are compared
NEAREST = 10_000  # training pictures among which the nearest is looked for

PSNR = Headline("psnr", "PSNR, dB", "PSNR", smaller=False, logarithmic=False)
HOLE = Headline("psnr_hole", "PSNR in the hole, dB", "PSNR in the hole", False, False)

# key of the result -> name in the table, digits, what is ideal
ROWS = {
    PSNR.key: ("PSNR, dB", 2, "larger"),
    "ssim": ("SSIM", 4, "1"),
    "detail": ("energy of fine detail", 3, "1"),
    "patches": ("distance of fine patches", 2, "0"),
    HOLE.key: ("PSNR in the hole, dB", 2, "larger"),
    "psnr_hole_mean": ("  mean over pictures, dB", 2, "larger"),
    "l1_hole": ("mean difference in the hole", 4, "0"),
    "class_kept": ("class is read right", 4, "the truth"),
    "l1": ("mean difference", 4, "0"),
    evaluator.SLICED.key: ("sliced Wasserstein distance", 2, "real pictures"),
    "cycle": ("difference after the cycle", 4, "0"),
}


class Judge:
    """Compares what a generator makes of test pictures with the truth.

    Args:
        translator: the generator, or one that receives the same.
        train, test: real images; those of the test are translated, `num` of them.
        seed: of what is drawn, such as the places of holes.
        classifier: of such images, if there is one: it says whether their class is kept.

    Attributes:
        floors: {name: what `compare` gives of it}, the first one the most usual.
    """

    headline: ClassVar[Headline]
    keys: ClassVar[tuple[str, ...]]
    whole: ClassVar[bool] = False  # pictures that were cut into tiles are judged as they were
    options: ClassVar[tuple[str, ...]] = ()  # what its constructor takes besides

    def __init__(
        self,
        translator: Translator,
        train: data.Dataset,
        test: data.Dataset,
        *,
        seed: int,
        num: int = NUM,
        classifier: clf.Classifier | None = None,
    ):
        rows = evaluator.some_rows(len(test), min(num, len(test)))
        self.real, self.labels = data.to_float(test.images[rows]), test.labels[rows]
        self.classifier = classifier
        self.received = self.receive(translator, seed)
        self.floors = {name: self.measure(images) for name, images in self.simple(train).items()}

    @property
    def floor(self) -> dict[str, float]:
        """What is got without training, of the first kind."""
        return next(iter(self.floors.values()))

    def receive(self, translator: Translator, seed: int) -> np.ndarray:
        """What the generator receives of the real images."""
        return translator.receive(self.real, seed)

    def compare(self, translator: Translator, *, seed: int = 0) -> dict[str, float]:
        """The numbers of what the generator makes, by the keys of `ROWS`."""
        return self.measure(translator.made(self.received))

    def simple(self, train: data.Dataset) -> dict[str, np.ndarray]:
        """Images that are made without training, by the name of the way."""
        raise NotImplementedError

    def measure(self, made: np.ndarray) -> dict[str, float]:
        """The numbers of images [N, C, H, W]."""
        raise NotImplementedError


class Enlarging(Judge):
    """Super-resolution, on the brightness Y, without a border as wide as the scale.

    `detail` is the energy of the upper half of the frequencies beside that of real pictures,
    `patches` the sliced Wasserstein distance of the finest level of :mod:`pyramid`: what a
    generator invents well lowers the PSNR and improves these two.
    """

    headline = PSNR
    keys = (PSNR.key, "ssim", "detail", "patches")
    whole = True

    def simple(self, train):
        return {"bicubic": enlarged(self.received, self.real.shape[2:])}

    def measure(self, made):
        return whole.measure(made, self.real, made.shape[2] // self.received.shape[2])


class Filling(Judge):
    """Inpainting of a rectangle of half the height and half the width, at a place by the seed,
    whatever holes the generator was trained on."""

    headline = HOLE
    keys = (HOLE.key, "psnr_hole_mean", "l1_hole")

    def receive(self, translator, seed):
        n, _, height, width = self.real.shape
        self.mask = half_holes(n, height, width, seed)
        return np.concatenate([self.real * (1.0 - self.mask), self.mask], axis=1)

    def simple(self, train):
        some = evaluator.some_rows(len(train), min(NEAREST, len(train)))
        known = data.to_float(train.images[some])
        mean = np.broadcast_to(known.mean(axis=0), self.real.shape)
        return {
            "Laplace": restoration.laplace(self.real, self.mask),
            "mean": np.where(self.mask.astype(bool), mean, self.real),
            "nearest": restoration.nearest_fill(self.real, self.mask, known),
            "the truth": self.real,
        }

    def measure(self, made):
        where = np.broadcast_to(self.mask.astype(bool), made.shape)
        one, other = restoration.steps(made), restoration.steps(self.real)
        size = where[0].sum()  # the same of every picture
        of_each = restoration.psnrs(one[where].reshape(-1, size), other[where].reshape(-1, size))
        values = {
            HOLE.key: restoration.psnr(one, other, where=where),
            "psnr_hole_mean": float(of_each.mean()),
            "l1_hole": float(np.abs(one - other)[where].mean() / 127.5),
        }
        if self.classifier is not None:
            _, probabilities = clf.predict(self.classifier, made.astype(np.float32))
            values["class_kept"] = float(np.mean(probabilities.argmax(axis=1) == self.labels))
        return values


def half_holes(num: int, height: int, width: int, seed: int) -> np.ndarray:
    """float32 [num, 1, H, W]: 1 in a rectangle of half the sides; the first do not depend on
    `num`."""
    rng = streams.rng(Stream.GIVEN, seed)
    tall, wide = height // 2, width // 2
    mask = np.zeros((num, 1, height, width), np.float32)
    for one in mask:
        top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        one[0, top : top + tall, left : left + wide] = 1.0
    return mask


class Pairing(Judge):
    """Translation of the first picture of a pair into the second."""

    headline = PSNR
    keys = (PSNR.key, "l1")

    def simple(self, train):
        half = self.real.shape[1] // 2
        some = evaluator.some_rows(len(train), min(NUM, len(train)))
        known = data.to_float(train.images[some])
        colours = restoration.colour_map(known[:, :half], known[:, half:])
        source = self.real[:, :half]
        return {
            "left as it is": np.concatenate([source, source], axis=1),
            "linear colours": np.concatenate([source, restoration.mapped(source, colours)], axis=1),
        }

    def measure(self, made):
        half = self.real.shape[1] // 2
        one, other = (restoration.steps(x[:, half:]) for x in (made, self.real))
        return {
            PSNR.key: restoration.psnr(one, other),
            "l1": float(np.abs(one - other).mean() / 127.5),
        }


class Swapping(Judge):
    """Translation between two domains, of pictures that need not belong together.

    How near what is made is to the real pictures of its domain, patch by patch; how far pictures
    come back from there and back again; and, where the pictures of a pair belong together
    (`matched`), the PSNR against the exact counterpart.
    """

    headline = evaluator.SLICED
    keys = (evaluator.SLICED.key, "cycle")
    options = ("matched",)

    def __init__(self, translator, train, test, *, seed, num=NUM, classifier=None, matched=False):
        self.matched, self.seed = matched, seed
        super().__init__(translator, train, test, seed=seed, num=num, classifier=classifier)

    def compare(self, translator, *, seed=0):
        made = translator.made(self.received)
        return self.measure(made) | {"cycle": self.difference(translator.made(made))}

    def difference(self, images):
        return float(np.abs(images - self.real).mean())

    def simple(self, train):
        some = evaluator.some_rows(len(train), min(len(self.real), len(train)))
        self.others = data.to_float(train.images[some])  # they have no counterpart
        return {"left as it is": self.swapped(self.real), "real pictures": self.others}

    def swapped(self, images):
        half = images.shape[1] // 2
        return np.concatenate([images[:, half:], images[:, :half]], axis=1)

    def measure(self, made):
        half = self.real.shape[1] // 2
        found = []
        for domain in (slice(None, half), slice(half, None)):
            some = min(len(made), len(self.real))
            patches = [
                pyramid.patches(visualise.to_uint8(x[:some, domain]), seed=self.seed)
                for x in (self.real, made)
            ]
            found.append(np.mean(pyramid.distances(*patches, seed=self.seed)))
        values = {evaluator.SLICED.key: float(np.mean(found))}
        if self.matched and made is not self.others:
            one, other = restoration.steps(made), restoration.steps(self.real)
            values[PSNR.key] = restoration.psnr(one, other)
        return values


JUDGES: dict[str, type[Judge]] = {
    "low_resolution": Enlarging,
    "masked": Filling,
    "first": Pairing,
    "both": Swapping,
}


def table(made: Mapping[str, float], floors: Mapping[str, Mapping[str, float]]) -> str:
    """The numbers for people, what is got without training beside them."""
    names = "".join(f"{name:>17}" for name in floors)
    lines = [f"{'':<29}{'generator':>11}{names}   ideal"]
    for key, value in made.items():
        title, digits, ideal = ROWS[key]
        beside = "".join(f"{_shown(floor.get(key), digits):>17}" for floor in floors.values())
        lines.append(f"{title:<29}{value:>11.{digits}f}{beside}   {ideal}")
    return "\n".join(lines)


def _shown(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
