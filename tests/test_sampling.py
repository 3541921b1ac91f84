"""Images are a function of the generator and the seed alone."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import nn

from ms_gan import build
from ms_gan.recipe.schema import Config, Part
from ms_gan.runs import sampling

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def generator():
    """A small generator with BatchNorm whose every number is random."""
    part = Part("gan", {"latent_dim": 10, "g_widths": [16, 32, 24]})
    net = build.build_net(Config("t", model=part), "generator", SHAPE, 0)
    rng = np.random.default_rng(0)
    for p in net.get_parameters():
        if "variance" in p.name:
            numbers = rng.uniform(0.5, 1.5, p.shape)
        else:
            numbers = rng.standard_normal(p.shape) / np.sqrt(p.shape[-1] if p.ndim == 2 else 4)
        p.set_data(ms.Tensor(numbers.astype(np.float32)))
    return net


# --- latents --------------------------------------------------------------------------------------


def test_the_first_latents_do_not_depend_on_how_many_there_are():
    many = sampling.latents(3, 1000, 10)
    for num in (1, 2, 7, 999):
        np.testing.assert_array_equal(sampling.latents(3, num, 10), many[:num])


def test_latents_depend_on_the_seed_only():
    np.testing.assert_array_equal(sampling.latents(3, 5, 10), sampling.latents(3, 5, 10))
    rows = np.concatenate([sampling.latents(seed, 5, 10) for seed in range(20)])
    assert len(np.unique(rows)) == rows.size  # no number twice
    before = np.random.get_state()[1].copy()
    sampling.latents(0, 5, 10)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_latents_are_standard_normal():
    z = sampling.latents(0, 4000, 50).astype(np.float64)
    assert z.shape == (4000, 50) and sampling.latents(0, 1, 2).dtype == np.float32
    n = z.size
    assert abs(z.mean()) < 4 / np.sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * np.sqrt(2 / n)
    assert abs((z**4).mean() - 3) < 4 * np.sqrt(96 / n)
    correlations = np.corrcoef(z.T)[np.triu_indices(50, 1)]
    assert abs(correlations).max() < 5 / np.sqrt(4000)


def test_training_noise():
    z, uniform, _ = sampling.training_noise(0, 7, 64, 10)
    again = sampling.training_noise(0, 7, 64, 10)
    np.testing.assert_array_equal(z, again[0])
    np.testing.assert_array_equal(uniform, again[1])
    assert (z.shape, z.dtype) == ((64, 10), np.float32)
    assert (uniform.shape, uniform.dtype) == ((64,), np.float32)
    assert uniform.min() >= 0 and uniform.max() < 1 and uniform.std() > 0.2
    others = [sampling.training_noise(seed, step, 64, 10)[0] for seed, step in ((0, 8), (1, 7))]
    for other in (*others, sampling.latents(0, 64, 10), sampling.latents(7, 64, 10)):
        assert not np.isin(z, other).any()


def test_big_seeds_and_steps():
    assert np.isfinite(sampling.latents(2**40, 2, 3)).all()
    assert np.isfinite(sampling.training_noise(2**32 - 1, 10**7, 2, 3)[0]).all()


# --- images ---------------------------------------------------------------------------------------


def test_shape_type_and_range(generator):
    images = sampling.generate(generator, 20 * sampling.latents(0, 70, 10))
    assert (images.shape, images.dtype) == ((70, *SHAPE), np.float32)
    assert images.min() >= -1 and images.max() <= 1 and images.std() > 0.1


def test_images_do_not_depend_on_their_number(generator):
    z = sampling.latents(0, 150, 10)
    images = sampling.generate(generator, z)
    for num in (1, 2, 63, 64, 65, 128, 149):
        np.testing.assert_array_equal(sampling.generate(generator, z[:num]), images[:num])


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100, 300])
def test_images_do_not_depend_on_the_batch_size(generator, batch_size):
    z = sampling.latents(0, 100, 10)
    images = sampling.generate(generator, z, batch_size=batch_size)
    np.testing.assert_allclose(images, sampling.generate(generator, z), atol=1e-5)


def test_images_do_not_depend_on_their_neighbours(generator):
    z = sampling.latents(0, 8, 10)
    other = np.concatenate([z[:1], 100 * sampling.latents(9, 7, 10)])
    one, same = sampling.generate(generator, z), sampling.generate(generator, other)
    np.testing.assert_array_equal(one[0], same[0])
    assert not np.allclose(one[1:], same[1:])


def test_a_generator_left_in_training_mode_is_used_in_inference_mode(generator):
    z = sampling.latents(0, 5, 10)
    expected = sampling.generate(generator, z)
    before = {p.name: p.asnumpy().copy() for p in generator.get_parameters()}
    generator.set_train(True)
    np.testing.assert_array_equal(sampling.generate(generator, z), expected)
    for p in generator.get_parameters():
        np.testing.assert_array_equal(p.asnumpy(), before[p.name])
    assert any("moving_mean" in name for name in before)


def test_labels_are_batched_with_the_latents():
    class Labelled(nn.Cell):
        def construct(self, z, labels):
            return (z * 0 + labels.reshape((-1, 1)) / 10).reshape((-1, 1, 1, 2))

    labels = np.arange(7, dtype=np.int32)
    images = sampling.generate(Labelled(), np.zeros((7, 2), np.float32), labels, batch_size=3)
    np.testing.assert_allclose(images[:, 0, 0, 0], labels / 10, atol=1e-6)


# --- walks ----------------------------------------------------------------------------------------


def test_interpolation_visits_the_latents():
    walk = sampling.interpolation(4, 100, stops=5, frames=8)
    points = sampling.latents(4, 5, 100)
    assert (walk.shape, walk.dtype) == ((40, 100), np.float32)
    np.testing.assert_allclose(walk[::8], points, atol=1e-6)


def test_interpolation_keeps_the_length_of_latents():
    walk = sampling.interpolation(4, 100, stops=6, frames=10)
    norms = np.linalg.norm(walk, axis=1).reshape(6, 10)
    ends = norms[:, 0], np.roll(norms[:, 0], -1)
    low, high = np.minimum(*ends)[:, None], np.maximum(*ends)[:, None]
    assert (norms > 0.9 * low).all() and (norms < 1.1 * high).all()
    straight = (walk[0] + walk[10]) / 2
    assert np.linalg.norm(straight) < 0.85 * norms.min()  # what a straight line would do


def test_interpolation_is_closed_and_even():
    walk = sampling.interpolation(4, 100, stops=6, frames=10).astype(np.float64)
    steps = np.linalg.norm(np.roll(walk, -1, axis=0) - walk, axis=1)
    assert steps.max() < 2 * steps.min()  # the step from the last to the first is one of them
    np.testing.assert_array_equal(walk, sampling.interpolation(4, 100, stops=6, frames=10))
    assert not np.allclose(walk, sampling.interpolation(5, 100, stops=6, frames=10))


@pytest.mark.parametrize("stops", [1, 2, 8])
def test_interpolation_on_a_line(stops):
    """With one latent dimension there is no arc between two latents."""
    walk = sampling.interpolation(0, 1, stops=stops, frames=4)
    assert np.isfinite(walk).all()
    np.testing.assert_allclose(walk[::4], sampling.latents(0, stops, 1), atol=1e-6)
    assert abs(walk).max() <= abs(sampling.latents(0, stops, 1)).max() + 1e-6


def test_labels_follow_the_shares():
    shares = np.array([0.1, 0.25, 0.0, 0.65])
    labels = sampling.class_labels(2000, 4, shares=shares)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(labels, minlength=4), 2000 * shares)
    seen = np.cumsum(np.eye(4)[labels], axis=0)
    behind = np.arange(1, 2001)[:, None] * shares - seen
    assert np.abs(behind).max() <= 1.0 and seen[-1, 2] == 0
    np.testing.assert_array_equal(sampling.class_labels(37, 4, shares=shares), labels[:37])
    equal = sampling.class_labels(50, 10, shares=np.full(10, 0.1))
    assert np.bincount(equal).tolist() == [5] * 10
    assert sampling.class_labels(3, 4, 2, shares).tolist() == [2, 2, 2]
    assert sampling.class_labels(3, 0, shares=shares) is None
