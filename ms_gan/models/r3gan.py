"""R3GAN's residual pair without any normalisation layer, small enough for 28x28 images on a CPU.

Huang et al. 2024, arXiv:2501.05441, section 4, and their code: residual blocks of 1x1, grouped 3x3
and 1x1 convolutions, initialised for the variance that the skip connections add; bilinear [1, 2, 1]
resampling; a learned basis in place of the generator's first and the discriminator's last dense
layer. Everything has a second derivative, which the penalties of its recipe (R1 + R2) need.

Departs: two stages of 64 and 32 channels, at s/4 and s/2 (s = image size), in place of four of 768;
a strided 4x4 convolution between s/2 and s in place of residual blocks at full size, which take
most of the time on a CPU; 8 groups in place of 96; a basis of s/4 x s/4 in place of 4x4; a
tanh at the end of the generator, whose images are in [-1, 1] here; a conditional discriminator
keeps its unconditional score and adds the projection to it; biases stand in the convolutions in
place of the activations, which is the same function.
"""

from __future__ import annotations

from math import sqrt

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import Normal, initializer

from ms_gan.convolution.layers import Conv2d, Conv2dTranspose
from ms_gan.models.equalised import minibatch_std
from ms_gan.models.layers import LeakyReLU, Projecting, check_size, classes_of, one_hot, positive
from ms_gan.models.resampling import Downsample, Upsample

SIZES = "sizes divisible by 4 (28x28, 32x32, 64x64, ...)"
STAGES = 2  # at s/4 and s/2
GAIN = sqrt(2.0 / (1.0 + 0.2**2))  # keeps the variance through LeakyReLU(0.2)


class Generator(nn.Cell):
    """Latents to images: a basis scaled by the latents, then residual blocks at s/4 and at s/2.

    Args:
        image_shape: (C, H, W) of the images to make, H and W divisible by 4.
        num_classes: number of classes of the data set, 0 = unlabelled.
        latent_dim: width of the latent vectors.
        g_width: channels at s/2; twice as many at s/4.
        blocks: residual blocks at each size.
        cardinality: groups of the 3x3 convolutions.
        expansion: channels inside a block for each channel outside.
        conditional: look at the labels: a learned row for each class is appended to z.
        embedding_dim: length of that row.

    Inputs: z float32 [N, latent_dim]; labels int32 [N], ignored unless conditional.
    Outputs: float32 [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: int = 64,
        g_width: int = 32,
        blocks: int = 1,
        cardinality: int = 8,
        expansion: int = 2,
        conditional: bool = False,
        embedding_dim: int = 32,
    ):
        super().__init__()
        channels, height, width = image_shape
        check_size(image_shape, height % 4 == 0 and width % 4 == 0, SIZES)
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        _check_blocks("g_width", g_width, blocks, cardinality, expansion)
        self.num_classes = classes_of(conditional, num_classes)
        features = latent_dim
        if conditional:  # [N, 64] and [N, 32] -> [N, 96]
            positive("embedding_dim", embedding_dim)
            self.embedding = _dense(num_classes, embedding_dim)
            features += embedding_dim
        wide = 2 * g_width
        self.modulation = _dense(features, wide)  # [N, 64] -> [N, 64, 1, 1]
        shape = (wide, height // 4, width // 4)
        self.basis = Parameter(initializer(Normal(1.0), shape), name="basis")  # [64, 7, 7]
        layers = _blocks(wide, blocks, cardinality, expansion)  # [N, 64, 7, 7]
        layers += [_conv(wide, g_width, kernel=1), Upsample(g_width)]  # -> [N, 32, 14, 14]
        layers += _blocks(g_width, blocks, cardinality, expansion)
        layers += [_stem_transpose(g_width, channels), nn.Tanh()]  # -> [N, C, 28, 28]
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        if self.num_classes:
            z = ops.concat((z, self.embedding(one_hot(labels, self.num_classes))), axis=1)
        return self.model(self.modulation(z).reshape((z.shape[0], -1, 1, 1)) * self.basis)


class Discriminator(Projecting):
    """Images to scores: residual blocks at s/2 and at s/4, then a basis and a linear layer.

    Args:
        image_shape: (C, H, W) of the images, H and W divisible by 4.
        num_classes: number of classes of the data set, 0 = unlabelled.
        d_width: channels at s/2; twice as many at s/4.
        blocks: residual blocks at each size.
        cardinality: groups of the 3x3 convolutions.
        expansion: channels inside a block for each channel outside.
        conditional: look at the labels: the inner product of the last hidden layer and a learned
            row for each class is added to the score (Miyato & Koyama 2018, arXiv:1802.05637).
        stddev_group: images whose standard deviation D sees as one more channel at s/4; 0: none.

    Inputs: x float32 [N, C, H, W] in [-1, 1]; labels int32 [N], ignored unless conditional.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        d_width: int = 32,
        blocks: int = 1,
        cardinality: int = 8,
        expansion: int = 2,
        conditional: bool = False,
        stddev_group: int = 0,
    ):
        super().__init__()
        channels, height, width = image_shape
        check_size(image_shape, height % 4 == 0 and width % 4 == 0, SIZES)
        _check_blocks("d_width", d_width, blocks, cardinality, expansion)
        self.num_classes = classes_of(conditional, num_classes)
        wide = 2 * d_width
        layers = [_stem(channels, d_width)]  # [N, C, 28, 28] -> [N, 32, 14, 14]
        layers += _blocks(d_width, blocks, cardinality, expansion)
        layers += [Downsample(d_width), _conv(d_width, wide, kernel=1)]  # -> [N, 64, 7, 7]
        layers += _blocks(wide, blocks, cardinality, expansion)
        stddev = minibatch_std(stddev_group)
        layers += stddev
        wide += len(stddev)
        self.model = nn.SequentialCell(layers)
        # A depthwise convolution as large as its input is a sum of products, far faster as such.
        height, width = height // 4, width // 4
        weights = initializer(Normal(1.0 / sqrt(height * width)), (wide, height, width))
        self.basis = Parameter(weights, name="basis")  # [N, 64, 7, 7] -> [N, 64]
        self.head = _dense(wide, 1)  # [N, 64] -> [N, 1]
        if conditional:  # [N, 10] -> [N, 64]; rows of length 1 on average
            self.projection = _dense(num_classes, wide, gain=sqrt(num_classes / wide))

    def construct(self, x, labels=None):
        h = (self.model(x) * self.basis).sum(axis=(2, 3))  # [N, 64]
        return self.scored(self.head(h), h, labels)  # [N]


class ResidualBlock(nn.Cell):
    """x + a bottleneck turned inside out: 1x1 up, LeakyReLU, grouped 3x3, LeakyReLU, 1x1 down.

    The last convolution starts at zero, so every block starts as the identity.

    Args:
        width: channels, [N, width, H, W] -> the same.
        cardinality: groups of the 3x3 convolution.
        expansion: channels of the 3x3 convolution for each channel of the block.
        depth: number of residual blocks in the network, which share the variance.
    """

    def __init__(self, width: int, cardinality: int, expansion: int, depth: int):
        super().__init__()
        inner = expansion * width
        gain = GAIN * depth**-0.25  # depth ** (-1 / (2 * 3 - 2)) for three convolutions
        self.expand = _conv(width, inner, kernel=1, gain=gain, has_bias=True)
        self.mix = _conv(inner, inner, kernel=3, group=cardinality, gain=gain, has_bias=True)
        self.shrink = _conv(inner, width, kernel=1, gain=0.0)
        self.activation = LeakyReLU(0.2)

    def construct(self, x):
        h = self.mix(self.activation(self.expand(x)))
        return x + self.shrink(self.activation(h))


def _blocks(width: int, blocks: int, cardinality: int, expansion: int) -> list[nn.Cell]:
    return [ResidualBlock(width, cardinality, expansion, STAGES * blocks) for _ in range(blocks)]


def _conv(
    previous: int,
    width: int,
    *,
    kernel: int,
    group: int = 1,
    gain: float = 1.0,
    has_bias: bool = False,
) -> nn.Cell:
    fan_in = previous // group * kernel**2
    return Conv2d(
        previous,
        width,
        kernel_size=kernel,
        stride=1,
        pad_mode="same",
        group=group,
        has_bias=has_bias,
        weight_init=Normal(gain / sqrt(fan_in)) if gain else "zeros",
        bias_init="zeros",
    )


def _stem(channels: int, width: int) -> nn.Cell:
    return Conv2d(
        channels,
        width,
        kernel_size=4,
        stride=2,
        pad_mode="pad",
        padding=1,
        has_bias=False,
        weight_init=Normal(1.0 / sqrt(16 * channels)),
    )


def _stem_transpose(width: int, channels: int) -> nn.Cell:
    """Each pixel is a sum over 2x2 of the 4x4 weights of each channel."""
    return Conv2dTranspose(
        width,
        channels,
        kernel_size=4,
        stride=2,
        pad_mode="pad",
        padding=1,
        has_bias=False,
        weight_init=Normal(1.0 / sqrt(4 * width)),
    )


def _dense(features: int, width: int, *, gain: float = 1.0) -> nn.Cell:
    return nn.Dense(features, width, weight_init=Normal(gain / sqrt(features)), has_bias=False)


def _check_blocks(option: str, width: int, blocks: int, cardinality: int, expansion: int) -> None:
    positive(option, width)
    positive("blocks", blocks)
    positive("cardinality", cardinality)
    positive("expansion", expansion)
    if expansion * width % cardinality:
        raise ValueError(
            f"cardinality: {cardinality} groups do not divide the {expansion * width} channels "
            f"inside a block (expansion * {option})"
        )
