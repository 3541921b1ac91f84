"""Terms of the generator's loss, weights, and other inputs than latents: each a Cell and a row."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from ms_gan import build
from ms_gan.objectives.inputs import Input
from ms_gan.objectives.penalties import Penalty
from ms_gan.objectives.terms import TERMS, ModeSeeking, Term
from ms_gan.recipe.registry import options_of
from ms_gan.recipe.schema import ConfigError
from ms_gan.training import trainer
from ms_gan.training.feed import Feed
from tests import tiny
from tests.numpy_reference import NumpyGan, softplus
from tests.tiny import values

N, LATENT, SHAPE = 6, 5, (1, 4, 4)
MODEL = {"name": "gan", "latent_dim": LATENT, "g_widths": [8, 12], "d_widths": [10]}
STILL = {"start": 0.0, "end": 0.0, "steps": 1}  # a learning rate that moves no weight
AT_REST = {"lr_d": STILL, "lr_g": STILL}


def state_of(**sections):
    return tiny.state_of(SHAPE, batch=N, **{"model": MODEL, **sections})


def reference_of(state):
    weights = {k: v for k, v in values(state).items() if not k.startswith("optimizer")}
    return NumpyGan(weights)


def inputs(rng, parts=1):
    real = rng.uniform(-1, 1, (parts * N, *SHAPE)).astype(np.float32)
    return real, rng.standard_normal((parts * N, LATENT)).astype(np.float32)


def flat(x):
    return x.reshape(len(x), -1).astype(np.float64)


# --- mode seeking -------------------------------------------------------------------------------


def mode_seeking(fake, z):
    """Value and gradient in the images, float64."""
    half = len(fake) // 2
    images, latents = (x[:half] - x[half : 2 * half] for x in (fake, z))
    distance = np.abs(latents).mean()
    value = 1 / (np.abs(images).mean() / distance + 1e-5)
    slope = -(value**2) / distance * np.sign(images) / images.size
    return value, np.concatenate([slope, -slope, np.zeros_like(fake[2 * half :])])


@pytest.mark.parametrize("n", [2, 6, 7], ids=["a pair", "even", "odd"])
def test_mode_seeking_and_its_gradient_at_the_images(rng, n):
    """Against the formula and finite differences of it; the odd one out has no partner."""
    fake, z = rng.uniform(-1, 1, (n, *SHAPE)), rng.standard_normal((n, LATENT))
    expected, slope = mode_seeking(fake, z)
    value, gradient = ms.value_and_grad(ModeSeeking(), 1)(
        None, Tensor(fake, ms.float32), Tensor(z, ms.float32)
    )
    assert float(value) == pytest.approx(expected, rel=1e-5)
    numeric = np.zeros_like(fake)
    for index in np.ndindex(fake.shape):
        moved = fake.copy(), fake.copy()
        moved[0][index] += 1e-6
        moved[1][index] -= 1e-6
        numeric[index] = (mode_seeking(moved[0], z)[0] - mode_seeking(moved[1], z)[0]) / 2e-6
    np.testing.assert_allclose(slope, numeric, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(gradient.asnumpy(), numeric, rtol=1e-4, atol=1e-7)


def test_mode_seeking_of_a_collapsed_generator_is_finite(rng):
    """All images alike: the worst value there is, and a gradient that is a number."""
    fake, z = np.ones((4, *SHAPE), np.float32), rng.standard_normal((4, LATENT))
    value, gradient = ms.value_and_grad(ModeSeeking(), 1)(None, Tensor(fake), Tensor(z, ms.float32))
    assert float(value) == pytest.approx(1e5, rel=1e-4)
    assert np.isfinite(gradient.asnumpy()).all()


@pytest.mark.parametrize("name", TERMS)
def test_terms_say_weight_numbers_and_source(name):
    term = TERMS[name]
    assert type(term.weight) is float and term.weight >= 0
    assert type(term.numbers) is int and term.numbers >= 0
    assert term.of_weights or term()
    assert all(p.default is not p.empty for p in options_of(TERMS[name]).values())
    assert "arXiv:" in TERMS[name].__doc__


# --- in the step --------------------------------------------------------------------------------


class Kept(nn.Cell):
    """In place of a gradient reducer: passes the gradients on and keeps them."""

    def __init__(self, weights):
        super().__init__(auto_prefix=False)
        self.kept = ms.ParameterTuple(
            [
                Parameter(Tensor(np.zeros(w.shape, np.float32)), name=f"kept.{w.name}")
                for w in weights
            ]
        )

    def construct(self, grads):
        passed = ()
        for i in range(len(self.kept)):
            passed += (ops.depend(grads[i], ops.assign(self.kept[i], grads[i])),)
        return passed

    def gradients(self):
        return {p.name.removeprefix("kept."): p.asnumpy().copy() for p in self.kept}


RAMPS = (
    {"start": 1.0, "end": 0.0, "steps": 2, "shape": "linear"},
    {"start": 0.0, "end": 3.0, "steps": 2, "shape": "linear"},
)


@pytest.mark.parametrize(
    "loss, term, expected",
    [
        ({}, {}, [(1.0, ModeSeeking.weight)]),
        ({"weight": 0.25}, {"weight": 2.0}, [(0.25, 2.0)]),
        ({"weight": RAMPS[0]}, RAMPS[1], [(1.0, 0.0), (0.5, 1.5), (0.0, 3.0), (0.0, 3.0)]),
    ],
    ids=["defaults", "numbers", "ramps"],
)
def test_the_gradient_of_g_is_the_weighted_sum(rng, loss, term, expected):
    """Of the adversarial loss and the term, step after step.

    What the log gets are the two alone, without weights, the term under its name.
    """
    state = state_of(
        loss={"name": "non_saturating", **loss},
        terms={"mode_seeking": term},
        optimizer=AT_REST,
    )
    kept = state.update.train_g.grad_reducer = Kept(state.update.train_g.weights)
    reference = reference_of(state)
    for of_loss, of_term in expected:
        real, z = inputs(rng)
        logged = trainer.read(state.update(Tensor(real), Tensor(z)), state, None)
        fake, tape = reference.generator(z.astype(np.float64))
        adversarial, loss_slope = reference.loss_g(fake)
        value, term_slope = mode_seeking(fake, z.astype(np.float64))
        assert list(logged)[:3] == ["loss_d", "loss_g", "loss_mode_seeking"]
        assert logged["loss_g"] == pytest.approx(adversarial, rel=1e-5)
        assert logged["loss_mode_seeking"] == pytest.approx(value, rel=1e-4)
        slope = of_loss * loss_slope + of_term * term_slope
        wanted, found = reference.generator_backward(tape, slope), kept.gradients()
        assert wanted.keys() == found.keys()
        largest = max(np.abs(gradient).max() for gradient in wanted.values())
        for name in wanted:
            np.testing.assert_allclose(
                found[name], wanted[name], rtol=1e-3, atol=2e-6 * largest, err_msg=name
            )
    assert len(state.update.compile_cache) == 1


@pytest.mark.parametrize(
    "sections, start",
    [
        ({"terms": {"mode_seeking": -1.0}}, "terms"),
        ({"terms": {"mode_seeking": float("nan")}}, "terms.mode_seeking.weight: expected a finite"),
        ({"terms": {"mode_seekin": 1.0}}, "terms"),
        ({"terms": {"mode_seeking": {"weight": 1.0, "share": 2}}}, "terms"),
        ({"loss": {"name": "hinge", "weight": -0.5}}, "loss.weight: "),
        ({"input": "latent"}, "input.name: no input called 'latent'"),
    ],
    ids=["negative", "nan", "unknown", "option", "loss", "input"],
)
def test_what_cannot_work_is_one_line(sections, start):
    assert tiny.refused(ConfigError, state_of, **sections).startswith(start)


# --- random numbers -----------------------------------------------------------------------------


class Weighing(nn.Cell):
    """numbers [N, K] -> the mean of number i times 10 ** i: says which columns it was given."""

    def construct(self, numbers):
        powers = Tensor(10.0 ** np.arange(numbers.shape[1])[None], ms.float32)
        return (numbers * powers).sum(axis=1)


def weighed(numbers):
    return numbers.astype(np.float64) @ 10.0 ** np.arange(numbers.shape[1])


class NumbersPenalty(Penalty):
    numbers = 2

    def __init__(self, judge):
        super().__init__(judge)
        self.weigh = Weighing()

    def construct(self, real, fake, given=None, numbers=None):
        return self.weigh(numbers).mean()


class NumbersTerm(Term):
    numbers = 2

    def __init__(self):
        super().__init__()
        self.weigh = Weighing()

    def construct(self, real, fake, made_from, given=None, numbers=None):
        return self.weigh(numbers).mean()


class NumbersAugment(nn.Cell):
    """Adds to every pixel of an image what its numbers weigh."""

    numbers = 3

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.weigh = Weighing()

    def construct(self, x, numbers):
        return x + 0.01 * self.weigh(numbers).reshape((-1, 1, 1, 1))


@pytest.mark.parametrize("d_steps", [1, 2])
def test_every_part_gets_exactly_its_columns(rng, monkeypatch, d_steps):
    """A penalty, an augmentation and two terms that say what they were given."""
    monkeypatch.setitem(build.REGULARIZER.table, "of_numbers", NumbersPenalty)
    monkeypatch.setitem(build.AUGMENT.table, "of_numbers", NumbersAugment)
    monkeypatch.setitem(build.TERM.table, "of_numbers", NumbersTerm)
    monkeypatch.setitem(build.TERM.table, "of_more", NumbersTerm)
    state = state_of(
        regularizer={"name": "of_numbers", "weight": 0.5},
        augment="of_numbers",
        terms={"of_numbers": 3.0, "mode_seeking": 1.0, "of_more": 1.0},
        optimizer=AT_REST,
        train={"d_steps": d_steps},
    )
    assert sum(state.rows.numbers) == 2 + 3 + 2 + 2 and state.rows.numbers[0] == 2
    reference = reference_of(state)
    real, z = inputs(rng, d_steps)
    numbers = rng.random((d_steps * N, 9), np.float32)
    outputs = state.update(Tensor(real), Tensor(z), None, Tensor(numbers))
    loss_d, loss_g, real_scores, fake_scores, *terms = (x.asnumpy() for x in outputs)
    numbers, real = numbers[-N:], flat(real[-N:])  # those of the last update
    fake, _ = reference.generator(z[-N:].astype(np.float64))
    shift = 0.01 * weighed(numbers[:, 2:5])[:, None]
    for found, images in ((real_scores, real), (fake_scores, fake)):
        wanted, _ = reference.discriminator(images + shift)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    adversarial = softplus(-real_scores).mean() + softplus(fake_scores).mean()
    penalty = weighed(numbers[:, :2]).mean()
    assert float(loss_d) == pytest.approx(adversarial + 0.5 * penalty, rel=1e-5)
    assert float(loss_g) == pytest.approx(softplus(-fake_scores).mean(), rel=1e-5)
    of_term, of_more = (weighed(numbers[:, columns]).mean() for columns in ([5, 6], [7, 8]))
    assert float(terms[0]) == pytest.approx(of_term, rel=1e-5)
    assert float(terms[1]) == pytest.approx(mode_seeking(fake, z[-N:])[0], rel=1e-3)
    assert float(terms[2]) == pytest.approx(of_more, rel=1e-5)


# --- another input ------------------------------------------------------------------------------


class MaskedPixels(Input):
    """The first pixels of a real image, some of them taken out; there latents, if it is `noisy`."""

    numbers = LATENT

    def __init__(self, *, latent_dim, noisy: bool = False):
        super().__init__()
        self.width, self.latents = latent_dim, noisy

    def construct(self, real, z=None, numbers=None):
        kept = (numbers < 0.5).astype(ms.float32)
        pixels = kept * real.reshape((real.shape[0], -1))[:, : self.width]
        return pixels if z is None else pixels + (1.0 - kept) * z


def masked_pixels(real, z, numbers):
    kept = numbers < 0.5
    return np.where(kept, flat(real)[:, :LATENT], 0.0 if z is None else z)


@pytest.mark.parametrize(
    "d_steps, noisy, same_latents", [(1, False, True), (2, False, True), (3, True, False)]
)
def test_another_input_is_a_cell_and_a_row(rng, monkeypatch, d_steps, noisy, same_latents):
    """Every update's generator gets what is made of that update's images, latents and numbers."""
    monkeypatch.setitem(build.INPUT.table, "masked_pixels", MaskedPixels)
    monkeypatch.setitem(build.REGULARIZER.table, "of_numbers", NumbersPenalty)
    state = state_of(
        input={"name": "masked_pixels", "noisy": noisy},
        regularizer={"name": "of_numbers", "weight": 0.0},  # its columns come first
        train={"d_steps": d_steps, "same_latents": same_latents},
    )
    assert state.rows.latents == (LATENT if noisy else 0)
    assert sum(state.rows.numbers) == 2 + LATENT
    pictures = rng.uniform(-1, 1, (4 * N, *SHAPE)).astype(np.float32)
    feed = Feed(tiny.Images(pictures, np.zeros(4 * N), N), state.rows, seed=1)
    reference = reference_of(state)
    for step in range(2):
        tensors = feed.at(step)
        real, z, labels, numbers = (None if x is None else x.asnumpy() for x in tensors)
        assert labels is None and (z is not None) == noisy
        loss_d, loss_g, *scores = (x.asnumpy() for x in state.update(*tensors))
        for i in range(d_steps):
            rows = slice(i * N, (i + 1) * N)
            images, masks = real[rows], numbers[rows, 2:]
            made_from = masked_pixels(images, z if z is None else z[rows], masks)
            expected_d, *expected = reference.update_d(flat(images), made_from)
        if not same_latents:  # the last rows of latents are G's, with the last images
            made_from = masked_pixels(images, z[-N:], masks)
        expected_g = reference.update_g(made_from, update_statistics=not same_latents)
        assert [float(loss_d), float(loss_g)] == pytest.approx([expected_d, expected_g], rel=1e-5)
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    after = values(state)
    for name, expected in reference.w.items():
        moving = "moving" in name
        if moving and not same_latents:
            continue  # MindSpore also counts the pass of a vjp that is not pulled back
        # Adam enlarges the rounding noise of a gradient that is zero, as of a shift in front of
        # BatchNorm, whose statistics see it. The other weights moved by up to 4e-4.
        clear = moving | (np.sqrt(reference.v[name]) > 1e-6)
        atol = 1e-4 if moving else 2e-6
        np.testing.assert_allclose(
            after[name][clear], expected[clear], rtol=1e-5, atol=atol, err_msg=name
        )
        if name.endswith("weight"):
            assert clear.mean() > 0.5, name
