"""One full update of the MLP and DCGAN pairs against PyTorch in float64, from the same weights.

PyTorch is a test-only extra (`pip install torch`); without it this file is skipped, and the MLP
pair is still held against NumPy in test_cells.py.
"""

import numpy as np
import pytest

from mindspore import Tensor

from ms_gan import build
from ms_gan.recipe import reader

torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with it not checked")
F = torch.nn.functional

CASES = {
    "gan": ({"latent_dim": 10, "g_widths": [12, 24], "d_widths": [20, 12]}, (1, 8, 8), 1.0),
    "dcgan": ({"latent_dim": 10, "g_width": 4, "d_width": 4}, (1, 32, 32), 0.9),
}
LR, BETA1, BETA2, EPS, N = 2e-4, 0.5, 0.999, 1e-8, 16


class TorchNet:
    """The layers of a net, read off the names and shapes of its parameters."""

    def __init__(self, weights, role, slope, image_shape):
        self.image_shape, self.slope = image_shape, slope
        self.generator = role == "generator"
        self.layers = {}
        for name, value in weights.items():
            net, _, index, kind = name.split(".")
            if net == role:
                tensor = torch.tensor(value, dtype=torch.float64)
                tensor.requires_grad_(not kind.startswith("moving"))
                self.layers.setdefault(int(index), {})[kind] = tensor
        self.indices = sorted(self.layers)

    def parameters(self):
        return {
            f"{i}.{kind}": tensor
            for i in self.indices
            for kind, tensor in self.layers[i].items()
            if tensor.requires_grad
        }

    def __call__(self, x):
        convolutional = self.layers[0]["weight"].dim() == 4
        if convolutional and self.generator:
            x = x.reshape(len(x), -1, 1, 1)
        elif not convolutional:
            x = x.reshape(len(x), -1)
        for position, i in enumerate(self.indices):
            layer = self.layers[i]
            last = position == len(self.indices) - 1
            if "gamma" in layer:
                x = F.batch_norm(x, None, None, layer["gamma"], layer["beta"], True, 0.0, 1e-5)
            else:
                x = self.linear(x, layer, first=position == 0, last=last)
            before_norm = not last and "gamma" in self.layers[self.indices[position + 1]]
            if last and self.generator:
                x = torch.tanh(x)
            elif not last and not before_norm:
                x = F.leaky_relu(x, self.slope)
        return x.reshape(len(x), *self.image_shape) if self.generator else x.reshape(len(x))

    def linear(self, x, layer, first, last):
        weight, bias = layer["weight"], layer.get("bias")
        if weight.dim() == 2:
            return F.linear(x, weight, bias)
        inner = (last and not self.generator) or (first and self.generator)
        stride, padding = (1, 0) if inner else (2, 1)
        convolve = F.conv_transpose2d if self.generator else F.conv2d
        return convolve(x, weight, bias, stride, padding)


def adam(parameters, loss):
    """One step of Adam from zero moments, with the epsilon of MindSpore's kernel."""
    grads = torch.autograd.grad(loss, list(parameters.values()))
    lr = LR * np.sqrt(1 - BETA2) / (1 - BETA1)
    with torch.no_grad():
        for value, grad in zip(parameters.values(), grads, strict=True):
            moment = (1 - BETA1) * grad
            value -= lr * moment / (torch.sqrt((1 - BETA2) * grad**2) + EPS)
    return dict(zip(parameters, grads, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_one_full_update(name, rng):
    options, shape, target = CASES[name]
    config = reader.from_dict(
        {
            "name": "parity",
            "model": {"name": name, **options},
            "loss": {"name": "non_saturating", "real_target": target},
            "train": {"steps": 1},
        }
    )
    state = build.build_training(config, shape, 0, {})
    nets = [p for p in state.parameters if p.name.startswith(("generator", "discriminator"))]
    weights = {p.name: p.asnumpy().copy() for p in nets}
    generator = TorchNet(weights, "generator", 0.0, shape)
    discriminator = TorchNet(weights, "discriminator", 0.2, shape)
    real = rng.uniform(-1, 1, (N, *shape)).astype(np.float32)
    z = rng.standard_normal((N, 10)).astype(np.float32)

    x = torch.tensor(real, dtype=torch.float64)
    fake = generator(torch.tensor(z, dtype=torch.float64))
    real_scores, fake_scores = discriminator(x), discriminator(fake.detach())
    loss_d = target * F.softplus(-real_scores) + (1 - target) * F.softplus(real_scores)
    loss_d = loss_d.mean() + F.softplus(fake_scores).mean()
    grads = {"discriminator": adam(discriminator.parameters(), loss_d)}
    loss_g = F.softplus(-discriminator(fake)).mean()
    grads["generator"] = adam(generator.parameters(), loss_g)

    outputs = [x.asnumpy() for x in state.update(Tensor(real), Tensor(z))]
    expected = [x.detach().numpy() for x in (loss_d, loss_g, real_scores, fake_scores)]
    for ours, theirs in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    for parameter in nets:
        role, _, rest = parameter.name.split(".", 2)
        if "moving" in rest:
            continue
        net = generator if role == "generator" else discriminator
        theirs = net.parameters()[rest].detach().numpy()
        # Adam's first step is lr * sign(gradient): where the gradient is rounding noise (biases in
        # front of BatchNorm) its sign means nothing.
        clear = np.abs(grads[role][rest].numpy()) > 1e-6
        ours = parameter.asnumpy()
        np.testing.assert_allclose(
            ours[clear], theirs[clear], rtol=1e-4, atol=LR / 100, err_msg=parameter.name
        )
        if rest.endswith("weight"):
            assert clear.mean() > 0.9
