"""How near generated samples are to real ones: pure functions of arrays, numbers out.

Most functions compare two clouds of *features*, float [N, d]: what a classifier trained on the
data at hand computes in its last hidden layer. Features, not pixels, because pixels that are far
apart (a digit moved by two pixels) may be the same to the eye.

    function             range      better            blind to
    frechet_distance     [0, inf)   smaller           all but mean and covariance
    kernel_distance      around 0   smaller           moments above the third
    precision, recall    [0, 1]     larger            copied training images
    density              [0, inf)   larger, ideal 1   lost modes
    coverage             [0, 1]     larger            bad samples beside good ones
    classifier_score     [1, K]     larger            variety within a class
    modes                [1, K]     K                 quality, balance of the classes
    class_kl             [0, inf)   smaller           quality
    nearest              [0, inf)   as of test data   quality

The Frechet distance of these features must not be called FID. FID is the name of one measuring
device: this formula on the 2048 `pool3` activations of one Inception network with one set of
weights trained on ImageNet, one way of resizing to 299x299, and 50,000 samples. Another network is
another device with other units, so "FID 5" read off it can be compared with no published FID, nor
with the distance by a second classifier; and on grey 28x28 digits Inception's own features, made
for photographs, mean little. The value is a *Frechet classifier distance*, comparable only where
the classifier's weights, the number of samples and the real set are the same. It depends on
the number of samples even for a perfect generator: give the same number computed between two real
sets (the floor) beside every result.

Everything is decided in float64, exactly over all pairs, a chunk of rows at a time: the numbers
depend neither on the order of the samples nor on the size of the chunks, but for the last digits
of a sum. Wrong shapes, NaN, infinity and too few samples are refused with a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ELEMENTS = 2**22  # of a chunk of the N x M matrix of distances: 32 MB in float64
LARGEST = 1e50  # of a feature: its sixth power is still finite in float64
PROBABILITY_ERROR = 1e-3  # how far a row of probabilities may be from 1, for softmax in float32


# --- features -------------------------------------------------------------------------------------


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to the features.

    |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), with means m, m' and covariances C, C' (divided by
    N - 1, as FID does): Heusel et al. 2017, arXiv:1706.08500, eq. 6. Larger is worse, 0 means
    equal means and covariances. It is biased upwards by about const/N: compare equal N only.

    With C = A^T A and C' = B^T B, the trace of the root is the sum of the singular values of
    A B^T. A and B come from QR decompositions of the centred features, so no product of
    covariances is formed, nothing becomes complex, and singular covariances (fewer samples than
    features, dead features) lose no digits.

    Args:
        real, fake: float [N, d] and [M, d], N and M at least 2; better well above d.
    """
    real, fake = _pair(real, fake, least=2)
    shift = real.mean(axis=0) - fake.mean(axis=0)
    a, b = _covariance_factor(real), _covariance_factor(fake)
    root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + np.sum(a**2) + np.sum(b**2) - 2 * root))


def kernel_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel k(x, y) = (x.y / d + 1)^3, unbiased.

    mean k(x, x') + mean k(y, y') - 2 mean k(x, y), over x != x' of the real and y != y' of the
    fake features: the estimator and kernel of the "kernel inception distance", Binkowski et al.
    2018, arXiv:1801.01401. Over all pairs instead of the paper's average over random subsets: the
    same expectation, smaller variance, no seed. Larger is worse. Equal distributions give 0 on
    average for every N, therefore often a negative number: do not clip it.

    Args:
        real, fake: float [N, d] and [M, d], N and M at least 2.
    """
    real, fake = _pair(real, fake, least=2)
    own = _mean_kernel_of_pairs(real) + _mean_kernel_of_pairs(fake)
    cross = sum(_kernel(real[rows], fake).sum() for rows in _chunks(len(real), len(fake)))
    return float(own - 2 * cross / (len(real) * len(fake)))


@dataclass(frozen=True)
class PRDC:
    """Two measures of quality and two of variety; see precision_recall_density_coverage."""

    precision: float  # share of the fakes among the real ones, [0, 1]
    recall: float  # share of the real ones among the fakes, [0, 1]
    density: float  # how many real neighbourhoods a fake is in, over k: [0, inf), ideal 1
    coverage: float  # share of the real ones with a fake in their neighbourhood, [0, 1]


def precision_recall_density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5) -> PRDC:
    """Quality and variety apart, by balls that reach to the k-th nearest neighbour.

    The ball of a sample has as radius the distance to its k-th nearest neighbour in its own set,
    itself not counted; inside means strictly nearer (`<`; a tie is outside, also a tie but for
    rounding). Of N real and M fake samples:

        precision = share of the fakes that are inside any real ball
        recall    = share of the real ones that are inside any fake ball
        density   = (number of pairs with the fake inside the real one's ball) / (k M)
        coverage  = share of the real ones with any fake inside their ball

    Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2 (which writes `<=`), and Naeem et al.
    2020, arXiv:2002.09797, section 3. For all four larger is better. When both sets are of the
    same distribution and size, density is 1 and coverage 1 - prod_{i=1..k} (N - i) / (2N - i) on
    average, whatever the distribution: 0.969 for k = 5. Single draws scatter, the more the more
    dimensions there are (density 0.91 to 1.07 for 10,000 normal samples in 1000). Precision and
    recall have no such value (about 0.95 on MNIST, 0.47 for those normal samples). A generator
    stuck on one mode has high precision, low recall and coverage. A set in which a sample occurs
    more than k times has balls of radius 0 there, with nothing inside.

    Args:
        real, fake: float [N, d] and [M, d], N and M greater than k.
        k: the neighbour that gives the radius.
    """
    _whole("k", k)
    real, fake = _pair(real, fake, least=k + 1)
    center = real.mean(axis=0)  # distances do not change, their rounding errors shrink
    real, fake = real - center, fake - center
    slack = _rounding(real, fake)
    real_radii, fake_radii = _radii(real, k) - slack, _radii(fake, k) - slack
    balls = np.zeros(len(fake), np.int64)  # in how many real balls each fake is
    recalled, covered = np.empty(len(real), bool), np.empty(len(real), bool)
    for rows in _chunks(len(real), len(fake)):
        squared = _squared_distances(real[rows], fake)
        inside = squared < real_radii[rows, None]
        balls += np.count_nonzero(inside, axis=0)
        covered[rows] = inside.any(axis=1)
        recalled[rows] = (squared < fake_radii).any(axis=1)
    return PRDC(
        precision=float(np.mean(balls > 0)),
        recall=float(np.mean(recalled)),
        density=float(balls.sum() / (k * len(fake))),
        coverage=float(np.mean(covered)),
    )


# --- classes --------------------------------------------------------------------------------------


def classifier_score(probabilities: np.ndarray) -> float:
    """exp(mean over x of KL(p(y|x) || p(y))): how sure and how varied the classifier's answers are.

    Salimans et al. 2016, arXiv:1606.03498, section 4, there with Inception as the classifier;
    here over all samples at once, without splits. Between 1 (the same answer for every sample, or
    no answer at all) and K (sure answers, all classes equally often); larger is better. Real data
    do not reach K when a class is rarer than the others.

    Args:
        probabilities: float [N, K], p(y|x) of N generated samples: softmax, not scores; N and K at
            least 2.
    """
    p = _matrix("probabilities", probabilities, least=2, columns="K").astype(np.float64)
    if p.shape[1] < 2:
        raise ValueError(f"probabilities: expected at least 2 classes, got {p.shape[1]}")
    sums = p.sum(axis=1, keepdims=True)
    if p.min() < 0 or np.abs(sums - 1).max() > PROBABILITY_ERROR:
        raise ValueError("probabilities: expected rows in [0, 1] with sum 1; apply softmax first")
    p /= sums
    information = _entropy(p.mean(axis=0)) - _entropy(p).mean()
    return float(np.clip(np.exp(information), 1.0, p.shape[1]))


def modes(labels: np.ndarray, num_classes: int) -> int:
    """Number of classes among the samples, 1 to num_classes; fewer means lost modes.

    Args:
        labels: int [N], the classes that a classifier gives to generated samples, 0 to
            num_classes - 1.
        num_classes: K.
    """
    return int(np.count_nonzero(_histogram(labels, num_classes)))


def class_kl(labels: np.ndarray, num_classes: int, reference: np.ndarray | None = None) -> float:
    """KL(class histogram of the samples || reference) in nats: the balance of the classes.

    sum over classes of p log(p / q), as on Stacked MNIST (Lin et al. 2018, arXiv:1712.04086). 0
    when the shares are equal, log(K) when one class is all there is and the reference is uniform;
    larger is worse. N samples of a perfect generator give about (K - 1) / 2N, not 0, because their
    histogram is random: 0.00045 for 10 classes and 10,000 samples, 0.019 for 1000 and 26,000.

    Args:
        labels: int [N], the classes that a classifier gives to generated samples, 0 to
            num_classes - 1.
        num_classes: K.
        reference: [K], positive numbers (counts or shares) of the real data; None is uniform.
    """
    p = _histogram(labels, num_classes)
    p = p / p.sum()
    q = np.ones(num_classes) if reference is None else np.asarray(reference)
    if q.shape != (num_classes,) or q.dtype.kind not in "iuf":
        raise ValueError(f"reference: expected [{num_classes}] numbers, got {_described(q)}")
    if not (np.isfinite(q).all() and (q > 0).all()):
        raise ValueError("reference: expected a positive, finite number for each class")
    q = q / q.sum(dtype=np.float64)
    seen = p > 0
    return max(0.0, float(np.sum(p[seen] * np.log(p[seen] / q[seen]))))


# --- memorisation ---------------------------------------------------------------------------------


def nearest(real_pixels: np.ndarray, fake_pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of, and Euclidean distance to, the nearest real image of each fake one.

    A generator that copies its training images has distances well below those from the test
    images to the training images; one that has learned has about the same. Of equally near images
    the first is given. Candidates are found with float32 products, the distances are then
    computed in float64 from differences: a copy has distance 0.

    Args:
        real_pixels, fake_pixels: float [N, d] and [M, d] in [-1, 1], images [N, C, H, W] reshaped.

    Returns:
        indices int64 [M] into real_pixels, distances float64 [M] in [0, 2 sqrt(d)].
    """
    real = _matrix("real_pixels", real_pixels, least=1)
    fake = _matrix("fake_pixels", fake_pixels, least=1)
    _same_width("fake_pixels", fake, "real_pixels", real)
    for name, pixels in (("real_pixels", real), ("fake_pixels", fake)):
        if pixels.min() < -1.001 or pixels.max() > 1.001:
            raise ValueError(
                f"{name}: expected pixels in [-1, 1], got {pixels.min():g} to {pixels.max():g}"
            )
    real_single, fake_single = real.astype(np.float32), fake.astype(np.float32)
    slack = _rounding(real_single, fake_single)
    indices, distances = np.empty(len(fake), np.int64), np.empty(len(fake))
    for rows in _chunks(len(fake), len(real)):
        squared = _squared_distances(fake_single[rows], real_single)
        limits = squared.min(axis=1) + np.float32(slack)
        for i in range(rows.start, rows.stop):
            row = i - rows.start
            candidates = np.flatnonzero(squared[row] <= limits[row])
            exact = _distances(real, candidates, fake[i].astype(np.float64))
            best = exact.argmin()
            indices[i], distances[i] = candidates[best], exact[best]
    return indices, distances


# --- parts ----------------------------------------------------------------------------------------


def _chunks(num: int, width: int) -> Iterator[slice]:
    """The rows of a num x width matrix in pieces of at most ELEMENTS elements."""
    step = max(1, ELEMENTS // width)
    for start in range(0, num, step):
        yield slice(start, min(start + step, num))


def _covariance_factor(features: np.ndarray) -> np.ndarray:
    """R [min(N, d), d] with R^T R = sample covariance."""
    centered = features - features.mean(axis=0)
    return np.linalg.qr(centered, mode="r") / np.sqrt(len(features) - 1)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = (x / x.shape[1]) @ y.T
    base += 1
    cube = base * base
    cube *= base
    return cube


def _mean_kernel_of_pairs(x: np.ndarray) -> float:
    """Mean of k(x_i, x_j) over i != j; each pair is computed once but within a chunk."""
    total = 0.0
    for rows in _chunks(len(x), len(x)):
        block = _kernel(x[rows], x[rows.start :])
        size = len(block)
        total += 2 * block[:, size:].sum() + block[:, :size].sum() - np.trace(block)
    return total / (len(x) * (len(x) - 1))


def _squared_norms(x: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", x, x)


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[N, d], [M, d] -> [N, M], never negative: |x|^2 + |y|^2 - 2 x.y by one matrix product."""
    squared = (-2 * x) @ y.T
    squared += _squared_norms(x)[:, None]
    squared += _squared_norms(y)
    return np.maximum(squared, 0, out=squared)


def _rounding(x: np.ndarray, y: np.ndarray) -> float:
    """How far apart _squared_distances may put two distances that are equal."""
    largest = max(float(_squared_norms(x).max()), float(_squared_norms(y).max()))
    return 4 * (x.shape[1] + 16) * float(np.finfo(x.dtype).eps) * largest


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each sample to its k-th nearest neighbour, itself not counted."""
    radii = np.empty(len(x))
    for rows in _chunks(len(x), len(x)):
        squared = _squared_distances(x[rows], x)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf
        squared.partition(k - 1, axis=1)
        radii[rows] = squared[:, k - 1]
    return radii


def _distances(real: np.ndarray, candidates: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Euclidean distances from one float64 point to some real ones, from differences."""
    parts = [
        np.sqrt(_squared_norms(real[candidates[rows]] - point))
        for rows in _chunks(len(candidates), len(point))
    ]
    return np.concatenate(parts)


def _entropy(p: np.ndarray) -> np.ndarray:
    """In nats, over the last axis; 0 log 0 is 0."""
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)


def _histogram(labels: np.ndarray, num_classes: int) -> np.ndarray:
    _whole("num_classes", num_classes)
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise ValueError(f"labels: expected integers [N], N at least 1, got {_described(labels)}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"labels: expected classes 0 to {num_classes - 1}, got {labels.min()} to {labels.max()}"
        )
    return np.bincount(labels.astype(np.int64), minlength=num_classes)


# --- refusals -------------------------------------------------------------------------------------


def _described(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _whole(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")


def _matrix(name: str, array: np.ndarray, *, least: int, columns: str = "d") -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] < 1:
        raise ValueError(f"{name}: expected floats [N, {columns}], got {_described(array)}")
    if len(array) < least:
        raise ValueError(f"{name}: expected at least {least} samples, got {len(array)}")
    bad = len(array) - np.count_nonzero(np.isfinite(array).all(axis=1))
    if bad:
        raise ValueError(f"{name}: {bad} of {len(array)} samples hold NaN or infinity")
    if max(float(array.max()), -float(array.min())) > LARGEST:
        raise ValueError(f"{name}: expected values below {LARGEST:g} in size")
    return array


def _same_width(name: str, array: np.ndarray, other_name: str, other: np.ndarray) -> None:
    if array.shape[1] != other.shape[1]:
        raise ValueError(
            f"{name}: has {array.shape[1]} columns; {other_name} has {other.shape[1]}, not the same"
        )


def _pair(real: np.ndarray, fake: np.ndarray, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    real, fake = _matrix("real", real, least=least), _matrix("fake", fake, least=least)
    _same_width("fake", fake, "real", real)
    return real.astype(np.float64), fake.astype(np.float64)
