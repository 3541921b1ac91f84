"""Penalties against closed forms and finite differences; weight clipping."""

import inspect

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn, ops

from ms_gan.models.layers import LeakyReLU
from ms_gan.models.spectral_norm import SpectralNorm
from ms_gan.objectives.numbers import Columns
from ms_gan.objectives.penalties import (
    CONSTRAINTS,
    PENALTIES,
    R1,
    R1R2,
    REGULARIZERS,
    GradientPenalty,
    WeightClipping,
    require_graph_mode,
)
from ms_gan.recipe.registry import options_of
from ms_gan.recipe.schema import ConfigError
from ms_gan.training.cells import Added
from ms_gan.training.schedules import Weight
from tests import tiny
from tests.derivatives import (
    TOLERANCE,
    Linear,
    Tail,
    conv,
    deconv,
    differentiate,
    finite_differences,
    images,
    in_one,
    numpy_of,
    relative_error,
    smooth,
    tensor,
)

# Layer type -> (layers, features they leave) for images [N, 1, 4, 4].
LAYERS = {
    "dense": lambda: ([nn.Flatten(), nn.Dense(16, 4)], 4),
    "tanh": lambda: ([nn.Flatten(), nn.Dense(16, 4), nn.Tanh()], 4),
    "silu": lambda: ([nn.Flatten(), nn.Dense(16, 4), nn.SiLU()], 4),
    "layer_norm": lambda: ([nn.Flatten(), nn.Dense(16, 4), nn.LayerNorm((4,))], 4),
    "conv": lambda: ([conv(1, 2, 3, 1)], 32),
    "strided_conv": lambda: ([conv(1, 2, 4, 2)], 8),
    "transposed_conv": lambda: ([conv(1, 2, 4, 2), deconv(2, 1)], 16),
    "leaky_relu": lambda: ([conv(1, 2, 4, 2), nn.LeakyReLU(0.2)], 8),
    "leaky_slopes": lambda: ([conv(1, 2, 4, 2), LeakyReLU(0.2)], 8),
    "spectral_norm": lambda: ([SpectralNorm(conv(1, 2, 4, 2)), nn.Tanh()], 8),
}


class LabelledLinear(Linear):
    """D(x, (labels, …)) = labels * <w, x>."""

    def construct(self, x, given=None):
        return (x * self.w).reshape((x.shape[0], -1)).sum(axis=1) * given[0].astype(ms.float32)


class Weighted(nn.Cell):
    """A penalty times a weight, as it is added to D's loss: (real, fake, given, numbers) -> scalar.

    Of the `numbers` it gets as many columns as it asks for.
    """

    def __init__(self, penalty, weight):
        super().__init__(auto_prefix=False)
        self.added = Added(penalty, Weight(weight), Columns(0, penalty.numbers))

    def construct(self, real, fake, given=None, numbers=None):
        return self.added((real, fake, given), numbers)[0]


def uniform(penalty, rng, n=3):
    """As many random numbers of each image as a penalty wants, or None."""
    return tensor(rng.random((n, penalty.numbers))) if penalty.numbers else None


@pytest.mark.parametrize("layer", LAYERS)
def test_second_order_gradients_of_r1(layer):
    network = tiny.randomise(Tail(*LAYERS[layer]()), 3).set_train(False)
    penalty = R1(network)
    inputs = (images(1), images(2))
    gradients, numeric = differentiate(penalty, inputs), finite_differences(penalty, inputs)
    for name, expected in numeric.items():
        if np.linalg.norm(expected) < 1e-4:  # the last bias moves no image gradient
            assert name == "score.bias" and np.linalg.norm(gradients[name]) < 1e-6
            continue
        assert relative_error(gradients[name], expected) < TOLERANCE, name
        # Would fail if the second-order part vanished: every tensor has one to lose.
        assert relative_error(np.zeros_like(expected), expected) > 100 * TOLERANCE


@pytest.mark.parametrize("name", PENALTIES)
def test_second_order_gradients_of_every_penalty(name, rng):
    penalty = PENALTIES[name](smooth(5))
    inputs = (images(1), images(2), None, uniform(penalty, rng))
    gradients, numeric = differentiate(penalty, inputs), finite_differences(penalty, inputs)
    assert relative_error(in_one(gradients), in_one(numeric)) < TOLERANCE


def image_gradients(network, x):
    """float64 gradients [N, 16] of a Flatten-Dense-tanh-Dense-tanh-Dense network, by hand."""
    dense, head, score = network.layers[1], network.head, network.score
    weights = [numpy_of(layer.weight) for layer in (dense, head, score)]
    biases = [numpy_of(layer.bias) for layer in (dense, head, score)]
    first = np.tanh(x.reshape(len(x), -1) @ weights[0].T + biases[0])
    second = np.tanh(first @ weights[1].T + biases[1])
    back = (weights[2] * (1 - second**2)) @ weights[1]
    return (back * (1 - first**2)) @ weights[0]


# What a penalty without its weight is: squared gradient norms of real, generated and mixed images.
FORMULAS = {
    "r1": lambda real, fake, mixed: real.mean() / 2,
    "r2": lambda real, fake, mixed: fake.mean() / 2,
    "r1_r2": lambda real, fake, mixed: (real.mean() + fake.mean()) / 2,
    "gradient_penalty": lambda real, fake, mixed: np.mean((np.sqrt(mixed) - 1) ** 2),
}


def test_every_penalty_has_a_formula_here():
    missing = sorted(set(PENALTIES) - set(FORMULAS))
    assert not missing, f"add to FORMULAS, by hand, what {missing} of images is"


@pytest.mark.parametrize("name", FORMULAS)
def test_values_follow_the_formulas(name):
    network = smooth(5)
    real, fake, u = images(1), images(2), np.array([0.1, 0.5, 0.8])
    x, y = numpy_of(real), numpy_of(fake)
    share = u.reshape(3, 1, 1, 1)
    squares = [
        (image_gradients(network, z) ** 2).sum(axis=1) for z in (x, y, share * x + (1 - share) * y)
    ]
    penalty = Weighted(PENALTIES[name](network), 3.0)
    value = penalty(real, fake, None, tensor(u[:, None])).asnumpy()
    assert float(value) == pytest.approx(3.0 * FORMULAS[name](*squares), rel=1e-5)


@pytest.mark.parametrize("name, factor", [("r1", 0.5), ("r2", 0.5), ("r1_r2", 1.0)])
def test_linear_discriminator_has_the_closed_form(name, factor):
    w = np.random.default_rng(0).normal(size=(1, 4, 4))
    penalty = Weighted(PENALTIES[name](Linear(w)), 3.0)
    value = penalty(images(1), images(2))
    assert float(value.asnumpy()) == pytest.approx(3.0 * factor * (w**2).sum(), rel=1e-5)
    gradient = differentiate(penalty, (images(1), images(2)))["w"]
    np.testing.assert_allclose(gradient, 3.0 * factor * 2 * w, rtol=1e-5)


def test_gradient_penalty_of_a_doubling_discriminator():
    # TF-GAN's test: D(x) = 2x on one row of four has a gradient of norm 4, (4 - 1)^2 = 9.
    network = Linear(np.full(4, 2.0))
    for weight in (1.0, 10.0):
        value = Weighted(GradientPenalty(network), weight)(
            tensor([[1.0, 2.0, 3.0, 4.0]]), tensor([[4.0, 3.0, 2.0, 1.0]]), None, tensor([[0.3]])
        )
        assert float(value.asnumpy()) == pytest.approx(9.0 * weight, rel=1e-6)


def test_gradient_penalty_is_finite_where_the_gradient_is_zero():
    penalty = Weighted(GradientPenalty(Linear(np.zeros((1, 4, 4)))), 10.0)
    inputs = (images(1), images(2), None, tensor([[0.1], [0.5], [0.8]]))
    assert float(penalty(*inputs).asnumpy()) == pytest.approx(10.0, rel=1e-5)
    assert np.isfinite(differentiate(penalty, inputs)["w"]).all()


@pytest.mark.parametrize("name", PENALTIES)
def test_the_numbers_that_a_penalty_asks_for_are_used(name, rng):
    """A curved judge: other numbers, another penalty. None of them where it asks for none."""
    penalty = PENALTIES[name](smooth(5))
    if penalty.numbers == 0:
        assert np.isfinite(float(penalty(images(1), images(2)).asnumpy()))
        return
    one, other = (
        float(penalty(images(1), images(2), None, uniform(penalty, rng)).asnumpy()) for _ in "ab"
    )
    assert abs(one - other) > 1e-3 * abs(one)
    with pytest.raises(ValueError, match="numbers"):
        penalty(images(1), images(2))


def test_labels_reach_the_discriminator():
    labels = Tensor([1, 2, 3], ms.int32)
    penalty = Weighted(R1R2(LabelledLinear(np.ones((1, 4, 4)))), 2.0)
    value = penalty(images(1), images(2), (labels, None))
    assert float(value.asnumpy()) == pytest.approx(2 * 16 * (1 + 4 + 9) / 3, rel=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_one_contract_and_untouched_names(name):
    network = Tail(*LAYERS["dense"]())
    network.update_parameters_name("discriminator.")
    before = [p.name for p in network.get_parameters()]
    penalty = PENALTIES[name](network)
    assert [p.name for p in penalty.get_parameters()] == before
    inputs = list(inspect.signature(penalty.construct).parameters)
    assert inputs == ["real", "fake", "given", "numbers"]
    assert type(penalty.numbers) is int and penalty.numbers >= 0
    assert type(penalty.weight) is float and penalty.weight >= 0


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer_takes_the_judge_and_options_that_have_defaults(name):
    judge, *others = inspect.signature(REGULARIZERS[name]).parameters.values()
    assert judge.name == "judge" and judge.default is judge.empty
    assert [p.name for p in others] == list(options_of(REGULARIZERS[name]))
    assert all(p.default is not p.empty for p in others)
    assert "arXiv:" in REGULARIZERS[name].__doc__


@pytest.mark.parametrize(
    "weight",
    [-1.0, float("nan"), {"start": 1.0, "end": -1.0, "steps": 2}],
    ids=["negative", "nan", "ramp"],
)
@pytest.mark.parametrize("name", PENALTIES)
def test_bad_weight_is_refused(name, weight):
    regularizer = {"name": name, "weight": weight}
    message = tiny.refused(ConfigError, tiny.state_of, (1, 4, 4), batch=4, regularizer=regularizer)
    assert message.startswith("regularizer.weight: ")


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_constraint_has_no_weight(name):
    regularizer = {"name": name, "weight": 1.0}
    message = tiny.refused(ConfigError, tiny.state_of, (1, 4, 4), batch=4, regularizer=regularizer)
    assert message.startswith(f"regularizer.weight: '{name}' has no such option")


def test_pynative_is_refused_in_one_line():
    x = images(1)
    penalty = R1(Linear(np.ones((1, 4, 4))))
    ms.set_context(mode=ms.PYNATIVE_MODE)
    for attempt in (
        require_graph_mode,
        lambda: R1(Linear(np.ones((1, 4, 4)))),
        lambda: penalty(x, x),
        lambda: ms.value_and_grad(penalty, None, penalty.trainable_params())(x, x),
    ):
        assert "PyNative" in tiny.refused(ValueError, attempt)


class ClippedStep(nn.Cell):
    """One SGD step on a linear D, the clipping, and the score seen after both."""

    def __init__(self, network, clipping):
        super().__init__(auto_prefix=False)
        parameters = ms.ParameterTuple(network.trainable_params())
        self.network = network
        self.clipping = clipping
        self.optimizer = nn.SGD(parameters, learning_rate=1.0)
        self.value_and_grad = ms.value_and_grad(self.loss, None, parameters)

    def loss(self, x):
        return self.network(x).sum()

    def construct(self, x):
        loss, gradients = self.value_and_grad(x)
        loss = ops.depend(loss, self.optimizer(gradients))
        loss = self.clipping(loss)
        return loss, self.network(ops.depend(x, loss))


def test_weight_clipping_follows_the_update():
    w, x = np.array([0.3, -0.02, 0.0, 0.05]), np.array([[0.25, 0.5, -0.04, 0.02]])
    network = Linear(w)
    step = ClippedStep(network, WeightClipping(network, limit=0.1))
    for _ in range(3):
        loss, score = step(tensor(x))
        assert float(loss.asnumpy()) == pytest.approx((w * x).sum(), rel=1e-5)
        w = np.clip(w - x[0], -0.1, 0.1)
        np.testing.assert_allclose(network.w.asnumpy(), w, rtol=1e-5, atol=1e-8)
        assert float(score.asnumpy()[0]) == pytest.approx((w * x).sum(), rel=1e-5)


def test_weight_clipping_takes_many_parameters_and_bad_limits_are_refused():
    network = tiny.randomise(Tail(*LAYERS["conv"]()), 0)
    before = {p.name: p.asnumpy() for p in network.get_parameters()}
    token = WeightClipping(network, limit=0.3)(tensor(5.0))
    assert float(token.asnumpy()) == 5.0
    limit = np.float32(0.3)
    for p in network.get_parameters():
        np.testing.assert_array_equal(p.asnumpy(), np.clip(before[p.name], -limit, limit))
    message = tiny.refused(ValueError, WeightClipping, network, limit=0.0)
    assert message.startswith("limit: ")
