"""The one number that stands for quality: whatever it is, captions, curves and best follow it."""

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from ms_gan import build
from ms_gan.cli.train import best_line
from ms_gan.data import Batches, load
from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.recipe.schema import Every
from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir
from ms_gan.training import trainer
from ms_gan.training.feed import Feed
from tests.tiny import state_of

PSNR = Headline("psnr", "peak signal-to-noise ratio, dB", "PSNR", smaller=False, logarithmic=False)


def test_better_and_said():
    assert DISTANCE.better(1.0, 2.0) and not DISTANCE.better(2.0, 1.0)
    assert PSNR.better(30.0, 20.0) and not PSNR.better(20.0, 30.0)
    for headline in (DISTANCE, PSNR):
        assert not headline.better(1.0, 1.0) and not headline.better(np.nan, 1.0)
    assert DISTANCE.said(3.094) == "distance 3.09" and PSNR.said(30.25, 1) == "PSNR 30.2"


class Measured:
    """In place of a monitor: numbers that were made up, the largest in the middle."""

    def __init__(self, values):
        self.values, self.rows = values, []

    def measure(self, step, sampler, row):
        self.rows.append({"step": step, "psnr": self.values[step], "floor": 40.0})
        return {"psnr": self.values[step], "floor": 40.0}

    @property
    def improved(self):
        *earlier, newest = (row["psnr"] for row in self.rows)
        return all(PSNR.better(newest, value) for value in earlier)

    @property
    def latest(self):
        return self.rows[-1]


def test_a_run_with_another_headline(tmp_path):
    """Larger is better: best.ckpt, captions, curve and the closing line."""
    digits = load("digits", size=8)
    state = state_of(digits.image_shape, batch=16, model={"name": "gan", "latent_dim": 4})
    feed = Feed(Batches(digits, 16, seed=0), state.rows, seed=0)
    run, values = RunDir(tmp_path), {2: 20.25, 4: 31.5, 6: 25.75}
    run.samples.mkdir()
    run.checkpoints.mkdir()
    assert trainer.train(
        state, feed, run,
        steps=6, every=Every(log=1, sample=2, evaluate=2, save=0, keep=1),
        gallery=lambda sampler: sampler.gallery(0), headline=PSNR, show=lambda *_, **__: None,
        quality=Measured(values),
    )  # fmt: skip
    assert {row["step"]: row["psnr"] for row in run.read_log() if "psnr" in row} == values
    meta = build.load_sampler(run.best_file).meta
    assert meta["step"] == 4 and meta["evaluation"] == {"step": 4, "psnr": 31.5, "floor": 40.0}
    assert best_line(run, PSNR) == f"best at step 4: PSNR 31.50 (floor 40.00): {run.best_file}"

    captions = ["step 0", "step 2  PSNR 20.2", "step 4  PSNR 31.5", "step 6  PSNR 25.8"]
    samples = [iio.imread(path) for _, path in run.sample_files()]
    with Image.open(run.gif_file) as film:
        for i, (sample, caption) in enumerate(zip(samples, captions, strict=True)):
            film.seek(i)
            expected = visualise.captioned(sample, caption)
            np.testing.assert_array_equal(np.asarray(film.convert("L")), expected)

    with_curve = iio.imread(run.curves_file)
    visualise.save_curves(tmp_path / "without.png", run.read_log(), DISTANCE)
    without = iio.imread(tmp_path / "without.png")
    assert len(with_curve) == pytest.approx(1.5 * len(without), abs=1)
