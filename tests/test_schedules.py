"""Ramps: their formula, and that they act inside the compiled step without recompiling it."""

import math

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, Tensor

from ms_gan.training.optimizers import adam
from ms_gan.training.schedules import RampSchedule, Weight
from tests import tiny
from tests.tiny import values


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
    optimizer = adam([weight], lr=ramp, beta1=0.0, beta2=0.0)
    positions = [0.0]
    for _ in range(6):
        optimizer((Tensor([1.0], ms.float32),))
        positions.append(float(weight.asnumpy()[0]))
    assert np.diff(positions) == pytest.approx([-0.1, -0.075, -0.05, -0.025, 0.0, 0.0], abs=1e-6)


def test_a_weight_is_a_number_or_a_schedule_of_the_updates():
    updates, x = Parameter(Tensor([3], ms.int32), name="step"), Tensor(2.0, ms.float32)
    assert float(Weight(1.0)(x)) == 2.0
    assert float(Weight(0.25)(x)) == 0.5
    assert float(Weight(0.0)(x)) == 0.0
    ramp = Weight(RampSchedule(5.0, 1.0, steps=4, shape="linear"), updates)
    assert float(ramp(x)) == pytest.approx(2.0 * 2.0)
    updates.set_data(Tensor([9], ms.int32))
    assert float(ramp(x)) == pytest.approx(1.0 * 2.0)


def test_ramps_in_the_fused_step(rng):
    """The penalty's weight falls to 0 and both learning rates with it; one compilation serves."""
    ramp = {"start": 5.0, "end": 0.0, "steps": 2, "shape": "linear"}
    lr = {"start": 1.0e-2, "end": 0.0, "steps": 3, "shape": "linear"}
    state = tiny.state_of(
        (1, 4, 4),
        batch=6,
        model={"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]},
        loss="relativistic",
        regularizer={"name": "r1_r2", "weight": ramp},
        optimizer={"lr_d": lr, "lr_g": lr, "beta1": 0.0},
    )
    real = Tensor(rng.uniform(-1, 1, (6, 1, 4, 4)).astype(np.float32))
    z = Tensor(rng.standard_normal((6, 4)).astype(np.float32))
    moves = []
    for step in range(5):
        before = values(state)
        loss_d, _, real_scores, fake_scores = (x.asnumpy() for x in state.update(real, z))
        plain = np.logaddexp(0, fake_scores - real_scores).mean()
        assert (loss_d > plain + 1e-5) == (step < 2)
        moves.append(
            max(
                np.abs(value - before[name]).max()
                for name, value in values(state).items()
                if name.startswith(("generator", "discriminator"))
            )
        )
    assert moves[0] > moves[1] > moves[2] > 0 and moves[3] == moves[4] == 0
    assert len(state.update.compile_cache) == 1
