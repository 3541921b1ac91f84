"""Layers whose learning rate is equalised, and what Progressive GAN and StyleGAN build of them.

Karras et al. 2018, arXiv:1710.10196, section 4.1: weights are N(0, 1) and are scaled while they are
used, by the constant of He et al. 2015 (arXiv:1502.01852). So an optimizer that divides by the size
of gradients (Adam) moves every layer at the same relative speed. Biases are not scaled.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal, initializer

from ms_gan.convolution.layers import convolution
from ms_gan.models.layers import LeakyReLU, Projecting, flatten

ROOT = sqrt(2.0)  # what LeakyReLU takes from the variance


class Conv(nn.Cell):
    """A convolution with zeros at the edge, its weights scaled by gain / sqrt(inputs of a pixel).

    Args:
        previous, width: channels of images and of the result.
        kernel: its side, odd.
        gain: sqrt(2) before a LeakyReLU.
        stride: divides the size.
        padding: zeros at each edge; None: (kernel - 1) / 2.
        bias: whether to add one.

    Inputs: float32 [N, previous, H, W]. Outputs: float32 [N, width, H', W'].
    """

    def __init__(
        self, previous: int, width: int, kernel: int = 3, *, gain: float = 1.0, stride: int = 1,
        padding: int | None = None, bias: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.weight = normal("weight", (width, previous, kernel, kernel))
        self.scale = gain / sqrt(previous * kernel**2)
        self.bias = Parameter(initializer("zeros", (width,)), name="bias") if bias else None
        padding = (kernel - 1) // 2 if padding is None else padding
        self.conv = convolution(width, kernel, padding=padding, stride=stride)
        self.add = ops.BiasAdd()

    def construct(self, x):
        x = self.conv(x, self.weight * self.scale)
        return x if self.bias is None else self.add(x, self.bias)


class Dense(nn.Cell):
    """A dense layer, its weights scaled by gain / sqrt(inputs).

    Args:
        previous, width: features of inputs and outputs.
        gain: sqrt(2) before a LeakyReLU.
        rate: learning rate relative to that of other layers, such as 0.01 in StyleGAN's mapping
            network: what is stored is 1 / rate as large, and scaled by rate when it is used.
        bias: what the bias starts with; None: there is none.

    Inputs: float32 [N, previous]. Outputs: float32 [N, width].
    """

    def __init__(
        self, previous: int, width: int, *, gain: float = 1.0, rate: float = 1.0,
        bias: float | None = 0.0,
    ):  # fmt: skip
        super().__init__()
        self.weight = normal("weight", (width, previous), 1.0 / rate)
        self.scale, self.rate = gain * rate / sqrt(previous), rate
        start = None if bias is None else np.full(width, bias / rate, np.float32)
        self.bias = None if bias is None else Parameter(Tensor(start), name="bias")
        self.multiply = ops.MatMul(transpose_b=True)
        self.add = ops.BiasAdd()

    def construct(self, x):
        x = self.multiply(x, self.weight * self.scale)
        return x if self.bias is None else self.add(x, self.bias * self.rate)


class PixelNorm(nn.Cell):
    """Every pixel's vector of channels to a mean square of 1 (arXiv:1710.10196, section 4.2).

    Inputs and outputs: float32 [N, C, H, W] or [N, C].
    """

    def construct(self, x):
        return x * ops.rsqrt((x * x).mean(axis=1, keep_dims=True) + 1e-8)


class MinibatchStd(nn.Cell):
    """One more channel: how much the images of a group differ (arXiv:1710.10196, section 3).

    The standard deviation over a group, averaged over channels and pixels, is the value of all
    pixels of its images. D so sees whether G repeats itself.

    Args:
        group: images of a group, each such many rows apart; where it does not divide the batch, the
            largest smaller number that does.

    Attributes:
        joins: False: a score depends on what else is in the batch, so real and generated images
            must not be judged in one.

    Inputs: float32 [N, C, H, W]. Outputs: float32 [N, C + 1, H, W].
    """

    joins = False

    def __init__(self, group: int = 4):
        super().__init__()
        self.group = group

    def construct(self, x):
        n, c, h, w = x.shape
        group = self.group
        while n % group:
            group -= 1
        rows = x.reshape((group, (n // group) * c * h * w))
        centred = rows - rows.mean(axis=0, keep_dims=True)
        deviation = ops.sqrt((centred * centred).mean(axis=0) + 1e-8)
        value = deviation.reshape((n // group, c * h * w)).mean(axis=1)  # of each group
        value = ops.tile(value.reshape((1, n // group, 1)), (group, 1, h * w))
        return ops.concat((x, value.reshape((n, 1, h, w))), axis=1)


def minibatch_std(group: int) -> list[nn.Cell]:
    """The layer for groups of that size, or none for 0; it adds as many channels."""
    if type(group) is not int or group < 0 or group == 1:
        raise ValueError(f"stddev_group: {group!r} is no size of a group; use 0 or, e.g., 4")
    return [MinibatchStd(group)] if group else []


def lrelu_conv(previous: int, width: int, kernel: int = 3) -> list[nn.Cell]:
    return [Conv(previous, width, kernel, gain=ROOT), LeakyReLU(0.2)]


def lrelu_dense(previous: int, width: int, *, rate: float = 1.0) -> list[nn.Cell]:
    return [Dense(previous, width, gain=ROOT, rate=rate), LeakyReLU(0.2)]


def rows(num_classes: int, width: int, *, length: float | None = None) -> Dense:
    """A learned row for each class, looked up by a product with one-hot labels.

    Args:
        length: of a row on average, when training begins; None: sqrt(width).
    """
    gain = sqrt(num_classes) * (1.0 if length is None else length / sqrt(width))
    return Dense(num_classes, width, gain=gain, bias=None)


class Ending(Projecting):
    """Base of discriminators that end with two dense layers, behind features of the first size."""

    def end(self, features: int, width: int) -> None:
        """Make them, with `width` between them; and the rows of the classes, if there are any."""
        self.dense = nn.SequentialCell(lrelu_dense(features, width))
        self.head = Dense(width, 1)
        if self.num_classes:
            self.projection = rows(self.num_classes, width, length=1.0)

    def judged(self, x, labels):
        """float32 [N, C, H, W] -> scores [N]"""
        h = self.dense(flatten(x))
        return self.scored(self.head(h), h, labels)


def normal(name: str, shape: tuple[int, ...], scale: float = 1.0) -> Parameter:
    return Parameter(initializer(Normal(scale), shape), name=name)
