"""How near two sets of images are, patch by patch and scale by scale: no network, no classes.

The sliced Wasserstein distance over a Laplacian pyramid, Karras et al. 2018, arXiv:1710.10196,
section 5. An image is taken apart into differences between itself and its blurred self at half the
size, again and again, down to about 16 pixels. What is left at the bottom holds colours and large
shapes, the differences hold edges and texture of one scale each. From every level, patches of 7x7
pixels are cut, the same number from both sets. Along a direction in the space of patches, both sets
are numbers on a line, and the Wasserstein distance is the mean difference of the sorted numbers;
the mean over 512 random directions is the level's value, here as there times 1000.

Larger is worse. The value of two equal distributions is not 0 but falls with about 1/sqrt(N): give
the same number between two sets of real images (the floor) beside every value, and compare equal
numbers of images only. What it does not see: how the parts of an image lie to each other beyond 7
pixels of the coarsest level, and copied training images.

Three things differ from the authors' program:

* Both sets are normalised with mean and standard deviation of *both together*, channel by channel
  and level by level; there each set with its own, which hides a tint, a wrong contrast and much of
  a blur. Where mean and deviation agree, both ways give the same number.
* Any size has a pyramid. A level of n pixels is followed by one of (n + 1) // 2, while that keeps
  the shorter side at 12 or more; for powers of two this is 16. 64 -> 64, 32, 16; 28 -> 28, 14;
  48x32 -> 48x32, 24x16. Less than 23 pixels make one level, less than 7 smaller patches.
* At most 65,536 patches of a level are compared (up to 512 images: 128 of each), and where a level
  has fewer than 128 places, every place once. Memory and time have a bound, whatever the number of
  images.

Everything is NumPy, a function of the seed, and does not depend on the order of the images.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ms_gan.system import streams
from ms_gan.system.streams import Stream

PATCH = 7  # height and width of a patch
PATCHES = 128  # of one level of one image, at most
MOST = 2**16  # of one level of all images
DIRECTIONS, AT_ONCE, WORKERS = 512, 64, 2
SHORTEST = 12  # side of the coarsest level: halving 23 gives 12, halving 22 would give 11
SCALE = 1000.0
KERNEL = (1, 4, 6, 4, 1)  # of Burt and Adelson, sum 16
PIXELS = 2**22  # of the images whose pyramids are in memory


def sizes(height: int, width: int) -> list[tuple[int, int]]:
    """(height, width) of the levels, from the finest, the image's own size, to the coarsest."""
    found = [(height, width)]
    while min(halved := tuple((side + 1) // 2 for side in found[-1])) >= SHORTEST:
        found.append(halved)
    return found


def laplacian(images: np.ndarray) -> list[np.ndarray]:
    """The levels of images float32 [N, C, H, W], [N, C, h, w] each; blown up and added, they give
    the images again.
    """
    levels, rest = [], images
    for height, width in sizes(*images.shape[2:])[:-1]:
        small = _smaller(height) @ (rest @ _smaller(width).T)
        levels.append(rest - _larger(height) @ (small @ _larger(width).T))
        rest = small
    return [*levels, rest]


def patches(images: np.ndarray, *, seed: int) -> list[np.ndarray]:
    """Patches of every level, float32 [M, C, h * w], in an order that does not depend on that of
    the images.

    Args:
        images: uint8, or float in [-1, 1], [N, C, H, W], N at least 1.
        seed: where the patches lie; the same places in every set of N images of this size.
    """
    images = images[_order(images)]
    every = enumerate(sizes(*images.shape[2:]))
    places = [_places(level, size, len(images), seed) for level, size in every]
    found = [[] for _ in places]
    step = max(1, PIXELS // images[0].size)
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        for level, pixels in enumerate(laplacian(_floats(images[rows]))):
            found[level].append(_cut(pixels, places[level][rows]))
    return [np.concatenate(parts) for parts in found]


def distances(one: Sequence[np.ndarray], other: Sequence[np.ndarray], *, seed: int) -> list[float]:
    """The distance at each level between two sets of `patches`, times 1000, finest first."""
    return [SCALE * _of_level(a, b, seed) for a, b in zip(one, other, strict=True)]


def sliced_wasserstein(one: np.ndarray, other: np.ndarray, directions: np.ndarray) -> float:
    """Mean over directions of the Wasserstein-1 distance between two sets of points.

    Args:
        one, other: float [N, d], the same N.
        directions: float [d, K], columns of length 1.
    """
    if one.shape != other.shape:
        raise ValueError(f"other: expected the shape {list(one.shape)}, got {list(other.shape)}")

    def distances(start: int) -> np.ndarray:
        some = directions[:, start : start + AT_ONCE].T
        lines = np.sort(some @ one.T, axis=1), np.sort(some @ other.T, axis=1)
        return np.abs(lines[0] - lines[1]).mean(axis=1, dtype=np.float64)

    with ThreadPoolExecutor(WORKERS) as pool:  # NumPy sorts on one core, without Python's lock
        means = list(pool.map(distances, range(0, directions.shape[1], AT_ONCE)))
    return float(np.concatenate(means).mean())


def directions(dimensions: int, *, seed: int) -> np.ndarray:
    """float32 [dimensions, DIRECTIONS], uniform on the sphere."""
    drawn = streams.rng(Stream.PATCHES, seed).standard_normal((dimensions, DIRECTIONS))
    return (drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32)


# --- parts ----------------------------------------------------------------------------------------


def _of_level(one: np.ndarray, other: np.ndarray, seed: int) -> float:
    mean = _mean(one, other)
    one, other = one - mean, other - mean
    std = np.sqrt(_mean(one * one, other * other))
    std[std == 0] = 1
    flat = ((x / std).reshape(len(x), -1) for x in (one, other))
    return sliced_wasserstein(*flat, directions(one[0].size, seed=seed))


def _mean(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of both sets together, channel by channel: float32 [1, C, 1]."""
    both = sum(x.mean(axis=(0, 2), keepdims=True, dtype=np.float64) for x in (one, other))
    return (both / 2).astype(np.float32)


def _order(images: np.ndarray) -> np.ndarray:
    """Rows from dark to bright; what is equally bright, by its content."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    content = [zlib.crc32(image) for image in flat]
    return np.lexsort((content, flat.sum(axis=1, dtype=np.float64)))


def _floats(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(127.5) - 1
    return images.astype(np.float32)


def _places(level: int, size: tuple[int, int], num: int, seed: int) -> np.ndarray:
    """Upper left pixels of the patches of each image, y * columns + x: int [num, K]."""
    rows, columns = (side - min(PATCH, side) + 1 for side in size)
    most = min(PATCHES, max(1, MOST // num))
    if rows * columns <= most:
        return np.tile(np.arange(rows * columns), (num, 1))
    return streams.rng(Stream.PATCHES, seed, 1 + level).integers(rows * columns, size=(num, most))


def _cut(pixels: np.ndarray, places: np.ndarray) -> np.ndarray:
    """[N, C, H, W] and places [N, K] -> [N * K, C, h * w]"""
    patch = tuple(min(PATCH, side) for side in pixels.shape[2:])
    windows = np.lib.stride_tricks.sliding_window_view(pixels, patch, axis=(2, 3))
    y, x = np.divmod(places, windows.shape[3])
    found = windows[np.arange(len(pixels))[:, None], :, y, x]  # [N, K, C, h, w]
    return found.reshape(places.size, pixels.shape[1], -1)


def _smaller(side: int) -> np.ndarray:
    """Blur and take every second pixel: float32 [(side + 1) // 2, side]; cv2.pyrDown's border."""
    matrix = np.zeros(((side + 1) // 2, side), np.float32)
    for i, row in enumerate(matrix):
        for offset, weight in zip(range(-2, 3), KERNEL, strict=True):
            row[_mirrored(2 * i + offset, side)] += weight / 16
    return matrix


def _larger(side: int) -> np.ndarray:
    """Zeros between the pixels, then the same blur, twice as strong: [side, (side + 1) // 2]."""
    matrix = np.zeros((side, (side + 1) // 2), np.float32)
    for i, row in enumerate(matrix):
        for offset, weight in zip(range(-2, 3), KERNEL, strict=True):
            place = _mirrored(i + offset, side)
            if place % 2 == 0:
                row[place // 2] += weight / 8
    return matrix


def _mirrored(place: int, side: int) -> int:
    """The pixel that stands for one outside; the edge itself is not repeated."""
    return side - 1 - abs(side - 1 - abs(place))
