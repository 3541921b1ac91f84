"""Stacked images by their modes: a known mixture, the floor, the published protocol's numbers."""

import numpy as np
import pytest

from ms_gan import data
from ms_gan.evaluation import modes
from ms_gan.evaluation.monitor import ModeMonitor


class Reads:
    """Stands in for a classifier: the class of an image is its brightest level of ten."""

    num_classes = 10


@pytest.fixture(autouse=True)
def reads(monkeypatch):
    def predict(classifier, images, *, host=False):
        level = np.asarray(images, np.float32)
        if images.dtype == np.uint8:
            level = data.to_float(images)
        digit = np.rint((level[:, 0, 0, 0] + 1) * 4.5).astype(int)
        return level.reshape(len(level), -1), np.eye(10)[digit]

    monkeypatch.setattr(modes.clf, "predict", predict)


def stacked(numbers):
    """Images [N, 3, 2, 2] whose channels are the digits of numbers 0 .. 999, uint8."""
    digits = np.stack([numbers // 100, numbers // 10 % 10, numbers % 10], axis=1)
    return np.rint(digits / 9 * 255).astype(np.uint8)[:, :, None, None].repeat(2, 2).repeat(2, 3)


def dataset(numbers):
    numbers = np.asarray(numbers)
    names = tuple(f"{i:03d}" for i in range(1000))
    return data.Dataset("stacked_mnist", stacked(numbers), numbers.astype(np.int32), names, "", {})


class Sampler:
    """Makes images of these numbers."""

    def __init__(self, numbers):
        self.images = data.to_float(stacked(np.asarray(numbers)))

    def chunks(self, seed, num, *, size):
        for start in range(0, num, size):
            yield self.images[start : min(num, start + size)], None


def test_every_mode_once_is_the_best_there_is():
    real = modes.RealModes(Reads(), dataset(np.arange(1000)), num=5000)
    assert real.num == 1000 and real.num_modes == 1000
    assert real.floor == {"modes": 1000, "mode_kl": pytest.approx(0.0, abs=1e-9)}


def test_lost_modes_and_the_closed_form_of_kl():
    real = modes.RealModes(Reads(), dataset(np.arange(1000)), num=1000)
    half = real.compare(Sampler(np.arange(1000) % 500), seed=1)  # 500 modes, each twice
    assert half == {"modes": 500, "mode_kl": pytest.approx(np.log(2))}
    one = real.compare(Sampler(np.full(1000, 777)), seed=1)
    assert one == {"modes": 1, "mode_kl": pytest.approx(np.log(1000))}


def test_the_floor_of_26000_images_is_the_published_one(rng):
    real = modes.RealModes(Reads(), dataset(rng.integers(0, 1000, 30_000)), num=26_000)
    assert real.floor["modes"] == 1000
    assert real.floor["mode_kl"] == pytest.approx(999 / 52_000, abs=0.002)  # (K - 1) / 2N


def test_the_monitor_logs_both_and_knows_what_is_better():
    said = []
    monitor = ModeMonitor(Reads(), dataset(np.arange(1000)), seed=0, num=1000, say=said.append)
    first = monitor.measure(1, Sampler(np.arange(1000) % 10), {})
    assert first["modes"] == 10 and monitor.improved
    second = monitor.measure(2, Sampler(np.arange(1000)), {})
    assert second["mode_kl"] == 0.0 and second["floor"] == 0.0 and monitor.improved
    assert not (monitor.measure(3, Sampler(np.arange(1000) % 500), {}) and monitor.improved)
    assert said[0].endswith("1000 of 1000 modes, KL 0.0000")
    assert said[1] == "step 1: 10 of 1000 modes, KL 4.6052"


def test_other_images_are_not_stacked():
    images = np.zeros((4, 1, 28, 28), np.uint8)
    plain = data.Dataset("mnist", images, np.zeros(4, np.int32), (), "", {})
    assert modes.shipped_for(plain) is None
