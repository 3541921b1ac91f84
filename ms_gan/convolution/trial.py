"""Whether a compiled convolution.cpp computes what it should.

Two convolutions of unlike geometry in one graph, their gradients, and the gradients of a penalty on
these; LeakyReLU, its gradient and the gradient of that; batch normalisation and its gradients:
against NumPy in float64.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_gan.convolution.layers import Convolution
from ms_gan.convolution.operators import Geometry, batch_norm, leaky_relu

TOLERANCES = {"strict": 1e-5, "bf16": 5e-2}  # by `runtime.onednn_fpmath`
FIRST = {"kernel": 4, "stride": 2, "groups": 1}  # of 9 x 9 images, whose last row is not used
SECOND = {"kernel": 3, "stride": 1, "groups": 4}
PADDING = 1
SLOPE, EPSILON = 0.2, 1e-5
AXES = (0, 2, 3)  # of a channel
NORM = ("y", "dx", "dgamma", "dbeta")


class Both(nn.Cell):
    """x [N, 3, 9, 9], v [8, 3, 4, 4], w [8, 2, 3, 3] -> [N, 8, 4, 4]."""

    def __init__(self, library: Path):
        super().__init__()
        self.first, self.second = (
            Convolution(library, Geometry.of(dilation=1, pad_mode="pad", padding=PADDING, **one))
            for one in (FIRST, SECOND)
        )

    def construct(self, x, v, w):
        return self.second(self.first(x, v), w)


class Gradients(nn.Cell):
    """x, v, w, d -> y, and the gradients of its product with d for x, v and w."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x, v, w, d):
        y, pull_back = ms.vjp(self.net, x, v, w)
        dx, dv, dw = pull_back(d)
        return y, dx, dv, dw


class Penalty(nn.Cell):
    """Half of the squared gradient for x."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.gradients = Gradients(net)

    def construct(self, x, v, w, d):
        dx = self.gradients(x, v, w, d)[1]
        return 0.5 * (dx * dx).sum()


class SlopesOfPenalty(nn.Cell):
    """x, v, w, d -> the gradients of the penalty for all four."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.penalty = Penalty(net)
        self.slopes = ops.GradOperation(get_all=True)

    def construct(self, x, v, w, d):
        return self.slopes(self.penalty)(x, v, w, d)


class Activation(nn.Cell):
    """LeakyReLU of x."""

    def __init__(self, library: Path):
        super().__init__()
        self.activate, self.slope = leaky_relu(library, SLOPE)

    def construct(self, x):
        return self.activate(x, self.slope)


class GradientOfActivation(nn.Cell):
    """x, d -> LeakyReLU of x, and the gradient of its product with d for x."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x, d):
        y, pull_back = ms.vjp(self.net, x)
        return y, pull_back(d)[0]


class SlopesOfActivation(nn.Cell):
    """x, d, e -> the gradients, for x and d, of the product of e with the gradient for x."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.gradient = GradientOfActivation(net)

    def construct(self, x, d, e):
        _, pull_back = ms.vjp(self.gradient, x, d)
        return pull_back((ops.zeros_like(x), e))


class Norm(nn.Cell):
    """Batch normalisation of x, and LeakyReLU."""

    def __init__(self, library: Path):
        super().__init__()
        self.normalise, self.numbers = batch_norm(library, EPSILON, SLOPE)

    def construct(self, x, gamma, beta):
        return self.normalise(x, gamma, beta, self.numbers)[0]


def fault(library: Path, tolerance: float) -> str | None:
    """What is wrong with a library; None: nothing differs by more than `tolerance` of its size.

    y is linear in each of x, v and w, so its slope along r is y at r in the place of x, v or w.
    """
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 9, 9), (8, 3, 4, 4), (8, 2, 3, 3), (2, 8, 4, 4))
    x, v, w, d = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    at_x, at_v, at_w, at_y = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    net = Both(library)
    gradients, slopes = Gradients(net), SlopesOfPenalty(net)

    def made(cell, *arrays):
        return [tensor.asnumpy().astype(float) for tensor in cell(*map(Tensor, arrays))]

    y, dx, dv, dw = made(gradients, x, v, w, d)
    _, slope_v, slope_w, _ = made(slopes, x, v, w, d)
    activation = Activation(library)
    here = y.astype(np.float32)
    z, dz = made(GradientOfActivation(activation), here, d)
    dy, dd = made(SlopesOfActivation(activation), here, d, at_y)
    slope = np.where(here > 0, 1.0, SLOPE)
    gamma, beta = rng.standard_normal((2, 8)).astype(np.float32)
    norm = Gradients(Norm(library))
    norms = zip(made(norm, here, gamma, beta, d), normalised(here, gamma, beta, d), strict=True)
    checks = {
        "the images": (y, images(x, v, w)),
        "the gradient of the images": along((dx, at_x), (images(at_x, v, w), d)),
        "the gradient of strided weights": along((dv, at_v), (images(x, at_v, w), d)),
        "the gradient of grouped weights": along((dw, at_w), (images(x, v, at_w), d)),
        "a penalty's gradient of strided weights": along(
            (slope_v, at_v), (dx, made(gradients, x, at_v, w, d)[1]),
        ),
        "a penalty's gradient of grouped weights": along(
            (slope_w, at_w), (dx, made(gradients, x, v, at_w, d)[1]),
        ),
        "LeakyReLU's images": (z, here * slope),
        "the gradient of LeakyReLU": (dz, d * slope),
        "a penalty's gradient of LeakyReLU": (dy + dd, at_y * slope),
        **{f"batch normalisation ({what})": pair for what, pair in zip(NORM, norms, strict=True)},
    }  # fmt: skip
    for what, (found, expected) in checks.items():
        error = np.abs(found - expected).max() / np.abs(expected).max()
        if not error <= tolerance:  # NaN is not
            return f"{what} differ by {error:.1g} of their size"
    return None


def normalised(x, gamma, beta, d) -> tuple[np.ndarray, ...]:
    """What :class:`Norm` makes, and the gradients of its product with d for x, gamma and beta."""
    x, d, scale = x.astype(float), d.astype(float), gamma.reshape(-1, 1, 1)
    deviation = np.sqrt(x.var(axis=AXES, keepdims=True) + EPSILON)
    h = (x - x.mean(axis=AXES, keepdims=True)) / deviation
    y = h * scale + beta.reshape(-1, 1, 1)
    slope = np.where(y > 0, 1.0, SLOPE)
    d = d * slope
    mean, tilt = (one.mean(axis=AXES, keepdims=True) for one in (d, d * h))
    dx = scale / deviation * (d - mean - h * tilt)
    return y * slope, dx, (d * h).sum(axis=AXES), d.sum(axis=AXES)


def along(*pairs: tuple[np.ndarray, np.ndarray]) -> list[float]:
    """The product of each pair: of a gradient and a direction, the slope in this direction."""
    return [(one * other).sum() for one, other in pairs]


def images(x: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    return convolved(convolved(x, v, **FIRST), w, **SECOND)


def convolved(x: np.ndarray, w: np.ndarray, *, kernel: int, stride: int, groups: int) -> np.ndarray:
    """[N, C, H, W], [O, C / groups, k, k] -> [N, O, H', W'] in float64."""
    x = np.pad(x.astype(float), ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    patches = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    patches = patches[:, :, ::stride, ::stride]  # [N, C, H', W', k, k]
    num, channels, height, width = patches.shape[:4]
    patches = patches.reshape(num, groups, channels // groups, height, width, kernel, kernel)
    w = w.astype(float).reshape(groups, -1, *w.shape[1:])
    y = np.einsum("ngchwij,gocij->ngohw", patches, w)
    return y.reshape(num, -1, height, width)
