"""Adversarial losses: reference constants, independent formulas, gradients, extremes, modes."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.objectives.losses import LOSSES
from ms_gan.recipe.registry import check_type, options_of
from ms_gan.system import runtime
from tests.tiny import refused

# TF-GAN's hand-computed test vectors (tensorflow_gan/python/losses/losses_impl_test.py).
REAL = np.array([-5.0, 1.4, 12.5, 2.7])
FAKE = np.array([10.0, 4.4, -5.5, 3.6])

# name, options, discriminator's loss, generator's loss
CONSTANTS = [
    ("non_saturating", {}, 5.83387, 1.38582),
    # TF-GAN's smoothing of 0.25 is a target of 1 - 0.25 / 2.
    ("non_saturating", {"real_target": 0.875}, 6.19637, 1.38582),
    # TF-GAN adds the constant softplus(-1) = 0.31326 of made-up real scores: -4.82408 + 0.31326.
    ("minimax", {}, 5.83387, -4.51082),
    ("minimax", {"real_target": 0.875}, 6.19637, -4.51082),
    ("least_squares", {}, 41.73375, 17.69625),
    ("wasserstein", {}, 0.225, -3.125),
    ("hinge", {}, 6.75, -3.125),
    # Computed for this project in float64; not part of TF-GAN.
    ("relativistic", {}, 4.822435, 4.597435),
]


def sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))


def cross_entropy(real, fake, target):
    p, q = sigmoid(real), sigmoid(fake)
    return -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)) - np.mean(np.log(1 - q))


class Case(NamedTuple):
    """An independent float64 formula, (real, fake) -> (discriminator's loss, generator's loss)."""

    loss: str
    options: dict[str, Any]
    formula: Callable


FORMULAS = [
    Case(
        "non_saturating", {}, lambda r, f: (cross_entropy(r, f, 1.0), -np.log(sigmoid(f)).mean())
    ),
    Case(
        "non_saturating", {"real_target": 0.9},
        lambda r, f: (cross_entropy(r, f, 0.9), -np.log(sigmoid(f)).mean()),
    ),
    Case("minimax", {}, lambda r, f: (cross_entropy(r, f, 1.0), np.log(1 - sigmoid(f)).mean())),
    Case(
        "minimax", {"real_target": 0.7},
        lambda r, f: (cross_entropy(r, f, 0.7), np.log(1 - sigmoid(f)).mean()),
    ),
    Case(
        "least_squares", {},
        lambda r, f: ((np.mean((r - 1) ** 2) + np.mean(f**2)) / 2, np.mean((f - 1) ** 2) / 2),
    ),
    Case(
        "least_squares", {"real_target": 0.9},
        lambda r, f: ((np.mean((r - 0.9) ** 2) + np.mean(f**2)) / 2, np.mean((f - 1) ** 2) / 2),
    ),
    Case("wasserstein", {}, lambda r, f: (np.mean(f) - np.mean(r), -np.mean(f))),
    Case(
        "wasserstein", {"drift": 0.25},
        lambda r, f: (np.mean(f) - np.mean(r) + 0.25 * np.mean(r**2), -np.mean(f)),
    ),
    Case(
        "hinge", {},
        lambda r, f: (
            np.mean(np.maximum(0, 1 - r)) + np.mean(np.maximum(0, 1 + f)), -np.mean(f)
        ),
    ),
    Case(
        "relativistic", {},
        lambda r, f: (-np.log(sigmoid(r - f)).mean(), -np.log(sigmoid(f - r)).mean()),
    ),
]  # fmt: skip
every_formula = pytest.mark.parametrize(
    "case", FORMULAS, ids=lambda case: "-".join([case.loss, *map(str, case.options.values())])
)
SMOOTHED = [name for name in LOSSES if "real_target" in options_of(LOSSES[name])]


def test_every_loss_has_its_numbers_and_its_formula_here():
    """A new loss is not tested before somebody has computed it in another way."""
    for name in LOSSES:
        assert name in {row[0] for row in CONSTANTS}, (
            f"add a row to CONSTANTS: '{name}', its options, and both losses of REAL and FAKE, "
            "computed by hand or by somebody else's code"
        )
        options = [case.options for case in FORMULAS if case.loss == name]
        assert options, f"add a Case to FORMULAS: '{name}', its options and float64 formulas"
        for option, parameter in options_of(LOSSES[name]).items():
            assert any(o.get(option, parameter.default) != parameter.default for o in options), (
                f"add a Case to FORMULAS in which '{option}' of '{name}' is not its default"
            )


class Evaluate(nn.Cell):
    """Value and gradients of a loss that is an attribute of a Cell, as in the training step."""

    def __init__(self, function, position):
        super().__init__(auto_prefix=False)
        self.value_and_grad = ms.value_and_grad(function, grad_position=position)

    def construct(self, real, fake):
        return self.value_and_grad(real, fake)


def evaluate(loss, side, real, fake, mode="graph"):
    """float64 value and gradients `[d real, d fake]`; the first is missing without `pairs`."""
    runtime.set_mode(mode)
    reads_real = side == "discriminator" or loss.pairs
    real = Tensor(np.asarray(real), ms.float32) if reads_real else None
    fake = Tensor(np.asarray(fake), ms.float32)
    value, gradients = Evaluate(getattr(loss, side), (0, 1) if reads_real else (1,))(real, fake)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return float(value.asnumpy()), [g.asnumpy().astype(np.float64) for g in gradients]


def differences(function, x, step=1e-6):
    """Central differences of a float64 scalar function, one entry at a time."""
    result = np.zeros_like(x)
    for i in range(x.size):
        shift = np.zeros_like(x)
        shift[i] = step
        result[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return result


@pytest.mark.parametrize("name, options, loss_d, loss_g", CONSTANTS)
def test_reference_constants(name, options, loss_d, loss_g):
    loss = LOSSES[name](**options)
    # The constants have five decimals.
    assert evaluate(loss, "discriminator", REAL, FAKE)[0] == pytest.approx(loss_d, abs=6e-6)
    assert evaluate(loss, "generator", REAL, FAKE)[0] == pytest.approx(loss_g, abs=6e-6)


@every_formula
def test_values_and_gradients_follow_the_formula(case):
    rng = np.random.default_rng(7)
    real, fake = rng.normal(1.0, 2.0, 6), rng.normal(-1.0, 2.0, 6)
    loss, formula = LOSSES[case.loss](**case.options), case.formula
    for i, side in enumerate(["discriminator", "generator"]):
        value, gradients = evaluate(loss, side, real, fake)
        assert value == pytest.approx(formula(real, fake)[i], rel=2e-6)
        expected = [
            differences(lambda r, i=i: formula(r, fake)[i], real),
            differences(lambda f, i=i: formula(real, f)[i], fake),
        ]
        for gradient, numeric in zip(gradients, expected[-len(gradients) :], strict=True):
            np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_scores_stay_finite(name):
    scores = np.array([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
    for side in ("discriminator", "generator"):
        value, gradients = evaluate(LOSSES[name](), side, scores, scores[::-1])
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("name", ["non_saturating", "minimax"])
def test_confident_mistakes_cost_their_score(name):
    # What a clipped logarithm of a probability would get wrong.
    value, gradients = evaluate(LOSSES[name](), "discriminator", [-1e4], [1e4])
    assert value == pytest.approx(2e4)
    assert [g[0] for g in gradients] == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize("name", LOSSES)
def test_descending_moves_scores_the_right_way(name):
    real, fake = np.array([0.3, -0.4, 0.1]), np.array([-0.2, 0.4, -0.6])
    real_gradient, fake_gradient = evaluate(LOSSES[name](), "discriminator", real, fake)[1]
    assert (real_gradient < 0).all(), "D raises the scores of real images"
    if name == "least_squares":  # scores are pulled to 0 from both sides
        assert (np.sign(fake_gradient) == np.sign(fake)).all()
    else:
        assert (fake_gradient > 0).all(), "D lowers the scores of generated images"
    assert (evaluate(LOSSES[name](), "generator", real, fake)[1][-1] < 0).all()


def test_minimax_saturates_where_non_saturating_does_not():
    low = [-8.0]
    saturated = evaluate(LOSSES["minimax"](), "generator", None, low)[1][0][0]
    learning = evaluate(LOSSES["non_saturating"](), "generator", None, low)[1][0][0]
    assert -1e-3 < saturated < 0 and learning < -0.99


@pytest.mark.parametrize("target", [0.7, 0.9])
@pytest.mark.parametrize("name", SMOOTHED)
def test_smoothing_moves_the_optimum_to_the_target(name, target):
    best = target if name == "least_squares" else np.log(target / (1 - target))
    real = np.array([best - 0.5, best, best + 0.5])
    gradient = evaluate(LOSSES[name](real_target=target), "discriminator", real, real)[1][0]
    assert gradient[0] < -1e-3 and gradient[2] > 1e-3
    assert abs(gradient[1]) < 1e-6


@pytest.mark.parametrize("name", SMOOTHED)
@pytest.mark.parametrize("target", [0.0, -0.1, 1.1, float("nan")])
def test_bad_target_is_one_line(name, target):
    message = refused(ValueError, LOSSES[name], real_target=target)
    assert message.startswith("real_target: ") and "(0, 1]" in message


@pytest.mark.parametrize("name", LOSSES)
def test_options_are_a_checkable_signature(name):
    """Every argument is an option with a default, and the default is of the type that it says."""
    for option, parameter in inspect.signature(LOSSES[name], eval_str=True).parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY
        assert parameter.default is not parameter.empty
        assert parameter.annotation is not parameter.empty, f"say the type of '{option}'"
        if parameter.annotation in (int, float, str, bool):
            assert type(parameter.default) is parameter.annotation
        check_type(option, parameter.default, parameter)
    assert "arXiv:" in LOSSES[name].__doc__


@pytest.mark.parametrize("name", LOSSES)
def test_graph_and_pynative_agree(name):
    for side in ("discriminator", "generator"):
        graph = evaluate(LOSSES[name](), side, REAL, FAKE)
        pynative = evaluate(LOSSES[name](), side, REAL, FAKE, "pynative")
        assert graph[0] == pytest.approx(pynative[0], rel=1e-6)
        np.testing.assert_allclose(graph[1], pynative[1], rtol=1e-6, atol=1e-9)


class Scored(nn.Cell):
    """A discriminator of one weight and its loss, as the training step joins them."""

    def __init__(self, loss):
        super().__init__(auto_prefix=False)
        self.w = ms.Parameter(Tensor([1.0], ms.float32), name="w")
        self.loss_d = loss.discriminator

    def construct(self, real, fake):
        return self.loss_d(self.w * real, self.w * fake)


class Gradient(nn.Cell):
    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.value_and_grad = ms.value_and_grad(network, None, network.trainable_params())

    def construct(self, real, fake):
        return self.value_and_grad(real, fake)


@every_formula
def test_gradient_reaches_parameters_in_a_graph(case):
    # A functools.partial in place of a closure fails here only: right value, zero gradient.
    cell = Gradient(Scored(LOSSES[case.loss](**case.options)))
    gradient = cell(Tensor(REAL, ms.float32), Tensor(FAKE, ms.float32))[1]
    gradient = gradient[0] if isinstance(gradient, tuple) else gradient
    numeric = differences(lambda w: case.formula(w[0] * REAL, w[0] * FAKE)[0], np.array([1.0]))
    np.testing.assert_allclose(gradient.asnumpy(), numeric, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_pairs_says_whether_g_reads_the_scores_of_real_images(name):
    """Without `pairs` they are not even computed: G's loss gets None."""
    loss, fake = LOSSES[name](), Tensor(FAKE, ms.float32)
    first, second = (
        float(loss.generator(Tensor(real, ms.float32), fake).asnumpy())
        for real in (REAL, REAL[::-1] - 1.0)
    )
    assert (abs(first - second) > 1e-3) == loss.pairs
    if not loss.pairs:
        assert float(loss.generator(None, fake).asnumpy()) == pytest.approx(first, rel=1e-6)
