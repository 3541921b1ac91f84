"""The adversarial update as MindSpore Cells: two loss cells, two one-step cells, one fused step.

Every wrapper has `auto_prefix=False`; only :class:`GAN` (and :class:`Average`) prefixes names, so
a parameter is called `generator.…`, `discriminator.…` or `average.…` whoever wraps it.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops


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


class DiscriminatorWithLossCell(nn.Cell):
    """The discriminator's loss on real and generated images (Goodfellow et al. 2014, algorithm 1).

    Args:
        discriminator: (x [N, C, H, W], labels) -> scores [N].
        loss: function (real_scores, fake_scores) -> scalar.
        regularizer: Cell (real, fake, labels) -> scalar that is added to the loss, or None.

    Inputs: real, fake float32 [N, C, H, W]; labels int32 [N] or None.
    Outputs: loss scalar, real_scores [N], fake_scores [N].
    """

    def __init__(self, discriminator: nn.Cell, loss, regularizer: nn.Cell | None = None):
        super().__init__(auto_prefix=False)
        self.discriminator = discriminator
        self.loss = loss
        self.regularizer = regularizer

    def construct(self, real, fake, labels=None):
        real_scores = self.discriminator(real, labels)
        fake_scores = self.discriminator(fake, labels)
        loss = self.loss(real_scores, fake_scores)
        if self.regularizer is not None:
            loss = loss + self.regularizer(real, fake, labels)
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

    Inputs and outputs: those of `network`, a :class:`DiscriminatorWithLossCell`.
    """

    def __init__(self, network: nn.Cell, optimizer: nn.Optimizer):
        super().__init__(network, optimizer)
        self.value_and_grad = ms.value_and_grad(network, None, optimizer.parameters, has_aux=True)

    def construct(self, real, fake, labels=None):
        outputs, grads = self.value_and_grad(real, fake, labels)
        return ops.depend(outputs, self.optimizer(self.grad_reducer(grads)))


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
    """average += (1 - decay) * (source - average), for weights and BatchNorm statistics alike.

    Inputs: anything that is computed after the update of the source. Outputs: the same, once the
    average has moved.
    """

    def __init__(self, source: nn.Cell, average: nn.Cell, decay: float):
        super().__init__(auto_prefix=False)
        self.source = ms.ParameterTuple(list(source.get_parameters()))
        self.average = ms.ParameterTuple(list(average.get_parameters()))
        self.rate = 1.0 - decay

    def construct(self, after):
        moved = ()
        for i in range(len(self.source)):
            source = ops.depend(self.source[i], after)
            average = self.average[i]
            moved += (ops.assign(average, average + self.rate * (source - average)),)
        return ops.depend(after, moved)


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

    Inputs:
        real: float32 [d_steps * N, C, H, W], N images for each D update.
        z: float32 [d_steps * N, latent_dim], and N more rows unless the latents are shared.
        labels: int32 [d_steps * N] or None.
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
    ):
        super().__init__(auto_prefix=False)
        self.train_d = train_d
        self.train_g = train_g
        self.average = average
        self.d_steps = d_steps
        self.same_latents = same_latents

    def construct(self, real, z, labels=None):
        n = real.shape[0] // self.d_steps
        last = self.d_steps - 1
        done = z  # what the next update must wait for
        for i in range(last):
            part = None if labels is None else labels[i * n : (i + 1) * n]
            z_i = ops.depend(z[i * n : (i + 1) * n], done)
            fake = ops.stop_gradient(self.train_g.generator(z_i, part))
            done = self.train_d(real[i * n : (i + 1) * n], fake, part)
        if last > 0:
            real, z = real[last * n :], ops.depend(z[last * n :], done)
            labels = None if labels is None else labels[last * n :]
        fake, pull_back = self.train_g.forward(z[:n], labels)
        outputs = self.train_d(real, ops.stop_gradient(fake), labels)
        if self.same_latents:
            fake = ops.depend(fake, outputs)  # the G loss must see the new D
        else:
            fake, pull_back = self.train_g.forward(ops.depend(z[n:], outputs), labels)
        loss_g = self.train_g.update(real, fake, pull_back, labels)
        if self.average is not None:
            loss_g = self.average(loss_g)
        loss_d, real_scores, fake_scores = outputs
        return loss_d, loss_g, real_scores, fake_scores


def name_optimizer_parameters(optimizer: nn.Optimizer, name: str) -> None:
    """Call what the optimizer owns `name.…`; the weights that it trains keep their names.

    Two optimizers own `global_step`, `beta1_power`, …, which one graph or one file cannot both
    hold. `optimizer.update_parameters_name` would rename the network's weights as well.
    """
    trained = {id(parameter) for parameter in optimizer.parameters}
    for parameter in optimizer.get_parameters():
        if id(parameter) not in trained and not parameter.name.startswith(f"{name}."):
            parameter.name = f"{name}.{parameter.name}"
