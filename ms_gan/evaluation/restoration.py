"""How near a restored picture is to the true one, and what one gets without any training.

NumPy alone. Pictures are float [N, C, H, W] in [-1, 1], grey or colour. The published protocol of
super-resolution: on the brightness Y of BT.601 in 16 .. 235, in steps of a file, without a border
as wide as the scale.
"""

from __future__ import annotations

import numpy as np

COLOURS = np.array([65.481, 128.553, 24.966]) / 255.0  # of Y, ITU-R BT.601
WINDOW = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))  # of SSIM


def steps(images: np.ndarray) -> np.ndarray:
    """[-1, 1] -> 0 .. 255 as a file holds it, float64."""
    return np.clip(np.rint((np.asarray(images, np.float64) + 1.0) * 127.5), 0, 255)


def brightness(images: np.ndarray, border: int = 0) -> np.ndarray:
    """[N, C, H, W] -> Y float64 [N, H, W] in 16 .. 235, without so many pixels at each side."""
    pixels = steps(images)
    if border:
        pixels = pixels[..., border:-border, border:-border]
    if pixels.shape[1] == 1:
        return 16.0 + pixels[:, 0] * COLOURS.sum()
    return 16.0 + np.einsum("nchw,c->nhw", pixels, COLOURS)


def psnr(one: np.ndarray, other: np.ndarray, *, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of values 0 .. 255, dB; infinite where they are equal.

    Args:
        where: bool of the same shape: only these count.
    """
    squares = (np.asarray(one, np.float64) - other) ** 2
    error = squares.mean() if where is None else squares[where].mean()
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def psnrs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """:func:`psnr` of each image [N, ...], float64 [N]; equal ones count as differing by 1e-3."""
    squares = (np.asarray(one, np.float64) - other) ** 2
    return 10 * np.log10(
        255.0**2 / np.maximum(squares.reshape(len(squares), -1).mean(axis=1), 1e-6)
    )


def ssim(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Structural similarity of pictures [N, H, W], 0 .. 255, at least 11x11: float64 [N].

    Wang et al. 2004 (IEEE TIP 13, 600-612), Eq. 13: a Gaussian window of 11x11 with standard
    deviation 1.5, K1 = 0.01, K2 = 0.03, the mean over all windows that lie inside.
    """
    line = WINDOW / WINDOW.sum()

    def mean(x):
        for axis in (1, 2):
            n = x.shape[axis] - len(line) + 1
            x = sum(w * x.take(np.arange(i, i + n), axis) for i, w in enumerate(line))
        return x

    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    of_a, of_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - of_a**2, mean(b * b) - of_b**2
    both = mean(a * b) - of_a * of_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * of_a * of_b + c1) * (2 * both + c2)
    found = top / ((of_a**2 + of_b**2 + c1) * (var_a + var_b + c2))
    return found.mean(axis=(1, 2))


def fine_energy(y: np.ndarray) -> float:
    """Energy of the upper half of the spatial frequencies of Y [N, H, W], a mean over pictures:
    what blurring takes away."""
    power = np.abs(np.fft.fft2(y - y.mean(axis=(1, 2), keepdims=True))) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(side)) for side in y.shape[1:])
    fine = np.maximum(rows[:, None], columns[None, :]) > 0.25
    return float(power[:, fine].sum() / y.size)


def laplace(images: np.ndarray, mask: np.ndarray, rounds: int = 400) -> np.ndarray:
    """The hole filled with the smoothest surface between its edges, [N, C, H, W].

    Args:
        mask: [N, 1, H, W], 1 in the hole.
    """
    hole = mask.astype(bool)
    known = np.where(hole, 0.0, images)
    count = (~hole).sum(axis=(2, 3), keepdims=True)
    filled = np.where(hole, known.sum(axis=(2, 3), keepdims=True) / np.maximum(count, 1), images)
    for _ in range(rounds):  # Jacobi: every unknown pixel becomes the mean of its neighbours
        wide = np.pad(filled, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
        near = (
            wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        )
        filled = np.where(hole, near / 4, images)
    return filled


def nearest_fill(images: np.ndarray, mask: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The hole filled from the known image that is nearest in what is left, [N, C, H, W].

    Args:
        mask: [N, 1, H, W], 1 in the hole.
        known: float [M, C, H, W] in [-1, 1].
    """
    left = np.broadcast_to(1.0 - mask, images.shape).reshape(len(images), -1).astype(np.float32)
    flat, wanted = known.reshape(len(known), -1).astype(np.float32), images.reshape(len(images), -1)
    # |left (wanted - known)|^2 without what depends on `wanted` alone
    distances = left @ (flat * flat).T - 2.0 * (left * wanted).astype(np.float32) @ flat.T
    return np.where(mask.astype(bool), known[distances.argmin(axis=1)], images)


def colour_map(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The best linear map of colours, float64 [C + 1, D], by least squares over all pixels.

    Args:
        source, target: pictures [N, C, H, W] and [N, D, H, W] that belong together.
    """
    return np.linalg.lstsq(_colours(source), _pixels(target), rcond=None)[0]


def mapped(source: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """Pictures [N, C, H, W] under a :func:`colour_map`, [N, D, H, W], within [-1, 1]."""
    n, _, height, width = source.shape
    made = _colours(source) @ map_
    return np.clip(made.reshape(n, height, width, -1).transpose(0, 3, 1, 2), -1.0, 1.0)


def _pixels(images: np.ndarray) -> np.ndarray:
    """[N, C, H, W] -> float64 [N H W, C]"""
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1]).astype(np.float64)


def _colours(images: np.ndarray) -> np.ndarray:
    """The same with a constant beside."""
    pixels = _pixels(images)
    return np.hstack([pixels, np.ones((len(pixels), 1))])
