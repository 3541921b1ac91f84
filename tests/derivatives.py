"""Nets and finite differences with which second-order gradients are checked."""

import numpy as np

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from tests.tiny import randomise

# The reference is itself float32: its rounding, 1e-7 of the penalty over a step of 1e-2, measures
# 1e-6 to 2e-4 of the gradient here (truncation is removed by extrapolation). A missing second-order
# term is an error of 1.
TOLERANCE = 2e-3
STEP = 1e-2


def tensor(x):
    return Tensor(np.asarray(x), ms.float32)


def numpy_of(x):
    return x.asnumpy().astype(np.float64)


def images(seed, n=3):
    return tensor(np.random.default_rng(seed).normal(0.0, 1.0, (n, 1, 4, 4)))


# --- nets: a judge (images, given) -> scores, or a discriminator (images, labels) -> scores ------


class Linear(nn.Cell):
    """D(x) = <w, x>, whose image gradient is w everywhere."""

    def __init__(self, w):
        super().__init__()
        self.w = Parameter(tensor(w), name="w")

    def construct(self, x, given=None):
        return (x * self.w).reshape((x.shape[0], -1)).sum(axis=1)


class Tail(nn.Cell):
    """Layers, then a smooth head: scores [N], with a curvature that every layer takes part in."""

    def __init__(self, layers, features):
        super().__init__()
        self.layers = nn.SequentialCell(layers)
        self.head = nn.Dense(features, 3)
        self.score = nn.Dense(3, 1)

    def construct(self, x, given=None):
        x = self.layers(x)
        x = ops.tanh(self.head(x.reshape((x.shape[0], -1))))
        return self.score(x).reshape((-1,))


def smooth(seed):
    """A Tail of dense layers and tanh for images [N, 1, 4, 4], in evaluation mode."""
    net = Tail([nn.Flatten(), nn.Dense(16, 4), nn.Tanh()], 4)
    return randomise(net, seed).set_train(False)


def conv(inputs, outputs, kernel, stride):
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, pad_mode="pad", padding=1, has_bias=True
    )


def deconv(inputs, outputs):
    return nn.Conv2dTranspose(
        inputs, outputs, 4, stride=2, pad_mode="pad", padding=1, has_bias=True
    )


# --- gradients ----------------------------------------------------------------------------------


class ValueAndGrad(nn.Cell):
    """Value of a network and its gradient in the parameters."""

    def __init__(self, network, parameters):
        super().__init__(auto_prefix=False)
        self.network = network  # without it set_train() would not reach the network
        self.value_and_grad = ms.value_and_grad(network, None, parameters)

    def construct(self, *inputs):
        return self.value_and_grad(*inputs)


def differentiate(penalty, inputs):
    """name -> float64 gradient of a scalar in its parameters."""
    parameters = penalty.trainable_params()
    gradients = ValueAndGrad(penalty, ms.ParameterTuple(parameters))(*inputs)[1]
    return dict(zip([p.name for p in parameters], map(numpy_of, gradients), strict=True))


def finite_differences(penalty, inputs):
    """The same by extrapolated central differences, entry by entry."""
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


def in_one(gradients):
    """All gradients of a dict as one vector."""
    return np.concatenate([g.ravel() for g in gradients.values()])
