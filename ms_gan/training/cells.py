"""The adversarial update as MindSpore Cells: two loss cells, two one-step cells, one fused step.

Every wrapper has `auto_prefix=False`; only :class:`GAN` (and :class:`Average`) prefixes names, so
a parameter is called `generator.…`, `discriminator.…` or `average.…` whoever wraps it.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from ms_gan.objectives.penalties import join
from ms_gan.system import runtime


class GAN(nn.Cell):
    """The pair, as one container that names the parameters."""

    def __init__(self, generator: nn.Cell, discriminator: nn.Cell):
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator


class Average(nn.Cell):
    """Container of a second generator, which follows the first; always in inference mode."""

    def __init__(self, generator: nn.Cell):
        super().__init__()
        self.average = generator


class Packed(nn.Cell):
    """PacGAN: a discriminator that judges `pack` images at once, joined along the channels.

    Lin et al. 2017, arXiv:1712.04086, section 2.

    Args:
        discriminator: built for images [pack * C, H, W].
        pack: images per judgement; divides every batch.

    Inputs: x float32 [N, C, H, W], labels are ignored. Outputs: scores float32 [N / pack].
    """

    def __init__(self, discriminator: nn.Cell, pack: int):
        super().__init__(auto_prefix=False)
        self.discriminator = discriminator
        self.pack = pack

    def construct(self, x, labels=None):
        n, c, h, w = x.shape
        return self.discriminator(x.reshape((n // self.pack, self.pack * c, h, w)))


class DiscriminatorWithLossCell(nn.Cell):
    """The discriminator's loss on real and generated images (Goodfellow et al. 2014, algorithm 1).

    Args:
        discriminator: (x [N, C, H, W], labels) -> scores [N].
        loss: function (real_scores, fake_scores) -> scalar.
        regularizer: Cell (real, fake, labels, uniform) -> scalar that is added, or None.
        weight: Cell (updates so far) -> factor of the regularizer, or None.
        updates: the optimizer's global_step, which `weight` reads.
        joined: judge both in one pass, fewer and larger kernels; for a discriminator that judges
            every image alone (no BatchNorm).

    Inputs: real, fake float32 [N, C, H, W]; labels int32 [N] or None; uniform float32 [N] or None.
    Outputs: loss scalar, real_scores [N], fake_scores [N].
    """

    def __init__(
        self,
        discriminator: nn.Cell,
        loss,
        regularizer: nn.Cell | None = None,
        weight: nn.Cell | None = None,
        updates: ms.Parameter | None = None,
        joined: bool = False,
    ):
        super().__init__(auto_prefix=False)
        self.discriminator = discriminator
        self.loss = loss
        self.regularizer = regularizer
        self.weight = weight
        self.updates = updates
        self.joined = joined

    def construct(self, real, fake, labels=None, uniform=None):
        if self.joined:
            scores = self.discriminator(*join(real, fake, labels))
            n = scores.shape[0] // 2
            real_scores, fake_scores = scores[:n], scores[n:]
        else:
            real_scores = self.discriminator(real, labels)
            fake_scores = self.discriminator(fake, labels)
        loss = self.loss(real_scores, fake_scores)
        if self.regularizer is not None:
            penalty = self.regularizer(real, fake, labels, uniform)
            if self.weight is not None:
                penalty = self.weight(self.updates) * penalty
            loss = loss + penalty
        return loss, real_scores, fake_scores


class GeneratorWithLossCell(nn.Cell):
    """The generator's loss as a function of the images that it made.

    Args:
        discriminator: (x [N, C, H, W], labels) -> scores [N].
        loss: function (real_scores or None, fake_scores) -> scalar.
        pairs: whether the loss reads the scores of real images too (relativistic losses).

    Inputs: real, fake float32 [N, C, H, W]; labels int32 [N] or None.
    Outputs: loss scalar.
    """

    def __init__(self, discriminator: nn.Cell, loss, pairs: bool = False):
        super().__init__(auto_prefix=False)
        self.discriminator = discriminator
        self.loss = loss
        self.pairs = pairs

    def construct(self, real, fake, labels=None):
        real_scores = self.discriminator(real, labels) if self.pairs else None
        return self.loss(real_scores, self.discriminator(fake, labels))


class TrainDiscriminatorCell(nn.TrainOneStepCell):
    """One update of the discriminator.

    nn.TrainOneStepCell would differentiate the sum of the network's outputs; here only the loss is
    differentiated. Its `weights` and `grad_reducer` (the all-reduce of data-parallel training) are
    kept.

    Args:
        network: a :class:`DiscriminatorWithLossCell`.
        optimizer: of the discriminator's parameters.
        constraint: Cell token -> token that changes the weights after the update (weight clipping),
            or None.

    Inputs and outputs: those of `network`.
    """

    def __init__(
        self, network: nn.Cell, optimizer: nn.Optimizer, constraint: nn.Cell | None = None
    ):
        super().__init__(network, optimizer)
        self.value_and_grad = ms.value_and_grad(network, None, optimizer.parameters, has_aux=True)
        self.constraint = constraint

    def construct(self, real, fake, labels=None, uniform=None):
        outputs, grads = self.value_and_grad(real, fake, labels, uniform)
        loss, real_scores, fake_scores = outputs
        loss = ops.depend(loss, self.optimizer(self.grad_reducer(grads)))
        if self.constraint is not None:
            loss = self.constraint(loss)
        return loss, real_scores, fake_scores


class TrainGeneratorCell(nn.TrainOneStepCell):
    """One update of the generator, in two halves so that its forward pass can be shared.

    Args:
        generator: (z, labels) -> images.
        network: a :class:`GeneratorWithLossCell`, the loss as a function of the images.
        optimizer: of the generator's parameters.

    Inputs: real [N, C, H, W], z [N, latent_dim], labels [N] or None. Outputs: loss scalar.
    """

    def __init__(self, generator: nn.Cell, network: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(network, optimizer)
        self.generator = generator
        self.value_and_grad = ms.value_and_grad(network, 1)  # with respect to the images

    def forward(self, z, labels=None):
        """Images and the function that pulls their gradient back to the weights."""
        if labels is None:  # vjp takes no None among the inputs
            return ms.vjp(self.generator, z, weights=self.weights)
        return ms.vjp(self.generator, z, labels, weights=self.weights)

    def update(self, real, fake, pull_back, labels=None):
        loss, images_grad = self.value_and_grad(real, fake, labels)
        grads = pull_back(images_grad)[1]
        return ops.depend(loss, self.optimizer(self.grad_reducer(grads)))

    def construct(self, real, z, labels=None):
        fake, pull_back = self.forward(z, labels)
        return self.update(real, fake, pull_back, labels)


class ExponentialMovingAverage(nn.Cell):
    """average = d * average + (1 - d) * source, for weights and BatchNorm statistics alike.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that the initial weights are soon
    forgotten.

    Args:
        source: the trained net.
        average: a net of the same architecture.
        decay: the final d, 0 < decay < 1.
        updates: the global_step of the source's optimizer.

    Inputs: a tensor that is computed after the update of the source. Outputs: the same, once the
    average has moved.
    """

    def __init__(self, source: nn.Cell, average: nn.Cell, decay: float, updates: ms.Parameter):
        super().__init__(auto_prefix=False)
        self.source = ms.ParameterTuple(list(source.get_parameters()))
        self.average = ms.ParameterTuple(list(average.get_parameters()))
        self.rate = 1.0 - decay
        self.updates = updates
        self.fast = runtime.fast_layers()
        self.descend = ops.ApplyGradientDescent()
        if self.fast:  # deprecated in MindSpore 2.10: on CPU alone, where it pays
            self.proximal = ops.ApplyProximalGradientDescent()

    def construct(self, after):
        t = ops.depend(self.updates, after).reshape(()).astype(ms.float32)
        rate = ops.maximum(ms.Tensor(self.rate, ms.float32), 9.0 / (10.0 + t))
        moved = ()
        for i in range(len(self.source)):
            source = ops.depend(self.source[i], after)
            moved += (self.move(self.average[i], source, rate),)
        return ops.depend(after, moved)

    def move(self, average, source, rate):
        if self.fast:
            # (average - a * source) / (1 + a * l2), l2 = -1: one kernel that reads the average in
            # place, where a difference costs a copy of both.
            return self.proximal(average, -rate / (1.0 - rate), 0.0, -1.0, source)
        return self.descend(average, rate, average - source)


class AdversarialStep(nn.Cell):
    """D update(s), then the G update against the new D, then the average: one graph, one call.

    With shared latents, G is updated on the images that the last D update saw: its forward pass
    runs once, its vjp is kept, and a quarter of the arithmetic is saved.

    Args:
        train_d: the discriminator's one-step cell.
        train_g: the generator's one-step cell.
        average: an :class:`ExponentialMovingAverage` or None.
        d_steps: discriminator updates per generator update.
        same_latents: share the latents of the last D update with the G update.
        share_forward: keep the forward pass of shared latents. Without, the generator runs a second
            time on them: the same weights, more arithmetic, BatchNorm statistics that move twice.

    Inputs:
        real: float32 [d_steps * N, C, H, W], N images for each D update.
        z: float32 [d_steps * N, latent_dim], and N more rows unless the latents are shared.
        labels: int32 [d_steps * N] or None; of the real images and for the generated ones.
        uniform: float32 [d_steps * N] in [0, 1) or None, for regularizers that need it.
        draw: float32 [d_steps * N, K] in [0, 1) or None, for a judge that augments: it then gets
            (labels, draw) for labels. G is updated with that of the last D update.
    Outputs: loss_d, loss_g scalars; real_scores [N], fake_scores [N] of the last D update.
    """

    def __init__(
        self,
        train_d: TrainDiscriminatorCell,
        train_g: TrainGeneratorCell,
        average: nn.Cell | None = None,
        *,
        d_steps: int = 1,
        same_latents: bool = True,
        share_forward: bool = True,
    ):
        super().__init__(auto_prefix=False)
        self.train_d = train_d
        self.train_g = train_g
        self.average = average
        self.d_steps = d_steps
        self.same_latents = same_latents
        self.share_forward = share_forward

    def construct(self, real, z, labels=None, uniform=None, draw=None):
        n = real.shape[0] // self.d_steps
        last = self.d_steps - 1
        done = z  # what the next update must wait for
        for i in range(last):
            part = self.part(labels, i, n)
            fake = self.train_g.generator(ops.depend(z[i * n : (i + 1) * n], done), part)
            done = self.train_d(
                real[i * n : (i + 1) * n],
                ops.stop_gradient(fake),
                self.given(part, self.part(draw, i, n)),
                self.part(uniform, i, n),
            )
        if last > 0:
            real, z = real[last * n :], ops.depend(z[last * n :], done)
            labels, uniform = self.part(labels, last, n), self.part(uniform, last, n)
            draw = self.part(draw, last, n)
        given = self.given(labels, draw)
        fake, pull_back = self.train_g.forward(z if self.same_latents else z[:n], labels)
        outputs = self.train_d(real, ops.stop_gradient(fake), given, uniform)
        if self.same_latents and self.share_forward:
            fake = ops.depend(fake, outputs)  # the G loss must see the new D
        else:
            z = z[:n] if self.same_latents else z[n:]
            fake, pull_back = self.train_g.forward(ops.depend(z, outputs), labels)
        loss_g = self.train_g.update(real, fake, pull_back, given)
        if self.average is not None:
            loss_g = self.average(loss_g)
        loss_d, real_scores, fake_scores = outputs
        return loss_d, loss_g, real_scores, fake_scores

    def part(self, values, i, n):
        """Rows of the i-th D update, or None where there are no values."""
        return None if values is None else values[i * n : (i + 1) * n]

    def given(self, labels, draw):
        """What the judge gets beside the images."""
        return labels if draw is None else (labels, draw)


def name_optimizer_parameters(optimizer: nn.Optimizer, name: str) -> None:
    """Call what the optimizer owns `name.…`; the weights that it trains keep their names.

    Two optimizers own `global_step`, `beta1_power`, …, which one graph or one file cannot both
    hold. `optimizer.update_parameters_name` would rename the network's weights as well.
    """
    trained = {id(parameter) for parameter in optimizer.parameters}
    for parameter in optimizer.get_parameters():
        if id(parameter) not in trained and not parameter.name.startswith(f"{name}."):
            parameter.name = f"{name}.{parameter.name}"


def copy_parameters(source: nn.Cell, target: nn.Cell) -> None:
    """Give a net the values of another one of the same architecture."""
    for value, copy in zip(source.get_parameters(), target.get_parameters(), strict=True):
        copy.set_data(ms.Tensor(value.asnumpy()))
