"""16-bit products: against NumPy's rounding, and the scale of the loss that float16 needs."""

import numpy as np
import pytest

from mindspore import Tensor, nn

from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError
from ms_gan.training import cells
from ms_gan.training.precision import Rounded, Scaled, lower
from tests import tiny
from tests.tiny import refused, values

SHAPE, N = (1, 4, 4), 16
TINY = {"name": "gan", "latent_dim": 4, "g_widths": [8, 8], "d_widths": [8]}


def rounded(array, dtype):
    """NumPy's float16; bfloat16 is the upper half of a float32, rounded to even."""
    if dtype == "float16":
        return array.astype(np.float16).astype(np.float32)
    bits = array.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_product_of_rounded_factors(rng, dtype):
    net = nn.SequentialCell(nn.Dense(8, 4))
    net[0].bias.set_data(Tensor(rng.standard_normal(4).astype(np.float32)))
    lower(net, dtype)
    x = rng.standard_normal((5, 8)).astype(np.float32)
    weight, bias = net[0].weight.asnumpy(), net[0].bias.asnumpy()
    product = rounded(x, dtype).astype(np.float64) @ rounded(weight, dtype).astype(np.float64).T
    expected = rounded(product.astype(np.float32), dtype) + bias  # the bias is not rounded
    step = 2.0 ** (-10 if dtype == "float16" else -7)  # sums in another order may round elsewhere
    y = net(Tensor(x)).asnumpy()
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=step, atol=step)
    assert not np.allclose(y, x @ weight.T + bias, rtol=step / 50, atol=step / 50)


def test_layers_with_weights_are_lowered_and_nothing_else():
    """Of a generator's layers; its average, which is sampled, stays as it is."""
    state = tiny.state_of(SHAPE, batch=N, model=TINY, runtime={"amp": "bfloat16"})
    layers = [c for _, c in state.generator.cells_and_names() if isinstance(c, nn.Dense)]
    assert len(layers) == 3 and all(isinstance(layer.matmul, Rounded) for layer in layers)
    found = [c for _, c in state.sampler.net.cells_and_names() if isinstance(c, Rounded)]
    assert not found and all(p.dtype.__str__() in ("Float32", "Int32") for p in state.parameters)


def updates(rng, state, num):
    losses = []
    for _ in range(num):
        real = rng.uniform(-1, 1, (N, *SHAPE)).astype(np.float32)
        outputs = state.update(Tensor(real), Tensor(rng.standard_normal((N, 4)).astype(np.float32)))
        losses.append([float(x.asnumpy()) for x in outputs[:2]])
    return np.array(losses)


@pytest.mark.parametrize("amp, near", [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_updates_are_nearly_those_of_float32(amp, near):
    """With a penalty, so through the second derivative too; the names of the weights are kept."""
    both = [
        tiny.state_of(SHAPE, batch=N, model=TINY, regularizer={"name": "r1"}, runtime=runtime)
        for runtime in ({}, {"amp": amp})
    ]
    plain, lowered = (updates(np.random.default_rng(0), state, 3) for state in both)
    np.testing.assert_allclose(lowered, plain, rtol=near)
    assert (lowered != plain).all()
    names = [{p.name for p in s.parameters if not p.name.startswith("scaling_")} for s in both]
    assert names[0] == names[1]


def test_what_overflows_is_no_update(monkeypatch, rng):
    """A scale far too large: weights, moments and counters of Adam stay until it is small enough,
    and the logged losses are those of the loss, not of its multiple."""
    monkeypatch.setattr(Scaled.__init__, "__defaults__", (2.0**40, 1000))
    state = tiny.state_of(
        SHAPE, batch=N, model=TINY, train={"ema_decay": 0.9}, runtime={"amp": "float16"}
    )
    before = values(state)
    losses = updates(rng, state, 3)
    after = values(state)
    assert (np.abs(losses) < 10).all()
    moved = {name for name in before if (before[name] != after[name]).any()}
    kept = {n for n in moved if not n.startswith(("scaling_", "average.")) and "moving_" not in n}
    assert not kept
    for side in ("scaling_d", "scaling_g"):
        assert after[f"{side}.scale"] == 2.0**37 and after[f"{side}.skipped"] == 3
    assert [int(counter.asnumpy()) for counter in state.skipped] == [3, 3]
    updates(rng, state, 30)
    after = values(state)
    assert 1 < after["scaling_d.scale"] < 2.0**37 and after["optimizer_d.global_step"] > 0


def test_the_scale_doubles_after_enough_good_updates(rng):
    class Squares(nn.Cell):
        def __init__(self):
            super().__init__()
            self.net = nn.Dense(4, 1)

        def construct(self, real, fake, given=None):
            return (self.net(real) ** 2).mean(), self.net(real)[:, 0], self.net(fake)[:, 0]

    network = Squares()
    scaling = Scaled("s", 4.0, 3)
    step = cells.TrainDiscriminatorCell(
        network, nn.SGD(network.trainable_params(), 0.1), scaling=scaling
    )
    x = rng.standard_normal((6, 4)).astype(np.float32)
    seen = []
    for _ in range(7):
        expected = ((x @ network.net.weight.asnumpy().T + network.net.bias.asnumpy()) ** 2).mean()
        loss = step(Tensor(x), Tensor(x))[0].asnumpy()
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        seen.append(float(scaling.scale.asnumpy()))
    assert seen == [4, 4, 8, 8, 8, 16, 16]


def test_a_word_that_is_none_is_refused():
    said = refused(ConfigError, reader.from_dict, {"name": "x", "runtime": {"amp": "fp16"}})
    assert said == "runtime.amp: expected one of float16, bfloat16, got 'fp16'"
