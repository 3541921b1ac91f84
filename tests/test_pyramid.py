"""Sliced Wasserstein distance over a Laplacian pyramid: distributions with a known answer."""

import math

import numpy as np
import pytest

from ms_gan.evaluation import pyramid


def distances(one, other, seed=0):
    """Of two sets of images, at each level."""
    cut = (pyramid.patches(images, seed=seed) for images in (one, other))
    return pyramid.distances(*cut, seed=seed)


def blobs(rng, num, size=32, channels=3):
    """uint8 [num, channels, size, size]: smooth shapes of random colours with fine texture."""
    coarse = rng.normal(0, 60, (num, channels, 4, 4)).repeat(size // 4, axis=2)
    smooth = coarse.repeat(size // 4, axis=3)
    for _ in range(6):
        smooth = (smooth + np.roll(smooth, 1, 2) + np.roll(smooth, 1, 3)) / 3
    texture = rng.normal(0, 25, (num, 1, size, size))
    return np.clip(128 + smooth + texture, 0, 255).astype(np.uint8)


# --- the pyramid --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "levels"),
    [
        (256, [256, 128, 64, 32, 16]),  # as in the paper, down to 16
        (64, [64, 32, 16]), (32, [32, 16]), (16, [16]), (28, [28, 14]), (24, [24, 12]),
        (23, [23, 12]), (22, [22]), (8, [8]), (1, [1]), (63, [63, 32, 16]),
        (100, [100, 50, 25, 13]),
    ],
)  # fmt: skip
def test_levels(side, levels):
    assert pyramid.sizes(side, side) == [(n, n) for n in levels]


def test_levels_of_rectangles():
    assert pyramid.sizes(48, 32) == [(48, 32), (24, 16)]
    assert pyramid.sizes(16, 200) == [(16, 200)]
    assert pyramid.sizes(90, 61) == [(90, 61), (45, 31), (23, 16)]


def blurred(image):
    """[H, W] with the kernel of Burt and Adelson, pixel by pixel, the edge not repeated."""
    weights = np.array([1, 4, 6, 4, 1]) / 16
    height, width = image.shape

    def inside(place, side):
        place = -place if place < 0 else place
        return 2 * (side - 1) - place if place >= side else place

    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i in range(-2, 3):
                for j in range(-2, 3):
                    pixel = image[inside(y + i, height), inside(x + j, width)]
                    out[y, x] += weights[i + 2] * weights[j + 2] * pixel
    return out


@pytest.mark.parametrize("shape", [(32, 32), (28, 31), (25, 24)])
def test_the_pyramid_is_that_of_the_authors(shape, rng):
    """Blur, take every second pixel; zeros between, blur four times as strong, subtract."""
    image = rng.normal(size=shape)
    fine, coarse = pyramid.laplacian(image.astype(np.float32)[None, None])
    small = blurred(image)[::2, ::2]
    large = np.zeros(shape)
    large[::2, ::2] = small
    np.testing.assert_allclose(coarse[0, 0], small, atol=1e-5)
    np.testing.assert_allclose(fine[0, 0], image - 4 * blurred(large), atol=1e-5)


def test_a_plain_image_is_in_the_coarsest_level_alone():
    levels = pyramid.laplacian(np.full((1, 3, 67, 50), 0.25, np.float32))
    assert [level.shape[2:] for level in levels] == [(67, 50), (34, 25), (17, 13)]
    np.testing.assert_allclose(levels[2], 0.25, atol=1e-6)
    for level in levels[:2]:
        np.testing.assert_allclose(level, 0, atol=1e-6)


# --- the distance of two sets of points ---------------------------------------------------------


def test_shifted_normal_numbers(rng):
    """On a line: the shift; and 1 - k between N(0, 1) and N(0, k), times the mean |x|."""
    numbers = rng.normal(size=(20_000, 1)).astype(np.float32)
    right, left = np.array([[1.0]], np.float32), np.array([[-1.0]], np.float32)
    for direction in (right, left):
        shifted = pyramid.sliced_wasserstein(numbers, numbers + np.float32(0.7), direction)
        assert shifted == pytest.approx(0.7, abs=1e-5)
        narrow = pyramid.sliced_wasserstein(numbers, numbers * np.float32(0.25), direction)
        assert narrow == pytest.approx(0.75 * math.sqrt(2 / math.pi), rel=0.02)
    other = rng.normal(0.7, 1, size=(20_000, 1)).astype(np.float32)
    assert pyramid.sliced_wasserstein(numbers, other, right) == pytest.approx(0.7, abs=0.03)


def test_shifted_points_in_many_dimensions(rng):
    """The mean over directions of |shift . direction| is |shift| E|first coordinate|."""
    points = rng.normal(size=(500, 147)).astype(np.float32)
    shift = rng.normal(size=147).astype(np.float32)
    found = pyramid.sliced_wasserstein(points, points + shift, pyramid.directions(147, seed=3))
    mean = math.exp(math.lgamma(147 / 2) - math.lgamma(148 / 2)) / math.sqrt(math.pi)
    assert found == pytest.approx(float(np.linalg.norm(shift)) * mean, rel=0.1)


def test_directions():
    directions = pyramid.directions(49, seed=0)
    assert directions.shape == (49, 512) and directions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1, rtol=1e-5)
    assert np.abs(directions.mean(axis=1)).max() < 5 / math.sqrt(49 * 512)
    assert (directions == pyramid.directions(49, seed=0)).all()
    assert (directions != pyramid.directions(49, seed=1)).any()


def test_sorted_differences_by_hand(rng):
    one, other = (rng.normal(size=(37, 5)).astype(np.float32) for _ in range(2))
    directions = rng.normal(size=(5, 150)).astype(np.float32)  # more than one block

    def line(points, direction):
        return sorted(float(np.dot(point, direction)) for point in points)

    total = 0.0
    for direction in directions.T:
        both = zip(line(one, direction), line(other, direction), strict=True)
        total += sum(abs(a - b) for a, b in both) / 37
    found = pyramid.sliced_wasserstein(one, other, directions)
    assert found == pytest.approx(total / 150, rel=1e-5)
    with pytest.raises(ValueError, match="expected the shape"):
        pyramid.sliced_wasserstein(one, other[:-1], directions)


# --- the distance of two sets of images ---------------------------------------------------------


def test_equal_distributions_have_the_floor_of_so_many_samples(rng):
    """Patches of independent normal pixels are normal along every direction; the expected
    difference of the order statistics of two samples of N is sqrt(4 / (pi N)) times the integral
    of sqrt(F (1 - F))."""
    x = np.linspace(-8, 8, 20_001)
    f = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    integral = float(np.sum(np.sqrt(f * (1 - f))) * (x[1] - x[0]))
    for num in (400, 1600):
        one, other = (rng.normal(0, 0.3, (num, 1, 7, 7)).astype(np.float32) for _ in range(2))
        floor = 1000 * math.sqrt(4 / (math.pi * num)) * integral
        assert distances(one, other) == [pytest.approx(floor, rel=0.1)]


def test_the_same_images_are_at_0(rng):
    images = blobs(rng, 40)
    assert distances(images, images.copy()) == [0, 0]


def test_a_shift_of_brightness_is_in_units_of_the_deviation(rng):
    """Images of one pixel: N(0, s) and N(d, s) have the joint deviation sqrt(s² + d²/4)."""
    one = rng.normal(-0.1, 0.2, (20_000, 1, 1, 1)).astype(np.float32)
    found = distances(one, one + np.float32(0.3))
    assert found == [pytest.approx(1000 * 0.3 / math.sqrt(0.2**2 + 0.15**2), rel=0.02)]


def test_symmetric_and_blind_to_the_order(rng):
    one, other = blobs(rng, 30, channels=1), blobs(rng, 30, channels=1) // 2
    one[1], one[2] = one[0][:, ::-1], one[0][:, :, ::-1]  # equally bright, other pixels
    found = distances(one, other)
    assert distances(other, one) == found
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(30)
        assert distances(one[order], other[order[::-1]]) == found


def test_a_function_of_the_seed(rng):
    one, other = blobs(rng, 30, channels=1), blobs(rng, 30, channels=1)
    found = distances(one, other, seed=4)
    assert distances(one, other, seed=4) == found
    another = distances(one, other, seed=5)
    assert another != found and another == pytest.approx(found, rel=0.3)


def test_a_blur_is_seen_at_the_fine_level_only(rng):
    real, other = blobs(rng, 100), blobs(rng, 100)
    floor = distances(other, real)
    levels = pyramid.laplacian(other.astype(np.float32))
    soft = pyramid._larger(32) @ (levels[1] @ pyramid._larger(32).T) + 0.3 * levels[0]
    fine, coarse = distances(np.clip(soft, 0, 255).astype(np.uint8), real)
    assert fine > 20 * floor[0] and coarse < 0.2 * fine and coarse < 3 * floor[1]


def test_other_colours_are_seen_at_the_coarse_level_only(rng):
    real, other = blobs(rng, 100), blobs(rng, 100)
    floor = distances(other, real)
    tinted = other.astype(np.float32) + np.array([25, 0, -25]).reshape(3, 1, 1)
    fine, coarse = distances(np.clip(tinted, 0, 255).astype(np.uint8), real)
    assert coarse > 5 * floor[1] and fine < 1.5 * floor[0]
    swapped = tinted[:, ::-1]  # the tint as blue as that one is red
    one, another = (np.clip(x, 0, 255).astype(np.uint8) for x in (tinted, swapped))
    fine, coarse = distances(one, another)
    assert coarse > 5 * floor[1] and fine < 2 * floor[0]


def test_more_of_a_fault_is_worse(rng):
    real, other = blobs(rng, 60, channels=1), blobs(rng, 60, channels=1)
    noise = rng.normal(size=other.shape)
    found = [
        np.mean(distances(np.clip(other + strength * noise, 0, 255).astype(np.uint8), real))
        for strength in (0, 10, 30, 90)
    ]
    assert found == sorted(found) and found[3] > 5 * found[0]
    lost = np.repeat(other[:3], 20, axis=0)  # three images again and again
    assert np.mean(distances(lost, real)) > 2 * found[0]


def test_the_authors_program_gives_the_same_where_mean_and_deviation_agree(rng):
    """Patches at random places, each set normalised by itself, 4 times 128 directions."""

    def descriptors(level):
        found = []
        for image in level:
            for _ in range(128):
                y, x = (rng.integers(0, side - 6) for side in image.shape[1:])
                found.append(image[:, y : y + 7, x : x + 7])
        found = np.array(found)
        found -= found.mean(axis=(0, 2, 3), keepdims=True)
        found /= found.std(axis=(0, 2, 3), keepdims=True)
        return found.reshape(len(found), -1)

    def smeared(axis):
        x = rng.normal(size=(60, 3, 32, 32))
        return np.clip(127 + 30 * (x + np.roll(x, 1, axis) + np.roll(x, 2, axis)), 0, 255)

    one, other = (smeared(axis).round().astype(np.uint8) for axis in (2, 3))
    theirs, pyramids = [], [pyramid.laplacian(x.astype(np.float32)) for x in (one, other)]
    for levels in zip(*pyramids, strict=True):
        a, b = map(descriptors, levels)
        repeats = []
        for _ in range(4):
            directions = rng.normal(size=(a.shape[1], 128))
            directions /= np.linalg.norm(directions, axis=0)
            difference = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
            repeats.append(np.abs(difference).mean())
        theirs.append(1000 * np.mean(repeats))
    assert theirs[0] > 50
    assert distances(one, other) == pytest.approx(theirs, rel=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (1, 28), (28, 28), (5, 40), (33, 21), (64, 48), (7, 6)])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size(shape, channels, rng):
    one, other = (rng.integers(0, 256, (20, channels, *shape), np.uint8) for _ in range(2))
    found = distances(one, other)
    assert len(found) == len(pyramid.sizes(*shape)) and np.isfinite(found).all()
    assert distances(one, np.zeros_like(one))[-1] > 2 * found[-1]
    assert distances(np.zeros_like(one), np.zeros_like(one)) == [0] * len(found)


def test_small_images_give_every_place_once(rng):
    images = rng.integers(0, 256, (3, 1, 8, 9), np.uint8)
    (cut,) = pyramid.patches(images, seed=0)
    assert cut.shape == (3 * 2 * 3, 1, 49)
    expected = sorted(
        (image[0, y : y + 7, x : x + 7] / 127.5 - 1).sum()
        for image in images for y in range(2) for x in range(3)
    )  # fmt: skip
    np.testing.assert_allclose(sorted(cut.sum(axis=(1, 2))), expected, rtol=1e-4)


def test_as_many_patches_as_in_the_paper_but_never_more_than_fit(rng):
    def count(num):
        return [len(level) for level in pyramid.patches(np.zeros((num, 1, 32, 32)), seed=0)]

    assert count(3) == [3 * 128, 3 * 100]  # of 16x16 there are 100
    assert count(1000) == [1000 * 65, 1000 * 65]
    assert max(count(2000)) <= pyramid.MOST


def test_bytes_and_floats_are_the_same_images(rng):
    images = blobs(rng, 20)
    for a, b in zip(
        pyramid.patches(images, seed=0),
        pyramid.patches(images / 127.5 - 1, seed=0),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-6)
