"""A light evaluation while training: the curve of quality, the best generator, collapse noticed.

A monitor measures some samples of the shown generator as `ms-gan evaluate` does, only fewer, and
with NumPy alone, so that the numbers are the same on every device. What it decides is a function of
the rows that stand in the log: a continued run decides as one that was never interrupted.

Where a classifier fits the images, :class:`Monitor` asks it; else :class:`PatchMonitor` compares
patches of pixels, which needs no classes. :class:`PictureMonitor` is for generators that receive
pictures: they have a truth to be compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ms_gan import data
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation import evaluator, modes
from ms_gan.evaluation.evaluator import DISTANCE, SLICED
from ms_gan.evaluation.translation import Judge
from ms_gan.runs.headline import Headline
from ms_gan.runs.sampling import Sampler
from ms_gan.runs.translating import Translator
from ms_gan.system.output import Say

STACKED_NUM = 10_000  # samples of stacked images: ten of each mode
NUM = 2000  # samples, test images and training images (for the floor)
LOGGED = (DISTANCE.key, "precision", "recall", "coverage", "classes_seen", "shares")
PATCHES_LOGGED = (SLICED.key, evaluator.LEVELS)
COVERAGE_LEFT = 0.8  # of the best so far; below it, coverage has fallen
COVERAGE_KNOWN = 0.1  # a best coverage below this is not yet one to fall from
D_WINS = 2.77  # mean score of real images minus that of fakes: D(x) = 0.8, D(G(z)) = 0.2


class Measured:
    """What the log says so far decides what is best.

    Args:
        rows: of the log so far; only those with this measure count.
        say: receives a line for each evaluation.
    """

    headline: Headline
    keys: tuple[str, ...]  # of an evaluation in the log, beside the floor

    def __init__(self, rows: Iterable[Mapping[str, Any]], say: Say):
        self.rows = [dict(row) for row in rows if self.headline.key in row]
        self.say = say

    def compared(self, step: int, sampler: Sampler, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets of a comparison with the real images, which `rows` get too."""
        found = self.real.compare(sampler, seed=self.seed)
        values = {**logged(found, self.keys), "floor": self.floor}
        self.rows.append({"step": step, **row, **values})
        return values

    def rehearse(self, sampler: Sampler) -> None:
        """Take as long as `measure` does, without a trace."""
        self.real.compare(sampler, seed=self.seed)

    @property
    def latest(self) -> dict[str, Any]:
        """The newest evaluation alone."""
        return {key: self.rows[-1][key] for key in (*self.keys, "floor")}

    @property
    def improved(self) -> bool:
        """Whether the newest headline is better than all before."""
        *earlier, newest = (row[self.headline.key] for row in self.rows)
        return all(self.headline.better(newest, value) for value in earlier)


class Monitor(Measured):
    """Measures a generator again and again, always with the same latents and the same images.

    Args:
        classifier: takes the images of the generator.
        train, test: as `data.splits` gives them; the floor is that of training images.
        seed: of the latents.
        rows: of the log so far; only those with an evaluation count.
        num: samples; fewer if there are fewer training images.
        say: receives a line for each evaluation, and one where a collapse begins.
    """

    headline = DISTANCE
    keys = LOGGED

    def __init__(
        self,
        classifier: clf.Classifier,
        train: data.Dataset,
        test: data.Dataset,
        *,
        seed: int,
        rows: Iterable[Mapping[str, Any]] = (),
        num: int = NUM,
        say: Say = lambda line: None,
    ):
        super().__init__(rows, say)
        self.seed = seed
        some = test.take(evaluator.some_rows(len(test), min(num, len(test))))
        self.real = evaluator.RealImages(
            classifier, train, some, num=min(num, len(train)), host=True
        )
        floor = logged(self.real.floor, self.keys)
        self.floor = floor[DISTANCE.key]
        say(
            f"evaluation: {self.real.num} samples against {len(some)} test images; the floor "
            f"(real images): distance {self.floor:.2f}, precision {floor['precision']:.2f}, "
            f"recall {floor['recall']:.2f}, coverage {floor['coverage']:.2f}"
        )

    def measure(self, step: int, sampler: Sampler, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets at this step beside `row`, which holds the mean scores."""
        values = self.compared(step, sampler, row)
        self.say(
            f"step {step}: {DISTANCE.said(values[DISTANCE.key])}, "
            f"precision {values['precision']:.2f}, recall {values['recall']:.2f}, "
            f"coverage {values['coverage']:.2f}, "
            f"{values['classes_seen']} of {self.real.num_classes} classes"
        )
        problem = collapse(self.rows, self.real.num_classes)
        if problem:
            if not any("warning" in earlier for earlier in self.rows[-2:-1]):
                self.say(f"warning: step {step}: {problem}; see docs/metrics.md")
            values["warning"] = self.rows[-1]["warning"] = problem
        return values


class PatchMonitor(Measured):
    """The same by patches of pixels: for images that no classifier fits.

    Args:
        others, reference: real images, as `data.halves` gives them; their distance is the floor.
        seed: of the latents, and of the places and directions of the comparison.
        rows, say: as for :class:`Monitor`.
        num: samples; fewer if there are fewer real images.
    """

    headline = SLICED
    keys = PATCHES_LOGGED

    def __init__(
        self,
        others: data.Dataset,
        reference: data.Dataset,
        *,
        seed: int,
        rows: Iterable[Mapping[str, Any]] = (),
        num: int = NUM,
        say: Say = lambda line: None,
    ):
        super().__init__(rows, say)
        self.seed = seed
        self.real = evaluator.RealPatches(others, reference, num=num, seed=seed)
        floor = logged(self.real.floor, self.keys)
        self.floor = floor[SLICED.key]
        say(
            f"evaluation: {self.real.num} samples against as many real images by the sliced "
            f"Wasserstein distance (SWD), times 1000; the floor (real images): "
            f"{SLICED.said(self.floor)}{of_levels(floor)}"
        )

    def measure(self, step: int, sampler: Sampler, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets at this step."""
        values = self.compared(step, sampler, row)
        self.say(f"step {step}: {SLICED.said(values[SLICED.key])}{of_levels(values)}")
        return values


class ModeMonitor(Measured):
    """The same by the modes of stacked images.

    Args:
        classifier: reads one channel.
        train: real images, for the floor.
        seed: of the latents.
        rows, say: as for :class:`Monitor`.
        num: samples.
    """

    headline = modes.MODE_KL
    keys = modes.KEYS

    def __init__(
        self,
        classifier: clf.Classifier,
        train: data.Dataset,
        *,
        seed: int,
        rows: Iterable[Mapping[str, Any]] = (),
        num: int = STACKED_NUM,
        say: Say = lambda line: None,
    ):
        super().__init__(rows, say)
        self.seed = seed
        self.real = modes.RealModes(classifier, train, num=num, host=True)
        self.floor = round(self.real.floor[self.headline.key], 6)
        say(
            f"evaluation: {self.real.num} samples; the floor (real images): "
            f"{self.real.floor['modes']} of {self.real.num_modes} modes, "
            f"{self.headline.said(self.floor, 4)}"
        )

    def measure(self, step: int, sampler: Sampler, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets at this step."""
        values = self.compared(step, sampler, row)
        self.say(
            f"step {step}: {values['modes']} of {self.real.num_modes} modes, "
            f"{self.headline.said(values[self.headline.key], 4)}"
        )
        return values


class PictureMonitor(Measured):
    """The same of a generator from picture to picture, which a judge compares with the truth.

    Args:
        judge: a row of `translation.JUDGES`, ready to compare.
        rows, say: as for :class:`Monitor`.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        rows: Iterable[Mapping[str, Any]] = (),
        say: Say = lambda line: None,
    ):
        self.headline, self.keys = judge.headline, judge.keys
        super().__init__(rows, say)
        self.real, self.seed = judge, 0
        self.floor = round(judge.floor[self.headline.key], 6)
        numbers = {name: values[self.headline.key] for name, values in judge.floors.items()}
        floors = (f"{name} {value:.2f}" for name, value in numbers.items() if np.isfinite(value))
        say(
            f"evaluation: {len(judge.real)} pictures by {self.headline.title}; without training: "
            f"{', '.join(floors)}"
        )

    def measure(self, step: int, sampler: Translator, row: Mapping[str, Any]) -> dict[str, Any]:
        """What the log gets at this step."""
        values = self.compared(step, sampler, row)
        self.say(f"step {step}: {self.headline.said(values[self.headline.key])}")
        return values


def of_levels(values: Mapping[str, Any]) -> str:
    """` (64x64 12.31, 32x32 9.07, 16x16 20.45)`; nothing where there is one level only."""
    levels = values[evaluator.LEVELS]
    parts = (f"{size} {value:.2f}" for size, value in levels.items())
    return f" ({', '.join(parts)})" if len(levels) > 1 else ""


def logged(values: Mapping[str, Any], keys: Iterable[str] = LOGGED) -> dict[str, Any]:
    """What of an evaluation goes to the log, with as many digits as mean something."""
    return {key: _rounded(values[key]) for key in keys}


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [round(share, 4) for share in value]
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def collapse(rows: Sequence[Mapping[str, Any]], num_classes: int) -> str | None:
    """What is wrong at the last of the evaluated rows, in a few words; None: nothing.

    Modes are lost where classes are missing and an earlier evaluation saw at least as many: a
    generator that is still finding new ones is left alone. The generator collapses where coverage
    is below four fifths of its best (if that was at least 0.1) while the discriminator wins: it
    scores real images 2.77 above fakes on average, as with D(x) = 0.8 and D(G(z)) = 0.2. The
    difference counts, since some losses leave it open where zero lies.

    Args:
        rows: with the keys classes_seen, coverage, real_score, fake_score.
    """
    *earlier, row = rows
    if not earlier:
        return None
    seen = row["classes_seen"]
    if seen < num_classes and seen <= max(r["classes_seen"] for r in earlier):
        return f"modes lost: {seen} of {num_classes} classes are left"
    best, coverage = max(r["coverage"] for r in earlier), row["coverage"]
    margin = row["real_score"] - row["fake_score"]
    if margin > D_WINS and best >= COVERAGE_KNOWN and coverage < COVERAGE_LEFT * best:
        return (
            f"coverage fell from {best:.2f} to {coverage:.2f} while the discriminator wins "
            f"(its scores of real images are {margin:.1f} above those of fakes)"
        )
    return None
