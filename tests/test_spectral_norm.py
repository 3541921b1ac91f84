"""Spectral normalisation against singular values; its power iteration, and what it refuses."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import nn, ops

from ms_gan.models.spectral_norm import SpectralNorm
from ms_gan.objectives.penalties import R1
from tests.derivatives import Tail, ValueAndGrad, conv, deconv, images, numpy_of, tensor
from tests.tiny import randomise

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
    normalised = randomise(SpectralNorm(layer), 1)
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
    norm = randomise(SpectralNorm(nn.Dense(6, 5)), 1)
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
        self.penalty = R1(network)

    def construct(self, real, fake):
        loss = ops.softplus(self.network(fake) - self.network(real)).mean()
        return loss + self.penalty(real, fake)


def test_spectral_norm_iterates_once_a_pass_in_a_graph_with_a_penalty():
    network = randomise(Tail([SpectralNorm(conv(1, 3, 4, 2)), nn.Tanh()], 12), 4)
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
