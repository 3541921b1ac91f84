"""Adam against its formula, with and without momentum."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor

from ms_gan.training.optimizers import Adam


@pytest.mark.parametrize("beta1, beta2", [(0.5, 0.999), (0.0, 0.99), (0.0, 0.9), (0.9, 0.999)])
def test_adam_equals_numpy(rng, beta1, beta2):
    lr, eps = 0.01, 1e-8
    start = rng.standard_normal(7).astype(np.float32)
    weight = Parameter(Tensor(start), name="w")
    optimizer = Adam([weight], lr=lr, beta1=beta1, beta2=beta2, eps=eps)
    w, m, v = start.astype(np.float64), np.zeros(7), np.zeros(7)
    for t in range(1, 6):
        g = rng.standard_normal(7)
        optimizer((Tensor(g, ms.float32),))
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w -= lr * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + eps)
    np.testing.assert_allclose(weight.asnumpy(), w, rtol=1e-5, atol=1e-6)


def test_without_momentum_only_the_last_gradient_counts():
    weight = Parameter(Tensor(np.zeros(1, np.float32)), name="w")
    optimizer = Adam([weight], lr=0.1, beta1=0.0, beta2=0.0)
    for g in (5.0, -3.0):
        before = float(weight.asnumpy()[0])
        optimizer((Tensor([g], ms.float32),))
    assert float(weight.asnumpy()[0]) - before == pytest.approx(0.1, rel=1e-4)
