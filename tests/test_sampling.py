"""Images are a function of the generator and the seed alone."""

import dataclasses

import numpy as np
import pytest

from mindspore import nn

from ms_gan import build
from ms_gan.recipe.schema import Config, Part
from ms_gan.runs import sampling, visualise
from ms_gan.runs.sampling import Sampler
from tests.tiny import randomise, values

SHAPE = (1, 8, 8)


def make(num_classes=0):
    """A small generator with BatchNorm whose every number is random."""
    options = {"latent_dim": 10, "g_widths": [16, 32, 24], "conditional": num_classes > 0}
    config = Config("t", model=Part("gan", options))
    net = build.build_net(config, "generator", SHAPE, num_classes)
    return randomise(net, seed=0, scale=0.3)


@pytest.fixture(scope="module")
def generator():
    return make()


@pytest.fixture(scope="module")
def conditional():
    """A Sampler whose three classes are not equally frequent."""
    return Sampler(make(3), SHAPE, {"class_shares": [0.5, 0.125, 0.375]})


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


def test_big_seeds():
    assert np.isfinite(sampling.latents(2**40, 2, 3)).all()


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
    before = values(generator)
    generator.set_train(True)
    np.testing.assert_array_equal(sampling.generate(generator, z), expected)
    for name, value in values(generator).items():
        np.testing.assert_array_equal(value, before[name])
    assert any("moving_mean" in name for name in before)


def test_labels_are_batched_with_the_latents():
    class Labelled(nn.Cell):
        def construct(self, z, labels):
            return (z * 0 + labels.reshape((-1, 1)) / 10).reshape((-1, 1, 1, 2))

    labels = np.arange(7, dtype=np.int32)
    images = sampling.generate(Labelled(), np.zeros((7, 2), np.float32), labels, batch_size=3)
    np.testing.assert_allclose(images[:, 0, 0, 0], labels / 10, atol=1e-6)


# --- which images -----------------------------------------------------------------------------


def test_samples_are_those_of_the_seed(generator):
    """Whatever reads them: at once or in chunks, few or many."""
    sampler = Sampler(generator, SHAPE, {})
    images, labels = sampler.samples(5, 150)
    assert labels is None
    expected = sampling.generate(generator, sampling.latents(5, 150, 10))
    np.testing.assert_array_equal(images, expected)
    for num in (1, 64, 100):
        np.testing.assert_array_equal(sampler.samples(5, num)[0], images[:num])
    assert not np.array_equal(sampler.samples(6, 1)[0], images[:1])
    for size in (40, 64, 150, 1024):
        chunks = [chunk for chunk, _ in sampler.chunks(5, 150, size=size)]
        assert [len(chunk) for chunk in chunks] == [
            min(size, 150 - start) for start in range(0, 150, size)
        ]
        np.testing.assert_array_equal(np.concatenate(chunks), images)


def test_the_classes_of_samples_are_as_frequent_as_in_the_training_data(conditional):
    images, labels = conditional.samples(5, 80)
    np.testing.assert_array_equal(labels, conditional.labels(80))
    assert np.bincount(labels).tolist() == [40, 10, 30]
    z = sampling.latents(5, 80, 10)
    np.testing.assert_array_equal(images, sampling.generate(conditional.net, z, labels))
    few, some = conditional.samples(5, 30)
    np.testing.assert_array_equal(few, images[:30])
    np.testing.assert_array_equal(some, labels[:30])
    pieces = [part for _, part in conditional.chunks(5, 80, size=30)]
    np.testing.assert_array_equal(np.concatenate(pieces), labels)
    one, twos = conditional.samples(5, 3, label=2)
    assert twos.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(one, sampling.generate(conditional.net, z[:3], twos))


def test_without_shares_the_classes_take_turns(conditional):
    """As of a checkpoint that does not say how frequent they are."""
    sampler = dataclasses.replace(conditional, meta={})
    assert sampler.labels(7).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_walk_changes_its_class_at_every_stop(conditional):
    walk = conditional.walk(4)
    z = sampling.interpolation(4, 10)
    labels = conditional.labels(sampling.STOPS).repeat(sampling.FRAMES)
    np.testing.assert_array_equal(walk, sampling.generate(conditional.net, z, labels))
    ones = np.full(len(z), 1, np.int32)
    np.testing.assert_array_equal(
        conditional.walk(4, label=1), sampling.generate(conditional.net, z, ones)
    )


def test_the_gallery_has_one_block_a_class_whatever_the_shares(conditional, generator):
    num = sampling.FIXED_PER_CLASS
    labels = np.arange(3 * num, dtype=np.int32) % 3
    images = sampling.generate(conditional.net, sampling.latents(2, 3 * num, 10), labels)
    np.testing.assert_array_equal(conditional.gallery(2), visualise.class_grid(images, labels))
    plain = Sampler(generator, SHAPE, {})
    expected = visualise.grid(plain.samples(2, sampling.FIXED)[0])
    np.testing.assert_array_equal(plain.gallery(2), expected)


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
