"""The adversarial update as MindSpore Cells: two loss cells, two one-step cells, one fused step.

Every wrapper has `auto_prefix=False`; only :class:`GAN` (and :class:`Average`) prefixes names, so
a parameter is called `generator.…`, `discriminator.…` or `average.…` whoever wraps it.
"""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
from mindspore import nn, ops

from ms_gan.objectives.inputs import Input, Latents
from ms_gan.objectives.judge import join
from ms_gan.objectives.losses import Loss
from ms_gan.objectives.numbers import Columns
from ms_gan.system import runtime
from ms_gan.training import levels, schedules
from ms_gan.training.feed import Rows
from ms_gan.training.precision import ScaledNetwork, Unscaled
from ms_gan.training.reducing import reducer
from ms_gan.training.schedules import Weight

READ = (schedules.NAME, levels.NAME)  # parameters that the schedules of an optimizer only read


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


class Added(nn.Cell):
    """A part of an objective with its weight and its columns of the step's random numbers.

    Args:
        part: a penalty or a term.
        weight: of the part.
        columns: of the part.

    Inputs: (what the part gets before its numbers, as a tuple), numbers float32 [N, K] or None, and
    what it gets after them. Outputs: the weighted value and the value alone, scalars.
    """

    def __init__(self, part: nn.Cell, weight: Weight, columns: Columns):
        super().__init__(auto_prefix=False)
        self.part, self.weight, self.columns = part, weight, columns

    def construct(self, inputs, numbers, *more):
        value = self.part(*inputs, self.columns(numbers), *more)
        return self.weight(value), value


class DiscriminatorWithLossCell(nn.Cell):
    """The discriminator's loss on real and generated images (Goodfellow et al. 2014, algorithm 1).

    Args:
        judge: (x [N, C, H, W], given) -> scores [N].
        loss: its function of D.
        penalty: what is added, or None.

    Attributes:
        joined: both batches are judged in one pass, fewer and larger kernels: the judge judges
            every image alone, and the penalty does not need a pass for itself.

    Inputs: real, fake float32 [N, C, H, W]; given: labels int32 [N] or None and numbers float32
    [N, K] or None, as a pair, or None for neither.
    Outputs: loss scalar, real_scores [N], fake_scores [N].
    """

    def __init__(self, judge: nn.Cell, loss: Loss, penalty: Added | None = None):
        super().__init__(auto_prefix=False)
        self.judge = judge
        self.loss = loss.discriminator
        self.penalty = penalty
        self.joined = judge.joins and (penalty is None or penalty.part.joins)

    def construct(self, real, fake, given=None):
        if self.joined:
            scores = self.judge(*join(real, fake, given))
            n = scores.shape[0] // 2
            real_scores, fake_scores = scores[:n], scores[n:]
        else:
            real_scores = self.judge(real, given)
            fake_scores = self.judge(fake, given)
        loss = self.loss(real_scores, fake_scores)
        if self.penalty is not None:
            numbers = None if given is None else given[1]
            loss = loss + self.penalty((real, fake, given), numbers)[0]
        return loss, real_scores, fake_scores


class GeneratorWithLossCell(nn.Cell):
    """The generator's loss as a function of the images that it made.

    Args:
        judge: (x [N, C, H, W], given) -> scores [N].
        loss: its function of G; if it says `pairs`, the scores of real images are computed too.
        weight: of the adversarial part.
        terms: what is added, each an :class:`Added`.

    Inputs: real, fake float32 [N, C, H, W]; made_from: what the generator received; given as the
    discriminator's loss takes it; then what it made again, for each term that wants that.
    Outputs: loss scalar; its adversarial part and each term without their weights, as a tuple.
    """

    def __init__(
        self,
        judge: nn.Cell,
        loss: Loss,
        weight: Weight | None = None,
        terms: list[Added] | tuple[Added, ...] = (),
    ):
        super().__init__(auto_prefix=False)
        self.judge = judge
        self.loss = loss.generator
        self.pairs = loss.pairs
        self.weight = weight or Weight(1.0)
        self.terms = nn.CellList(list(terms), auto_prefix=False)

    def construct(self, real, fake, made_from, given=None, *made_again):
        real_scores = self.judge(real, given) if self.pairs else None
        adversarial = self.loss(real_scores, self.judge(fake, given))
        loss, values = self.weight(adversarial), (adversarial,)
        numbers = None if given is None else given[1]
        place = 0
        for term in self.terms:
            more = ()
            if term.part.runs_again:
                more = (made_again[place],)
                place += 1
            weighted, value = term((real, fake, made_from, given), numbers, *more)
            loss, values = loss + weighted, (*values, value)
        return loss, values


class TrainDiscriminatorCell(nn.TrainOneStepCell):
    """One update of the discriminator.

    nn.TrainOneStepCell would differentiate the sum of the network's outputs; here only the loss is
    differentiated. Its `weights` and `grad_reducer` are kept; the latter averages over all workers.

    Args:
        network: a :class:`DiscriminatorWithLossCell`.
        optimizer: of the discriminator's parameters.
        constraint: Cell token -> token that changes the weights after the update (weight clipping),
            or None.
        scaling: of the loss, where the nets multiply in 16 bits.

    Inputs and outputs: those of `network`.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        constraint: nn.Cell | None = None,
        scaling: Unscaled | None = None,
    ):
        super().__init__(network, optimizer)
        self.grad_reducer = reducer(self.weights)
        self.scaling = scaling or Unscaled()
        self.value_and_grad = ms.value_and_grad(
            ScaledNetwork(network, self.scaling), None, optimizer.parameters, has_aux=True
        )
        self.constraint = constraint

    def construct(self, real, fake, given=None):
        outputs, grads = self.value_and_grad(real, fake, given)
        loss, real_scores, fake_scores = outputs
        loss = self.scaling.down(loss)
        grads, finite = self.scaling(ops.depend(self.grad_reducer(grads), loss))
        if finite:
            loss = ops.depend(loss, self.optimizer(grads))
        if self.constraint is not None:
            loss = self.constraint(loss)
        return loss, real_scores, fake_scores


def added(left, right):
    """Two tuples of gradients, added one by one."""
    both = ()
    for i in range(len(left)):
        both += (left[i] + right[i],)
    return both


class TrainGeneratorCell(nn.TrainOneStepCell):
    """One update of the generator, in two halves so that its forward pass can be shared.

    Args:
        generator: (made_from, labels) -> images.
        network: a :class:`GeneratorWithLossCell`, the loss as a function of the images.
        optimizer: of the generator's parameters.
        direct: terms that are functions of the weights, each an :class:`Added`, and whether it is
            in this update; where it is not, its newest value is returned.
        scaling: of the loss, where the nets multiply in 16 bits.

    Inputs: real [N, C, H, W]; made_from, such as latents [N, latent_dim]; given as `network` takes
    it. Outputs: the adversarial part of the loss and each term, scalars, those of `direct` last.
    """

    def __init__(
        self,
        generator: nn.Cell,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        direct: Sequence[tuple[Added, bool]] = (),
        scaling: Unscaled | None = None,
    ):
        super().__init__(network, optimizer)
        self.grad_reducer = reducer(self.weights)
        self.scaling = scaling or Unscaled()
        self.generator = generator
        self.direct = nn.CellList([added for added, _ in direct], auto_prefix=False)
        self.active = [active for _, active in direct]
        self.direct_grads = [
            ms.value_and_grad(
                ScaledNetwork(term, self.scaling), None, optimizer.parameters, has_aux=True
            )
            for term in self.direct
        ]
        again = [term.part for term in network.terms if term.part.runs_again]
        self.again = nn.CellList(again, auto_prefix=False)
        # Of the images, the new ones and those made again.
        places = (1, *range(4, 4 + len(self.again))) if len(self.again) else 1
        self.value_and_grad = ms.value_and_grad(
            ScaledNetwork(network, self.scaling), places, has_aux=True
        )

    def forward(self, made_from, labels=None):
        """Images and the function that pulls their gradient back to the weights."""
        if labels is None:  # vjp takes no None among the inputs
            return ms.vjp(self.generator, made_from, weights=self.weights)
        return ms.vjp(self.generator, made_from, labels, weights=self.weights)

    def update(self, real, fake, made_from, pull_back, given=None):
        """Move the weights: the loss's gradient at the images, pulled back by `forward`'s function.

        Returns the adversarial part of the loss, computed after the update, and the terms.
        """
        if not self.again:
            (loss, values), images_grad = self.value_and_grad(real, fake, made_from, given)
            grads = pull_back(images_grad)[1]
        else:
            values, grads = self.with_again(real, fake, made_from, pull_back, given)
        for i in range(len(self.direct)):
            if self.active[i]:
                grads, value = self.with_direct(i, grads, made_from, given)
            else:
                value = self.direct[i].part.last()
            values = (*values, value)
        adversarial = values[0]
        grads, finite = self.scaling(self.grad_reducer(grads))
        if finite:
            adversarial = ops.depend(adversarial, self.optimizer(grads))
        return (adversarial, *values[1:])

    def with_direct(self, i, grads, made_from, given):
        """The weights' gradient with that of the i-th direct term, and the term's value."""
        labels, numbers = (None, None) if given is None else given
        # Added hands on (what comes before the numbers), the numbers, what comes behind.
        (_, value), more = self.direct_grads[i]((made_from, labels), numbers)
        return added(grads, more), value

    def with_again(self, real, fake, made_from, pull_back, given):
        """The values and the weights' gradient where the generator also runs on other images."""
        made, pull_backs, to_fakes = (), (), ()
        for (
            term
        ) in self.again:  # two pulls: MindSpore knows the weights of the generator itself only
            images, to_fake = ms.vjp(term.again, real, fake)
            images, pull = ms.vjp(self.generator, images, weights=self.weights)
            made, pull_backs = (*made, images), (*pull_backs, pull)
            to_fakes = (*to_fakes, to_fake)
        (loss, values), image_grads = self.value_and_grad(real, fake, made_from, given, *made)
        of_fake, direct = image_grads[0], ()
        for i in range(len(pull_backs)):
            of_images, of_weights = pull_backs[i](image_grads[i + 1])
            of_fake = of_fake + to_fakes[i](of_images[0])[1]
            direct = (*direct, of_weights)
        grads = pull_back(of_fake)[1]
        for more in direct:
            grads = added(grads, more)
        return values, grads

    def construct(self, real, made_from, given=None):
        labels = None if given is None else given[0]
        fake, pull_back = self.forward(made_from, labels)
        return self.update(real, fake, made_from, pull_back, given)


class ExponentialMovingAverage(nn.Cell):
    """average = d * average + (1 - d) * source, for weights and BatchNorm statistics alike.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that the initial weights are soon
    forgotten.

    Args:
        source: parameters of the trained net.
        average: those of a net of the same architecture, in the same order.
        decay: the final d, 0 < decay < 1.
        updates: a Parameter that has counted the updates so far, this one included.

    Inputs: a tensor that is computed after the update of the source. Outputs: the same, once the
    average has moved.
    """

    def __init__(
        self,
        source: Sequence[ms.Parameter],
        average: Sequence[ms.Parameter],
        decay: float,
        updates: ms.Parameter,
    ):
        super().__init__(auto_prefix=False)
        self.source = ms.ParameterTuple(list(source))
        self.average = ms.ParameterTuple(list(average))
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
        rows: how the rows of the inputs lie.
        train_d: the discriminator's one-step cell.
        train_g: the generator's one-step cell.
        given: the input Cell (real, z, numbers) -> what G receives; None: the latents.
        columns: the input's columns of the random numbers.
        history: a :class:`ms_gan.training.history.History` of what D sees, or None.
        of_history: its columns.
        average: an :class:`ExponentialMovingAverage` or None.
        view: a Cell real -> real, how images are seen at a level of nets that grow, or None.
        clock: a :class:`ms_gan.training.levels.Clock`, moved behind the updates, or None.
        share_forward: keep the forward pass of shared latents. Without, the generator runs a second
            time on them: the same weights, more arithmetic, BatchNorm statistics that move twice.

    Inputs, as :class:`ms_gan.training.feed.Feed` gives them:
        real: float32 [rows.real, C, H, W], `rows.batch` images for each D update.
        z: float32 [rows.made, rows.latents] or None.
        labels: int32 [rows.real] or None; of the real images and for the generated ones.
        numbers: float32 [rows.real, K] in [0, 1) or None. G is updated with those of the last D
            update.
    Outputs: loss_d, loss_g scalars; real_scores [N], fake_scores [N] of the last D update; then a
    scalar for each term of G's loss.
    """

    def __init__(
        self,
        rows: Rows,
        train_d: TrainDiscriminatorCell,
        train_g: TrainGeneratorCell,
        *,
        given: Input | None = None,
        columns: Columns | None = None,
        history: nn.Cell | None = None,
        of_history: Columns | None = None,
        average: nn.Cell | None = None,
        view: nn.Cell | None = None,
        clock: nn.Cell | None = None,
        share_forward: bool = True,
    ):
        super().__init__(auto_prefix=False)
        self.rows = rows
        self.train_d = train_d
        self.train_g = train_g
        self.given = given or Latents()
        self.columns = columns or Columns(0, 0)
        self.history = history
        self.of_history = of_history or Columns(0, 0)
        self.average = average
        self.view = view
        self.clock = clock
        self.share_forward = share_forward

    def construct(self, real, z=None, labels=None, numbers=None):
        n, last = self.rows.batch, self.rows.d_steps - 1
        if real.shape[0] != self.rows.real:
            raise ValueError(f"real: {real.shape[0]} rows; this step takes {self.rows.real}")
        if z is not None and z.shape[0] != self.rows.made:
            raise ValueError(f"z: {z.shape[0]} rows; this step takes {self.rows.made}")
        if self.view is not None:
            real = self.view(real)
        done = real  # what the next update must wait for
        for i in range(last):
            images = real[i * n : (i + 1) * n]
            given = (self.part(labels, i), self.part(numbers, i))
            made_from = self.made_from(images, self.part(z, i), given)
            fake = self.train_g.generator(ops.depend(made_from, done), given[0])
            done = self.train_d(images, self.seen(fake, given), given)
        if last > 0:
            real, labels = real[last * n :], self.part(labels, last)
            numbers = self.part(numbers, last)
            z = None if z is None else z[last * n :]
        given = (labels, numbers)
        same = self.rows.same_latents
        made_from = self.made_from(real, z if same else self.part(z, 0), given)
        if last > 0:
            made_from = ops.depend(made_from, done)
        fake, pull_back = self.train_g.forward(made_from, labels)
        outputs = self.train_d(real, self.seen(fake, given), given)
        if same and self.share_forward:
            fake = ops.depend(fake, outputs)  # the G loss must see the new D
        else:
            if not same:
                made_from = self.made_from(real, self.part(z, 1), given)
            made_from = ops.depend(made_from, outputs)
            fake, pull_back = self.train_g.forward(made_from, labels)
        loss_g, *terms = self.train_g.update(real, fake, made_from, pull_back, given)
        if self.clock is not None:
            loss_g = self.clock(loss_g)
        if self.average is not None:
            loss_g = self.average(loss_g)
        loss_d, real_scores, fake_scores = outputs
        return (loss_d, loss_g, real_scores, fake_scores, *terms)

    def part(self, values, i):
        """Rows of the i-th update, or None where there are no values."""
        n = self.rows.batch
        return None if values is None else values[i * n : (i + 1) * n]

    def seen(self, fake, given):
        """The generated images that D is trained on."""
        fake = ops.stop_gradient(fake)
        if self.history is not None:
            fake = self.history(fake, self.of_history(given[1]))
        return fake

    def made_from(self, real, z, given):
        """What the generator receives."""
        return self.given(real, z, self.columns(given[1]))


def name_optimizer_parameters(optimizer: nn.Optimizer, name: str) -> None:
    """Call what the optimizer owns `name.…`; the weights that it trains keep their names.

    Two optimizers own `global_step`, `beta1_power`, …, which one graph or one file cannot both
    hold. `optimizer.update_parameters_name` would rename the network's weights as well.
    """
    trained = {id(parameter) for parameter in optimizer.parameters}
    for parameter in optimizer.get_parameters():
        own = id(parameter) not in trained and not parameter.name.startswith(READ)
        if own and not parameter.name.startswith(f"{name}."):
            parameter.name = f"{name}.{parameter.name}"


def copy_parameters(source: nn.Cell, target: nn.Cell) -> None:
    """Give a net the values of another one of the same architecture."""
    for value, copy in zip(source.get_parameters(), target.get_parameters(), strict=True):
        copy.set_data(ms.Tensor(value.asnumpy()))
