"""StyleGAN2: a generator whose layers are steered by styles, small enough for two CPU cores.

Karras et al. 2020, arXiv:1912.04958: a mapping network from latents z to w; a learned constant in
place of a first layer; convolutions whose inputs are modulated by w and whose outputs are
demodulated (section 2, equations 1 to 3); a generator with skip connections between images of all
sizes and a residual discriminator (section 4, figure 7); filters [1, 3, 3, 1] between the sizes;
the standard deviation of a minibatch in D. Style mixing is of the first paper (arXiv:1812.04948,
section 3.1).

Departs: widths are those of the recipe, the first size is what the halvings leave (4x4 of 32x32,
7x7 of 28x28); no noise inputs (StyleGAN3 dropped them, arXiv:2106.12423); the class of a
conditional pair is appended to z as a learned row, and D adds the projection to its score
(arXiv:1802.05637). Inputs are scaled by the style, then convolved with weights that all images
share, and outputs are scaled: the same function as weights of their own for each image, without
grouped convolutions, and with derivatives of any order on every backend.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist

import numpy as np

from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer

from ms_gan.convolution.layers import convolution, transposed_convolution
from ms_gan.models import equalised
from ms_gan.models.equalised import (
    ROOT,
    Ending,
    PixelNorm,
    lrelu_conv,
    lrelu_dense,
    minibatch_std,
    normal,
    rows,
)  # fmt: skip
from ms_gan.models.growth import first_size
from ms_gan.models.layers import LeakyReLU, classes_of, one_hot, positive
from ms_gan.models.resampling import SMOOTH, Blur, Downsample, Upsample

WIDTHS = (64, 64, 32, 16)


class Mapping(nn.Cell):
    """Latents to w: z at length sqrt(d), then dense layers that learn slowly.

    Args:
        latent_dim: of z.
        width: of w.
        layers: how many.
        num_classes: of labels that it looks at; 0: it ignores them.

    Inputs: z float32 [N, latent_dim]; labels int32 [N] or None. Outputs: float32 [N, width].
    """

    def __init__(self, latent_dim: int, width: int, layers: int, num_classes: int = 0):
        super().__init__()
        self.num_classes = num_classes
        self.norm = PixelNorm()
        features = latent_dim
        if num_classes:
            self.embedding = rows(num_classes, width)
            features += width
        steps = []
        for _ in range(layers):
            steps += lrelu_dense(features, width, rate=0.01)
            features = width
        self.layers = nn.SequentialCell(steps)

    def construct(self, z, labels=None):
        z = self.norm(z)
        if self.num_classes:
            row = self.norm(self.embedding(one_hot(labels, self.num_classes)))
            z = ops.concat((z, row), axis=1)
        return self.layers(z)


class ModulatedConv(nn.Cell):
    """A convolution whose weights w_oik are s_i w_oik, then divided by their norm for each o.

    arXiv:1912.04958, equations 1 and 3; s is an affine function of the style that starts near 1.

    Args:
        previous, width: channels of images and of the result.
        style: length of the style.
        kernel: 3, or 1.
        up: double the size: a transposed convolution of stride 2, then the filter [1, 3, 3, 1].
        demodulate: divide by the norm; images (toRGB) are not.

    Inputs: x float32 [N, previous, H, W], or [1, previous, H, W], the same for all; style float32
    [N, style].
    Outputs: float32 [N, width, H, W], or twice that size.
    """

    def __init__(
        self, previous: int, width: int, style: int, *, kernel: int = 3, up: bool = False,
        demodulate: bool = True,
    ):  # fmt: skip
        super().__init__()
        self.width, self.up, self.demodulate = width, up, demodulate
        self.affine = equalised.Dense(style, previous, bias=1.0)
        shape = (previous, width) if up else (width, previous)
        self.weight = normal("weight", (*shape, kernel, kernel))
        self.scale = 1.0 / sqrt(previous * kernel**2)
        if up:
            self.conv = transposed_convolution(previous, kernel, stride=2)
            self.blur = Blur(width, 1, SMOOTH, gain=4.0)
        else:
            self.conv = convolution(width, kernel, padding=(kernel - 1) // 2)

    def construct(self, x, style):
        n, (_, channels, height, width) = style.shape[0], x.shape
        weight = self.weight * self.scale
        s = self.affine(style)  # [N, previous]
        x = x * s.reshape((n, channels, 1, 1))
        if self.up:
            size = (n, self.width, 2 * height + 1, 2 * width + 1)
            x = self.blur(self.conv(x, weight, size))
        else:
            x = self.conv(x, weight)
        if not self.demodulate:
            return x
        squares = (weight * weight).sum(axis=(2, 3))
        if not self.up:
            squares = squares.T  # [previous, width]
        norms = ops.rsqrt(ops.matmul(s * s, squares) + 1e-8)
        return x * norms.reshape((n, self.width, 1, 1))


class StyledConv(nn.Cell):
    """A modulated convolution, a bias, LeakyReLU times sqrt(2)."""

    def __init__(self, previous: int, width: int, style: int, *, up: bool = False):
        super().__init__()
        self.conv = ModulatedConv(previous, width, style, up=up)
        self.bias = Parameter(initializer("zeros", (width,)), name="bias")
        self.add, self.activation = ops.BiasAdd(), LeakyReLU(0.2)

    def construct(self, x, style):
        return self.activation(self.add(self.conv(x, style), self.bias)) * ROOT


class ToImage(nn.Cell):
    """A modulated 1x1 convolution to the channels of images, and a bias."""

    def __init__(self, previous: int, channels: int, style: int):
        super().__init__()
        self.conv = ModulatedConv(previous, channels, style, kernel=1, demodulate=False)
        self.bias = Parameter(initializer("zeros", (channels,)), name="bias")
        self.add = ops.BiasAdd()

    def construct(self, x, style):
        return self.add(self.conv(x, style), self.bias)


class Synthesis(nn.Cell):
    """Styles to images: features of every size, each of which adds to the image.

    Args:
        image_shape: (C, H, W) of the images.
        first: (H, W) of the learned constant.
        widths: channels of each size, the smallest first.
        style: length of a style.

    Inputs: styles float32 [N, layers, style]: two for each size, of which the second also makes the
    image and the first convolution of the next size. Outputs: float32 [N, C, H, W], linear.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], first: tuple[int, int], widths: tuple[int, ...],
        style: int,
    ):  # fmt: skip
        super().__init__()
        channels = image_shape[0]
        self.constant = normal("constant", (1, widths[0], *first))
        self.first = StyledConv(widths[0], widths[0], style)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.grow = nn.CellList([StyledConv(a, b, style, up=True) for a, b in pairs])
        self.convs = nn.CellList([StyledConv(b, b, style) for _, b in pairs])
        self.to_rgb = nn.CellList([ToImage(width, channels, style) for width in widths])
        self.enlarge = Upsample(channels, SMOOTH)
        self.sizes = len(widths)
        self.layers = 2 * self.sizes

    def construct(self, styles):
        x = self.first(self.constant, styles[:, 0])
        image = self.to_rgb[0](x, styles[:, 1])
        for i in range(self.sizes - 1):
            x = self.grow[i](x, styles[:, 2 * i + 1])
            x = self.convs[i](x, styles[:, 2 * i + 2])
            image = self.enlarge(image) + self.to_rgb[i + 1](x, styles[:, 2 * i + 3])
        return image


class Generator(nn.Cell):
    """Latents to images by way of styles.

    Args:
        image_shape: (C, H, W) of the images to make.
        num_classes: number of classes of the data set, 0 = unlabelled.
        latent_dim: width of the latent vectors.
        style_dim: width of w.
        mapping_layers: dense layers from z to w.
        g_widths: channels of each size, the smallest first; each size doubles the one before.
        mixing: share of the images that are trained on the styles of two latents, 0 to 1: those of
            one up to a random layer, then those of the other.
        conditional: look at the labels: a learned row for each class is appended to z.

    Attributes:
        latent_width: columns of the latents while training: two vectors and the choice of a layer.
        mapping, synthesis: its two halves.

    Inputs: z float32 [N, latent_dim], or [N, latent_width] for mixed styles; labels int32 [N],
    ignored unless conditional.
    Outputs: float32 [N, C, H, W], linear, meant to be in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: int = 64,
        style_dim: int = 128,
        mapping_layers: int = 4,
        g_widths: tuple[int, ...] = WIDTHS,
        mixing: float = 0.9,
        conditional: bool = False,
    ):
        super().__init__()
        positive("latent_dim", latent_dim), positive("style_dim", style_dim)
        positive("mapping_layers", mapping_layers)
        if not 0.0 <= mixing <= 1.0:
            raise ValueError(f"mixing: {mixing!r} is not a share; use 0.0 to 1.0")
        positive("g_widths", *g_widths)
        first = first_size("g_widths", image_shape, len(g_widths))
        self.latent_dim = latent_dim
        self.latent_width = 2 * latent_dim + 1 if mixing else latent_dim
        self.num_classes = classes_of(conditional, num_classes)
        self.mapping = Mapping(latent_dim, style_dim, mapping_layers, self.num_classes)
        self.synthesis = Synthesis(image_shape, first, tuple(g_widths), style_dim)
        self.layers = self.synthesis.layers
        if mixing:
            self.places = Tensor(np.arange(self.layers, dtype=np.float32).reshape(1, -1))
            self.thresholds = Tensor(cuts(self.layers, mixing).reshape(1, -1))

    def construct(self, z, labels=None):
        if z.shape[1] == self.latent_dim:
            return self.synthesis(self.styles(self.mapping(z, labels)))
        d = self.latent_dim
        first = self.styles(self.mapping(z[:, :d], labels))
        second = self.styles(self.mapping(z[:, d : 2 * d], labels))
        passed = (z[:, 2 * d :] > self.thresholds).astype(z.dtype)  # [N, layers - 1]
        cut = 1.0 + passed.sum(axis=1, keepdims=True)  # layers of the first latent
        of_first = (self.places < cut).astype(z.dtype).expand_dims(2)  # [N, layers, 1]
        return self.synthesis(of_first * first + (1.0 - of_first) * second)

    def styles(self, w):
        """[N, style_dim] -> [N, layers, style_dim]: the same for all layers."""
        return ops.tile(w.expand_dims(1), (1, self.layers, 1))


class ResidualBlock(nn.Cell):
    """Two convolutions, the second halves the size; a 1x1 convolution beside them.

    arXiv:1912.04958, figure 7c. [N, previous, H, W] -> [N, width, H / 2, W / 2].
    """

    def __init__(self, previous: int, width: int):
        super().__init__()
        self.keep = nn.SequentialCell(lrelu_conv(previous, previous))
        self.shrink = nn.SequentialCell(
            [
                Blur(previous, 2),
                equalised.Conv(previous, width, gain=ROOT, stride=2, padding=0),
                LeakyReLU(0.2),
            ]
        )
        self.skip = nn.SequentialCell(
            [Downsample(previous, SMOOTH), equalised.Conv(previous, width, 1, bias=False)]
        )

    def construct(self, x):
        return (self.shrink(self.keep(x)) + self.skip(x)) / ROOT


class Discriminator(Ending):
    """Images to scores through residual blocks.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes of the data set, 0 = unlabelled.
        d_widths: channels of each size, the smallest first.
        stddev_group: images whose standard deviation D sees; 0: it judges every image alone.
        conditional: look at the labels: the inner product of the last hidden layer and a learned
            row for each class is added to the score.

    Inputs: x float32 [N, C, H, W]; labels int32 [N], ignored unless conditional.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        d_widths: tuple[int, ...] = WIDTHS,
        stddev_group: int = 4,
        conditional: bool = False,
    ):
        super().__init__()
        positive("d_widths", *d_widths)
        height, width = first_size("d_widths", image_shape, len(d_widths))
        self.num_classes = classes_of(conditional, num_classes)
        widths = tuple(d_widths)[::-1]  # in the order of the data: the largest size first
        layers = lrelu_conv(image_shape[0], widths[0], 1)
        layers += [ResidualBlock(a, b) for a, b in zip(widths, widths[1:], strict=False)]
        stddev = minibatch_std(stddev_group)
        wide = widths[-1]
        layers += [*stddev, *lrelu_conv(wide + len(stddev), wide)]
        self.model = nn.SequentialCell(layers)
        self.end(wide * height * width, wide)

    def construct(self, x, labels=None):
        return self.judged(self.model(x), labels)


def cuts(layers: int, mixing: float) -> np.ndarray:
    """What a normal number must pass for each further layer to be of the first latent.

    Every cut from 1 to layers - 1 has the same chance, together `mixing`; otherwise there is none.
    float32 [layers - 1].
    """
    shares = [min(1.0 - 1e-6, mixing * (i + 1) / (layers - 1)) for i in range(layers - 1)]
    return np.array([NormalDist().inv_cdf(share) for share in shares], np.float32)
