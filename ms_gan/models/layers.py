"""Blocks that the architectures share; the one place where layers differ from MindSpore's own."""

from __future__ import annotations

from collections.abc import Iterable

from mindspore import nn, ops
from mindspore.common.initializer import HeNormal, Normal

from ms_gan.convolution import choice
from ms_gan.convolution.layers import Conv2d, Conv2dTranspose
from ms_gan.convolution.operators import batch_norm, leaky_relu
from ms_gan.system import runtime

# Layers whose MindSpore kernel is slow on CPU, from kernels that are fast there; figures in
# docs/performance.md. On other devices, and with runtime.layers=native, they are MindSpore's own.


class LeakyReLU(nn.Cell):
    """max(x, slope * x).

    Equal to nn.LeakyReLU(slope), whose gradient takes several times as long on CPU: here the slopes
    are computed first, and the gradient is one product with them. The gradient at 0 is `slope`.
    """

    def __init__(self, slope: float = 0.2):
        super().__init__()
        self.slope = slope
        self.fast = runtime.fast_layers()
        self.native = nn.LeakyReLU(slope)
        library = choice.for_device()
        self.by_onednn = self.fast and library is not None
        if self.by_onednn:
            self.activate, self.number = leaky_relu(library, slope)

    def construct(self, x):
        if self.by_onednn:
            return self.activate(x, self.number)
        if self.fast:  # 1e30: the slope is 1 from 1e-30 up
            return x * ops.stop_gradient(ops.clamp(x * 1e30, self.slope, 1.0))
        return self.native(x)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation of float32 [N, F], N > 1 while training.

    Equal to nn.BatchNorm1d but for rounding, parameters and moving statistics included. Means are
    matrix products and shifts are bias additions: MindSpore's BatchNorm, its reduction over rows
    and its broadcast subtraction each take several times as long on CPU.
    """

    def __init__(self, features: int, **options):
        super().__init__(features, **options)
        self.fast = runtime.fast_layers()
        self.shift = ops.BiasAdd()

    def construct(self, x):
        if not (self.fast and self.training):
            return super().construct(x)
        n = x.shape[0]
        mean_of_rows = ops.ones((1, n), x.dtype) / n
        mean = ops.matmul(mean_of_rows, x).reshape((-1,))
        centred = self.shift(x, -mean)
        variance = ops.matmul(mean_of_rows, centred * centred).reshape((-1,))
        scale = self.gamma * ops.rsqrt(variance + self.eps)
        scales = ops.matmul(ops.ones((n, 1), x.dtype), scale.reshape((1, -1)))  # one row each
        y = self.shift(centred * scales, self.beta)
        return ops.depend(y, followed(self, mean, variance * (n / (n - 1))))


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of float32 [N, C, H, W] and the activation behind it.

    Equal to nn.BatchNorm2d and LeakyReLU(slope) but for rounding, parameters and moving statistics
    included; beside oneDNN's operators both are one pass over the memory.

    Args:
        slope: of the activation below 0; 0: ReLU.
    """

    def __init__(self, width: int, slope: float, **options):
        super().__init__(width, **options)
        self.activate = relu(slope)
        library = choice.for_device()
        self.by_onednn = runtime.fast_layers() and library is not None
        if self.by_onednn:
            self.normalise, self.numbers = batch_norm(library, self.eps, slope)

    def construct(self, x):
        if not (self.by_onednn and self.training):
            return self.activate(super().construct(x))
        y, mean, variance = self.normalise(x, self.gamma, self.beta, self.numbers)
        n = x.shape[0] * x.shape[2] * x.shape[3]
        return ops.depend(y, followed(self, mean, variance * (n / (n - 1))))


def relu(slope: float) -> nn.Cell:
    """What multiplies by `slope` below 0; 0: ReLU."""
    return LeakyReLU(slope) if slope else nn.ReLU()


def followed(norm: nn.Cell, mean, variance):
    """Move the statistics that are used in inference; `momentum` is the share of the new."""
    mean = norm.moving_mean + norm.momentum * (ops.stop_gradient(mean) - norm.moving_mean)
    variance = norm.moving_variance + norm.momentum * (
        ops.stop_gradient(variance) - norm.moving_variance
    )
    return ops.assign(norm.moving_mean, mean), ops.assign(norm.moving_variance, variance)


def activation(option: str, name: str) -> nn.Cell:
    """'relu' or 'leaky_relu' (slope 0.2), as the value of an option."""
    one_of(option, name, ("relu", "leaky_relu"))
    return nn.ReLU() if name == "relu" else LeakyReLU(0.2)


def flatten(x):
    """[N, ...] -> [N, features]"""
    return x.reshape((x.shape[0], -1))


def one_hot(labels, num_classes: int):
    """int32 [N] -> float32 [N, num_classes]; times a matrix, it looks up one row for each label."""
    if labels is None:
        raise ValueError("labels: missing; a conditional net needs int32 [N]")
    return ops.one_hot(labels, num_classes).astype("float32")


def batch_norm_1d(features: int) -> nn.Cell:
    """BatchNorm over [N, features]; moving statistics keep 0.9 of the past, as in the tutorial."""
    return BatchNorm1d(features, eps=1e-5, momentum=0.9)


# The layers of DCGAN (Radford et al. 2015, arXiv:1511.06434, section 4): weights N(0, 0.02); the
# gammas N(1, 0.02) are of its code.


def dcgan_norm_and_relu(width: int, norm: str, slope: float = 0.0) -> list[nn.Cell]:
    """What follows a layer: BatchNorm over [N, width, H, W] where `norm` is 'batch', and ReLU or
    LeakyReLU(slope). Moving statistics keep 0.9 of the past.

    Behind BatchNorm, which activates too, stands a layer that does nothing: layers are numbered as
    if it were the activation.
    """
    if norm != "batch":
        return [relu(slope)]
    norm_and_relu = BatchNorm2d(
        width, slope, eps=1e-5, momentum=0.9, gamma_init=Normal(0.02, 1.0), beta_init="zeros"
    )
    return [norm_and_relu, nn.Identity()]


def dcgan_conv(
    previous: int,
    width: int,
    *,
    kernel: int | tuple[int, int] = 4,
    stride: int = 2,
    padding: int = 1,
    has_bias: bool = False,
) -> nn.Cell:
    """4x4 convolution, [N, previous, 2s, 2s] -> [N, width, s, s]."""
    return Conv2d(
        previous,
        width,
        kernel_size=kernel,
        stride=stride,
        pad_mode="pad",
        padding=padding,
        has_bias=has_bias,
        weight_init=Normal(0.02),
        bias_init="zeros",
    )


def dcgan_conv_transpose(
    previous: int,
    width: int,
    *,
    kernel: int | tuple[int, int] = 4,
    stride: int = 2,
    padding: int = 1,
    has_bias: bool = False,
) -> nn.Cell:
    """Transposed 4x4 convolution, [N, previous, s, s] -> [N, width, 2s, 2s]."""
    return Conv2dTranspose(
        previous,
        width,
        kernel_size=kernel,
        stride=stride,
        pad_mode="pad",
        padding=padding,
        has_bias=has_bias,
        weight_init=Normal(0.02),
        bias_init="zeros",
    )


class Projecting(nn.Cell):
    """Base of discriminators that may look at labels, by projection (Miyato & Koyama 2018,
    arXiv:1802.05637): the inner product of features and a learned row of the class is added.

    Attributes:
        num_classes: 0: they do not.
        projection: one-hot labels [N, num_classes] -> rows [N, F], where they do.
    """

    def scored(self, scores, h, labels):
        """Scores [N] of what the last layer gives [N, 1] and what it is given, h [N, F]."""
        scores = scores.reshape((h.shape[0],))
        if self.num_classes:
            scores = scores + (h * self.projection(one_hot(labels, self.num_classes))).sum(axis=1)
        return scores


# Layers of nets from picture to picture.


class InstanceNorm(nn.Cell):
    """Every channel of every image to mean 0 and variance 1, over its pixels; nothing is learned.

    Ulyanov et al. 2016, arXiv:1607.08022. nn.InstanceNorm2d does not run on CPU; this is built from
    means, so it has derivatives of any order on every device, and training and inference agree.

    Inputs and outputs: float32 [N, C, H, W].
    """

    def construct(self, x):
        n, c, h, w = x.shape
        flat = x.reshape((n * c, h * w))
        mean_of_pixels = ops.ones((h * w, 1), x.dtype) / (h * w)  # a mean as a matrix product
        centred = flat - ops.matmul(flat, mean_of_pixels)
        variance = ops.matmul(centred * centred, mean_of_pixels)
        return (centred * ops.rsqrt(variance + 1e-5)).reshape(x.shape)


def conv(previous: int, width: int, kernel: int = 3, *, stride: int = 1, bias: bool = True):
    """A convolution that keeps the size (divided by `stride`), zeros at the edge, weights of
    N(0, 2 / inputs) (He et al. 2015, arXiv:1502.01852)."""
    return Conv2d(
        previous, width, kernel, stride=stride, pad_mode="pad", padding=(kernel - 1) // 2,
        has_bias=bias, weight_init=HeNormal(), bias_init="zeros",
    )  # fmt: skip


def upsample(channels: int, width: int) -> nn.Cell:
    """Twice the height and width: a 3x3 convolution to four times the channels, whose values become
    2x2 pixels (Shi et al. 2016, arXiv:1609.05158)."""
    return nn.SequentialCell(conv(channels, 4 * width), nn.PixelShuffle(2))


# What a constructor says about options that it cannot take: one line, which names the option.


def one_of(option: str, value: str, known: Iterable[str]) -> str:
    """The value, if it is known."""
    if value not in known:
        raise ValueError(f"{option}: '{value}' is not known; use {' or '.join(known)}")
    return value


def positive(option: str, *values: int) -> None:
    """Refuse what is not a whole number of 1 or more."""
    at_least(1, option, *values)


def at_least(least: int, option: str, *values: int) -> None:
    """Refuse what is not a whole number of `least` or more."""
    for value in values:
        if type(value) is not int or value < least:
            raise ValueError(f"{option}: {value!r} is not a whole number of {least} or more")


def check_size(image_shape: tuple[int, int, int], fits: bool, sizes: str) -> None:
    """Refuse images of a size that an architecture cannot make."""
    if not fits:
        _, height, width = image_shape
        raise ValueError(f"images of {height}x{width}: this architecture makes {sizes}")


def classes_of(conditional: bool, num_classes: int) -> int:
    """Number of classes that a net looks at; 0 = it is unconditional."""
    if conditional and num_classes < 1:
        raise ValueError(
            "conditional: the data set has no labels; take one that has, or conditional: false"
        )
    return num_classes if conditional else 0
