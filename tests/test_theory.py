"""The optimal discriminator: the script of docs/theory.md against numerical integration."""

import numpy as np
import pytest

from tests import tiny


@pytest.fixture(scope="module")
def script():
    return tiny.script("optimal_discriminator")


def test_densities_and_divergence(script):
    """Both integrate to 1 on the grid; JS is that of its definition with entropies."""
    p, q = (script.density(mixture, script.GRID) for mixture in (script.P_DATA, script.P_G))
    for density in (p, q):
        assert np.trapz(density, script.GRID) == pytest.approx(1.0, abs=1e-6)

    def entropy(density):
        return -np.trapz(density * np.log(density), script.GRID)

    expected = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    assert script.jensen_shannon() == pytest.approx(expected, abs=1e-6)


def test_samples_follow_the_density(script, rng):
    for mixture in (script.P_DATA, script.P_G):
        x = script.sample(mixture, rng, 100_000).ravel()
        counts, edges = np.histogram(x, bins=20, range=(-4, 4))
        inside = np.linspace(edges[:-1], edges[1:], 51)
        mass = np.trapz(script.density(mixture, inside), inside, axis=0)
        assert np.abs(counts / len(x) - mass).max() < 0.01


def test_the_closed_form_minimises_the_loss(script):
    """At D* the loss is 2 log 2 - 2 JS, and every other D has a larger one."""
    p, q = (script.density(mixture, script.GRID) for mixture in (script.P_DATA, script.P_G))

    def loss(d):
        return -np.trapz(p * np.log(d) + q * np.log(1 - d), script.GRID)

    best = script.optimal(script.GRID)
    assert script.compare(best, loss(best)) == pytest.approx((0, script.jensen_shannon()), abs=1e-6)
    for other in (0.9 * best, np.full_like(best, 0.5), np.clip(best + 0.05, 0, 0.999)):
        assert loss(other) > loss(best) + 1e-3


def test_a_trained_discriminator_is_the_closed_form(script, tmp_path):
    learned, loss = script.train(steps=800, batch_size=512)
    error, divergence = script.compare(learned, loss)
    assert error < 0.02
    assert divergence == pytest.approx(script.jensen_shannon(), abs=0.005)
    script.draw(tmp_path / "figure.png", learned)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
