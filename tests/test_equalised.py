"""Layers whose learning rate is equalised, PixelNorm and the standard deviation of a minibatch."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor

from ms_gan.models import equalised
from ms_gan.models.equalised import MinibatchStd, PixelNorm
from tests.derivatives import numpy_of
from tests.test_models import conv
from tests.tiny import randomise, state_of

STYLEGAN = {
    "name": "stylegan", "latent_dim": 3, "style_dim": 4, "mapping_layers": 1,
    "g_widths": [4, 3], "d_widths": [4, 3],
}  # fmt: skip


def single(x):
    return Tensor(np.asarray(x, np.float32))


@pytest.mark.parametrize(
    "kernel, gain, stride, padding, bias",
    [(3, 1.0, 1, None, True), (1, 2.0, 1, None, False), (3, np.sqrt(2), 2, 0, True)],
)
def test_a_convolution_is_a_scaled_one(kernel, gain, stride, padding, bias, rng):
    layer = equalised.Conv(
        5, 4, kernel, gain=gain, stride=stride, padding=padding, bias=bias
    )  # fmt: skip
    randomise(layer, 1)
    x = rng.standard_normal((2, 5, 7, 9))
    weight = numpy_of(layer.weight) * gain / np.sqrt(5 * kernel**2)
    expected = conv(x, weight, stride, kernel // 2 if padding is None else padding)
    assert (layer.bias is not None) == bias
    if bias:
        expected += numpy_of(layer.bias)[:, None, None]
    np.testing.assert_allclose(layer(single(x)).asnumpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_a_dense_layer_is_a_scaled_one(rate, rng):
    layer = equalised.Dense(6, 4, gain=1.5, rate=rate, bias=0.5)
    x = rng.standard_normal((3, 6))
    expected = x @ (numpy_of(layer.weight) * rate * 1.5 / np.sqrt(6)).T + 0.5
    np.testing.assert_allclose(layer(single(x)).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    assert equalised.Dense(6, 4, bias=None).bias is None


def test_a_slow_layer_begins_as_a_fast_one_and_moves_by_its_rate():
    """The same function of N(0, 1) / rate; a step of the stored weights is `rate` times as long."""
    ms.set_seed(0)
    x, before = single(np.eye(400)), {}
    for rate in (1.0, 0.01):
        layer = equalised.Dense(400, 50, rate=rate, bias=2.0)
        outputs = layer(x).asnumpy() - 2.0
        assert outputs.std() == pytest.approx(1 / np.sqrt(400), rel=0.05)
        assert layer.weight.asnumpy().std() == pytest.approx(1 / rate, rel=0.05)
        layer.weight.set_data(layer.weight + 0.1)
        layer.bias.set_data(layer.bias + 0.1)
        before[rate] = layer(x).asnumpy() - 2.0 - outputs
    np.testing.assert_allclose(before[1.0], 0.1 / np.sqrt(400) + 0.1, atol=1e-5)
    np.testing.assert_allclose(before[0.01], 0.01 * before[1.0], atol=1e-5)


@pytest.mark.parametrize("length", [None, 1.0])
def test_rows_have_their_length(length):
    ms.set_seed(0)
    table = equalised.rows(7, 64, length=length)(single(np.eye(7))).asnumpy()
    mean = np.sqrt((table**2).sum(axis=1).mean())
    assert mean == pytest.approx(8.0 if length is None else length, rel=0.1)


@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 4, 3)])
def test_pixel_norm(shape, rng):
    x = 30 * rng.standard_normal(shape)
    y = PixelNorm()(single(x)).asnumpy()
    np.testing.assert_allclose((y**2).mean(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y, x / np.sqrt((x**2).mean(axis=1, keepdims=True)), rtol=1e-4)
    assert np.isfinite(PixelNorm()(single(np.zeros(shape))).asnumpy()).all()


@pytest.mark.parametrize("group, rows, members", [(4, 8, 4), (4, 6, 3), (4, 7, 1), (2, 6, 2)])
def test_minibatch_std(group, rows, members, rng):
    """Image i is in a group with those that lie rows / members apart; 7 has no divisor to 4."""
    x = rng.standard_normal((rows, 2, 3, 4)) * np.arange(1, rows + 1).reshape(-1, 1, 1, 1)
    y = MinibatchStd(group)(single(x)).asnumpy()
    assert y.shape == (rows, 3, 3, 4)
    np.testing.assert_array_equal(y[:, :2], x.astype(np.float32))
    groups = rows // members
    for i in range(rows):
        own = x[i % groups :: groups]
        assert len(own) == members
        np.testing.assert_allclose(y[i, 2], own.std(axis=0).mean(), rtol=1e-4, atol=1.1e-4)


@pytest.mark.parametrize("group, joined", [(4, False), (0, True)])
def test_images_that_are_judged_together_are_not_joined_with_others(group, joined):
    """Real and generated images in one pass would share their groups."""
    state = state_of((1, 8, 8), batch=4, model={**STYLEGAN, "stddev_group": group})
    assert state.update.train_d.network.joined is joined
    assert state.update.train_d.network.judge.joins is joined
