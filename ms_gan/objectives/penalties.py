"""What keeps a discriminator smooth: gradient penalties and weight clipping.

A penalty is a Cell `(real, fake, given, numbers) -> scalar`, added to the discriminator's loss
times its weight. It differentiates through a gradient, which MindSpore does rightly in GRAPH_MODE
only, and for most layers only.
"""

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_gan.objectives.judge import BATCH_NORMS, join

# Inside the square root of a gradient's norm: at a gradient of zero the root has an infinite slope.
NORM_EPSILON = 1e-12
NO_SECOND_DERIVATIVE = (  # measured: docs/design.md
    "GroupNorm", "InstanceNorm2d", "GELU", "ELU", "AvgPool2d", "MaxPool2d", "ReflectionPad2d",
)  # fmt: skip


def require_graph_mode() -> None:
    """Refuse PyNative mode, where the gradient of a gradient is wrong without a word.

    Behind a reshape between images and parameter the second-order part comes out as zero
    (MindSpore 2.10).
    """
    if ms.get_context("mode") != ms.GRAPH_MODE:
        raise ValueError(
            "needs runtime.mode=graph (mindspore.GRAPH_MODE); PyNative mode computes the gradient "
            "of a gradient wrongly"
        )


class Penalty(nn.Cell):
    """A penalty on the gradient of the scores with respect to the images.

    Args:
        judge: Cell `(images [N, ...], given) -> scores [N]`, each score a function of its own
            image only.

    Attributes:
        weight: what a recipe's `weight` is unless it says another one, >= 0.
        every: the same of `every`: the penalty is part of every such update only, and counts that
            many times (Karras et al. 2020, arXiv:1912.04958, section 3.1).
        numbers: how many random numbers of each image it wants, from the host because Ascend
            ignores the seeds of random operators inside a graph.
        joins: whether the judge may score real and generated images in one pass, which it then
            can share if it differentiates both.

    Inputs:
        real, fake: float32 `[N, C, H, W]`.
        given: what the judge gets beside images: labels and its own random numbers.
        numbers: float32 `[N, numbers]` in [0, 1); None where it wants none.
    Outputs: float32 scalar, without the weight.

    Raises:
        ValueError: the mode or a layer of the judge makes that gradient meaningless or wrong.
    """

    weight: float = 1.0
    every: int = 1
    numbers: int = 0
    joins: bool = True

    def __init__(self, judge: nn.Cell) -> None:
        # A wrapper must not rename the discriminator's parameters.
        super().__init__(auto_prefix=False)
        require_graph_mode()
        for _, cell in judge.cells_and_names():
            if isinstance(cell, BATCH_NORMS):
                raise ValueError(
                    "does not go with BatchNorm in the discriminator, which mixes the images of a "
                    "batch; use model.d_norm=none"
                )
            if type(cell).__name__ in NO_SECOND_DERIVATIVE:
                raise ValueError(
                    "needs a second derivative, which MindSpore 2.10 lacks for "
                    f"nn.{type(cell).__name__} in the discriminator; build it from other layers"
                )
        self.judge = judge

    def __call__(self, *args, **kwargs):
        # Compiled code never comes here from inside a graph, so this catches PyNative calls only.
        require_graph_mode()
        return super().__call__(*args, **kwargs)

    def _summed_scores(self, images: Tensor, given) -> Tensor:
        # The gradient of the sum is every image's own gradient, since images do not mix.
        return self.judge(images, given).sum()

    def squared_gradient_norm(self, images: Tensor, given) -> Tensor:
        """Squared norm of each image's gradient, summed over all but the first axis.

        `[N, C, H, W] -> [N]`.
        """
        gradient = ops.grad(self._summed_scores, grad_position=0, weights=None, has_aux=False)(
            images, given
        )
        return (gradient * gradient).reshape((gradient.shape[0], -1)).sum(axis=1)


class R1(Penalty):
    """1/2 E[||grad D(x)||^2] on real images.

    Mescheder et al. 2018, arXiv:1801.04406, Eq. 9.
    """

    weight = 10.0
    joins = False  # it shares the pass over its own images

    def construct(self, real, fake, given=None, numbers=None):
        return 0.5 * self.squared_gradient_norm(real, given).mean()


class R2(Penalty):
    """1/2 E[||grad D(G(z))||^2] on generated images.

    Mescheder et al. 2018, arXiv:1801.04406, Eq. 10.
    """

    weight = 10.0
    joins = False

    def construct(self, real, fake, given=None, numbers=None):
        return 0.5 * self.squared_gradient_norm(fake, given).mean()


class R1R2(Penalty):
    """R1 + R2 with one weight, every step: never lazily with the relativistic loss.

    Huang et al. 2024 (R3GAN), arXiv:2501.05441. The weight does not transfer between data sets
    (theirs run from 0.05 to 150).
    """

    def __init__(self, judge: nn.Cell) -> None:
        super().__init__(judge)
        self.joined = getattr(judge, "joins", False)

    def construct(self, real, fake, given=None, numbers=None):
        if self.joined:
            return self.squared_gradient_norm(*join(real, fake, given)).mean()
        real_penalty = self.squared_gradient_norm(real, given).mean()
        fake_penalty = self.squared_gradient_norm(fake, given).mean()
        return 0.5 * (real_penalty + fake_penalty)


class GradientPenalty(Penalty):
    """WGAN-GP: E[(||grad D(x^)||_2 - 1)^2], x^ = u x + (1 - u) G(z), one u per image.

    Gulrajani et al. 2017, arXiv:1704.00028, Eq. 3 and Algorithm 1.
    """

    weight = 10.0
    numbers = 1  # u

    def construct(self, real, fake, given=None, numbers=None):
        if numbers is None:
            raise ValueError("gradient_penalty: needs numbers, float32 [N, 1] in [0, 1); got None")
        share = numbers.reshape((-1,) + (1,) * (real.ndim - 1))  # [N, 1] -> [N, 1, 1, 1]
        between = share * real + (1.0 - share) * fake  # [N, C, H, W]
        norm = ops.sqrt(self.squared_gradient_norm(between, given) + NORM_EPSILON)  # [N]
        return (norm - 1.0).square().mean()


class WeightClipping(nn.Cell):
    """Clamp the discriminator's parameters into [-limit, limit], in place.

    Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1 (limit 0.01).

    Args:
        judge: all its trainable parameters are clamped.
        limit: > 0.

    Inputs:
        token: any value that is computed after the parameters' update. It is returned unchanged;
            what must see clamped parameters has to depend on the returned value.
    """

    def __init__(self, judge: nn.Cell, *, limit: float = 0.01) -> None:
        super().__init__(auto_prefix=False)
        if not limit > 0.0:
            raise ValueError(f"limit: {limit!r} is not positive; the paper uses 0.01")
        self.parameters = ms.ParameterTuple(judge.trainable_params())
        self.limit = float(limit)

    def construct(self, token):
        for parameter in self.parameters:
            # Inside a graph only data flow is sure to order side effects: read after the token...
            value = ops.depend(parameter, token)
            clamped = ops.clamp(value, -self.limit, self.limit)
            token = ops.depend(token, ops.assign(parameter, clamped))  # ... and write before it
        return token


PENALTIES: dict[str, type[Penalty]] = {
    "r1": R1,
    "r2": R2,
    "r1_r2": R1R2,
    "gradient_penalty": GradientPenalty,
}
# A constraint is a Cell token -> token that changes the weights after the discriminator's update.
CONSTRAINTS: dict[str, type[nn.Cell]] = {"weight_clipping": WeightClipping}
REGULARIZERS: dict[str, type[nn.Cell]] = {**PENALTIES, **CONSTRAINTS}
