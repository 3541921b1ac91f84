"""DCGAN: stacks of strided 4x4 convolutions for images of 32x32, 64x64 and 128x128.

Of a rectangle, the shorter side decides how many layers there are, and the longer one how long the
innermost map is: 64x96 starts from 4x6 where 64x64 starts from 4x4.

Radford et al. 2015, arXiv:1511.06434, sections 3 and 4, in the widths of the well-known tutorials
(512 channels at 4x4; the paper's Figure 1 has 1,024: g_width 128). No layer in front of a BatchNorm
and no last layer has a bias. Departs: hidden layers without BatchNorm have one, but for the first
of the published discriminator.
"""

from __future__ import annotations

from math import log2

from mindspore import nn

from ms_gan.models.layers import (
    check_size,
    dcgan_conv,
    dcgan_conv_transpose,
    dcgan_norm_and_relu,
    one_of,
    positive,
)
from ms_gan.models.spectral_norm import spectral

OUTPUTS = ("tanh", "unit_tanh")
SIDES = (32, 64, 128)
SIZES = (
    "32x32, 64x64 and 128x128, and rectangles with such a shorter side and a longer one that is a "
    "multiple of its quarter (32x40, 64x96, ...)"
)


class Generator(nn.Cell):
    """Latents to images through transposed convolutions, from 4x4 upwards.

    Args:
        image_shape: (C, H, W) of the images to make, H or W 32, 64 or 128: see the module.
        latent_dim: width of the latent vectors.
        g_width: channels in front of the last layer; they double towards the latents.
        g_norm: 'batch' or 'none'.
        output: 'tanh', or 'unit_tanh': as MindSpore's tutorial has it, whose real images are in
            [0, 1] although the last layer is a tanh; what lies below 0 is shown black.

    Inputs: z float32 [N, latent_dim]; labels are ignored.
    Outputs: float32 [N, C, H, W] in [-1, 1]; with 'unit_tanh' 2 tanh - 1, in [-3, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        latent_dim: int = 100,
        g_width: int = 64,
        g_norm: str = "batch",
        output: str = "tanh",
    ):
        super().__init__()
        doublings, innermost = _structure(image_shape)
        one_of("g_norm", g_norm, ("batch", "none"))
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        positive("g_width", g_width)
        self.unit_range = one_of("output", output, OUTPUTS) == "unit_tanh"
        self.num_classes = 0
        has_bias = g_norm == "none"
        width = g_width * 2 ** (doublings - 1)
        # [N, 100, 1, 1] -> [N, 512, 4, 4]
        layers = [
            dcgan_conv_transpose(
                latent_dim, width, kernel=innermost, stride=1, padding=0, has_bias=has_bias
            )
        ]
        layers += dcgan_norm_and_relu(width, g_norm)
        for _ in range(doublings - 1):  # -> [N, 256, 8, 8] -> [N, 128, 16, 16] -> [N, 64, 32, 32]
            layers.append(dcgan_conv_transpose(width, width // 2, has_bias=has_bias))
            width = width // 2
            layers += dcgan_norm_and_relu(width, g_norm)
        layers += [dcgan_conv_transpose(width, image_shape[0]), nn.Tanh()]  # -> [N, C, 64, 64]
        self.model = nn.SequentialCell(layers)

    def construct(self, z, labels=None):
        x = self.model(z.reshape((z.shape[0], -1, 1, 1)))  # [N, C, H, W]
        return 2.0 * x - 1.0 if self.unit_range else x


class Discriminator(nn.Cell):
    """Images to scores through strided convolutions, down to 4x4; the sigmoid is part of the loss.

    Args:
        image_shape: (C, H, W) of the images, H or W 32, 64 or 128: see the module.
        d_width: channels of the first layer; they double towards the score.
        d_norm: 'batch' (in all but the first and the last layer), 'none', or 'spectral' in all
            (Miyato et al. 2018, arXiv:1802.05957). A gradient penalty needs one of the last two.
        output: with 'unit_tanh' the layers see images in [0, 1], as the generator makes them.

    Inputs: x float32 [N, C, H, W] in [-1, 1]; labels are ignored.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_width: int = 64,
        d_norm: str = "batch",
        output: str = "tanh",
    ):
        super().__init__()
        doublings, innermost = _structure(image_shape)
        one_of("d_norm", d_norm, ("batch", "none", "spectral"))
        positive("d_width", d_width)
        self.unit_range = one_of("output", output, OUTPUTS) == "unit_tanh"
        self.num_classes = 0
        has_bias = d_norm != "batch"
        layers = []
        previous, width = image_shape[0], d_width
        for i in range(doublings):  # [N, C, 64, 64] -> [N, 64, 32, 32] -> [N, 128, 16, 16]
            # -> [N, 256, 8, 8] -> [N, 512, 4, 4]
            layers.append(spectral(dcgan_conv(previous, width, has_bias=has_bias), d_norm))
            layers += dcgan_norm_and_relu(width, d_norm if i > 0 else "none", 0.2)
            previous, width = width, 2 * width
        last = dcgan_conv(previous, 1, kernel=innermost, stride=1, padding=0)  # -> [N, 1, 1, 1]
        layers.append(spectral(last, d_norm))
        self.model = nn.SequentialCell(layers)

    def construct(self, x, labels=None):
        if self.unit_range:
            x = 0.5 * x + 0.5
        return self.model(x).reshape((x.shape[0],))  # [N]


def _structure(image_shape: tuple[int, int, int]) -> tuple[int, tuple[int, int]]:
    """How often the innermost map doubles to the image, and its sides: 4 and (4, 4) for 64x64."""
    _, height, width = image_shape
    short = min(height, width)
    whole = 4 * height % short == 0 and 4 * width % short == 0
    check_size(image_shape, short in SIDES and whole, SIZES)
    return int(log2(short)) - 2, (4 * height // short, 4 * width // short)
