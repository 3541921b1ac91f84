"""Adversarial losses: two functions of discriminator scores, and the table that names them.

Scores are float32 `[N]`, unbounded, higher = more real (no sigmoid). Every function returns a
scalar to be *minimised* by the network it is named after. `LOSSES` holds factories: their
keyword-only arguments are the options of a recipe, so a signature is all that has to be checked.

The functions are plain functions and closures because these are what GRAPH_MODE compiles and
differentiates as attributes of a Cell; a lambda fails to parse, and a `functools.partial` compiles
to the right loss with a gradient of exactly zero (MindSpore 2.10).
"""

from collections.abc import Callable
from dataclasses import dataclass

from mindspore import Tensor, ops

ScoreLoss = Callable[[Tensor | None, Tensor], Tensor]


@dataclass(frozen=True)
class Loss:
    """One adversarial objective.

    Args:
        discriminator: `(real_scores [N, ...], fake_scores [N, ...]) -> scalar`.
        generator: `(real_scores [N, ...] or None, fake_scores [N, ...]) -> scalar`; `None` unless
            `pairs`.
        pairs: the generator's loss reads the scores of real images too, and both batches must be
            of one size.
    """

    discriminator: ScoreLoss
    generator: ScoreLoss
    pairs: bool = False


def non_saturating(*, real_target: float = 1.0) -> Loss:
    """The tutorial's loss: binary cross-entropy for D, and for G with the targets exchanged.

    L_D = E[softplus(-D(x))] + E[softplus(D(G(z)))], a sum: not halved.
    L_G = E[softplus(-D(G(z)))]: G raises the scores of its images, and learns most from those that
    D rejects. Equals `nn.BCELoss` after a sigmoid, but stays finite for any score.

    Goodfellow et al. 2014, arXiv:1406.2661, Eq. 1 for D and the end of Section 3 for G.
    One-sided label smoothing: Salimans et al. 2016, arXiv:1606.03498, Section 3.4.

    Args:
        real_target: probability that D is asked to give to real images, in (0, 1]; e.g. 0.9.
    """
    return Loss(_cross_entropy(real_target), _raise_fakes)


def minimax(*, real_target: float = 1.0) -> Loss:
    """The original zero-sum game, which saturates: G hardly learns from images that D rejects.

    L_D as in `non_saturating`.
    L_G = E[log(1 - sigmoid(D(G(z))))] = -E[softplus(D(G(z)))]: G raises the scores of its images,
    with a gradient that vanishes where they are low.

    Goodfellow et al. 2014, arXiv:1406.2661, Eq. 1.

    Args:
        real_target: probability that D is asked to give to real images, in (0, 1]; e.g. 0.9.
    """
    return Loss(_cross_entropy(real_target), _saturating)


def least_squares(*, real_target: float = 1.0) -> Loss:
    """LSGAN with targets 0 and 1: scores are regressed, so those beyond the target pull back too.

    L_D = 1/2 E[(D(x) - 1)^2] + 1/2 E[D(G(z))^2].
    L_G = 1/2 E[(D(G(z)) - 1)^2]: G moves the scores of its images to 1. Both factors 1/2 are the
    paper's.

    Mao et al. 2016, arXiv:1611.04076, Eq. 9.

    Args:
        real_target: score that D is asked to give to real images, in (0, 1]; G still aims at 1.
    """
    _check_target(real_target)

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - real_target).square().mean() + 0.5 * fake.square().mean()

    def generator(real: Tensor | None, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1.0).square().mean()

    return Loss(discriminator, generator)


def wasserstein(*, drift: float = 0.0) -> Loss:
    """WGAN's critic: needs a Lipschitz D, that is `gradient_penalty` or weight clipping.

    L_D = E[D(G(z))] - E[D(x)] + drift E[D(x)^2]; without drift, -L_D estimates the distance of the
    two distributions.
    L_G = -E[D(G(z))]: G raises the scores of its images.

    Arjovsky et al. 2017, arXiv:1701.07875, Eq. 2 and Algorithm 1.

    Args:
        drift: keeps scores near 0, of which only differences count; Progressive GAN has 0.001
            (Karras et al. 2018, arXiv:1710.10196, appendix A.1).
    """
    if drift < 0.0:
        raise ValueError(f"drift: {drift!r} is negative; use 0.0 or, e.g., 0.001")

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        loss = fake.mean() - real.mean()
        return loss + drift * real.square().mean() if drift else loss

    return Loss(discriminator, _minus_mean)


def hinge() -> Loss:
    """Hinge loss: D stops learning from images that it already places beyond the margin.

    L_D = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))].
    L_G = -E[D(G(z))]: G raises the scores of its images.

    Lim and Ye 2017, arXiv:1705.02894; Miyato et al. 2018, arXiv:1802.05957, Eq. 16 and 17.
    """

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        return ops.relu(1.0 - real).mean() + ops.relu(1.0 + fake).mean()

    return Loss(discriminator, _minus_mean)


def relativistic() -> Loss:
    """Relativistic pairing loss: D has to order each pair of a real and a generated image.

    L_D = E[softplus(-(D(x) - D(G(z))))].
    L_G = E[softplus(-(D(G(z)) - D(x)))]: G raises the scores of its images above the real ones.
    Only differences count: the scores may drift together. Meant to be used with `r1_r2`.

    Jolicoeur-Martineau 2018, arXiv:1807.00734, Section 4.1; Huang et al. 2024 (R3GAN),
    arXiv:2501.05441, Eq. 2. Departs: that equation is zero-sum; G is non-saturating here, as in
    the authors' code.
    """

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        return _softplus(fake - real).mean()

    def generator(real: Tensor, fake: Tensor) -> Tensor:
        return _softplus(real - fake).mean()

    return Loss(discriminator, generator, pairs=True)


LOSSES: dict[str, Callable[..., Loss]] = {
    "non_saturating": non_saturating,
    "minimax": minimax,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "relativistic": relativistic,
}


def _check_target(real_target: float) -> None:
    if not 0.0 < real_target <= 1.0:
        raise ValueError(f"real_target: {real_target!r} is not in (0, 1]; use 1.0 or, e.g., 0.9")


def _softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) without overflow; `[N] -> [N]`."""
    return ops.softplus(x, beta=1, threshold=20)


def _cross_entropy(real_target: float) -> ScoreLoss:
    """Binary cross-entropy with target `real_target` for real and 0 for generated images."""
    _check_target(real_target)

    def discriminator(real: Tensor, fake: Tensor) -> Tensor:
        real_loss = real_target * _softplus(-real) + (1.0 - real_target) * _softplus(real)
        return real_loss.mean() + _softplus(fake).mean()

    return discriminator


def _raise_fakes(real: Tensor | None, fake: Tensor) -> Tensor:
    return _softplus(-fake).mean()


def _saturating(real: Tensor | None, fake: Tensor) -> Tensor:
    return -_softplus(fake).mean()


def _minus_mean(real: Tensor | None, fake: Tensor) -> Tensor:
    return -fake.mean()
