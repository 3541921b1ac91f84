"""A discriminator of patches: one score for each place, of what it sees around it.

Isola et al. 2017, arXiv:1611.07004, section 3.2.2 (PatchGAN), without BatchNorm.
"""

from __future__ import annotations

from mindspore import nn

from ms_gan.models.layers import (
    InstanceNorm,
    LeakyReLU,
    check_size,
    dcgan_conv,
    one_of,
    positive,
)
from ms_gan.models.spectral_norm import spectral


class PatchDiscriminator(nn.Cell):
    """4x4 convolutions, LeakyReLU 0.2: `depth` of stride 2, one of stride 1, then a score.

    Args:
        image_shape: (C, H, W) of the images.
        d_width: channels of the first layer; they double, up to eight times as many.
        depth: how often the size is halved.
        d_norm: 'instance' (in all but the first and the last layer), 'spectral' in all, or 'none'.

    Inputs: x float32 [N, C, H, W]; labels are ignored. Outputs: scores float32 [N, patches].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_width: int = 32,
        depth: int = 2,
        d_norm: str = "spectral",
    ):
        super().__init__()
        one_of("d_norm", d_norm, ("instance", "spectral", "none"))
        positive("d_width", d_width)
        positive("depth", depth)
        smallest = 3 * 2**depth  # of three places the two layers of stride 1 leave one
        fits = min(image_shape[1:]) >= smallest
        check_size(image_shape, fits, f"{smallest}x{smallest} and larger (halved {depth} times)")
        self.num_classes = 0
        layers, previous = [], image_shape[0]
        for i in range(depth + 1):
            width = d_width * min(2**i, 8)
            layers.append(
                spectral(
                    dcgan_conv(previous, width, stride=2 if i < depth else 1, has_bias=True), d_norm
                )
            )
            if d_norm == "instance" and i > 0:
                layers.append(InstanceNorm())
            layers.append(LeakyReLU(0.2))
            previous = width
        layers.append(spectral(dcgan_conv(previous, 1, stride=1, has_bias=True), d_norm))
        self.model = nn.SequentialCell(layers)

    def construct(self, x, labels=None):
        return self.model(x).reshape((x.shape[0], -1))
