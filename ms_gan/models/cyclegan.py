"""CycleGAN: two translators and two discriminators as one pair of nets on pairs of pictures.

Zhu et al. 2017, arXiv:1703.10593. An image here is (a, b), one picture of each domain joined along
the channels, which need not belong together. The generator swaps the domains: (a, b) becomes
(F(b), G(a)), which is again a picture of each domain in its place. So it is its own inverse where
the cycle loss holds: applied to what it made, it gives (F(G(a)), G(F(b))), and both cycle losses
are the distance of that from (a, b).
"""

from __future__ import annotations

from mindspore import nn, ops

from ms_gan.models.layers import InstanceNorm, check_size, dcgan_conv, positive
from ms_gan.models.patch import PatchDiscriminator


class Generator(nn.Cell):
    """Two translators that share nothing.

    Args:
        image_shape: (2 C, H, W) of the pairs, H and W divisible by 4.
        g_width: channels at full size; twice, and four times as many after each halving.
        halvings: how often the size is halved.
        blocks: residual blocks of each translator.

    Inputs: float32 [N, 2 C, H, W] in [-1, 1], (a, b); labels are ignored.
    Outputs: the same, (F(b), G(a)).
    """

    receives = "both"

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        g_width: int = 24,
        halvings: int = 1,
        blocks: int = 3,
    ):
        super().__init__()
        for option, value in (("g_width", g_width), ("halvings", halvings), ("blocks", blocks)):
            positive(option, value)
        size = 2**halvings
        fits = all(side % size == 0 for side in image_shape[1:])
        check_size(image_shape, fits, f"sizes divisible by {size}")
        self.num_classes, self.latent_dim = 0, 0
        self.channels = image_shape[0] // 2
        self.a_to_b = translator(self.channels, g_width, halvings, blocks)
        self.b_to_a = translator(self.channels, g_width, halvings, blocks)

    def construct(self, x, labels=None):
        a, b = x[:, : self.channels], x[:, self.channels :]
        return ops.concat((self.b_to_a(b), self.a_to_b(a)), axis=1)


def translator(channels: int, width: int, halvings: int, blocks: int) -> nn.Cell:
    """[N, C, H, W] -> [N, C, H, W] in [-1, 1] (arXiv:1703.10593, section 7.2).

    Departs: 5x5 layers at full size in place of 7x7, sub-pixel convolutions in place of transposed
    ones, zeros at the edge (reflection has no second derivative).
    """
    layers = [_conv(channels, width, 5), InstanceNorm(), nn.ReLU()]
    for _ in range(halvings):
        layers += [_conv(width, 2 * width, 3, stride=2), InstanceNorm(), nn.ReLU()]
        width = 2 * width
    layers += [Block(width) for _ in range(blocks)]  # each is a block of its own
    for _ in range(halvings):
        width = width // 2
        layers += [_conv(2 * width, 4 * width, 3), nn.PixelShuffle(2), InstanceNorm(), nn.ReLU()]
    layers += [_conv(width, channels, 5), nn.Tanh()]
    return nn.SequentialCell(layers)


class Block(nn.Cell):
    """x + norm(conv(relu(norm(conv(x))))), [N, C, H, W] -> the same."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.SequentialCell(
            _conv(width, width, 3), InstanceNorm(), nn.ReLU(), _conv(width, width, 3),
            InstanceNorm(),
        )  # fmt: skip

    def construct(self, x):
        return x + self.body(x)


def _conv(previous: int, width: int, kernel: int, *, stride: int = 1) -> nn.Cell:
    """Weights of N(0, 0.02), as the authors' code has them."""
    padding = (kernel - 1) // 2
    return dcgan_conv(previous, width, kernel=kernel, stride=stride, padding=padding, has_bias=True)


class Discriminator(nn.Cell):
    """A patch discriminator for each domain.

    Args:
        image_shape: (2 C, H, W) of the pairs.
        d_width: channels of the first layer; they double, up to eight times as many.
        d_depth: how often the size is halved.
        d_norm: 'instance' (in all but the first and the last layer), 'spectral' or 'none'.

    Inputs: x float32 [N, 2 C, H, W]; labels are ignored.
    Outputs: scores float32 [N, 2 patches], those of the first domain first.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        d_width: int = 32,
        d_depth: int = 2,
        d_norm: str = "instance",
    ):
        super().__init__()
        positive("d_depth", d_depth)
        self.num_classes = 0
        self.channels = image_shape[0] // 2
        one = (self.channels, *image_shape[1:])
        self.of_a, self.of_b = (
            PatchDiscriminator(image_shape=one, d_width=d_width, depth=d_depth, d_norm=d_norm)
            for _ in range(2)
        )

    def construct(self, x, labels=None):
        a, b = x[:, : self.channels], x[:, self.channels :]
        return ops.concat((self.of_a(a), self.of_b(b)), axis=1)
