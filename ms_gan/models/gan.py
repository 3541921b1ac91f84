"""The fully connected pair of the MindSpore tutorial "GAN for Image Generation".

Goodfellow et al. 2014, arXiv:1406.2661, with BatchNorm in the generator, without maxout and dropout.
"""

from __future__ import annotations

from math import prod

from mindspore import nn

from ms_gan.models.layers import LeakyReLU, batch_norm_1d, flatten


class Generator(nn.Cell):
    """Latents to images through dense layers.

    Args:
        image_shape: (C, H, W) of the images to make.
        latent_dim: width of the latent vectors.
        g_widths: widths of the hidden layers; all but the first have BatchNorm.

    Inputs: z float32 [N, latent_dim]; labels are ignored.
    Outputs: float32 [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        latent_dim: int = 100,
        g_widths: tuple[int, ...] = (128, 256, 512, 1024),
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        first, *others = g_widths
        layers = [nn.Dense(latent_dim, first), nn.ReLU()]  # [N, 100] -> [N, 128]
        previous = first
        for width in others:  # [N, 128] -> [N, 256] -> [N, 512] -> [N, 1024]
            layers += [nn.Dense(previous, width), batch_norm_1d(width), nn.ReLU()]
            previous = width
        layers += [nn.Dense(previous, prod(image_shape)), nn.Tanh()]  # [N, 1024] -> [N, 784]
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        return self.model(z).reshape((z.shape[0], *self.image_shape))  # [N, C, H, W]


class Discriminator(nn.Cell):
    """Images to scores through dense layers; the tutorial's sigmoid is part of the loss.

    Args:
        image_shape: (C, H, W) of the images.
        d_widths: widths of the hidden layers.

    Inputs: x float32 [N, C, H, W] in [-1, 1]; labels are ignored.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_widths: tuple[int, ...] = (512, 256),
    ):
        super().__init__()
        layers = []
        previous = prod(image_shape)
        for width in d_widths:  # [N, 784] -> [N, 512] -> [N, 256]
            layers += [nn.Dense(previous, width), LeakyReLU(0.2)]
            previous = width
        layers.append(nn.Dense(previous, 1))  # [N, 256] -> [N, 1]
        self.model = nn.SequentialCell(layers)

    def construct(self, x, labels=None):
        return self.model(flatten(x)).reshape((x.shape[0],))  # [N]
