"""Penalties against closed forms and finite differences; weight clipping; spectral norm.

Everything is compiled: the fixture below puts every test in GRAPH_MODE.
"""

import inspect

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from ms_gan.models.layers import LeakyReLU
from ms_gan.objectives.penalties import (
    PENALTIES,
    R1,
    R1R2,
    R2,
    GradientPenalty,
    SpectralNorm,
    WeightClipping,
    require_graph_mode,
)


@pytest.fixture(autouse=True)
def graph_mode():
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=before)


def tensor(x):
    return Tensor(np.asarray(x), ms.float32)


def numpy_of(x):
    return x.asnumpy().astype(np.float64)


class Linear(nn.Cell):
    """D(x) = <w, x>, whose image gradient is w everywhere."""

    def __init__(self, w):
        super().__init__()
        self.w = Parameter(tensor(w), name="w")

    def construct(self, x, labels=None):
        return (x * self.w).reshape((x.shape[0], -1)).sum(axis=1)


class LabelledLinear(Linear):
    """D(x, labels) = labels * <w, x>."""

    def construct(self, x, labels=None):
        return (x * self.w).reshape((x.shape[0], -1)).sum(axis=1) * labels.astype(ms.float32)


class Tail(nn.Cell):
    """Layers, then a smooth head: scores [N], with a curvature that every layer takes part in."""

    def __init__(self, layers, features):
        super().__init__()
        self.layers = nn.SequentialCell(layers)
        self.head = nn.Dense(features, 3)
        self.score = nn.Dense(3, 1)

    def construct(self, x, labels=None):
        x = self.layers(x)
        x = ops.tanh(self.head(x.reshape((x.shape[0], -1))))
        return self.score(x).reshape((-1,))


def conv(inputs, outputs, kernel, stride):
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, pad_mode="pad", padding=1, has_bias=True
    )


def deconv(inputs, outputs):
    return nn.Conv2dTranspose(
        inputs, outputs, 4, stride=2, pad_mode="pad", padding=1, has_bias=True
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

# The reference is itself float32: its rounding, 1e-7 of the penalty over a step of 1e-2, measures
# 1e-6 to 2e-4 of the gradient here (truncation is removed by extrapolation). A missing second-order
# term is an error of 1.
TOLERANCE = 2e-3
STEP = 1e-2


def randomise(network, seed):
    """Weights of size one half, so that no layer is in its linear regime."""
    rng = np.random.default_rng(seed)
    for parameter in network.trainable_params():
        parameter.set_data(tensor(rng.normal(0.0, 0.5, parameter.shape)))
    return network.set_train(False)


class ValueAndGrad(nn.Cell):
    def __init__(self, network, parameters):
        super().__init__(auto_prefix=False)
        self.network = network  # without it set_train() would not reach the network
        self.value_and_grad = ms.value_and_grad(network, None, parameters)

    def construct(self, *inputs):
        return self.value_and_grad(*inputs)


def differentiate(penalty, inputs):
    parameters = penalty.trainable_params()
    gradients = ValueAndGrad(penalty, ms.ParameterTuple(parameters))(*inputs)[1]
    return dict(zip([p.name for p in parameters], map(numpy_of, gradients), strict=True))


def finite_differences(penalty, inputs):
    """Gradient of the penalty by extrapolated central differences, entry by entry."""
    result = {}
    for parameter in penalty.trainable_params():
        value = parameter.asnumpy().copy()
        result[parameter.name] = numeric = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            slope = []
            for step in (STEP, STEP / 2):
                sides = []
                for sign in (1, -1):
                    moved = value.copy()
                    moved[index] += sign * step
                    parameter.set_data(tensor(moved))
                    sides.append(float(penalty(*inputs).asnumpy()))
                slope.append((sides[0] - sides[1]) / (2 * step))
            numeric[index] = (4 * slope[1] - slope[0]) / 3
        parameter.set_data(tensor(value))
    return result


def relative_error(gradient, numeric):
    return np.linalg.norm(gradient - numeric) / np.linalg.norm(numeric)


def images(seed, n=3):
    return tensor(np.random.default_rng(seed).normal(0.0, 1.0, (n, 1, 4, 4)))


@pytest.mark.parametrize("layer", LAYERS)
def test_second_order_gradients_of_r1(layer):
    network = randomise(Tail(*LAYERS[layer]()), seed=3)
    penalty = R1(network, weight=1.0)
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
def test_second_order_gradients_of_every_penalty(name):
    network = randomise(Tail(*LAYERS["tanh"]()), seed=5)
    penalty = PENALTIES[name](network, weight=2.0)
    inputs = (images(1), images(2), None, tensor([0.1, 0.5, 0.8]))
    gradients, numeric = differentiate(penalty, inputs), finite_differences(penalty, inputs)
    joined = [np.concatenate([g.ravel() for g in x.values()]) for x in (gradients, numeric)]
    assert relative_error(*joined) < TOLERANCE


def image_gradients(network, x):
    """float64 gradients [N, 16] of a Flatten-Dense-tanh-Dense-tanh-Dense network, by hand."""
    dense, head, score = network.layers[1], network.head, network.score
    weights = [numpy_of(layer.weight) for layer in (dense, head, score)]
    biases = [numpy_of(layer.bias) for layer in (dense, head, score)]
    first = np.tanh(x.reshape(len(x), -1) @ weights[0].T + biases[0])
    second = np.tanh(first @ weights[1].T + biases[1])
    back = (weights[2] * (1 - second**2)) @ weights[1]
    return (back * (1 - first**2)) @ weights[0]


def test_values_follow_the_formulas():
    network = randomise(Tail(*LAYERS["tanh"]()), seed=5)
    real, fake, u = images(1), images(2), np.array([0.1, 0.5, 0.8])
    x, y = numpy_of(real), numpy_of(fake)
    share = u.reshape(3, 1, 1, 1)
    squares = [
        (image_gradients(network, z) ** 2).sum(axis=1) for z in (x, y, share * x + (1 - share) * y)
    ]
    expected = {
        "r1": 1.5 * squares[0].mean(),
        "r2": 1.5 * squares[1].mean(),
        "r1_r2": 1.5 * (squares[0].mean() + squares[1].mean()),
        "gradient_penalty": 3.0 * np.mean((np.sqrt(squares[2]) - 1) ** 2),
    }
    assert set(expected) == set(PENALTIES)
    for name, value in expected.items():
        got = PENALTIES[name](network, weight=3.0)(real, fake, None, tensor(u))
        assert float(got.asnumpy()) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("name, factor", [("r1", 0.5), ("r2", 0.5), ("r1_r2", 1.0)])
def test_linear_discriminator_has_the_closed_form(name, factor):
    w = np.random.default_rng(0).normal(size=(1, 4, 4))
    penalty = PENALTIES[name](Linear(w), weight=3.0)
    value = penalty(images(1), images(2))
    assert float(value.asnumpy()) == pytest.approx(3.0 * factor * (w**2).sum(), rel=1e-5)
    gradient = differentiate(penalty, (images(1), images(2)))["w"]
    np.testing.assert_allclose(gradient, 3.0 * factor * 2 * w, rtol=1e-5)


def test_gradient_penalty_of_a_doubling_discriminator():
    # TF-GAN's test: D(x) = 2x on one row of four has a gradient of norm 4, (4 - 1)^2 = 9.
    network = Linear(np.full(4, 2.0))
    for weight in (1.0, 10.0):
        value = GradientPenalty(network, weight=weight)(
            tensor([[1.0, 2.0, 3.0, 4.0]]), tensor([[4.0, 3.0, 2.0, 1.0]]), None, tensor([0.3])
        )
        assert float(value.asnumpy()) == pytest.approx(9.0 * weight, rel=1e-6)


def test_gradient_penalty_is_finite_where_the_gradient_is_zero():
    penalty = GradientPenalty(Linear(np.zeros((1, 4, 4))), weight=10.0)
    inputs = (images(1), images(2), None, tensor([0.1, 0.5, 0.8]))
    assert float(penalty(*inputs).asnumpy()) == pytest.approx(10.0, rel=1e-5)
    assert np.isfinite(differentiate(penalty, inputs)["w"]).all()


def test_gradient_penalty_asks_for_uniform():
    with pytest.raises(ValueError, match="uniform"):
        GradientPenalty(Linear(np.ones((1, 4, 4))))(images(1), images(2))


def test_labels_reach_the_discriminator():
    w = np.ones((1, 4, 4))
    value = R1R2(LabelledLinear(w), weight=2.0)(images(1), images(2), Tensor([1, 2, 3], ms.int32))
    assert float(value.asnumpy()) == pytest.approx(2 * 16 * (1 + 4 + 9) / 3, rel=1e-5)


@pytest.mark.parametrize("name", PENALTIES)
def test_one_signature_and_untouched_names(name):
    network = Tail(*LAYERS["dense"]())
    network.update_parameters_name("discriminator.")
    before = [p.name for p in network.get_parameters()]
    penalty = PENALTIES[name](network)
    assert [p.name for p in penalty.get_parameters()] == before
    assert list(inspect.signature(penalty.construct).parameters) == [
        "real",
        "fake",
        "labels",
        "uniform",
    ]
    options = inspect.signature(type(penalty)).parameters
    assert [p for p in options if options[p].kind is inspect.Parameter.KEYWORD_ONLY] == ["weight"]
    assert penalty.needs_uniform == (name == "gradient_penalty")
    assert "arXiv:" in type(penalty).__doc__


@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_bad_weight_is_refused(weight):
    with pytest.raises(ValueError, match="^weight: "):
        R2(Linear(np.ones(4)), weight=weight)


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
        with pytest.raises(RuntimeError, match="PyNative") as error:
            attempt()
        assert "\n" not in str(error.value)


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
    step = ClippedStep(network, WeightClipping(network.trainable_params(), limit=0.1))
    for _ in range(3):
        loss, score = step(tensor(x))
        assert float(loss.asnumpy()) == pytest.approx((w * x).sum(), rel=1e-5)
        w = np.clip(w - x[0], -0.1, 0.1)
        np.testing.assert_allclose(network.w.asnumpy(), w, rtol=1e-5, atol=1e-8)
        assert float(score.asnumpy()[0]) == pytest.approx((w * x).sum(), rel=1e-5)


def test_weight_clipping_takes_many_parameters_and_bad_limits_are_refused():
    network = randomise(Tail(*LAYERS["conv"]()), seed=0)
    before = {p.name: p.asnumpy() for p in network.get_parameters()}
    token = WeightClipping(network.trainable_params(), limit=0.3)(tensor(5.0))
    assert float(token.asnumpy()) == 5.0
    limit = np.float32(0.3)
    for p in network.get_parameters():
        np.testing.assert_array_equal(p.asnumpy(), np.clip(before[p.name], -limit, limit))
    with pytest.raises(ValueError, match="^limit: "):
        WeightClipping(network.trainable_params(), limit=0.0)


# layer, input shape, axis of the output channels in the weight
SPECTRAL = {
    "dense": (lambda: nn.Dense(12, 7), (2, 12), 0),
    "conv": (lambda: conv(3, 5, 4, 2), (2, 3, 8, 8), 0),
    "transposed_conv": (lambda: deconv(3, 5), (2, 3, 4, 4), 1),
    "no_bias": (lambda: nn.Dense(12, 7, has_bias=False), (2, 12), 0),
}


def matrix_of(layer, axis):
    weight = np.moveaxis(numpy_of(layer.weight), axis, 0)
    return weight.reshape(len(weight), -1)


def power_iterations(u, matrix, count):
    for _ in range(count):
        v = u @ matrix
        u = (v / np.linalg.norm(v)) @ matrix.T
        u = u / np.linalg.norm(u)
    return u


@pytest.mark.parametrize("kind", SPECTRAL)
def test_spectral_norm_converges_to_the_singular_value(kind):
    make, shape, axis = SPECTRAL[kind]
    layer, plain = make(), make()
    normalised = randomise(SpectralNorm(layer), seed=1)
    x = tensor(np.random.default_rng(2).normal(size=shape))
    matrix = matrix_of(layer, axis)
    normalised.set_train()
    expected = numpy_of(normalised.u)
    for _ in range(3):  # exactly one iteration a call
        normalised(x)
        expected = power_iterations(expected, matrix, 1)
        np.testing.assert_allclose(numpy_of(normalised.u), expected, atol=1e-5)
    for _ in range(200):
        normalised(x)
    largest = np.linalg.svd(matrix, compute_uv=False)[0]
    plain.weight.set_data(tensor(numpy_of(layer.weight) / largest))
    if layer.has_bias:
        plain.bias.set_data(layer.bias)
    normalised.set_train(False)
    np.testing.assert_allclose(normalised(x).asnumpy(), plain(x).asnumpy(), rtol=1e-3, atol=1e-5)


def test_spectral_norm_keeps_u_in_evaluation_and_out_of_training():
    cell = SpectralNorm(nn.Dense(6, 5)).set_train(False)
    x = tensor(np.ones((2, 6)))
    before = cell.u.asnumpy()
    first, second = cell(x).asnumpy(), cell(x).asnumpy()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(cell.u.asnumpy(), before)
    assert [p.requires_grad for p in cell.get_parameters()] == [False, True, True]
    names = [p.name for p in Tail([cell], 5).get_parameters()][:3]
    assert names == ["layers.0.u", "layers.0.layer.weight", "layers.0.layer.bias"]
    np.testing.assert_array_equal(SpectralNorm(nn.Dense(6, 5)).u.asnumpy(), before)


class Sigma(nn.Cell):
    def __init__(self, norm):
        super().__init__(auto_prefix=False)
        self.norm = norm

    def construct(self):
        return self.norm.sigma()


@pytest.mark.parametrize("training", [False, True])
def test_sigma_is_differentiated_with_u_and_v_constant(training):
    # Far from convergence, where a gradient through the iteration would differ.
    norm = randomise(SpectralNorm(nn.Dense(6, 5)), seed=1)
    cell = ValueAndGrad(Sigma(norm), ms.ParameterTuple([norm.layer.weight])).set_train(training)
    gradient = cell()[1]
    gradient = gradient[0] if isinstance(gradient, tuple) else gradient
    u = numpy_of(norm.u)
    v = u @ matrix_of(norm.layer, 0)
    np.testing.assert_allclose(gradient.asnumpy(), u.T @ (v / np.linalg.norm(v)), atol=1e-6)


class PenalisedLoss(nn.Cell):
    """Two passes of D and a penalty: what the discriminator's step does in one graph."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.penalty = R1(network, weight=1.0)

    def construct(self, real, fake):
        loss = ops.softplus(self.network(fake) - self.network(real)).mean()
        return loss + self.penalty(real, fake)


def test_spectral_norm_iterates_once_a_pass_in_a_graph_with_a_penalty():
    network = randomise(Tail([SpectralNorm(conv(1, 3, 4, 2)), nn.Tanh()], 12), seed=4)
    norm = network.layers[0]
    step = ValueAndGrad(PenalisedLoss(network), ms.ParameterTuple(network.trainable_params()))
    step.set_train()
    expected = numpy_of(norm.u)
    for _ in range(2):
        step(images(1), images(2))
        # real, fake and the penalty's: neither of the two differentiations repeats the side effect.
        expected = power_iterations(expected, matrix_of(norm.layer, 0), 3)
        np.testing.assert_allclose(numpy_of(norm.u), expected, atol=1e-5)


@pytest.mark.parametrize("layer", [nn.ReLU, lambda: nn.Dense(2, 2, activation="relu")])
def test_spectral_norm_refuses_what_is_not_linear(layer):
    with pytest.raises(ValueError, match="^SpectralNorm: "):
        SpectralNorm(layer())
