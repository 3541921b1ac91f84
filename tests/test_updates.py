"""Which compiled step does which update: lazy parts and levels."""

import gc

import numpy as np
import pytest

from mindspore import Tensor

from ms_gan.models.growth import Growth
from ms_gan.objectives.penalties import CONSTRAINTS, PENALTIES
from ms_gan.recipe.schema import ConfigError
from ms_gan.training.updates import Updates, parts_of, sets_of
from tests import tiny
from tests.tiny import refused, values

SHAPE, N = (1, 4, 4), 6
NETS = {"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]}
STYLES = {
    "name": "stylegan", "latent_dim": 3, "style_dim": 4, "mapping_layers": 1, "g_widths": [3],
    "d_widths": [3],
}  # fmt: skip


def state_of(regularizer, **sections):
    return tiny.state_of(SHAPE, batch=N, **{"model": NETS, **sections}, regularizer=regularizer)


def batches(rng, num):
    for _ in range(num):
        yield (
            Tensor(rng.uniform(-1, 1, (N, *SHAPE)).astype(np.float32)),
            Tensor(rng.standard_normal((N, 4)).astype(np.float32)),
        )


def put(given, state):
    """Give a state values by name."""
    for parameter in state.parameters:
        parameter.set_data(Tensor(given[parameter.name]))


# --- a pure function of the step ------------------------------------------------------------------


def test_the_step_decides():
    """Three levels, a part in every fourth update: of the run, not of the level."""
    steps = [{(True,): f"{level} with", (False,): f"{level} without"} for level in "abc"]
    updates = Updates(steps, (4,), Growth([3, 6, 1]))
    levels = "aaabbbbbbcccc"
    expected = [f"{levels[k]} {'without' if k % 4 else 'with'}" for k in range(13)]
    assert [updates.at(k) for k in range(13)] == expected
    assert [updates.at(k) for k in reversed(range(13))] == expected[::-1]
    assert updates.all() == [f"{level} {how}" for level in "abc" for how in ("with", "without")]
    assert (updates.cycle, updates.parts(8), updates.parts(9)) == (4, (True,), (False,))


@pytest.mark.parametrize(
    "intervals, sets",
    [
        ((), [()]),
        ((1,), [(True,)]),
        ((3,), [(True,), (False,)]),
        ((16, 4), [(True, True), (False, False), (False, True)]),
        ((2, 3), [(True, True), (False, False), (True, False), (False, True)]),
    ],
)
def test_sets_that_meet(intervals, sets):
    """A compiled step for each, and for no other."""
    assert sets_of(intervals) == sets
    assert {parts_of(intervals, step) for step in range(60)} == set(sets)


# --- lazy penalties -------------------------------------------------------------------------------


def test_a_lazy_penalty_counts_as_often_as_it_is_left_out(rng):
    """Updates 0 and 4 are those of a penalty of four times the weight, the others those of none:
    bit for bit. Two compilations serve."""
    lazy = state_of({"name": "r1", "weight": 2.5, "every": 4})
    heavy, none = state_of({"name": "r1", "weight": 10.0}), state_of(None)
    gc.collect()  # MindSpore forgets compiled shapes when a Cell goes
    for step, batch in enumerate(batches(rng, 6)):
        other = none if step % 4 else heavy
        put(values(lazy), other)
        found, expected = lazy.update(*batch), other.update(*batch)
        assert [float(x.sum()) for x in found] == [float(x.sum()) for x in expected]
        tiny.assert_same_bits(values(lazy), values(other))
        lazy.step += 1
    plain, penalised = (lazy.updates.at(step) for step in (1, 0))
    assert [len(cell.compile_cache) for cell in lazy.updates.all()] == [1, 1]
    assert lazy.updates.all() == [penalised, plain]


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_may_be_lazy(name):
    state = state_of({"name": name, "every": 16})
    penalties = [state.updates.at(step).train_d.network.penalty for step in range(17)]
    assert [penalty is not None for penalty in penalties] == [True, *[False] * 15, True]
    assert type(penalties[0].part) is PENALTIES[name]
    assert penalties[0].weight.factor == 16 * PENALTIES[name].weight
    assert len(state.updates.all()) == 2


def test_a_ramp_is_multiplied_too():
    ramp = {"start": 4.0, "end": 0.0, "steps": 100}
    weight = state_of(
        {"name": "r1", "every": 8, "weight": ramp}
    ).update.train_d.network.penalty.weight
    assert float(weight(Tensor(np.float32(1.0)))) == pytest.approx(32.0)


def test_the_relativistic_loss_needs_its_penalty_in_every_update():
    message = refused(ConfigError, state_of, {"name": "r1_r2", "every": 16}, loss="relativistic")
    assert message.startswith("regularizer.every: expected 1 with loss=relativistic, got 16")
    assert "stable equilibrium" in message
    assert len(state_of({"name": "r1_r2", "every": 1}, loss="relativistic").updates.all()) == 1


@pytest.mark.parametrize(
    "name, every, start",
    [
        ("r1", 0, "regularizer.every: expected at least 1, got 0"),
        ("r1", -4, "regularizer.every: expected at least 1, got -4"),
        ("r1", 2.5, "regularizer.every: expected int, got 2.5"),
        *((name, 2, f"regularizer.every: '{name}' has no such option") for name in CONSTRAINTS),
    ],
)
def test_intervals_that_are_refused(name, every, start):
    assert refused(ConfigError, state_of, {"name": name, "every": every}).startswith(start)


# --- terms of the weights -------------------------------------------------------------------------


def test_the_path_length_is_lazy_and_said_again_in_between(rng):
    """With a weight of 0 it moves nothing but its own mean; in between its newest value stands."""
    terms = {"path_length": {"every": 2, "weight": 0.0}}
    shape, batch = (1, 4, 4), {"model": STYLES, "train": {"ema_decay": 0.9}}
    with_term, plain = (tiny.state_of(shape, batch=4, **batch, **s) for s in ({"terms": terms}, {}))
    real = Tensor(rng.uniform(-1, 1, (4, *shape)).astype(np.float32))
    z = Tensor(rng.standard_normal((4, 7)).astype(np.float32))
    numbers = Tensor(rng.random((4, 16)).astype(np.float32))
    said, means = [], []
    for step in range(3):
        *_, value = with_term.update(real, z, None, numbers)
        plain.update(real, z)
        with_term.step = plain.step = step + 1
        said.append(float(value))
        means.append(float(values(with_term)["path_length.mean"][0]))
    assert said[0] > 0 and said[1] == said[0] != said[2]
    assert 0 < means[0] == means[1] < means[2]
    left, right = values(with_term), values(plain)
    for name in right:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert set(left) - set(right) == {"path_length.mean", "path_length.newest"}


def test_the_path_length_is_for_styles():
    message = refused(ConfigError, state_of, None, terms={"path_length": 1.0})
    assert message.startswith("terms: 'path_length': is for a generator with styles")
