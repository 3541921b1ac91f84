"""Ramps: their formula, and that they act inside the compiled step without recompiling it."""

import math

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor

from ms_gan import build
from ms_gan.recipe import reader
from ms_gan.training.optimizers import Adam
from ms_gan.training.schedules import RampSchedule


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_ramp_follows_its_formula(shape):
    ramp = RampSchedule(2.0, 0.5, steps=10, after=5, shape=shape)
    for step in (0, 5, 6, 9, 10, 15, 400):
        share = min(max((step - 5) / 10, 0), 1)
        if shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        value = float(ramp(Tensor([step], ms.int32)))
        assert value == pytest.approx(2.0 - 1.5 * share, rel=1e-6)


def test_learning_rate_ramp_scales_each_update():
    """Without momentum, at a constant gradient, Adam moves by the learning rate of the step."""
    weight = Parameter(Tensor(np.zeros(1, np.float32)), name="w")
    ramp = RampSchedule(0.1, 0.0, steps=4, shape="linear")
    optimizer = Adam([weight], lr=ramp, beta1=0.0, beta2=0.0)
    positions = [0.0]
    for _ in range(6):
        optimizer((Tensor([1.0], ms.float32),))
        positions.append(float(weight.asnumpy()[0]))
    assert np.diff(positions) == pytest.approx([-0.1, -0.075, -0.05, -0.025, 0.0, 0.0], abs=1e-6)


def test_ramps_in_the_fused_step(rng):
    """The penalty's weight falls to 0 and both learning rates with it; one compilation serves."""
    ramp = {"start": 5.0, "end": 0.0, "steps": 2, "shape": "linear"}
    lr = {"start": 1.0e-2, "end": 0.0, "steps": 3, "shape": "linear"}
    config = reader.from_dict(
        {
            "name": "test",
            "model": {"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]},
            "loss": "relativistic",
            "regularizer": {"name": "r1_r2", "weight": ramp},
            "optimizer": {"lr_d": lr, "lr_g": lr, "beta1": 0.0},
            "train": {"steps": 5},
        }
    )
    state = build.build_training(config, (1, 4, 4), 0, {})
    real = Tensor(rng.uniform(-1, 1, (6, 1, 4, 4)).astype(np.float32))
    z = Tensor(rng.standard_normal((6, 4)).astype(np.float32))
    moves = []
    for step in range(5):
        before = {p.name: p.asnumpy().copy() for p in state.parameters}
        loss_d, _, real_scores, fake_scores = (x.asnumpy() for x in state.update(real, z))
        plain = np.logaddexp(0, fake_scores - real_scores).mean()
        assert (loss_d > plain + 1e-5) == (step < 2)
        nets = [p for p in state.parameters if p.name.startswith(("generator", "discr"))]
        moves.append(max(np.abs(p.asnumpy() - before[p.name]).max() for p in nets))
    assert moves[0] > moves[1] > moves[2] > 0 and moves[3] == moves[4] == 0
    assert len(state.update.compile_cache) == 1
