"""What is added to the generator's loss beside the adversarial part, each times its weight.

A term is a Cell `(real, fake, made_from, given, numbers) -> scalar` to be minimised by the
generator.
"""

from __future__ import annotations

from mindspore import nn


class Term(nn.Cell):
    """Something that is added to the generator's loss.

    Attributes:
        weight: what a recipe's weight is unless it says another one, >= 0.
        numbers: how many random numbers of each image it wants.

    Inputs (unused ones are ignored):
        real, fake: float32 [N, C, H, W].
        made_from: what the generator received, such as latents [N, latent_dim].
        given: what the judge gets beside images.
        numbers: float32 [N, numbers] in [0, 1); None where it wants none.
    Outputs: float32 scalar, without the weight.
    """

    weight: float = 1.0
    numbers: int = 0

    def __init__(self):
        super().__init__(auto_prefix=False)


class ModeSeeking(Term):
    """Different latents shall make different images: 1 / (|G(a) - G(b)| / |a - b|), means of |.|.

    Mao et al. 2019 (MSGAN), arXiv:1903.05628, Eq. 3, as the authors' code minimises it. Departs:
    a and b are the two halves of a batch, where the paper makes second images of the same classes.
    """

    def construct(self, real, fake, made_from, given=None, numbers=None):
        half = fake.shape[0] // 2
        images = (fake[:half] - fake[half : 2 * half]).abs().mean()
        latents = (made_from[:half] - made_from[half : 2 * half]).abs().mean()
        return 1.0 / (images / latents + 1e-5)


TERMS: dict[str, type[Term]] = {
    "mode_seeking": ModeSeeking,
}
