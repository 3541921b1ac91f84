"""Samples of a generator beside real images, and how near they are.

:class:`RealImages` compares what a classifier sees in them, :class:`RealPatches` patches of their
pixels, for which no classes are needed. The same numbers are computed for real images, as many as
samples: the floor. It says what a perfect generator would get from this measure, this number and
these images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ms_gan import data
from ms_gan.errors import UserError
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation import metrics, pyramid
from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.sampling import Sampler
from ms_gan.system import streams
from ms_gan.system.streams import Choice

NEAREST = 2000  # samples, and test images, whose nearest training image is looked for
NEIGHBOURS = 5  # k of precision, recall, density and coverage
FEW, FEW_PATCHED = 1000, 100  # fewer images than that: the numbers say little
PIXELS = 2**24  # of the training images that are searched for copies at once

DISTANCE = Headline("frechet_classifier_distance", "Frechet classifier distance", "distance")
SLICED = Headline("sliced_wasserstein", "sliced Wasserstein distance", "SWD")
LEVELS = "sliced_wasserstein_levels"  # {"64x64": its part, height x width, the finest first}

# key of the result, name in the table, its ideal; what is ideal for equal distributions is None
ROWS = (
    (DISTANCE.key, DISTANCE.title, "0"),
    ("kernel_distance", "kernel distance", "0"),
    ("precision", "precision", "floor"),
    ("recall", "recall", "floor"),
    ("density", "density", "1"),
    ("coverage", "coverage", "floor"),
    ("classifier_score", "classifier score", "floor"),
    ("classes_seen", "classes seen", ""),
    ("class_kl", "KL of the classes", "0"),
    (SLICED.key, SLICED.title, "floor"),
    ("nearest_distance", "nearest training image", "floor"),
    ("nearest_share", "share that is very near", "floor"),
    ("label_accuracy", "labels obeyed", "1"),
)


class EvaluationError(UserError, ValueError):
    """A generator that cannot be compared with these data."""


@contextmanager
def in_one_line() -> Iterator[None]:
    """What the metrics refuse, as an EvaluationError."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise EvaluationError(
            f"the images cannot be compared: {error}; take another checkpoint, classifier or data"
        ) from None


class RealImages:
    """Test images, measured once; any number of generators can be compared with them.

    Args:
        classifier: its features are compared.
        train, test: as `data.splits` gives them.
        num: samples of each generator, and training images for the floor (if there are as many).
        host: let the classifier run with NumPy.

    Attributes:
        floor: what `compare` gives, of training images. It depends on `num`, not on a generator.
        shares: float64 [K], how often each class occurs in the training images.
        num_classes: how many of them occur.
        accuracy: of the classifier on the test images.

    Raises:
        UserError: fewer samples or images than neighbours, or images of another shape or range.
    """

    def __init__(
        self,
        classifier: clf.Classifier,
        train: data.Dataset,
        test: data.Dataset,
        *,
        num: int,
        host: bool = False,
    ):
        least = min(num, len(train), len(test))
        if least <= NEIGHBOURS:
            raise EvaluationError(
                f"{least} images cannot be compared; expected more than {NEIGHBOURS}, "
                "better some thousand"
            )
        self.classifier, self.num, self.host = classifier, num, host
        self.shares = train.class_shares
        self.num_classes = int(np.count_nonzero(self.shares))
        self.features, probabilities = clf.predict(classifier, test.images, host=host)
        self.accuracy = float(np.mean(probabilities.argmax(axis=1) == test.labels))
        real = train.take(some_rows(len(train), min(num, len(train))))
        self.floor = self._measure(clf.predict(classifier, real.images, host=host), real.labels)

    def compare(self, sampler: Sampler, *, seed: int) -> dict[str, Any]:
        """All metrics of the samples that `generate --seed` makes: {key of ROWS: number,
        "shares": [K]}.
        """
        parts, given = [], []
        for images, labels in sampler.chunks(seed, self.num):
            parts.append(clf.predict(self.classifier, images, host=self.host))
            given.append(labels)
        features, probabilities = (np.concatenate(part) for part in zip(*parts, strict=True))
        same_classes = sampler.num_classes == self.classifier.num_classes
        labels = np.concatenate(given) if same_classes else None
        return self._measure((features, probabilities), labels)

    def _measure(
        self, found: tuple[np.ndarray, np.ndarray], labels: np.ndarray | None
    ) -> dict[str, Any]:
        values = measure(self.features, *found, self.shares)
        if labels is not None:
            values["label_accuracy"] = float(np.mean(found[1].argmax(axis=1) == labels))
        return values


class RealPatches:
    """Real images by the patches of their pyramids (:mod:`pyramid`), cut once.

    All sets that are compared have the same number of images.

    Args:
        others, reference: real images; samples are compared with the reference, and so are the
            others for the floor.
        num: images of each set, fewer if there are fewer real ones.
        seed: of the places and directions of the comparison.

    Attributes:
        num: how many images of each set are compared.
        floor: what `compare` gives, of the others.

    Raises:
        EvaluationError: there is no image in one of the sets.
    """

    def __init__(self, others: data.Dataset, reference: data.Dataset, *, num: int, seed: int):
        self.num = min(num, len(others), len(reference), pyramid.MOST)
        if self.num < 1:
            raise EvaluationError(
                f"{len(others) + len(reference)} images cannot be compared; expected 2 or more, "
                "better some hundred"
            )
        self.seed = seed
        self.sizes = pyramid.sizes(*reference.image_shape[1:])
        self.patches = self._patches(some_of(reference, self.num))
        self.floor = self._measure(some_of(others, self.num))

    def compare(self, sampler: Sampler, *, seed: int) -> dict[str, Any]:
        """Of the samples that `generate --seed` makes, as 8 bits: {SLICED.key: the mean over the
        levels, LEVELS: {size: number}}.
        """
        parts = [_bytes(images) for images, _ in sampler.chunks(seed, self.num)]
        return self._measure(np.concatenate(parts))

    def _patches(self, images: np.ndarray) -> list[np.ndarray]:
        return pyramid.patches(images, seed=self.seed)

    def _measure(self, images: np.ndarray) -> dict[str, Any]:
        found = pyramid.distances(self.patches, self._patches(images), seed=self.seed)
        names = (f"{height}x{width}" for height, width in self.sizes)
        return {
            SLICED.key: float(np.mean(found)),
            LEVELS: dict(zip(names, found, strict=True)),
        }


def some_of(dataset: data.Dataset, num: int) -> np.ndarray:
    """`num` of its images, always the same ones."""
    return dataset.images[some_rows(len(dataset), num)]


def _bytes(images: np.ndarray) -> np.ndarray:
    """Samples as `generate` writes them; refused where that would hide what they are."""
    if not np.isfinite(images).all():
        raise EvaluationError("the samples hold NaN or infinity; take an earlier checkpoint")
    return visualise.to_uint8(images)


def compare(
    sampler: Sampler, real: RealImages | None, patches: RealPatches, *, seed: int
) -> dict[str, Any]:
    """What both say of the samples that `generate --seed` makes, beside their floors.

    Returns:
        {"generated": {key of ROWS: number}, "floor": the same of real images, LEVELS: {size:
        {"generated": number, "floor": number}}, "sliced_wasserstein_images": of each set}; of a
        classifier also "shares" in both, and "reference_shares".
    """
    result: dict[str, Any] = {"generated": {}, "floor": {}}
    for measure in filter(None, (real, patches)):
        result["generated"].update(measure.compare(sampler, seed=seed))
        result["floor"].update(measure.floor)
    if real is not None:
        result["reference_shares"] = real.shares.tolist()
    generated, floor = result["generated"].pop(LEVELS), result["floor"].pop(LEVELS)
    return {
        **result,
        LEVELS: {size: {"generated": generated[size], "floor": floor[size]} for size in floor},
        "sliced_wasserstein_images": patches.num,
    }


@dataclass(frozen=True)
class Memorisation:
    """Samples and the training images that are nearest to them, pixel by pixel."""

    samples: np.ndarray  # float32 [N, C, H, W] in [-1, 1]
    nearest: np.ndarray  # the same, of the training images
    distances: np.ndarray  # float64 [N], Euclidean
    real_distances: np.ndarray  # [M], of test images to their nearest training image

    def numbers(self) -> tuple[dict[str, float], dict[str, float]]:
        """For samples and for test images: the median distance, and the share that is nearer than
        all but one in a hundred test images. A generator that copies has a small median and a
        large share. Without a test image, only the median of the samples is known.
        """
        if not len(self.real_distances):
            return {"nearest_distance": float(np.median(self.distances))}, {}
        limit = np.quantile(self.real_distances, 0.01)
        samples, real = (
            {
                "nearest_distance": float(np.median(distances)),
                "nearest_share": float(np.mean(distances < limit)),
            }
            for distances in (self.distances, self.real_distances)
        )
        return samples, real

    def picture(self, num: int = 48, columns: int = 6) -> np.ndarray:
        """Pairs of sample and training image, from the nearest to the farthest, all ranks."""
        ranks = visualise.evenly(len(self.samples), num)
        rows = np.argsort(self.distances, kind="stable")[ranks]
        return visualise.pairs(self.samples[rows], self.nearest[rows], columns=columns)


def memorisation(
    sampler: Sampler, train: data.Dataset, test: data.Dataset, *, num: int, seed: int
) -> Memorisation:
    """Look for copies of training images among the first samples, 2,000 at most.

    Up to 2,000 test images, which the generator has never seen, say how near is usual.
    """
    samples, _ = sampler.samples(seed, min(num, NEAREST))
    real = data.to_float(some_of(test, min(NEAREST, len(test))))
    with in_one_line():
        rows, distances = nearest(train.images, samples)
        real_distances = nearest(train.images, real)[1] if len(real) else np.zeros(0)
    return Memorisation(samples, data.to_float(train.images[rows]), distances, real_distances)


def nearest(known: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """:func:`metrics.nearest` of images [N, C, H, W], a part of the known ones at a time.

    Args:
        known: uint8. wanted: float in [-1, 1].
    """
    rows, distances = np.zeros(len(wanted), np.int64), np.full(len(wanted), np.inf)
    step = max(1, PIXELS // known[0].size)
    for start in range(0, len(known), step):
        some = data.to_float(known[start : start + step])
        near, found = metrics.nearest(_pixels(some), _pixels(wanted))
        better = found < distances
        rows[better], distances[better] = near[better] + start, found[better]
    return rows, distances


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def some_rows(total: int, num: int) -> np.ndarray:
    """`num` different rows of `total`, always the same ones, in order."""
    return np.sort(streams.chosen(Choice.FLOOR, total, num)[:num])


def measure(
    reference: np.ndarray, features: np.ndarray, probabilities: np.ndarray, shares: np.ndarray
) -> dict[str, Any]:
    """The metrics of images against the reference, as plain numbers.

    Args:
        reference: features float [N, d] of the test images.
        features, probabilities: float [M, d] and [M, K] of the images to be judged.
        shares: [K], how often each class should occur. Those of 0 count neither as seen nor in the
            balance of the classes, which is left out where no image is of another class.
    """
    labels, present = probabilities.argmax(axis=1), shares > 0
    counts = np.bincount(labels, minlength=len(shares))
    known = (np.cumsum(present) - 1)[labels[present[labels]]]  # numbered without absent classes
    with in_one_line():
        prdc = metrics.precision_recall_density_coverage(reference, features, k=NEIGHBOURS)
        values = {
            DISTANCE.key: metrics.frechet_distance(reference, features),
            "kernel_distance": metrics.kernel_distance(reference, features),
            **asdict(prdc),
            "classifier_score": metrics.classifier_score(probabilities),
            "classes_seen": len(np.unique(known)),
        }
        if len(known):
            values["class_kl"] = metrics.class_kl(known, int(present.sum()), shares[present])
    return {**values, "shares": (counts / len(labels)).tolist()}


def doubts(real: RealImages | None, patches: RealPatches, test: data.Dataset) -> list[str]:
    """Why the numbers may mean little, a line each."""
    lines = []
    if real is not None:
        if doubt := clf.doubt(real.accuracy, test):
            lines.append(f"{doubt}: its numbers say nothing about the samples")
        if min(real.num, len(test)) < FEW:
            lines.append(
                f"{real.num:,} samples and {len(test):,} test images are few: below some {FEW:,} "
                "of both, the classifier's numbers are far from what more images would give; read "
                "them beside their floor only"
            )
    if patches.num < FEW_PATCHED:
        lines.append(
            f"{patches.num} samples beside {patches.num} real images are few: below some "
            f"{FEW_PATCHED}, {SLICED.short} and the nearest images tell large differences only"
        )
    return lines


def table(result: dict[str, Any], classes: tuple[str, ...]) -> str:
    """The result for people: the floor beside every number."""
    generated, floor = result["generated"], result["floor"]
    present = np.count_nonzero(result.get("reference_shares", 0))
    lines = [f"{'':<29}{'generated':>11}{'floor':>11}   ideal"]
    for key, name, ideal in ROWS:
        if key in generated:
            lines.append(_row(name, generated[key], floor.get(key), ideal or present))
        if key == SLICED.key:
            lines += _rows_of_levels(result)
    if "shares" not in generated:
        return "\n".join(lines)
    for name, share, real, true in zip(
        classes, generated["shares"], floor["shares"], result["reference_shares"], strict=True
    ):
        percents = f"{100 * share:>9.2f} %{100 * real:>9.2f} %"
        lines.append(f"{f'share of {name}'[:28]:<29}{percents}   {100 * true:.2f} %")
    return "\n".join(lines)


def _rows_of_levels(result: dict[str, Any]) -> list[str]:
    """The parts of the sliced Wasserstein distance, if there is more than one."""
    parts = result.get(LEVELS, {})
    return [
        _row(f"  at {size} pixels", part["generated"], part["floor"], "floor")
        for size, part in parts.items()
        if len(parts) > 1
    ]


def _row(name: str, value: float, floor: float | None, ideal: object) -> str:
    beside = "" if floor is None else _number(floor)
    return f"{name:<29}{_number(value):>11}{beside:>11}   {ideal}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"
