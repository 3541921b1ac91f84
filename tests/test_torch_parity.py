"""One full update of the DCGAN pair against PyTorch in float64, from the same weights.

Convolutions and their BatchNorm, which tests/numpy_reference.py does not have. PyTorch is a
test-only extra (`pip install torch`); without it this file is skipped.
"""

import numpy as np
import pytest

from mindspore import Tensor

from tests import tiny

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with it not checked")
F = torch.nn.functional

MODEL = {"name": "dcgan", "latent_dim": 10, "g_width": 4, "d_width": 4}
SHAPE, TARGET = (1, 32, 32), 0.9
LR, BETA1, BETA2, EPS, N = 2e-4, 0.5, 0.999, 1e-8, 16


def forward(weights, role, x):
    """The layers in the order of their numbers: convolution, BatchNorm if there is one, bend."""
    making = role == "generator"
    convolve = F.conv_transpose2d if making else F.conv2d
    first, *_, last = layers = sorted(int(n.split(".")[2]) for n in weights if is_kernel(n, role))
    for i in layers:
        inner = i == (first if making else last)  # between 1x1 and 4x4
        x = convolve(x, weights[f"{role}.model.{i}.weight"], None, *((1, 0) if inner else (2, 1)))
        gamma, beta = (weights.get(f"{role}.model.{i + 1}.{kind}") for kind in ("gamma", "beta"))
        if gamma is not None:
            x = F.batch_norm(x, None, None, gamma, beta, True, 0.0, 1e-5)
        if i != last:
            x = F.leaky_relu(x, 0.0 if making else 0.2)
    return torch.tanh(x) if making else x.reshape(len(x))


def is_kernel(name, role):
    return name.startswith(role) and name.endswith("weight")


def adam(weights, loss):
    """One step from zero moments, with the epsilon of MindSpore's kernel; returns the gradients."""
    grads = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
    lr = LR * np.sqrt(1 - BETA2) / (1 - BETA1)
    with torch.no_grad():
        for name, grad in grads.items():
            moment = (1 - BETA1) * grad
            weights[name] -= lr * moment / (torch.sqrt((1 - BETA2) * grad**2) + EPS)
    return grads


def test_one_full_update(rng):
    loss = {"name": "non_saturating", "real_target": TARGET}
    state = tiny.state_of(SHAPE, batch=N, model=MODEL, loss=loss)
    theirs = {
        p.name: torch.tensor(p.asnumpy(), dtype=torch.float64, requires_grad=True)
        for p in state.parameters
        if p.requires_grad and p.name.startswith(("generator", "discriminator"))
    }
    of_g, of_d = (
        {name: w for name, w in theirs.items() if name.startswith(role)} for role in ("gen", "dis")
    )
    real = rng.uniform(-1, 1, (N, *SHAPE)).astype(np.float32)
    z = rng.standard_normal((N, 10)).astype(np.float32)

    x = torch.tensor(real, dtype=torch.float64)
    fake = forward(of_g, "generator", torch.tensor(z, dtype=torch.float64)[:, :, None, None])
    real_scores, fake_scores = (
        forward(of_d, "discriminator", image) for image in (x, fake.detach())
    )
    loss_d = TARGET * F.softplus(-real_scores) + (1 - TARGET) * F.softplus(real_scores)
    loss_d = loss_d.mean() + F.softplus(fake_scores).mean()
    grads = adam(of_d, loss_d)
    loss_g = F.softplus(-forward(of_d, "discriminator", fake)).mean()
    grads |= adam(of_g, loss_g)

    outputs = [x.asnumpy() for x in state.update(Tensor(real), Tensor(z))]
    expected = [x.detach().numpy() for x in (loss_d, loss_g, real_scores, fake_scores)]
    for ours, reference in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-5)
    after = tiny.values(state)
    for name, reference in theirs.items():
        # Adam's first step is lr * sign(gradient): where the gradient is rounding noise its sign
        # means nothing.
        clear = np.abs(grads[name].numpy()) > 1e-6
        np.testing.assert_allclose(
            after[name][clear], reference.detach().numpy()[clear], rtol=1e-4, atol=LR / 100,
            err_msg=name,
        )  # fmt: skip
        if name.endswith("weight"):
            assert clear.mean() > 0.9, name
