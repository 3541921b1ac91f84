"""Super-resolution: a residual net on top of bicubic enlargement, against a patch discriminator.

Ledig et al. 2017, arXiv:1609.04802 (residual blocks, sub-pixel convolution, adversarial part), with
what came after: no BatchNorm (Lim et al. 2017, arXiv:1707.02921), the net adds to the bicubic
enlargement instead of making the whole picture (Kim et al. 2016, arXiv:1511.04587).
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_gan.models.layers import conv, positive, upsample
from ms_gan.models.patch import PatchDiscriminator
from ms_gan.objectives.resize import bicubic, resized


class Generator(nn.Cell):
    """A small picture to a large one.

    Args:
        image_shape: (C, H, W) of the large picture.
        input_shape: (C, h, w) of the small one, 2, 4 or 8 times smaller.
        g_width: channels.
        blocks: residual blocks.

    Inputs: float32 [N, C, h, w] in [-1, 1]; labels are ignored.
    Outputs: float32 [N, C, H, W], about in [-1, 1].
    """

    receives = "low_resolution"

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        input_shape: tuple[int, int, int],
        g_width: int = 32,
        blocks: int = 5,
    ):
        super().__init__()
        positive("g_width", g_width)
        positive("blocks", blocks)
        channels, height, width = image_shape
        scale = height // input_shape[1]
        if scale not in (2, 4, 8):
            raise ValueError(f"scale: {scale}; this architecture enlarges 2, 4 or 8 times")
        self.num_classes, self.latent_dim = 0, 0
        self.matrices = bicubic(input_shape[1:], (height, width))
        self.head = conv(channels, g_width)
        self.body = nn.SequentialCell([Block(g_width) for _ in range(blocks)])
        self.join = conv(g_width, g_width)
        ups = []
        for _ in range(scale.bit_length() - 1):
            ups += [upsample(g_width, g_width), nn.ReLU()]
        self.enlarge = nn.SequentialCell(ups)
        self.tail = conv(g_width, channels)
        self.tail.weight.set_data(self.tail.weight * 0.1)  # begins near the bicubic enlargement

    def construct(self, x, labels=None):
        h = self.head(x)
        h = h + self.join(self.body(h))
        return resized(x, self.matrices) + self.tail(self.enlarge(h))


class Block(nn.Cell):
    """x + conv(relu(conv(x))), [N, C, H, W] -> the same."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width)

    def construct(self, x):
        return x + self.second(ops.relu(self.first(x)))


Discriminator = PatchDiscriminator  # of whole pictures, with spectral normalisation
