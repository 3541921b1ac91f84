"""A deep fully connected generator against a convolutional discriminator.

No paper: a pair of teaching texts. Goodfellow et al. 2014, arXiv:1406.2661 (dense generator) with
the strided convolutions of Radford et al. 2015, arXiv:1511.06434, in D. There are no normalisation
layers, so weights start with the variance that LeakyReLU needs (He et al. 2015, arXiv:1502.01852,
equation 15) and biases at 0: with MindSpore's initial weights each layer of G loses most of what
the latents say, and all images are one.
"""

from __future__ import annotations

from math import prod

from mindspore import nn
from mindspore.common.initializer import HeUniform

from ms_gan.convolution.layers import Conv2d
from ms_gan.models.layers import LeakyReLU, check_size, flatten, positive

SIZES = "28x28 and larger"
SLOPE = 0.2  # of LeakyReLU


class Generator(nn.Cell):
    """Latents to images through dense layers without normalisation.

    Args:
        image_shape: (C, H, W) of the images to make, H and W at least 28.
        latent_dim: width of the latent vectors.
        g_widths: widths of the hidden layers.

    Inputs: z float32 [N, latent_dim]; labels are ignored.
    Outputs: float32 [N, C, H, W] in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        latent_dim: int = 100,
        g_widths: tuple[int, ...] = (128, 256, 512, 1024, 1024),
    ):
        super().__init__()
        check_size(image_shape, min(image_shape[1:]) >= 28, SIZES)
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        positive("g_widths", *g_widths)
        self.image_shape = tuple(image_shape)
        self.num_classes = 0
        layers = []
        previous = latent_dim
        for width in g_widths:  # [N, 100] -> 128 -> 256 -> 512 -> 1024 -> [N, 1024]
            layers += [_dense(previous, width), LeakyReLU(SLOPE)]
            previous = width
        layers.append(_dense(previous, prod(image_shape)))  # -> [N, 784]
        layers.append(nn.Tanh())
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        return self.model(z).reshape((z.shape[0], *self.image_shape))  # [N, C, H, W]


class Discriminator(nn.Cell):
    """Images to scores through 5x5 convolutions that halve the image.

    Args:
        image_shape: (C, H, W) of the images, H and W at least 28.
        d_widths: channels of the convolutions.

    Inputs: x float32 [N, C, H, W] in [-1, 1]; labels are ignored.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_widths: tuple[int, ...] = (64, 128, 256, 512, 1024),
    ):
        super().__init__()
        check_size(image_shape, min(image_shape[1:]) >= 28, SIZES)
        positive("d_widths", *d_widths)
        self.num_classes = 0
        previous, height, width = image_shape
        layers = []
        for channels in d_widths:  # [N, 1, 28, 28] -> [N, 64, 14, 14] -> [N, 128, 7, 7]
            # -> [N, 256, 4, 4] -> [N, 512, 2, 2] -> [N, 1024, 1, 1]
            layers.append(
                Conv2d(
                    previous, channels, kernel_size=5, stride=2, pad_mode="same", has_bias=True,
                    weight_init=_initial(), bias_init="zeros",
                )
            )  # fmt: skip
            layers.append(LeakyReLU(SLOPE))
            previous, height, width = channels, (height + 1) // 2, (width + 1) // 2
        self.model = nn.SequentialCell(layers)
        self.head = _dense(previous * height * width, 1)  # [N, 1024] -> [N, 1]

    def construct(self, x, labels=None):
        return self.head(flatten(self.model(x))).reshape((x.shape[0],))  # [N]


def _initial() -> HeUniform:
    return HeUniform(negative_slope=SLOPE)


def _dense(previous: int, width: int) -> nn.Dense:
    return nn.Dense(previous, width, weight_init=_initial(), bias_init="zeros")
