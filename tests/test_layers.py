"""Layers that are rewritten for the CPU equal MindSpore's own: values, gradients, statistics."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.models.layers import BatchNorm1d, LeakyReLU
from ms_gan.system import runtime


class ForwardAndBack(nn.Cell):
    """x, dy -> y, the gradients for x and the weights."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.weights = ms.ParameterTuple(net.trainable_params())

    def construct(self, x, dy):
        y, pull_back = ms.vjp(self.net, x, weights=self.weights)
        return y, pull_back(dy)


@pytest.fixture(autouse=True)
def fast_again():
    yield
    runtime.set_layers("fast")


@pytest.mark.parametrize("rows", [8, 128])
def test_batch_norm_equals_mindspore(rows, rng):
    ours, theirs = BatchNorm1d(40, momentum=0.9), nn.BatchNorm1d(40, momentum=0.9)
    assert ours.fast
    for parameter in ("gamma", "beta"):
        value = Tensor(rng.normal(1.0, 0.5, 40).astype(np.float32))
        for net in (ours, theirs):
            getattr(net, parameter).set_data(value)
    names = [[p.name for p in net.get_parameters()] for net in (ours, theirs)]
    assert names[0] == names[1]
    nets = [ForwardAndBack(net.set_train()) for net in (ours, theirs)]
    for _ in range(3):
        x, dy = (Tensor(rng.normal(3.0, 2.0, (rows, 40)).astype(np.float32)) for _ in "xy")
        (y, (dx, weights)), (y2, (dx2, weights2)) = (net(x, dy) for net in nets)
        for a, b in zip((y, *dx, *weights), (y2, *dx2, *weights2), strict=True):
            np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-4, atol=2e-5)
    for a, b in zip(ours.get_parameters(), theirs.get_parameters(), strict=True):
        np.testing.assert_allclose(a.asnumpy(), b.asnumpy(), rtol=1e-5, atol=1e-6, err_msg=a.name)
    x = Tensor(rng.normal(size=(5, 40)).astype(np.float32))
    ours.set_train(False)
    theirs.set_train(False)
    np.testing.assert_allclose(ours(x).asnumpy(), theirs(x).asnumpy(), rtol=1e-5, atol=1e-5)


def test_leaky_relu_to_the_bit():
    x = np.float32([-np.inf, -3e38, -2.5, -1e-20, 0.0, 1e-20, 2.5, 3e38, np.inf])
    net = ForwardAndBack(LeakyReLU(0.2))
    assert net.net.fast
    y, (dx, _) = net(Tensor(x), Tensor(np.full_like(x, 3.0)))
    slope = np.where(x > 0, np.float32(1.0), np.float32(0.2))
    assert y.asnumpy().tobytes() == (x * slope).tobytes()
    assert dx[0].asnumpy().tobytes() == (3 * slope).tobytes()
    assert np.isnan(net(Tensor(x * np.nan), Tensor(x))[0].asnumpy()).all()  # not hidden


@pytest.mark.parametrize("make", [lambda: LeakyReLU(0.2), lambda: BatchNorm1d(12)])
def test_native_layers_are_mindspores(make, rng):
    fast = ForwardAndBack(make().set_train())
    runtime.set_layers("native")
    native = ForwardAndBack(make().set_train())

    assert native.net.fast is False
    x, dy = (Tensor(rng.normal(size=(8, 12)).astype(np.float32)) for _ in "xy")
    (y, (dx, _)), (y2, (dx2, _)) = fast(x, dy), native(x, dy)
    np.testing.assert_allclose(y.asnumpy(), y2.asnumpy(), rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(dx[0].asnumpy(), dx2[0].asnumpy(), rtol=1e-4, atol=2e-6)
