"""Paired translation: a U-Net from one picture to another, against a discriminator of pairs.

Isola et al. 2017, arXiv:1611.07004, sections 3.2 and 6.1. A pair (given, made) is one image with
twice the channels, so the discriminator is conditional without being told. Departs: instance
normalisation in place of BatchNorm, no dropout, fewer channels.
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_gan.models.layers import InstanceNorm, LeakyReLU, check_size, conv, one_of, positive
from ms_gan.models.patch import PatchDiscriminator


class Translator(nn.Cell):
    """A U-Net: halved `depth` times, doubled again, with what was before beside it.

    Args:
        previous, width: channels of the given and of the made picture.
        g_width: channels at half the size; they double, up to four times as many.
        depth: how often the size is halved.
        g_norm: 'instance' or 'none'.

    Inputs: float32 [N, previous, H, W]. Outputs: float32 [N, width, H, W] in [-1, 1].
    """

    def __init__(self, previous: int, width: int, *, g_width: int, depth: int, g_norm: str):
        super().__init__()
        widths = [g_width * min(2**i, 4) for i in range(depth)]
        down, up = [], []
        for i, channels in enumerate(widths):
            normalised = g_norm == "instance" and 0 < i < depth - 1
            down.append(_layer(conv(previous, channels, 4, stride=2), normalised))
            previous = channels
        for i in reversed(range(depth)):
            inner = widths[i] if i == depth - 1 else 2 * widths[i]
            outer = widths[i - 1] if i > 0 else g_width
            enlarge = nn.SequentialCell(conv(inner, 4 * outer), nn.PixelShuffle(2))
            up.append(_layer(enlarge, g_norm == "instance" and i > 0))
        self.down, self.up = nn.CellList(down), nn.CellList(up)
        self.last = conv(g_width, width)

    def construct(self, x):
        seen = ()
        for layer in self.down:
            x = layer(x)
            seen += (x,)
        last = len(seen) - 1
        for i, layer in enumerate(self.up):
            x = layer(x if i == 0 else ops.concat((x, seen[last - i]), axis=1))
        return ops.tanh(self.last(x))


def _layer(first: nn.Cell, normalised: bool) -> nn.Cell:
    return nn.SequentialCell(
        [first, InstanceNorm(), LeakyReLU(0.2)] if normalised else [first, LeakyReLU(0.2)]
    )


class Generator(nn.Cell):
    """A picture to the pair of it and its translation.

    Args:
        image_shape: (2 C, H, W) of the pair, H and W divisible by 2 to the power of `depth`.
        g_width: channels at half the size; they double, up to four times as many.
        depth: how often the size is halved.
        g_norm: 'instance' or 'none'.

    Inputs: float32 [N, C, H, W] in [-1, 1]; labels are ignored.
    Outputs: float32 [N, 2 C, H, W]: what was given, then what was made.
    """

    receives = "first"

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        g_width: int = 32,
        depth: int = 4,
        g_norm: str = "instance",
    ):
        super().__init__()
        positive("g_width", g_width)
        positive("depth", depth)
        one_of("g_norm", g_norm, ("instance", "none"))
        check_halved(image_shape, depth)
        channels = image_shape[0] // 2
        self.num_classes, self.latent_dim = 0, 0
        self.translate = Translator(channels, channels, g_width=g_width, depth=depth, g_norm=g_norm)

    def construct(self, x, labels=None):
        return ops.concat((x, self.translate(x)), axis=1)


def check_halved(image_shape: tuple[int, int, int], depth: int) -> None:
    """Refuse sizes that cannot be halved so often."""
    fits = all(side % 2**depth == 0 for side in image_shape[1:])
    check_size(image_shape, fits, f"sizes divisible by {2**depth} (depth {depth})")


class Discriminator(PatchDiscriminator):
    """A PatchGAN that sees pairs.

    Args:
        image_shape: (2 C, H, W) of the pairs.
        d_width: channels of the first layer; they double, up to eight times as many.
        d_depth: how often the size is halved.
        d_norm: 'instance' (in all but the first and the last layer), 'spectral' or 'none'.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_width: int = 32,
        d_depth: int = 2,
        d_norm: str = "instance",
    ):
        positive("d_depth", d_depth)
        super().__init__(image_shape=image_shape, d_width=d_width, depth=d_depth, d_norm=d_norm)
