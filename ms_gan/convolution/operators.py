"""Convolution and its two gradients as operators that are each other's gradients.

A convolution y = x * w is linear in the images x and in the weights w, so the gradients of any of
the three (y of x and w, x of y and w, w of x and y) are the two others: penalties, which
differentiate a gradient, need nothing more. Beside them LeakyReLU and batch normalisation.
"""

from __future__ import annotations

import functools
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from mindspore.ops.primitive import constexpr

Pair = tuple[int, int]  # of height and width


@dataclass(frozen=True)
class Geometry:
    """What MindSpore's Conv2D is told beside the sizes.

    Args:
        before: zeros at the top and on the left; None: so many that sizes are divided by the stride
            and rounded up, half of them (pad_mode 'same').
        after: zeros at the bottom and on the right.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    before: Pair | None = (0, 0)
    after: Pair = (0, 0)
    groups: int = 1

    @classmethod
    def of(cls, kernel, stride, dilation, pad_mode: str, padding, groups: int) -> Geometry:
        """From the arguments of nn.Conv2d, each number one or one for each side."""
        top, bottom, left, right = each(padding, 4) if pad_mode == "pad" else (0, 0, 0, 0)
        before = None if pad_mode == "same" else (top, left)
        sides = (each(value, 2) for value in (kernel, stride, dilation))
        return cls(*sides, before, (bottom, right), groups)

    def numbers(self) -> list[int]:
        """`Geometry` of convolution.cpp."""
        return [*self.stride, *self.dilation, *(self.before or (-1, -1)), self.groups]

    def size(self, images: Pair) -> list[int]:
        """Height and width of y for those of x."""
        sides = []
        for i, side in enumerate(images):
            if self.before is None:
                sides.append(-(-side // self.stride[i]))
                continue
            covered = (self.kernel[i] - 1) * self.dilation[i] + 1
            free = side + self.before[i] + self.after[i] - covered
            sides.append(free // self.stride[i] + 1)
        return sides


def each(value, sides: int) -> tuple[int, ...]:
    """The value for every side; of a tuple of MindSpore with batch and channels, the last ones."""
    return (value,) * sides if isinstance(value, int) else tuple(value)[-sides:]


@dataclass(frozen=True)
class Operators:
    """The three operators of one geometry, and the geometry as they want it.

    Args:
        forward: x [N, C, H, W], w [O, C / groups, kh, kw], numbers -> y [N, O, H', W'].
        images: y, w, numbers, room -> x; :func:`room` says the size of x, which y does not.
        weights: x, y, numbers -> w.
    """

    forward: ops.Custom
    images: ops.Custom
    weights: ops.Custom
    numbers: Tensor


def as_first(first, *others):
    """The shape or the type of the first input, for the result."""
    return first


def operator(library: Path, name: str, shape, own: str, types=as_first) -> ops.Custom:
    """A function of a compiled convolution.cpp.

    Args:
        shape: makes the shape of the result from those of the inputs.
        own: what sets it apart. MindSpore takes operators of equal attributes for one, and the
            gradient of the one for that of the other, whatever closure it is.
        types: makes the types of the results from those of the inputs.
    """
    made = ops.Custom(f"{library}:{name}", shape, types, "aot")
    made.add_prim_attr("own", own)
    return made


@functools.cache
def operators(library: Path, geometry: Geometry) -> Operators:
    """Those of a compiled convolution.cpp, the same ones whenever they are asked for."""
    kernel, groups = geometry.kernel, geometry.groups

    def shape_of_y(x, w, numbers):
        return [x[0], w[0], *geometry.size((x[2], x[3]))]

    def shape_of_x(y, w, numbers, room):
        return [y[0], w[1] * groups, *room]

    def shape_of_w(x, y, numbers):
        return [y[1], x[1] // groups, *kernel]

    own = str(astuple(geometry))
    forward = operator(library, "ms_gan_convolution", shape_of_y, own)
    images = operator(library, "ms_gan_convolution_images", shape_of_x, own)
    weights = operator(library, "ms_gan_convolution_weights", shape_of_w, own)
    zeros = ops.zeros_like

    def gradients_of_forward(x, w, numbers, out, dy):
        dx = images(dy, w, numbers, room(x.shape[2], x.shape[3]))
        dw = weights(x, dy, numbers)
        return dx, dw, zeros(numbers)

    def gradients_of_images(y, w, numbers, size, out, dx):
        dy = forward(dx, w, numbers)
        dw = weights(dx, y, numbers)
        return dy, dw, zeros(numbers), zeros(size)

    def gradients_of_weights(x, y, numbers, out, dw):
        dx = images(y, dw, numbers, room(x.shape[2], x.shape[3]))
        dy = forward(x, dw, numbers)
        return dx, dy, zeros(numbers)

    forward.bprop = gradients_of_forward
    images.bprop = gradients_of_images
    weights.bprop = gradients_of_weights
    numbers = Tensor(np.array(geometry.numbers(), np.int64))
    return Operators(forward, images, weights, numbers)


@functools.cache
def leaky_relu(library: Path, slope: float) -> tuple[ops.Custom, Tensor]:
    """LeakyReLU of a compiled convolution.cpp, and its slope as it wants it: called with x, of any
    shape, and with the slope."""
    own = str(slope)
    forward = operator(library, "ms_gan_leaky_relu", as_first, own)
    gradient = operator(library, "ms_gan_leaky_relu_gradient", as_first, own)
    zeros, constant = ops.zeros_like, ops.stop_gradient

    def gradient_of_forward(x, number, out, dy):
        return gradient(dy, constant(out), number), zeros(number)

    def gradient_of_gradient(dy, y, number, out, d):
        return gradient(d, y, number), zeros(y), zeros(number)

    forward.bprop = gradient_of_forward
    gradient.bprop = gradient_of_gradient
    return forward, Tensor(np.array([slope], np.float32))


@functools.cache
def batch_norm(library: Path, epsilon: float, slope: float) -> tuple[ops.Custom, Tensor]:
    """Batch normalisation, and the activation behind it, of a compiled convolution.cpp; and its
    numbers as it wants them.

    Called with x [N, C, H, W], gamma [C], beta [C] and the numbers; gives y, and the mean and the
    biased variance of every channel, through which no gradient goes.

    Args:
        slope: of the activation below 0: 0 is ReLU, 1 none.
    """
    own = f"{epsilon} {slope}"
    forward = operator(library, "ms_gan_batch_norm", _of_forward, own, _of_forward)
    gradient = operator(library, "ms_gan_batch_norm_gradient", _of_gradient, own, _of_gradient)
    zeros = ops.zeros_like

    def gradient_of_forward(x, gamma, beta, numbers, out, d):
        _, mean, variance = out
        dx, dgamma, dbeta = gradient(d[0], x, gamma, beta, mean, variance, numbers)
        return dx, dgamma, dbeta, zeros(numbers)

    def gradient_by_parts(dy, x, gamma, beta):
        """The same of MindSpore's operations, which have gradients of their own."""
        n = x.shape[0] * x.shape[2] * x.shape[3]
        each = (1, -1, 1, 1)
        centred = x - x.mean(axis=(0, 2, 3), keep_dims=True)
        inverse = ops.rsqrt((centred * centred).mean(axis=(0, 2, 3), keep_dims=True) + epsilon)
        h = centred * inverse
        above = ops.stop_gradient(
            (h * gamma.reshape(each) + beta.reshape(each) > 0).astype(x.dtype)
        )
        d = dy * (above + slope * (1 - above))
        dbeta = d.sum(axis=(0, 2, 3), keepdims=True)
        dgamma = (d * h).sum(axis=(0, 2, 3), keepdims=True)
        dx = gamma.reshape(each) * inverse * (d - (dbeta + h * dgamma) / n)
        return dx, dgamma.reshape((-1,)), dbeta.reshape((-1,))

    def gradient_of_gradient(dy, x, gamma, beta, mean, variance, numbers, out, d):
        _, pull_back = ms.vjp(gradient_by_parts, dy, x, gamma, beta)
        return *pull_back(d), zeros(mean), zeros(variance), zeros(numbers)

    forward.bprop = gradient_of_forward
    gradient.bprop = gradient_of_gradient
    return forward, Tensor(np.array([epsilon, slope], np.float32))


def _of_forward(x, gamma, beta, numbers):
    """The shapes or the types of y, mean and variance."""
    return x, gamma, gamma


def _of_gradient(dy, x, gamma, beta, mean, variance, numbers):
    """The shapes or the types of dx, dgamma and dbeta."""
    return x, gamma, beta


@constexpr
def room(height: int, width: int) -> Tensor:
    """A constant of that shape, which says nothing else: the size of images to be made."""
    return Tensor(np.zeros((height, width), np.int8))
