"""What keeps a discriminator smooth: gradient penalties, weight clipping, spectral normalisation.

Penalties are Cells `(real, fake, labels, uniform) -> scalar` that own their weight; the result is
added to the discriminator's loss. They differentiate through a gradient, which MindSpore does
rightly in GRAPH_MODE only, and for most layers only: GroupNorm, InstanceNorm2d, GELU, ELU, pooling
and interpolation have no second derivative. BatchNorm does not go with a penalty, whose gradient
is meant to be of one image at a time.
"""

import numpy as np

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

# Inside the square root of a gradient's norm: at a gradient of zero the root has an infinite slope.
NORM_EPSILON = 1e-12


def require_graph_mode() -> None:
    """Refuse PyNative mode, where the gradient of a gradient is wrong without a word.

    Behind a reshape between images and parameter the second-order part comes out as zero
    (MindSpore 2.10).
    """
    if ms.get_context("mode") != ms.GRAPH_MODE:
        raise RuntimeError(
            "gradient penalty: PyNative mode computes its gradient wrongly; "
            "call mindspore.set_context(mode=mindspore.GRAPH_MODE) first or drop the regularizer"
        )


def join(real: Tensor, fake: Tensor, labels):
    """Real and generated images one after the other, [2N, C, H, W], and their labels.

    `labels` is what a discriminator takes beside images: a tensor, a tuple of such values, or None.
    """
    return ops.concat((real, fake)), _twice(labels)


def _twice(values):
    if values is None:
        return None
    if isinstance(values, tuple):
        return tuple([_twice(value) for value in values])
    return ops.concat((values, values))


class GradientRegularizer(nn.Cell):
    """A penalty on the gradient of the scores with respect to the images.

    Args:
        discriminator: Cell `(images [N, ...], labels) -> scores [N]`, each score a function of its
            own image only (no BatchNorm).
        weight: factor of the penalty, >= 0. A schedule multiplies the returned value.

    Inputs of every regularizer (unused ones are ignored):
        real, fake: float32 `[N, C, H, W]`.
        labels: int32 `[N]` or None, given to the discriminator for both batches.
        uniform: float32 `[N]` in [0, 1), needed where `needs_uniform`. It comes from the host
            because Ascend ignores the seeds of random operators inside a graph.
    """

    needs_uniform: bool = False
    joins: bool = True  # whether the discriminator may judge real and generated images in one pass
    joined: bool = False  # whether it does, so that the penalty can share that pass

    def __init__(self, discriminator: nn.Cell, *, weight: float) -> None:
        # A wrapper must not rename the discriminator's parameters.
        super().__init__(auto_prefix=False)
        require_graph_mode()
        if not weight >= 0.0:
            raise ValueError(f"weight: {weight!r} is negative; use 0.0 or more")
        self.discriminator = discriminator
        self.weight = float(weight)

    def __call__(self, *args, **kwargs):
        # Compiled code never comes here from inside a graph, so this catches PyNative calls only.
        require_graph_mode()
        return super().__call__(*args, **kwargs)

    def _summed_scores(self, images: Tensor, labels: Tensor | None) -> Tensor:
        # The gradient of the sum is every image's own gradient, since images do not mix.
        return self.discriminator(images, labels).sum()

    def squared_gradient_norm(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Squared norm of each image's gradient, summed over all but the first axis.

        `[N, C, H, W] -> [N]`.
        """
        gradient = ops.grad(self._summed_scores, grad_position=0, weights=None, has_aux=False)(
            images, labels
        )
        return (gradient * gradient).reshape((gradient.shape[0], -1)).sum(axis=1)


class R1(GradientRegularizer):
    """weight/2 * E[||grad D(x)||^2] on real images.

    Mescheder et al. 2018, arXiv:1801.04406, Eq. 9.
    """

    joins = False  # it shares the pass over its own images

    def __init__(self, discriminator: nn.Cell, *, weight: float = 10.0) -> None:
        super().__init__(discriminator, weight=weight)

    def construct(self, real, fake, labels=None, uniform=None):
        return 0.5 * self.weight * self.squared_gradient_norm(real, labels).mean()


class R2(GradientRegularizer):
    """weight/2 * E[||grad D(G(z))||^2] on generated images.

    Mescheder et al. 2018, arXiv:1801.04406, Eq. 10.
    """

    joins = False

    def __init__(self, discriminator: nn.Cell, *, weight: float = 10.0) -> None:
        super().__init__(discriminator, weight=weight)

    def construct(self, real, fake, labels=None, uniform=None):
        return 0.5 * self.weight * self.squared_gradient_norm(fake, labels).mean()


class R1R2(GradientRegularizer):
    """R1 + R2 with one weight, every step: never lazily with the relativistic loss.

    Huang et al. 2024 (R3GAN), arXiv:2501.05441. The weight does not transfer between data sets
    (theirs run from 0.05 to 150).
    """

    def __init__(self, discriminator: nn.Cell, *, weight: float = 1.0) -> None:
        super().__init__(discriminator, weight=weight)

    def construct(self, real, fake, labels=None, uniform=None):
        if self.joined:
            return self.weight * self.squared_gradient_norm(*join(real, fake, labels)).mean()
        real_penalty = self.squared_gradient_norm(real, labels).mean()
        fake_penalty = self.squared_gradient_norm(fake, labels).mean()
        return 0.5 * self.weight * (real_penalty + fake_penalty)


class GradientPenalty(GradientRegularizer):
    """WGAN-GP: weight * E[(||grad D(x^)||_2 - 1)^2], x^ = u x + (1 - u) G(z), one u per image.

    Gulrajani et al. 2017, arXiv:1704.00028, Eq. 3 and Algorithm 1.
    """

    needs_uniform = True

    def __init__(self, discriminator: nn.Cell, *, weight: float = 10.0) -> None:
        super().__init__(discriminator, weight=weight)

    def construct(self, real, fake, labels=None, uniform=None):
        if uniform is None:
            raise ValueError("gradient_penalty: needs uniform, float32 [N] in [0, 1); got None")
        share = uniform.reshape((-1,) + (1,) * (real.ndim - 1))  # [N] -> [N, 1, 1, 1]
        between = share * real + (1.0 - share) * fake  # [N, C, H, W]
        norm = ops.sqrt(self.squared_gradient_norm(between, labels) + NORM_EPSILON)  # [N]
        return self.weight * (norm - 1.0).square().mean()


class WeightClipping(nn.Cell):
    """Clamp parameters into [-limit, limit], in place.

    Arjovsky et al. 2017, arXiv:1701.07875, Algorithm 1 (limit 0.01).

    Args:
        parameters: those to clamp; the paper takes all of the discriminator's.
        limit: > 0.

    Inputs:
        token: any value that is computed after the parameters' update. It is returned unchanged;
            what must see clamped parameters has to depend on the returned value.
    """

    def __init__(self, parameters: list[Parameter], *, limit: float = 0.01) -> None:
        super().__init__(auto_prefix=False)
        if not limit > 0.0:
            raise ValueError(f"limit: {limit!r} is not positive; the paper uses 0.01")
        self.parameters = ms.ParameterTuple(parameters)
        self.limit = float(limit)

    def construct(self, token):
        for parameter in self.parameters:
            # Inside a graph only data flow is sure to order side effects: read after the token...
            value = ops.depend(parameter, token)
            clamped = ops.clamp(value, -self.limit, self.limit)
            token = ops.depend(token, ops.assign(parameter, clamped))  # ... and write before it
        return token


PENALTIES: dict[str, type[GradientRegularizer]] = {
    "r1": R1,
    "r2": R2,
    "r1_r2": R1R2,
    "gradient_penalty": GradientPenalty,
}
REGULARIZERS: dict[str, type[nn.Cell]] = {**PENALTIES, "weight_clipping": WeightClipping}


class SpectralNorm(nn.Cell):
    """A linear layer with its weight divided by an estimate of the weight's largest singular value.

    Miyato et al. 2018, arXiv:1802.05957, Eq. 8 and Algorithm 1. Each call in training mode runs one
    power iteration and keeps its left vector `u`; in evaluation mode `u` stays. The weight is a
    matrix of one row per output channel. The output is scaled rather than the weight: the same
    number, and the layer's own forward serves every kind of layer on every device.
    Call `set_train(...)` on the outermost Cell before its first run: a new Cell is in phase "train"
    while `training` is False, and a graph compiled in that state is reused after `set_train()`.

    Args:
        layer: `nn.Dense` without activation, `nn.Conv2d` or `nn.Conv2dTranspose`. Its parameters
            are called `layer.weight` and `layer.bias`; `u` is added, float32 `[1, out_channels]`,
            not trainable, saved with the network.

    Inputs:
        x: what the layer takes; returns what the layer returns.
    """

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        if not isinstance(layer, nn.Dense | nn.Conv2d | nn.Conv2dTranspose):
            raise ValueError(
                f"SpectralNorm: got {type(layer).__name__}; "
                "expected nn.Dense, nn.Conv2d or nn.Conv2dTranspose"
            )
        if getattr(layer, "activation", None) is not None:
            raise ValueError("SpectralNorm: the layer has an activation; apply it after this cell")
        self.layer = layer
        self.has_bias = bool(layer.has_bias)
        # Conv2dTranspose stores [in, out, k, k], the others [out, in, ...].
        self.swap = isinstance(layer, nn.Conv2dTranspose)
        self.bias_shape = (1, -1) if isinstance(layer, nn.Dense) else (1, -1, 1, 1)
        rows = layer.weight.shape[1 if self.swap else 0]
        # Not from the global seed: replicas of a data-parallel run must start alike.
        start = np.random.default_rng(rows).standard_normal((1, rows))
        start = (start / np.linalg.norm(start)).astype(np.float32)
        self.u = Parameter(Tensor(start), name="u", requires_grad=False)

    def _matrix(self) -> Tensor:
        weight = self.layer.weight
        if self.swap:
            weight = weight.swapaxes(0, 1)
        return weight.reshape((weight.shape[0], -1))  # [out, in * k * k]

    def sigma(self) -> Tensor:
        """Estimate of the largest singular value; scalar, differentiable in the weight."""
        matrix = self._matrix()
        constant = ops.stop_gradient(matrix)
        u = self.u.value()
        if self.training:
            u = _unit(ops.matmul(_unit(ops.matmul(u, constant)), constant.T))
            u = ops.depend(u, ops.assign(self.u, u))
        u = ops.stop_gradient(u)  # [1, out]
        v = _unit(ops.matmul(u, constant))  # [1, in * k * k]
        return (ops.matmul(u, matrix) * v).sum()

    def construct(self, x):
        inverse = 1.0 / self.sigma()
        out = inverse * self.layer(x)
        if self.has_bias:  # scaled with the rest above: bring it back to its own size
            out = out + (1.0 - inverse) * self.layer.bias.reshape(self.bias_shape)
        return out


def _unit(row: Tensor) -> Tensor:
    """`[1, n] -> [1, n]` of length one."""
    return row / ops.sqrt(row.square().sum() + NORM_EPSILON)
