"""Metrics against closed forms, brute force, published numbers and what must not matter."""

import math
import time
import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest

from ms_gan.evaluation import metrics
from ms_gan.evaluation.metrics import (
    class_kl,
    classifier_score,
    frechet_distance,
    kernel_distance,
    modes,
    nearest,
    precision_recall_density_coverage,
)

PAIRS = [frechet_distance, kernel_distance, precision_recall_density_coverage, nearest]


def numbers(result):
    """The result of any of PAIRS as one array."""
    if isinstance(result, metrics.PRDC):
        result = astuple(result)
    return np.concatenate([np.atleast_1d(part) for part in np.atleast_1d(result)])


def clouds(rng, num=300, other=200, width=7):
    """Two overlapping clouds within [-1, 1], of different sizes."""
    real = np.clip(rng.normal(0, 0.3, (num, width)), -1, 1)
    return real, np.clip(rng.normal(0.05, 0.25, (other, width)), -1, 1)


def exact_moments(rng, num, mean, covariance):
    """Samples whose mean and covariance are the given ones, not only on average."""
    noise = rng.normal(size=(num, len(mean)))
    white = np.linalg.qr(noise - noise.mean(axis=0))[0] * np.sqrt(num - 1)
    values, vectors = np.linalg.eigh(covariance)
    return white * np.sqrt(np.maximum(values, 0)) @ vectors.T + mean


def within(values, expected, *, errors=4.0):
    """The mean of independent draws is the expected one but for `errors` standard errors."""
    values = np.asarray(values)
    assert abs(values.mean() - expected) < errors * values.std(ddof=1) / np.sqrt(len(values))


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", PAIRS)
def test_float32_and_float64_give_the_same(metric, rng):
    real, fake = (x.astype(np.float32) for x in clouds(rng))
    single = numbers(metric(real, fake))
    for a, b in ((np.float64, np.float64), (np.float32, np.float64), (np.float64, np.float32)):
        np.testing.assert_array_equal(numbers(metric(real.astype(a), fake.astype(b))), single)


@pytest.mark.parametrize("metric", PAIRS)
@pytest.mark.parametrize("elements", [1, 199, 200, 300, 6007, 2**30])
def test_independent_of_the_size_of_chunks(metric, elements, rng, monkeypatch):
    real, fake = clouds(rng)
    expected = numbers(metric(real, fake))
    monkeypatch.setattr(metrics, "ELEMENTS", elements)
    np.testing.assert_allclose(numbers(metric(real, fake)), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("metric", PAIRS[:3])
def test_independent_of_the_order_of_samples(metric, rng):
    real, fake = clouds(rng)
    again = metric(rng.permutation(real), rng.permutation(fake))
    np.testing.assert_allclose(numbers(again), numbers(metric(real, fake)), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("metric", [frechet_distance, precision_recall_density_coverage])
def test_independent_of_rotation_and_place(metric, rng):
    real, fake = clouds(rng)
    expected = numbers(metric(real, fake))
    rotation = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    for place, rtol in ((0, 1e-12), (100, 1e-9), (1e6, 1e-6)):
        moved = metric(real @ rotation + place, fake @ rotation + place)
        np.testing.assert_allclose(numbers(moved), expected, rtol=rtol)


@pytest.mark.parametrize("metric", PAIRS)
def test_inputs_stay_as_they_are(metric, rng):
    real, fake = clouds(rng)
    copies = real.copy(), fake.copy()
    metric(real, fake)
    np.testing.assert_array_equal(real, copies[0])
    np.testing.assert_array_equal(fake, copies[1])


@pytest.mark.parametrize("metric", PAIRS)
def test_results_are_plain_python_or_float64(metric, rng):
    result = metric(*clouds(rng))
    if isinstance(result, tuple):
        assert [part.dtype for part in result] == [np.int64, np.float64]
    else:
        parts = astuple(result) if isinstance(result, metrics.PRDC) else (result,)
        assert all(type(part) is float for part in parts)


def good():
    return np.linspace(-1, 1, 60).reshape(20, 3)


def holed(value):
    array = good()
    array[7, 1] = value
    return array


REFUSED = {
    "[N] only": (good()[:, 0], "expected floats"),
    "images": (good().reshape(20, 1, 3, 1), "expected floats"),
    "whole numbers": (np.zeros((20, 3), np.uint8), "uint8"),
    "complex": (good().astype(complex), "complex128"),
    "no columns": (good()[:, :0], "expected floats"),
    "no samples": (good()[:0], "at least"),
    "other width": (good()[:, :2], "columns"),
    "NaN": (holed(np.nan), "1 of 20 samples hold NaN"),
    "infinity": (holed(-np.inf), "1 of 20 samples hold NaN"),
    "too large": (holed(1e60), "below 1e+50"),
}


@pytest.mark.parametrize("metric", PAIRS)
@pytest.mark.parametrize("what", REFUSED)
def test_bad_features_are_refused(metric, what):
    bad, message = REFUSED[what]
    for real, fake in ((good(), bad), (bad, good())):
        with pytest.raises(ValueError) as caught:
            metric(real, fake)
        assert message in str(caught.value) and "\n" not in str(caught.value)
        assert str(caught.value).startswith(("real", "fake"))


@pytest.mark.parametrize(
    ("metric", "least"),
    [(frechet_distance, 2), (kernel_distance, 2), (precision_recall_density_coverage, 6),
     (nearest, 1)],
)  # fmt: skip
def test_the_least_number_of_samples(metric, least):
    metric(good()[:least], good()[:least])
    for real, fake in ((good()[: least - 1], good()), (good(), good()[: least - 1])):
        with pytest.raises(ValueError, match=f"expected at least {least} samples, got {least - 1}"):
            metric(real, fake)


# --- Frechet distance -----------------------------------------------------------------------------


def test_frechet_of_diagonal_gaussians(rng):
    """|m - m'|^2 + sum (s - s')^2."""
    mean, other_mean = rng.normal(size=(2, 6))
    scale, other_scale = rng.uniform(0.1, 3, (2, 6))
    real = exact_moments(rng, 400, mean, np.diag(scale**2))
    fake = exact_moments(rng, 150, other_mean, np.diag(other_scale**2))
    expected = np.sum((mean - other_mean) ** 2) + np.sum((scale - other_scale) ** 2)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)


def test_frechet_of_a_translation_and_a_scaling(rng):
    real = rng.normal(size=(500, 8)) @ rng.normal(size=(8, 8))
    step = rng.normal(size=8)
    assert frechet_distance(real, real + step) == pytest.approx(step @ step, rel=1e-11)
    mean, trace = real.mean(axis=0), np.trace(np.cov(real.T))
    expected = (1 - 0.6) ** 2 * (trace + mean @ mean)
    assert frechet_distance(real, 0.6 * real) == pytest.approx(expected, rel=1e-11)


def test_frechet_of_commuting_covariances_in_one_dimension():
    real, fake = np.array([[0.0], [2.0]]), np.array([[1.0], [3.0], [5.0]])  # variances 2 and 4
    expected = (1 - 3) ** 2 + (2 - math.sqrt(2)) ** 2
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-14)


def test_frechet_agrees_with_sqrtm(rng):
    from scipy.linalg import sqrtm

    real = rng.normal(size=(900, 20)) @ rng.normal(size=(20, 20))
    fake = rng.normal(size=(700, 20)) @ rng.normal(size=(20, 20)) + 0.3
    covariance, other = np.cov(real.T), np.cov(fake.T)
    shift = real.mean(axis=0) - fake.mean(axis=0)
    root = sqrtm(covariance @ other).real
    expected = shift @ shift + np.trace(covariance + other - 2 * root)
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_equal_samples_is_zero(rng):
    for real in (rng.normal(size=(300, 10)), rng.normal(size=(5, 40)), np.ones((9, 3))):
        assert 0 <= frechet_distance(real, real) < 1e-11


def test_frechet_divides_by_one_less_than_the_number(rng):
    """The same samples twice: 2N - 1 in place of N - 1 below twice the sum of squares."""
    real = rng.normal(size=(5, 3))
    ratio = math.sqrt(2 * (5 - 1) / (2 * 5 - 1))
    expected = (1 - ratio) ** 2 * real.var(axis=0, ddof=1).sum()
    assert frechet_distance(real, np.tile(real, (2, 1))) == pytest.approx(expected, rel=1e-10)


def test_frechet_is_symmetric(rng):
    real, fake = clouds(rng)
    assert frechet_distance(real, fake) == pytest.approx(frechet_distance(fake, real), rel=1e-12)


def test_frechet_of_singular_covariances_keeps_its_digits(rng):
    """Orthogonal subspaces: tr (C C')^(1/2) = 0. A root of C C' would be off by about 1e-8."""
    left, right = np.zeros((2, 200, 60))
    left[:, :20], right[:, 30:50] = rng.normal(size=(2, 200, 20))
    rotation = np.linalg.qr(rng.normal(size=(60, 60)))[0]
    shift = left.mean(axis=0) - right.mean(axis=0)
    expected = shift @ shift + left.var(axis=0, ddof=1).sum() + right.var(axis=0, ddof=1).sum()
    distance = frechet_distance(left @ rotation, right @ rotation)
    assert distance == pytest.approx(expected, rel=1e-12)


def test_frechet_with_fewer_samples_than_features(rng):
    """Two samples: C = v v^T / 2, so tr (C C')^(1/2) = |v.v'| / 2."""
    real, fake = rng.normal(size=(2, 2, 30))
    v, w, shift = real[0] - real[1], fake[0] - fake[1], real.mean(axis=0) - fake.mean(axis=0)
    expected = shift @ shift + (v @ v + w @ w - 2 * abs(v @ w)) / 2
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-12)


def test_frechet_with_constant_features(rng):
    """A collapsed generator: |m - m'|^2 + tr C."""
    real = rng.normal(size=(100, 4))
    shift = real.mean(axis=0) - 2
    expected = shift @ shift + real.var(axis=0, ddof=1).sum()
    assert frechet_distance(real, np.full((50, 4), 2.0)) == pytest.approx(expected, rel=1e-13)


def test_frechet_is_biased_upwards_and_falls_with_the_number_of_samples(rng):
    means = [
        np.mean([frechet_distance(*rng.normal(size=(2, num, 5))) for _ in range(40)])
        for num in (50, 200, 800)
    ]
    assert means[0] > 2 * means[1] > 4 * means[2] > 0


# --- kernel distance ------------------------------------------------------------------------------


def slow_kernel_distance(real, fake):
    def k(x, y):
        return (sum(a * b for a, b in zip(x, y, strict=True)) / len(x) + 1) ** 3

    n, m = len(real), len(fake)
    own = sum(k(real[i], real[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    own += sum(k(fake[i], fake[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own - 2 * sum(k(x, y) for x in real for y in fake) / (n * m)


@pytest.mark.parametrize(("num", "other"), [(2, 2), (2, 9), (17, 12)])
def test_kernel_distance_is_the_double_sum(num, other, rng, monkeypatch):
    real, fake = rng.normal(size=(num, 3)), rng.normal(0.5, 2, (other, 3))
    expected = slow_kernel_distance(real.tolist(), fake.tolist())
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-11)
    monkeypatch.setattr(metrics, "ELEMENTS", 40)
    assert kernel_distance(real, fake) == pytest.approx(expected, rel=1e-11)


def test_kernel_distance_of_two_points(rng):
    """All samples of a set the same: k(a, a) + k(b, b) - 2 k(a, b)."""
    a, b = rng.normal(size=(2, 4))
    expected = (a @ a / 4 + 1) ** 3 + (b @ b / 4 + 1) ** 3 - 2 * (a @ b / 4 + 1) ** 3
    distance = kernel_distance(np.tile(a, (7, 1)), np.tile(b, (5, 1)))
    assert distance == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_of_two_normal_distributions(rng):
    """E (x y + 1)^3 = 1 + 3 E x^2 E y^2 for centred x, y: 3 (s^2 - t^2)^2 in one dimension."""
    draws = [
        kernel_distance(rng.normal(0, 1, (60, 1)), rng.normal(0, 1.5, (40, 1))) for _ in range(800)
    ]
    within(draws, 3 * (1 - 1.5**2) ** 2)


@pytest.mark.parametrize("num", [5, 40])
def test_kernel_distance_of_equal_distributions_is_zero_on_average(num, rng):
    draws = np.array([kernel_distance(*rng.normal(size=(2, num, 4))) for _ in range(600)])
    within(draws, 0)
    assert np.mean(draws < 0) > 0.3 and np.mean(draws > 0) > 0.2


def test_kernel_distance_is_symmetric(rng):
    real, fake = clouds(rng)
    assert kernel_distance(real, fake) == pytest.approx(kernel_distance(fake, real), rel=1e-10)


# --- precision, recall, density, coverage ---------------------------------------------------------


def slow_prdc(real, fake, k):
    """From the definitions, on the whole matrices."""
    from scipy.spatial.distance import cdist

    def radii(x):
        own = cdist(x, x, "sqeuclidean")
        np.fill_diagonal(own, np.inf)
        return np.sort(own, axis=1)[:, k - 1]

    between = cdist(real, fake, "sqeuclidean")
    inside = between < radii(real)[:, None]
    return metrics.PRDC(
        precision=inside.any(axis=0).mean(),
        recall=(between < radii(fake)).any(axis=1).mean(),
        density=inside.sum() / (k * len(fake)),
        coverage=(between.min(axis=1) < radii(real)).mean(),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize(
    ("num", "other", "width"), [(6, 6, 2), (300, 200, 7), (150, 400, 60), (99, 99, 1000)]
)
def test_prdc_is_what_is_defined(num, other, width, k, rng):
    real, fake = clouds(rng, num, other, width)
    assert precision_recall_density_coverage(real, fake, k) == slow_prdc(real, fake, k)


@pytest.mark.parametrize("scale", [1, 1e-6, 1e6, 1 / 3])
def test_prdc_leaves_ties_outside(scale, rng):
    """Points of a small lattice: most distances occur many times, and many points twice."""
    real, fake = rng.integers(0, 4, (60, 3)) * 1.0, rng.integers(0, 4, (50, 3)) * 1.0
    result = precision_recall_density_coverage(real * scale + scale, fake * scale + scale, 3)
    assert result == slow_prdc(real, fake, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_squared_distances_are_never_negative(dtype, rng):
    x = (rng.normal(size=(300, 50)) + 100).astype(dtype)
    near = x + dtype(1e-6)
    assert (metrics._squared_distances(x, near) >= 0).all()
    assert (metrics._squared_distances(x, x) >= 0).all()


def test_prdc_of_a_line():
    """k = 1 on 0, 1, 3 gives the radii 1, 1, 2; on 0.5, 9, 9.25 it gives 8.5, .25, .25."""
    real, fake = np.array([[0.0], [1], [3]]), np.array([[0.5], [9], [9.25]])
    result = precision_recall_density_coverage(real, fake, 1)
    assert result == metrics.PRDC(precision=1 / 3, recall=1, density=2 / 3, coverage=2 / 3)
    tie = precision_recall_density_coverage(real, np.array([[5.0], [-1], [9]]), 1)
    assert (tie.precision, tie.density, tie.coverage) == (0, 0, 0)
    nearer = precision_recall_density_coverage(real, np.array([[5 - 1e-9], [-1 + 1e-9], [9]]), 1)
    assert (nearer.precision, nearer.density, nearer.coverage) == (2 / 3, 2 / 3, 2 / 3)


def test_prdc_of_copies_of_the_data(rng):
    """Each real ball holds itself and the k - 1 nearest: all four are exactly 1."""
    real = rng.normal(size=(500, 20))
    result = precision_recall_density_coverage(real, rng.permutation(real))
    assert result == metrics.PRDC(1.0, 1.0, 1.0, 1.0)


def test_prdc_of_points_that_occur_too_often():
    """k + 1 equal samples have radius 0, and nothing is strictly nearer."""
    point = np.full((6, 5), 1 / 3)
    assert precision_recall_density_coverage(point, point) == metrics.PRDC(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("num", "width", "k"), [(40, 2, 5), (60, 30, 3), (300, 8, 5)])
def test_prdc_of_equal_distributions(num, width, k, rng):
    """Density 1 and coverage 1 - prod (N - i) / (2N - i) on average; precision is like recall."""
    draws = [
        precision_recall_density_coverage(*rng.normal(size=(2, num, width)), k) for _ in range(300)
    ]
    ideal = 1 - math.prod((num - i) / (2 * num - i) for i in range(1, k + 1))
    within([draw.density for draw in draws], 1)
    within([draw.coverage for draw in draws], ideal)
    within([draw.precision - draw.recall for draw in draws], 0)


@pytest.mark.parametrize(("k", "ideal"), [(3, 0.875), (5, 0.969), (10, 0.999)])
def test_the_ideal_coverage_of_one_large_draw(k, ideal, rng):
    result = precision_recall_density_coverage(*rng.normal(size=(2, 3000, 3)), k)
    assert result.coverage == pytest.approx(ideal, abs=0.012)
    assert result.density == pytest.approx(1, abs=0.05)


def test_which_of_them_notices_a_collapse(rng):
    """Real data in ten places, fakes tightly around one; then the reverse."""
    centers = 10 * np.eye(10)
    many = np.repeat(centers, 60, axis=0) + rng.normal(size=(600, 10))
    one = centers[3] + 0.3 * rng.normal(size=(600, 10))
    collapsed = precision_recall_density_coverage(many, one)
    assert collapsed.precision > 0.99 and collapsed.density > 1
    assert collapsed.recall < 0.1 and collapsed.coverage < 0.11
    scattered = precision_recall_density_coverage(one, many)
    assert scattered.precision < 0.1 and scattered.density < 0.1
    assert scattered.recall > 0.99


def test_precision_and_recall_change_places(rng):
    real, fake = clouds(rng)
    one, other = (precision_recall_density_coverage(*pair) for pair in ((real, fake), (fake, real)))
    assert (one.precision, one.recall) == (other.recall, other.precision)


def test_lost_modes_lower_coverage_in_proportion(rng):
    """Fakes of half the modes: precision stays, coverage halves."""
    real, fake = (
        rng.normal(size=(800, 5)) + 50 * rng.integers(0, high, (800, 1)) for high in (4, 2)
    )
    result = precision_recall_density_coverage(real, fake)
    assert result.coverage == pytest.approx(np.mean(real.mean(axis=1) < 75), abs=0.02)
    assert result.precision > 0.8


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None, "5"])
def test_bad_k_is_refused(k):
    with pytest.raises(ValueError, match="^k: expected a whole number"):
        precision_recall_density_coverage(good(), good(), k)


# --- classifier score -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_the_ends_of_the_classifier_score(num_classes, dtype):
    uniform = np.full((50, num_classes), 1 / num_classes, dtype)
    assert classifier_score(uniform) == pytest.approx(1, abs=1e-12)
    sure = np.eye(num_classes, dtype=dtype)
    assert classifier_score(np.tile(sure, (3, 1))) == pytest.approx(num_classes, rel=1e-12)
    assert classifier_score(np.tile(sure[1], (20, 1))) == 1


def test_classifier_score_of_sure_answers_is_the_number_of_classes_in_use():
    p = np.eye(10)[[0, 0, 0, 7, 7, 7]]
    assert classifier_score(p) == pytest.approx(2, rel=1e-13)
    shares = np.array([0.75, 0.25])  # unbalanced: exp of the entropy of the shares
    p = np.eye(10)[[0, 0, 0, 7]]
    assert classifier_score(p) == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-13)


def test_classifier_score_is_the_mean_divergence(rng):
    p = rng.dirichlet(np.full(10, 0.3), size=200)
    marginal = p.mean(axis=0)
    expected = np.exp(np.mean([np.sum(row * np.log(row / marginal)) for row in p]))
    assert classifier_score(p) == pytest.approx(expected, rel=1e-12)
    assert classifier_score(rng.permutation(p)) == pytest.approx(expected, rel=1e-12)
    assert classifier_score(p.astype(np.float32)) == pytest.approx(expected, rel=1e-6)
    inexact = p * rng.uniform(0.9995, 1.0005, (200, 1))
    assert classifier_score(inexact) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("bad", "message"),
    [(np.full(10, 0.1), "expected floats"), (np.eye(10, dtype=int), "expected floats"),
     (np.ones((5, 1)), "at least 2 classes"), (np.eye(10)[:1], "at least 2 samples"),
     (np.full((5, 10), 0.2), "softmax"), (np.zeros((5, 10)), "softmax"),
     (np.array([[1.5, -0.5]] * 3), "softmax"), (np.array([[np.nan, 1]] * 3), "NaN")],
)  # fmt: skip
def test_what_is_not_a_probability_is_refused(bad, message):
    with pytest.raises(ValueError, match=f"^probabilities: .*{message}"):
        classifier_score(bad)


# --- histogram of classes -------------------------------------------------------------------------


def test_modes():
    assert modes(np.array([3, 3, 3]), 10) == 1
    assert modes(np.array([0, 9, 5, 9], np.uint8), 10) == 3
    assert modes(np.arange(1000), 1000) == 1000
    assert type(modes(np.array([0]), 1)) is int


def test_class_kl():
    balanced = np.tile(np.arange(10), 7)
    assert class_kl(balanced, 10) == pytest.approx(0, abs=1e-15)
    assert class_kl(np.full(50, 4), 10) == pytest.approx(math.log(10), rel=1e-14)
    assert class_kl(balanced % 5, 10) == pytest.approx(math.log(2), rel=1e-13)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert class_kl(np.array([0, 0, 1, 0]), 2) == pytest.approx(expected, rel=1e-14)


def test_class_kl_against_a_reference():
    labels = np.array([0, 0, 1, 2])
    expected = 0.5 * math.log(0.5 / 0.2) + 0.25 * math.log(0.25 / 0.3) + 0.25 * math.log(0.5)
    for reference in ([2, 3, 5], [0.2, 0.3, 0.5], np.array([20, 30, 50], np.float32)):
        assert class_kl(labels, 3, reference) == pytest.approx(expected, rel=1e-7)
    assert class_kl(labels, 3, np.bincount(labels)) == 0


@pytest.mark.parametrize(("num_classes", "num"), [(10, 1000), (1000, 26_000)])
def test_a_perfect_generator_has_a_class_kl_above_zero(num_classes, num, rng):
    """(K - 1) / 2N; 0.0193 +- 0.0009 was measured elsewhere for 26,000 Stacked MNIST samples."""
    draws = [class_kl(rng.integers(0, num_classes, num), num_classes) for _ in range(100)]
    floor = (num_classes - 1) / (2 * num)
    assert np.mean(draws) == pytest.approx(floor, rel=0.15 if num_classes == 10 else 0.02)
    if num_classes == 1000:
        assert np.mean(draws) == pytest.approx(0.0193, abs=3e-4)
        assert np.std(draws) == pytest.approx(0.0009, abs=3e-4)


@pytest.mark.parametrize("function", [modes, class_kl])
@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [([], 10, "labels"), ([[1]], 10, "labels"), ([1.0], 10, "labels"), ([True], 10, "labels"),
     ([10], 10, "labels: expected classes 0 to 9, got 10 to 10"), ([3, -1], 10, "got -1 to 3"),
     ([0], 0, "num_classes: expected a whole number"), ([0], 10.0, "num_classes")],
)  # fmt: skip
def test_bad_labels_are_refused(function, labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        function(np.array(labels), num_classes)


@pytest.mark.parametrize(
    "reference",
    [[1, 2], [[1, 2, 3]], [1, 0, 2], [1, -1, 2], [1, np.nan, 1], [1, np.inf, 1], ["a", "b", "c"]],
)
def test_bad_references_are_refused(reference):
    with pytest.raises(ValueError, match="^reference: expected"):
        class_kl(np.array([0, 1]), 3, reference)


# --- nearest images -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("num", "other", "width"), [(1, 5, 4), (500, 80, 784), (300, 1, 20)])
def test_nearest_is_the_nearest(num, other, width, dtype, rng):
    from scipy.spatial.distance import cdist

    real, fake = (rng.uniform(-1, 1, (n, width)).astype(dtype) for n in (num, other))
    indices, distances = nearest(real, fake)
    every = cdist(fake.astype(np.float64), real.astype(np.float64))
    np.testing.assert_array_equal(indices, every.argmin(axis=1))
    np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e-3])
def test_nearest_decides_beyond_float32(scale, rng):
    """Real images that are nearly the same: products in float32 cannot tell them apart."""
    base = rng.uniform(-0.9, 0.9, 50)
    real = base + scale * rng.normal(size=(200, 50))
    picked = rng.permutation(200)
    indices, distances = nearest(real, real[picked])
    np.testing.assert_array_equal(indices, picked)
    np.testing.assert_array_equal(distances, 0)


def test_nearest_finds_copies_and_takes_the_first(rng, monkeypatch):
    real = rng.uniform(-1, 1, (100, 30))
    doubled = np.concatenate([real, real])
    for elements in (1, 64, 2**22):
        monkeypatch.setattr(metrics, "ELEMENTS", elements)
        indices, distances = nearest(doubled, real[::-1])
        np.testing.assert_array_equal(indices, np.arange(100)[::-1])
        np.testing.assert_array_equal(distances, 0)


def test_the_largest_distance_of_images():
    indices, distances = nearest(np.full((3, 784), -1.0), np.full((2, 784), 1.0))
    assert indices.tolist() == [0, 0] and distances == pytest.approx(56, rel=1e-14)


def test_nearest_does_not_depend_on_the_other_fakes(rng):
    real, fake = clouds(rng)
    order = rng.permutation(len(fake))
    indices, distances = nearest(real, fake)
    again, distances_again = nearest(real, fake[order])
    np.testing.assert_array_equal(again, indices[order])
    np.testing.assert_array_equal(distances_again, distances[order])


@pytest.mark.parametrize("scale", [1.01, 255])
def test_pixels_out_of_range_are_refused(scale):
    for real, fake, name in ((good() * scale, good(), "real"), (good(), good() * scale, "fake")):
        with pytest.raises(ValueError, match=rf"^{name}_pixels: expected pixels in \[-1, 1\], got"):
            nearest(real, fake)


# --- memory and time ------------------------------------------------------------------------------


def peak(function, *arguments):
    """Most bytes that were allocated at once, the arguments not counted."""
    tracemalloc.start()
    try:
        function(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("metric", PAIRS)
def test_memory_grows_with_the_chunk_and_not_with_the_pairs(metric, rng, monkeypatch):
    """3,000 x 3,000 in float64 are 72 MB."""
    monkeypatch.setattr(metrics, "ELEMENTS", 2**17)  # 1 MB
    clipped = np.clip(rng.normal(0, 0.3, (2, 3000, 16)), -1, 1).astype(np.float32)
    assert peak(metric, *clipped) < 10e6


def test_ten_thousand_by_ten_thousand_in_little_memory(rng):
    """The whole matrix would be 800 MB."""
    real, fake = rng.normal(size=(2, 10_000, 8)).astype(np.float32)
    assert peak(precision_recall_density_coverage, real, fake) < 0.2e9


@pytest.mark.slow
@pytest.mark.parametrize("metric", PAIRS)
def test_ten_thousand_by_ten_thousand(metric, rng):
    clipped = np.clip(rng.normal(0, 0.3, (2, 10_000, 96)), -1, 1).astype(np.float32)
    start = time.perf_counter()
    assert peak(metric, *clipped) < 0.5e9
    assert time.perf_counter() - start < 30


@pytest.mark.slow
def test_prdc_of_its_authors_example(rng):
    """N(0, I) in 1000 dimensions, 10,000 each: the numbers of the prdc package's README.

    They are one draw without a seed; of five draws here the density went from 0.91 to 1.07.
    """
    result = precision_recall_density_coverage(*rng.normal(size=(2, 10_000, 1000)))
    assert result.precision == pytest.approx(0.4772, abs=0.04)
    assert result.recall == pytest.approx(0.4705, abs=0.04)
    assert result.density == pytest.approx(1.0555, abs=0.2)
    assert result.coverage == pytest.approx(0.9735, abs=0.03)
