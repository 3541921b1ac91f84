"""The ring of docs/theory.md, section 6: how modes are counted, and that every combination runs."""

import numpy as np
import pytest

from tests import tiny

script = tiny.script("mode_collapse")


def test_data_has_every_mode(rng):
    points = script.data(rng, 2500)
    assert points.shape == (2500, 2, 1, 1) and points.dtype == np.float32
    modes, quality = script.count(points.reshape(-1, 2))
    assert modes == script.NUM_MODES
    assert quality == pytest.approx(1 - np.exp(-4.5), abs=0.01)  # radius of a Gaussian in a plane


def test_circles_do_not_overlap():
    gaps = np.linalg.norm(script.CENTRES[:, None] - script.CENTRES, axis=2)
    assert gaps[~np.eye(script.NUM_MODES, dtype=bool)].min() > 6 * script.STD


def test_count_of_constructed_samples(rng):
    one = np.tile(script.CENTRES[:1], (2500, 1))
    assert script.count(one) == (1, 1.0)
    assert script.count(one + [3.01 * script.STD, 0]) == (0, 0.0)
    assert script.count(one + [2.99 * script.STD, 0]) == (1, 1.0)
    modes, quality = script.count(rng.uniform(-1, 1, (100_000, 2)))  # every circle: 0.28%
    assert modes == 0
    assert quality == pytest.approx(8 * np.pi * (3 * script.STD) ** 2 / 4, abs=0.002)


@pytest.mark.parametrize("strays, modes", [(24, 1), (25, 2)])
def test_a_mode_needs_one_percent(strays, modes):
    points = np.tile(script.CENTRES[0], (2500, 1))
    points[:strays] = script.CENTRES[3]
    assert script.count(points) == (modes, 1.0)


def test_a_few_steps_of_every_combination(tmp_path):
    results = {}
    for name in script.COMBINATIONS:
        points, history = results[name, 0] = script.train(name, seed=0, steps=5)
        assert points.shape == (script.NUM_SAMPLES, 2) and np.isfinite(points).all()
        assert [step for step, *_ in history] == [5]
    lines = script.table(results, [0]).splitlines()
    assert len(lines) == 1 + len(script.COMBINATIONS)
    script.draw(tmp_path / "figure.png", results, [0])
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.slow
def test_repairs_capture_more_modes():
    modes = {name: script.train(name)[1][-1][1] for name in script.COMBINATIONS}
    plain = modes.pop("non_saturating")
    assert min(modes.values()) >= plain
    assert modes["relativistic + r1_r2"] == script.NUM_MODES
