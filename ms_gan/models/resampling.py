"""Constant filters that change the size of images, with derivatives of any order.

Depthwise convolutions: MindSpore's pooling and interpolation have no second derivative on CPU,
which gradient penalties need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mindspore import Tensor, nn

from ms_gan.convolution.layers import convolution, transposed_convolution

BILINEAR = (1.0, 2.0, 1.0)
SMOOTH = (1.0, 3.0, 3.0, 1.0)  # of StyleGAN2, arXiv:1912.04958, appendix B


def box(factor: int) -> tuple[float, ...]:
    """Means over `factor` pixels downwards, their nearest neighbour upwards."""
    return (1.0,) * factor


def kernels(channels: int, taps: Sequence[float], gain: float = 1.0) -> Tensor:
    """The same separable filter for every channel, [channels, 1, k, k], its sum is `gain`."""
    taps = np.asarray(taps, np.float64) / np.sum(taps)
    return Tensor(np.tile(gain * np.outer(taps, taps), (channels, 1, 1, 1)).astype(np.float32))


def edges(taps: Sequence[float], factor: int) -> tuple[int, int, int, int]:
    """Zeros (top, bottom, left, right) around images so that the size is divided exactly."""
    margin = len(taps) - factor
    before, after = (margin + 1) // 2, margin // 2
    return before, after, before, after


class Downsample(nn.Cell):
    """[N, C, H, W] -> [N, C, H / factor, W / factor] with a constant filter along both axes.

    Args:
        channels: C.
        taps: the filter, as many values as `factor` or more; they are divided by their sum.
        factor: divides H and W.
    """

    def __init__(self, channels: int, taps: Sequence[float] = BILINEAR, factor: int = 2):
        super().__init__()
        self.kernel = kernels(channels, taps)
        self.conv = depthwise(convolution, channels, len(taps), edges(taps, factor), factor)

    def construct(self, x):
        return self.conv(x, self.kernel)


class Upsample(nn.Cell):
    """[N, C, H, W] -> [N, C, factor * H, factor * W]: the transpose of :class:`Downsample`, times
    factor ** 2, so that constant images stay what they are."""

    def __init__(self, channels: int, taps: Sequence[float] = BILINEAR, factor: int = 2):
        super().__init__()
        self.factor = factor
        self.kernel = kernels(channels, taps, gain=float(factor**2))
        self.conv = depthwise(
            transposed_convolution, channels, len(taps), edges(taps, factor), factor
        )

    def construct(self, x):
        n, channels, height, width = x.shape
        size = (n, channels, self.factor * height, self.factor * width)
        return self.conv(x, self.kernel, size)


class Blur(nn.Cell):
    """[N, C, H, W] -> [N, C, H + 2 p - k + 1, W + 2 p - k + 1], zeros around the edge.

    Args:
        channels: C.
        padding: p.
        taps: the filter, k values; they are divided by their sum.
        gain: of the result; 4 behind a transposed convolution of stride 2.
    """

    def __init__(
        self, channels: int, padding: int, taps: Sequence[float] = SMOOTH, gain: float = 1.0
    ):
        super().__init__()
        self.kernel = kernels(channels, taps, gain)
        self.conv = depthwise(convolution, channels, len(taps), (padding,) * 4, 1)

    def construct(self, x):
        return self.conv(x, self.kernel)


def depthwise(
    kind: Callable, channels: int, size: int, padding: tuple[int, int, int, int], stride: int
):
    return kind(channels, size, padding=padding, stride=stride, groups=channels)
