"""Samples of a generator and real images through a classifier, and how near they are.

The same numbers are computed for real training images, as many as samples: the floor. It says
what a perfect generator would get from this classifier, this number and this test set.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ms_gan import data
from ms_gan.errors import UserError
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation import metrics
from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.sampling import Sampler
from ms_gan.system import streams
from ms_gan.system.streams import Choice

NEAREST = 2000  # samples, and test images, whose nearest training image is looked for
NEIGHBOURS = 5  # k of precision, recall, density and coverage

DISTANCE = Headline("frechet_classifier_distance", "Frechet classifier distance", "distance")

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
    ("nearest_distance", "nearest training image", "floor"),
    ("nearest_share", "share that is very near", "floor"),
    ("label_accuracy", "labels obeyed", "1"),
)


class EvaluationError(UserError, ValueError):
    """A generator that cannot be compared with these data."""


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
        self.features = clf.predict(classifier, test.images, host=host)[0]
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
        large share.
        """
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
        num = min(num, len(self.samples))
        ranks = np.linspace(0, len(self.samples) - 1, num).round().astype(int)
        rows = np.argsort(self.distances, kind="stable")[ranks]
        return visualise.pairs(self.samples[rows], self.nearest[rows], columns=columns)


def memorisation(
    sampler: Sampler, train: data.Dataset, test: data.Dataset, *, num: int, seed: int
) -> Memorisation:
    """Look for copies of training images among the first samples, 2,000 at most.

    Up to 2,000 test images, which the generator has never seen, say how near is usual.
    """
    samples, _ = sampler.samples(seed, min(num, NEAREST))
    known = _pixels(data.to_float(train.images))
    real = data.to_float(test.images[some_rows(len(test), min(NEAREST, len(test)))])
    rows, distances = metrics.nearest(known, _pixels(samples))
    return Memorisation(
        samples,
        data.to_float(train.images[rows]),
        distances,
        metrics.nearest(known, _pixels(real))[1],
    )


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
        shares: [K], how often each class should occur.
    """
    labels, num_classes = probabilities.argmax(axis=1), len(shares)
    prdc = metrics.precision_recall_density_coverage(reference, features, k=NEIGHBOURS)
    counts = np.bincount(labels, minlength=num_classes)
    return {
        DISTANCE.key: metrics.frechet_distance(reference, features),
        "kernel_distance": metrics.kernel_distance(reference, features),
        **asdict(prdc),
        "classifier_score": metrics.classifier_score(probabilities),
        "classes_seen": metrics.modes(labels, num_classes),
        "class_kl": metrics.class_kl(labels, num_classes, shares),
        "shares": (counts / len(labels)).tolist(),
    }


def table(result: dict[str, Any], classes: tuple[str, ...]) -> str:
    """The result for people: the floor beside every number."""
    generated, floor = result["generated"], result["floor"]
    lines = [f"{'':<29}{'generated':>11}{'floor':>11}   ideal"]
    for key, name, ideal in ROWS:
        if key in generated:
            values = f"{_number(generated[key]):>11}{_number(floor[key]):>11}"
            lines.append(f"{name:<29}{values}   {ideal or len(classes)}")
    for name, share, real, true in zip(
        classes, generated["shares"], floor["shares"], result["reference_shares"], strict=True
    ):
        percents = f"{100 * share:>9.2f} %{100 * real:>9.2f} %"
        lines.append(f"{f'share of {name}'[:28]:<29}{percents}   {100 * true:.2f} %")
    return "\n".join(lines)


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"
