"""Bicubic resizing as two matrix products, the same on every device.

A picture [H, W] becomes `down @ picture @ across.T`. The weights are those of Pillow's
`Image.Resampling.BICUBIC`, which widens the kernel when it makes pictures smaller (antialiasing),
as MATLAB's `imresize` does and published super-resolution numbers assume.
"""

from __future__ import annotations

import numpy as np

from mindspore import Tensor, ops


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2 (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def bicubic_matrix(size: int, wanted: int) -> np.ndarray:
    """float32 [wanted, size]: what each pixel of the wanted line takes of the given line."""
    scale = size / wanted
    stretch = max(scale, 1.0)
    centres = (np.arange(wanted)[:, None] + 0.5) * scale
    places = np.arange(size)[None, :] + 0.5
    weights = cubic((places - centres) / stretch)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def bicubic(shape: tuple[int, int], wanted: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two constants of :func:`resized`, from (H, W) to the wanted (H', W')."""
    return (
        Tensor(bicubic_matrix(shape[0], wanted[0])),
        Tensor(np.ascontiguousarray(bicubic_matrix(shape[1], wanted[1]).T)),
    )


def resized(x, matrices):
    """[N, C, H, W] -> [N, C, H', W'] by the constants of :func:`bicubic`."""
    return ops.matmul(matrices[0], ops.matmul(x, matrices[1]))


def enlarged(images: np.ndarray, wanted: tuple[int, int]) -> np.ndarray:
    """:func:`resized` on the host: float32 [N, C, H, W] -> [N, C, H', W']."""
    down, across = (
        bicubic_matrix(side, new) for side, new in zip(images.shape[2:], wanted, strict=True)
    )
    return down @ (images @ across.T)
