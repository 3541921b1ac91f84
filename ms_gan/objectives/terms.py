"""What is added to the generator's loss beside the adversarial part, each times its weight.

A term is a Cell `(real, fake, made_from, given, numbers) -> scalar` to be minimised by the
generator. One for which the generator has to run again says on what, in a method
`again(real, fake)`, and gets what it made as a last argument; the gradient then reaches the weights
through that pass too. One that is a function of the weights themselves (`of_weights`) holds the
generator.
"""

from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor, nn, ops

NORMS = ("l1", "l2", "charbonnier")


class Term(nn.Cell):
    """Something that is added to the generator's loss.

    Attributes:
        weight: what a recipe's weight is unless it says another one, >= 0.
        numbers: how many random numbers of each image it wants.
        runs_again: it has the method `again(real, fake)`, images [N, C, H, W] -> what the generator
            runs on once more, and `construct` takes what that makes.
        of_weights: it is built with the generator, and differentiated in its weights: a Cell
            (made_from, labels, numbers) -> scalar, with `last()`, its newest value.
        input: the only input with which it makes sense; None: any.

    Inputs (unused ones are ignored):
        real, fake: float32 [N, C, H, W].
        made_from: what the generator received, such as latents [N, latent_dim].
        given: what the judge gets beside images.
        numbers: float32 [N, numbers] in [0, 1); None where it wants none.
    Outputs: float32 scalar, without the weight.
    """

    weight: float = 1.0
    numbers: int = 0
    runs_again: bool = False
    of_weights: bool = False
    input: str | None = None

    def __init__(self):
        super().__init__(auto_prefix=False)


class ModeSeeking(Term):
    """Different latents shall make different images: 1 / (|G(a) - G(b)| / |a - b|), means of |.|.

    Mao et al. 2019 (MSGAN), arXiv:1903.05628, Eq. 3, as the authors' code minimises it. Departs:
    a and b are the two halves of a batch, where the paper makes second images of the same classes.
    """

    input = "latents"

    def construct(self, real, fake, made_from, given=None, numbers=None):
        half = fake.shape[0] // 2
        images = (fake[:half] - fake[half : 2 * half]).abs().mean()
        latents = (made_from[:half] - made_from[half : 2 * half]).abs().mean()
        return 1.0 / (images / latents + 1e-5)


class Pixel(Term):
    """Distance of the made image from the true one, pixel by pixel.

    Isola et al. 2017, arXiv:1611.07004, Eq. 3 (l1). charbonnier: sqrt(d^2 + 1e-6), as
    super-resolution uses it (Lai et al. 2017, arXiv:1704.03915, Eq. 1).

    Args:
        norm: 'l1', 'l2' (mean of squares) or 'charbonnier'.
    """

    def __init__(self, *, norm: str = "l1"):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm: '{norm}' is not known; use {', '.join(NORMS)}")
        self.norm = norm

    def construct(self, real, fake, made_from, given=None, numbers=None):
        return self.distance(fake - real).mean()

    def distance(self, difference):
        """float32 of any shape -> the same, >= 0."""
        if self.norm == "l1":
            return difference.abs()
        if self.norm == "l2":
            return difference * difference
        return ops.sqrt(difference * difference + 1e-6)


class Hole(Term):
    """Mean absolute difference inside the hole (Yu et al. 2019, arXiv:1806.03589, section 3.4).

    What is known is put back by the generator itself, so nothing outside counts.
    """

    input = "masked"

    def construct(self, real, fake, made_from, given=None, numbers=None):
        mask = made_from[:, -1:]  # [N, 1, H, W]
        channels = real.shape[1]
        return (mask * (fake - real).abs()).sum() / (channels * mask.sum() + 1e-6)


class Again(Term):
    """What is made in a second pass shall be the pair itself: mean |.| of the difference."""

    runs_again = True
    input = "both"

    def construct(self, real, fake, made_from, given=None, numbers=None, made_again=None):
        return (made_again - real).abs().mean()


class Cycle(Again):
    """There and back again: |G(G(x)) - x| for pairs x of both domains.

    Zhu et al. 2017, arXiv:1703.10593, Eq. 2. A pair is (a, b) and G gives (F(b), G(a)), so that G
    of what it made is (F(G(a)), G(F(b))): both cycles at once. The mean over both domains is half
    of the paper's sum.
    """

    weight = 10.0

    def again(self, real, fake):
        return fake


class Identity(Again):
    """What is of a domain already stays as it is: |G(b) - b| and |F(a) - a|, means.

    Zhu et al. 2017, arXiv:1703.10593, section 5.2. It keeps colours, which the adversarial and the
    cycle loss leave open.
    """

    weight = 5.0

    def again(self, real, fake):
        half = real.shape[1] // 2
        return ops.concat((real[:, half:], real[:, :half]), axis=1)  # (b, a) -> (F(a), G(b))


class PathLength(Term):
    """A step in w shall change the image as much everywhere: E[(||J^T y|| - a)^2].

    Karras et al. 2020, arXiv:1912.04958, section 3.2 and equation 4: J is the derivative of the
    image in the styles, y a random image, a the moving average of the lengths. As in the authors'
    code, the square of a length is the mean over layers, y is divided by the root of its number of
    pixels, and half of a batch is looked at, in every fourth update. Departs: y is 1 or -1 in every
    value, which has the same mean square length as a normal y.

    Args:
        generator: with `mapping`, `styles` and `synthesis`.
        image_shape: (C, H, W), of y.
        decay: share of a that each look at it replaces.
    """

    weight = 2.0
    every = 4
    of_weights = True
    input = "latents"

    def __init__(
        self, generator: nn.Cell, image_shape: tuple[int, int, int], *, decay: float = 0.01
    ):
        super().__init__()
        if not hasattr(generator, "synthesis"):
            raise ValueError("is for a generator with styles, such as stylegan; leave it out")
        if not 0.0 < decay <= 1.0:
            raise ValueError(f"decay: {decay!r} is not in (0, 1]; use 0.01")
        self.generator, self.shape, self.decay = generator, tuple(image_shape), decay
        self.numbers = int(np.prod(image_shape))
        zero = Tensor(np.zeros(1, np.float32))
        self.mean = Parameter(zero, name="path_length.mean", requires_grad=False)
        self.newest = Parameter(zero.copy(), name="path_length.newest", requires_grad=False)

    def construct(self, made_from, labels=None, numbers=None):
        half = (made_from.shape[0] + 1) // 2
        latents = made_from[:half, : self.generator.latent_dim]
        w = self.generator.mapping(latents, None if labels is None else labels[:half])
        _, height, width = self.shape
        signs = (numbers[:half] < 0.5).astype(latents.dtype) * 2.0 - 1.0
        y = signs.reshape((half, *self.shape)) / (height * width) ** 0.5
        slope = ops.grad(self.along, 0)(self.generator.styles(w), y)  # [N, layers, style_dim]
        lengths = ops.sqrt((slope * slope).sum(axis=2).mean(axis=1) + 1e-12)
        found = ops.stop_gradient(lengths.mean()).reshape((1,))
        mean = self.mean + self.decay * (found - self.mean)
        value = (lengths - mean).square().mean()
        kept = ops.stop_gradient(value).reshape((1,))
        return ops.depend(value, (ops.assign(self.mean, mean), ops.assign(self.newest, kept)))

    def along(self, styles, y):
        return (self.generator.synthesis(styles) * y).sum()

    def last(self):
        """The newest value, a scalar."""
        return self.newest.reshape(())


TERMS: dict[str, type[Term]] = {
    "mode_seeking": ModeSeeking,
    "pixel": Pixel,
    "hole": Hole,
    "cycle": Cycle,
    "identity": Identity,
    "path_length": PathLength,
}
