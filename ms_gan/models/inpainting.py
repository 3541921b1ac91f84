"""Inpainting: a U-Net of gated convolutions fills a hole, against a spectral patch discriminator.

Yu et al. 2019, arXiv:1806.03589, sections 3.1 and 3.3. Departs: one stage instead of two, no
attention, and few channels.
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_gan.convolution.layers import Conv2d
from ms_gan.models.layers import check_size, conv, one_of, positive
from ms_gan.models.patch import PatchDiscriminator

SIZES = "sizes divisible by 4"


class Generator(nn.Cell):
    """A picture with a hole to a whole one; what is known comes back to the last bit.

    Args:
        image_shape: (C, H, W), H and W divisible by 4.
        g_width: channels at full size; twice and four times as many at 1/2 and 1/4.
        blocks: gated layers at a quarter of the size, each looking twice as far as the last.
        output: last function, 'linear' or 'tanh'. Where most pixels have one value, such as a black
            background, a tanh may end at it with no gradient left.

    Inputs: float32 [N, C + 1, H, W]: the picture, and 1 in the hole, 0 elsewhere; labels are
    ignored. Outputs: float32 [N, C, H, W], with 'linear' about in [-1, 1].
    """

    receives = "masked"

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        g_width: int = 24,
        blocks: int = 3,
        output: str = "linear",
    ):
        super().__init__()
        self.bounded = one_of("output", output, ("linear", "tanh")) == "tanh"
        channels, height, width = image_shape
        check_size(image_shape, height % 4 == 0 and width % 4 == 0, SIZES)
        positive("g_width", g_width)
        positive("blocks", blocks)
        self.channels = channels
        self.num_classes, self.latent_dim = 0, 0
        w = g_width
        self.whole = Gated(channels + 1, w, 5)  # [N, w, H, W]
        self.half = nn.SequentialCell(Gated(w, 2 * w, stride=2), Gated(2 * w, 2 * w))
        self.quarter = nn.SequentialCell(Gated(2 * w, 4 * w, stride=2), Gated(4 * w, 4 * w))
        self.far = nn.SequentialCell(
            [Gated(4 * w, 4 * w, dilation=2 ** (i + 1)) for i in range(blocks)]
        )
        self.to_half = Up(4 * w, 2 * w)
        self.at_half = Gated(4 * w, 2 * w)
        self.to_whole = Up(2 * w, w)
        self.at_whole = Gated(2 * w, w)
        self.last = conv(w, channels)

    def construct(self, x, labels=None):
        mask = x[:, self.channels :]  # [N, 1, H, W]
        whole = self.whole(x)
        half = self.half(whole)
        h = self.to_half(self.far(self.quarter(half)))
        h = self.at_half(ops.concat((h, half), axis=1))
        h = self.at_whole(ops.concat((self.to_whole(h), whole), axis=1))
        made = self.last(h)
        if self.bounded:
            made = ops.tanh(made)
        # Composited here: x * 1 + made * 0 is x to the last bit.
        return x[:, : self.channels] * (1.0 - mask) + made * mask


class Gated(nn.Cell):
    """Features times a learned gate: relu(a) * sigmoid(b) (arXiv:1806.03589, Eq. 3).

    [N, previous, H, W] -> [N, width, H / stride, W / stride].
    """

    def __init__(
        self, previous: int, width: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1
    ):
        super().__init__()
        self.width = width
        self.both = conv(previous, 2 * width, kernel, stride=stride)
        if dilation > 1:
            self.both = Conv2d(
                previous, 2 * width, 3, pad_mode="pad", padding=dilation, dilation=dilation,
                has_bias=True, weight_init="he_normal", bias_init="zeros",
            )  # fmt: skip

    def construct(self, x):
        both = self.both(x)
        return ops.relu(both[:, : self.width]) * ops.sigmoid(both[:, self.width :])


class Up(nn.Cell):
    """[N, previous, H, W] -> [N, width, 2 H, 2 W]: a convolution whose values become 2x2 pixels."""

    def __init__(self, previous: int, width: int):
        super().__init__()
        self.conv = conv(previous, 4 * width)
        self.shuffle = nn.PixelShuffle(2)

    def construct(self, x):
        return ops.relu(self.shuffle(self.conv(x)))


Discriminator = PatchDiscriminator  # of whole pictures, with spectral normalisation
