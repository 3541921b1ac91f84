"""Progressive GAN: a pair that begins with tiny images and doubles their size while it trains.

Karras et al. 2018, arXiv:1710.10196, section 2 and table 2: two 3x3 convolutions a level, nearest
neighbours upwards and means downwards, equalised learning rates, PixelNorm in G, the standard
deviation of a minibatch in D, a linear end of G. Real images are blended like generated ones.

Departs: the number of levels and their widths are those of the recipe, and the first level is what
the halvings leave (4x4 of 32x32, 7x7 of 28x28). Images have their full size at every level, as in
the authors' code: G enlarges them, D takes means. A conditional pair appends a learned row of the
class to the latents, and D adds the projection to its score (arXiv:1802.05637).
"""

from __future__ import annotations

from math import sqrt

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import initializer

from ms_gan.models import equalised
from ms_gan.models.equalised import Ending, PixelNorm, lrelu_conv, minibatch_std
from ms_gan.models.growth import Growth
from ms_gan.models.layers import LeakyReLU, classes_of, one_hot, positive
from ms_gan.models.resampling import Downsample, Upsample, box

LEVELS, WIDTHS = (1500, 2500, 2500, 2500), (64, 64, 32, 16)


class Generator(nn.Cell):
    """Latents to images of any of its levels.

    Args:
        image_shape: (C, H, W) of the images to make at the last level.
        num_classes: number of classes of the data set, 0 = unlabelled.
        latent_dim: width of the latent vectors.
        levels: updates of each level, the smallest images first; the last one goes on to the end.
        fade: share of a level's updates in which it is blended in.
        g_widths: channels of each level.
        conditional: look at the labels: a learned row for each class is appended to z.
        embedding_dim: length of that row.

    Inputs: z float32 [N, latent_dim]; labels int32 [N], ignored unless conditional; shares float32
    [levels], what each level contributes, or None: the last one alone.
    Outputs: float32 [N, C, H, W], linear, meant to be in [-1, 1].
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        latent_dim: int = 64,
        levels: tuple[int, ...] = LEVELS,
        fade: float = 0.5,
        g_widths: tuple[int, ...] = WIDTHS,
        conditional: bool = False,
        embedding_dim: int = 32,
    ):
        super().__init__()
        self.growth = Growth(levels, fade)
        height, width = self.growth.size(image_shape)
        widths = widths_of("g_widths", g_widths, self.growth)
        positive("latent_dim", latent_dim)
        self.latent_dim = latent_dim
        self.num_classes = classes_of(conditional, num_classes)
        features = latent_dim
        if conditional:
            positive("embedding_dim", embedding_dim)
            self.embedding = equalised.rows(num_classes, embedding_dim)
            features += embedding_dim
        self.first = widths[0], height, width
        self.norm, self.activation = PixelNorm(), LeakyReLU(0.2)
        # The gain of the authors' code: a quarter, as if a 4x4 convolution were meant.
        self.dense = equalised.Dense(
            features, widths[0] * height * width, gain=sqrt(2.0) / 4, bias=None
        )
        self.bias = Parameter(initializer("zeros", (widths[0],)), name="bias")
        self.add = ops.BiasAdd()
        start = nn.SequentialCell([*lrelu_conv(widths[0], widths[0]), PixelNorm()])
        blocks = [start]
        for previous, wide in zip(widths, widths[1:], strict=False):
            blocks.append(
                nn.SequentialCell(
                    [
                        Upsample(previous, box(2)),
                        *lrelu_conv(previous, wide), PixelNorm(),
                        *lrelu_conv(wide, wide), PixelNorm(),
                    ]
                )
            )  # fmt: skip
        self.blocks = nn.CellList(blocks)
        channels = image_shape[0]
        self.to_rgb = nn.CellList([equalised.Conv(wide, channels, 1) for wide in widths])
        self.enlarge = resized(Upsample, channels, self.growth.levels)
        self.last = self.growth.levels - 1

    def construct(self, z, labels=None, shares=None):
        if shares is None:
            return self.to_rgb[self.last](self.features(z, labels, self.last)[-1])
        x = 0.0
        features = self.features(z, labels, self.last)
        for level in range(self.last + 1):
            x = x + shares[level] * self.enlarge[level](self.to_rgb[level](features[level]))
        return x

    def at(self, z, labels, level: int, share):
        """Images of one level, blended with those of the one below: float32 [N, C, H, W].

        Args:
            level: of the images, known when the graph is compiled.
            share: scalar in [0, 1], of the level.
        """
        features = self.features(z, labels, level)
        x = self.enlarge[level](self.to_rgb[level](features[level]))
        if level == 0:
            return x
        below = self.enlarge[level - 1](self.to_rgb[level - 1](features[level - 1]))
        return share * x + (1.0 - share) * below

    def features(self, z, labels, level):
        """What the blocks up to a level give, one after the other."""
        if self.num_classes:
            z = ops.concat((z, self.embedding(one_hot(labels, self.num_classes))), axis=1)
        x = self.dense(self.norm(z)).reshape((z.shape[0], *self.first))
        x = self.norm(self.activation(self.add(x, self.bias)))
        features = ()
        for i in range(level + 1):
            x = self.blocks[i](x)
            features = (*features, x)
        return features

    def weights_at(self, level: int) -> list:
        """The parameters that a level uses."""
        unused = [*list(self.blocks)[level + 1 :], *list(self.to_rgb)[level + 1 :]]
        return used(self, [*unused, *list(self.to_rgb)[: max(0, level - 1)]])


class Discriminator(Ending):
    """Images to scores, looking at them as one of its levels does.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes of the data set, 0 = unlabelled.
        levels, fade: as the generator has them.
        d_widths: channels of each level.
        stddev_group: images whose standard deviation D sees; 0: it judges every image alone.
        conditional: look at the labels: the inner product of the last hidden layer and a learned
            row for each class is added to the score.

    Inputs: x float32 [N, C, H, W]; labels int32 [N], ignored unless conditional.
    Outputs: scores float32 [N], unbounded, higher = more real.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int = 0,
        levels: tuple[int, ...] = LEVELS,
        fade: float = 0.5,
        d_widths: tuple[int, ...] = WIDTHS,
        stddev_group: int = 4,
        conditional: bool = False,
    ):
        super().__init__()
        self.growth = Growth(levels, fade)
        height, width = self.growth.size(image_shape)
        widths = widths_of("d_widths", d_widths, self.growth)
        self.num_classes = classes_of(conditional, num_classes)
        channels = image_shape[0]
        self.last = self.growth.levels - 1
        self.from_rgb = nn.CellList(
            [nn.SequentialCell(lrelu_conv(channels, wide, 1)) for wide in widths]
        )
        wide = widths[0]
        stddev = minibatch_std(stddev_group)
        end = nn.SequentialCell([*stddev, *lrelu_conv(wide + len(stddev), wide)])
        blocks = [end]
        for below, here in zip(widths, widths[1:], strict=False):
            blocks.append(
                nn.SequentialCell(
                    [*lrelu_conv(here, here), *lrelu_conv(here, below), Downsample(below, box(2))]
                )
            )
        self.blocks = nn.CellList(blocks)
        self.end(wide * height * width, wide)
        self.reduce = resized(Downsample, channels, self.growth.levels)
        self.enlarge = resized(Upsample, channels, self.growth.levels)

    def construct(self, x, labels=None):
        return self.at(x, labels, self.last, None)

    def at(self, x, labels, level: int, share):
        """Scores of images seen at one level, blended with the one below: float32 [N].

        Args:
            level: known when the graph is compiled.
            share: scalar in [0, 1], of the level; None: 1.
        """
        h = self.from_rgb[level](self.reduce[level](x))
        for i in range(level, 0, -1):
            h = self.blocks[i](h)
            if i == level and share is not None:
                below = self.from_rgb[level - 1](self.reduce[level - 1](x))
                h = share * h + (1.0 - share) * below
        return self.judged(self.blocks[0](h), labels)

    def view(self, x, level: int, share):
        """Real images as a level shows them, with what it shows of the level below."""
        seen = self.enlarge[level](self.reduce[level](x))
        if level == 0:
            return seen
        below = self.enlarge[level - 1](self.reduce[level - 1](x))
        return share * seen + (1.0 - share) * below

    def weights_at(self, level: int) -> list:
        """The parameters that a level uses."""
        unused = [*list(self.blocks)[level + 1 :], *list(self.from_rgb)[level + 1 :]]
        return used(self, [*unused, *list(self.from_rgb)[: max(0, level - 1)]])


def widths_of(option: str, widths: tuple[int, ...], growth: Growth) -> tuple[int, ...]:
    positive(option, *widths)
    if len(widths) != growth.levels:
        raise ValueError(
            f"{option}: {len(widths)} widths for {growth.levels} levels; give one for each level"
        )
    return tuple(widths)


def resized(kind: type[nn.Cell], channels: int, levels: int) -> nn.CellList:
    """For each level, from its size to the full one (Upsample) or back (Downsample)."""
    factors = [2 ** (levels - 1 - level) for level in range(levels)]
    return nn.CellList([kind(channels, box(f), f) if f > 1 else nn.Identity() for f in factors])


def used(net: nn.Cell, unused: list[nn.Cell]) -> list:
    """The trainable parameters of a net but those of some of its cells."""
    without = {id(p) for cell in unused for p in cell.get_parameters()}
    return [p for p in net.trainable_params() if id(p) not in without]
