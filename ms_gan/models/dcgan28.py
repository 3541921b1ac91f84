"""A lean DCGAN for small images, 28x28 above all: two strided convolutions and a dense layer.

Radford et al. 2015, arXiv:1511.06434, sections 3 and 4: its layers and initialisation. Departs: two
stages in place of four, 32 channels in place of 64, dense layers at s/4 x s/4 (s = image size).
There `blocks` adds 3x3 convolutions, which start as in He et al. 2015, arXiv:1502.01852.
"""

from __future__ import annotations

from mindspore import nn, ops
from mindspore.common.initializer import Normal

from ms_gan.models.equalised import minibatch_std
from ms_gan.models.layers import (
    LeakyReLU,
    Projecting,
    at_least,
    check_size,
    classes_of,
    conv,
    dcgan_conv,
    dcgan_conv_transpose,
    dcgan_norm_and_relu,
    flatten,
    one_hot,
    one_of,
    positive,
)
from ms_gan.models.spectral_norm import spectral

SIZES = "sizes divisible by 4 (28x28, 32x32, 64x64, ...)"


class Generator(nn.Cell):
    """Latents to images: a dense layer to s/4 x s/4, then two transposed convolutions.

    Args:
        image_shape: (C, H, W) of the images to make, H and W divisible by 4.
        num_classes: number of classes of the data set, 0 = unlabelled.
        latent_dim: width of the latent vectors.
        g_width: channels in front of the last layer; twice as many at s/4.
        blocks: 3x3 convolutions at s/4, each with normalisation and ReLU.
        g_norm: 'batch' or 'none'.
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
        latent_dim: int = 100,
        g_width: int = 32,
        blocks: int = 0,
        g_norm: str = "batch",
        conditional: bool = False,
        embedding_dim: int = 32,
    ):
        super().__init__()
        channels, height, width = image_shape
        check_size(image_shape, height % 4 == 0 and width % 4 == 0, SIZES)
        one_of("g_norm", g_norm, ("batch", "none"))
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        positive("g_width", g_width)
        at_least(0, "blocks", blocks)
        self.num_classes = classes_of(conditional, num_classes)
        features = latent_dim
        if conditional:  # [N, 100] and [N, 32] -> [N, 132]
            positive("embedding_dim", embedding_dim)
            self.embedding = nn.Dense(
                num_classes, embedding_dim, weight_init=Normal(1.0), has_bias=False
            )
            features += embedding_dim
        self.start = (2 * g_width, height // 4, width // 4)
        has_bias = g_norm == "none"
        self.dense = _dense(  # [N, 100] -> [N, 64 * 7 * 7]
            features, 2 * g_width * (height // 4) * (width // 4), has_bias=has_bias
        )
        layers = dcgan_norm_and_relu(2 * g_width, g_norm)
        for _ in range(blocks):
            layers.append(conv(2 * g_width, 2 * g_width, bias=has_bias))
            layers += dcgan_norm_and_relu(2 * g_width, g_norm)
        layers.append(dcgan_conv_transpose(2 * g_width, g_width, has_bias=has_bias))
        layers += dcgan_norm_and_relu(g_width, g_norm)  # [N, 64, 7, 7] -> [N, 32, 14, 14]
        layers += [dcgan_conv_transpose(g_width, channels), nn.Tanh()]  # -> [N, C, 28, 28]
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        if self.num_classes:
            z = ops.concat((z, self.embedding(one_hot(labels, self.num_classes))), axis=1)
        return self.model(self.dense(z).reshape((z.shape[0], *self.start)))  # [N, C, H, W]


class Discriminator(Projecting):
    """Images to scores: two strided convolutions, then a dense layer.

    Args:
        image_shape: (C, H, W) of the images, H and W divisible by 4.
        num_classes: number of classes of the data set, 0 = unlabelled.
        d_width: channels of the first layer; twice as many in the second.
        blocks: 3x3 convolutions at s/4, each with LeakyReLU.
        d_norm: 'batch' (in the second layer), 'none', or 'spectral' in all (Miyato et al. 2018,
            arXiv:1802.05957). A gradient penalty needs one of the last two.
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
        blocks: int = 0,
        d_norm: str = "batch",
        conditional: bool = False,
        stddev_group: int = 0,
    ):
        super().__init__()
        channels, height, width = image_shape
        check_size(image_shape, height % 4 == 0 and width % 4 == 0, SIZES)
        one_of("d_norm", d_norm, ("batch", "none", "spectral"))
        positive("d_width", d_width)
        at_least(0, "blocks", blocks)
        self.num_classes = classes_of(conditional, num_classes)
        has_bias = d_norm != "batch"
        wide = 2 * d_width
        layers = [
            spectral(dcgan_conv(channels, d_width, has_bias=has_bias), d_norm),
            LeakyReLU(0.2),  # [N, C, 28, 28] -> [N, 32, 14, 14]
            spectral(dcgan_conv(d_width, wide, has_bias=has_bias), d_norm),
            *dcgan_norm_and_relu(wide, d_norm, 0.2),  # -> [N, 64, 7, 7]
        ]
        for _ in range(blocks):
            layers.append(spectral(conv(wide, wide, bias=has_bias), d_norm))
            layers += dcgan_norm_and_relu(wide, d_norm, 0.2)
        stddev = minibatch_std(stddev_group)
        self.model = nn.SequentialCell([*layers, *stddev])
        features = (wide + len(stddev)) * (height // 4) * (width // 4)
        self.head = spectral(_dense(features, 1), d_norm)  # [N, 64 * 7 * 7] -> [N, 1]
        if conditional:  # [N, 10] -> [N, 64 * 7 * 7]
            self.projection = spectral(_dense(num_classes, features, has_bias=False), d_norm)

    def construct(self, x, labels=None):
        h = flatten(self.model(x))  # [N, 64 * 7 * 7]
        return self.scored(self.head(h), h, labels)  # [N]


def _dense(features: int, width: int, *, has_bias: bool = True) -> nn.Cell:
    return nn.Dense(features, width, weight_init=Normal(0.02), bias_init="zeros", has_bias=has_bias)
