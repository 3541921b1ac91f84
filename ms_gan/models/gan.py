"""The fully connected pair of the MindSpore tutorial "GAN for Image Generation".

Goodfellow et al. 2014, arXiv:1406.2661, with BatchNorm in the generator, without maxout and
dropout.
"""

from __future__ import annotations

from math import prod, sqrt

from mindspore import nn, ops
from mindspore.common.initializer import Normal, Uniform

from ms_gan.models.layers import (
    Projecting,
    activation,
    batch_norm_1d,
    classes_of,
    flatten,
    one_hot,
    one_of,
    positive,
)
from ms_gan.models.spectral_norm import spectral


class Generator(nn.Cell):
    """Latents to images through dense layers.

    Args:
        image_shape: (C, H, W) of the images to make, any size.
        num_classes: number of classes of the data set, 0 = unlabelled.
        latent_dim: width of the latent vectors.
        g_widths: widths of the hidden layers; all but the first have BatchNorm.
        g_activation: 'relu' or 'leaky_relu' (slope 0.2).
        g_norm: 'batch' or 'none'.
        output: last function, 'tanh' or 'sigmoid' (a sigmoid on [0, 1], stretched to [-1, 1]).
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
        g_widths: tuple[int, ...] = (128, 256, 512, 1024),
        g_activation: str = "relu",
        g_norm: str = "batch",
        output: str = "tanh",
        conditional: bool = False,
        embedding_dim: int = 32,
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.num_classes = classes_of(conditional, num_classes)
        self.unit_range = one_of("output", output, ("tanh", "sigmoid")) == "sigmoid"
        one_of("g_norm", g_norm, ("batch", "none"))
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        positive("g_widths", *g_widths)
        layers = []
        previous = latent_dim
        if conditional:  # [N, 100] and [N, 32] -> [N, 132]
            positive("embedding_dim", embedding_dim)
            self.embedding = nn.Dense(
                num_classes, embedding_dim, weight_init=Normal(1.0), has_bias=False
            )
            previous += embedding_dim
        for i, width in enumerate(g_widths):  # [N, 100] -> 128 -> 256 -> 512 -> [N, 1024]
            layers.append(nn.Dense(previous, width, has_bias=True))
            if i > 0 and g_norm == "batch":
                layers.append(batch_norm_1d(width))
            layers.append(activation("g_activation", g_activation))
            previous = width
        layers.append(nn.Dense(previous, prod(image_shape), has_bias=True))  # [N, 1024] -> [N, 784]
        layers.append(nn.Sigmoid() if self.unit_range else nn.Tanh())
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        if self.num_classes:
            z = ops.concat((z, self.embedding(one_hot(labels, self.num_classes))), axis=1)
        x = self.model(z).reshape((z.shape[0], *self.image_shape))  # [N, C, H, W]
        return 2.0 * x - 1.0 if self.unit_range else x


class Discriminator(Projecting):
    """Images to scores through dense layers; the tutorial's sigmoid is part of the loss.

    Args:
        image_shape: (C, H, W) of the images, any size.
        num_classes: number of classes of the data set, 0 = unlabelled.
        d_widths: widths of the hidden layers.
        d_activation: 'relu' or 'leaky_relu' (slope 0.2).
        d_norm: 'none' or 'spectral' (Miyato et al. 2018, arXiv:1802.05957).
        output: with 'sigmoid' the layers see images in [0, 1], as the generator makes them.
        conditional: look at the labels: the inner product of the last hidden layer and a learned
            row for each class is added to the score (Miyato & Koyama 2018, arXiv:1802.05637).

    Inputs: x float32 [N, C, H, W] in [-1, 1]; labels int32 [N], ignored unless conditional.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        d_widths: tuple[int, ...] = (512, 256),
        d_activation: str = "leaky_relu",
        d_norm: str = "none",
        output: str = "tanh",
        conditional: bool = False,
    ):
        super().__init__()
        self.num_classes = classes_of(conditional, num_classes)
        self.unit_range = one_of("output", output, ("tanh", "sigmoid")) == "sigmoid"
        one_of("d_norm", d_norm, ("none", "spectral"))
        positive("d_widths", *d_widths)
        layers = []
        previous = prod(image_shape)
        for width in d_widths:  # [N, 784] -> [N, 512] -> [N, 256]
            layers.append(spectral(nn.Dense(previous, width, has_bias=True), d_norm))
            layers.append(activation("d_activation", d_activation))
            previous = width
        # [N, 256] -> [N, 1]
        layers.append(spectral(nn.Dense(previous, 1, has_bias=True), d_norm))
        self.model = nn.SequentialCell(layers)
        self.hidden = len(layers) - 1
        if conditional:  # [N, 10] -> [N, 256]
            like_the_head = Uniform(1.0 / sqrt(previous))
            layer = nn.Dense(num_classes, previous, weight_init=like_the_head, has_bias=False)
            self.projection = spectral(layer, d_norm)

    def construct(self, x, labels=None):
        h = flatten(x)  # [N, 784]
        if self.unit_range:
            h = 0.5 * h + 0.5
        for i in range(self.hidden):
            h = self.model[i](h)
        return self.scored(self.model[self.hidden](h), h, labels)  # [N]
