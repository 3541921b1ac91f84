"""Optimizers against their formulas, with and without momentum; options that they refuse."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor

from ms_gan.training.optimizers import OPTIMIZERS, adam, rmsprop
from tests.tiny import refused


def moved(make, rng, **options):
    """A weight after five updates with random gradients, its start, and these gradients."""
    start = rng.standard_normal(7).astype(np.float32)
    weight = Parameter(Tensor(start), name="w")
    optimizer = make([weight], **options)
    gradients = rng.standard_normal((5, 7))
    for g in gradients:
        optimizer((Tensor(g, ms.float32),))
    return weight.asnumpy(), start.astype(np.float64), gradients


@pytest.mark.parametrize("beta1, beta2", [(0.5, 0.999), (0.0, 0.99), (0.0, 0.9), (0.9, 0.999)])
def test_adam_equals_numpy(rng, beta1, beta2):
    lr, eps = 0.01, 1e-8
    found, w, gradients = moved(adam, rng, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    m, v = np.zeros(7), np.zeros(7)
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w -= lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
    np.testing.assert_allclose(found, w, rtol=1e-5, atol=1e-6)


def test_without_momentum_only_the_last_gradient_counts():
    weight = Parameter(Tensor(np.zeros(1, np.float32)), name="w")
    optimizer = adam([weight], lr=0.1, beta1=0.0, beta2=0.0)
    for g in (5.0, -3.0):
        before = float(weight.asnumpy()[0])
        optimizer((Tensor([g], ms.float32),))
    assert float(weight.asnumpy()[0]) - before == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("decay", [0.9, 0.5])
def test_rmsprop_equals_numpy(rng, decay):
    lr, eps = 0.01, 1e-8
    found, w, gradients = moved(rmsprop, rng, lr=lr, decay=decay, eps=eps)
    v = np.ones(7)  # where MindSpore begins
    for g in gradients:
        v = decay * v + (1 - decay) * g * g
        w -= lr * g / np.sqrt(v + eps)
    np.testing.assert_allclose(found, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name, options",
    [
        ("adam", {"beta1": 1.0}),
        ("adam", {"beta2": -0.1}),
        ("adam", {"beta1": float("nan")}),
        ("adam", {"eps": 0.0}),
        ("rmsprop", {"decay": 1.0}),
        ("rmsprop", {"eps": -1e-8}),
    ],
)
def test_what_cannot_work_is_one_line(name, options):
    weight = Parameter(Tensor(np.zeros(1, np.float32)), name="w")
    message = refused(ValueError, OPTIMIZERS[name], [weight], lr=0.1, **options)
    assert message.startswith(f"{next(iter(options))}: expected ")
