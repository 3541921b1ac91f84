"""The adversarial update: fused = separate = an independent float64 reference, in both modes."""

import numpy as np
import pytest

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.training import cells
from tests import tiny
from tests.numpy_reference import NumpyGan
from tests.tiny import values

N, LATENT, SHAPE = 16, 10, (1, 8, 8)
MODEL = {"name": "gan", "latent_dim": LATENT, "g_widths": [12, 16], "d_widths": [12]}
DEEPER = {**MODEL, "g_widths": [12, 24, 32], "d_widths": [20, 12]}  # held against NumPy
# Their gradient is exactly zero, and Adam enlarges its rounding noise.
BEFORE_NORM = ("generator.model.2.bias", "generator.model.5.bias")


def state_of(num_classes=0, *, shape=SHAPE, **sections):
    return tiny.state_of(shape, num_classes, batch=N, **{"model": MODEL, **sections})


def batch(rng, parts=1, latents=None):
    real = rng.uniform(-1, 1, (parts * N, *SHAPE)).astype(np.float32)
    z = rng.standard_normal(((latents or parts) * N, LATENT)).astype(np.float32)
    return real, z


def separate_cells(state):
    """The same nets and optimizers in two one-step cells, called one after the other."""
    fused = state.update
    return fused.train_d, fused.train_g


def test_fused_step_equals_numpy_float64(mode, rng):
    state = state_of(model=DEEPER)
    weights = {k: v for k, v in values(state).items() if not k.startswith("optimizer")}
    reference = NumpyGan(weights)
    for _ in range(3):
        real, z = batch(rng)
        loss_d, loss_g, real_scores, fake_scores = state.update(Tensor(real), Tensor(z))
        expected = reference.step(real.reshape(N, -1).astype(np.float64), z.astype(np.float64))
        assert np.allclose([float(loss_d), float(loss_g)], expected, rtol=2e-6)
        assert real_scores.shape == fake_scores.shape == (N,)
    after = values(state)
    for name, expected in reference.w.items():
        # Adam moved each weight by up to 3 lr = 6e-4; they must agree to 1/500 of that.
        before_norm = name in BEFORE_NORM
        atol = 1e-5 if before_norm else 1.2e-6
        np.testing.assert_allclose(after[name], expected, rtol=2e-6, atol=atol, err_msg=name)
        if "moving" not in name and not before_norm:
            assert np.abs(expected - weights[name]).max() > 1e-7, f"{name} did not move"


def test_fused_step_equals_separate_steps(mode, rng):
    """The fused one with a moving average, which disturbs nothing."""
    fused, separate = state_of(train={"ema_decay": 0.9}), state_of()
    train_d, train_g = separate_cells(separate)
    batches = [batch(rng) for _ in range(3)]
    for real, z in batches:
        loss_d, loss_g, *_ = fused.update(Tensor(real), Tensor(z))
        fake = separate.generator(Tensor(z))
        expected_d, *_ = train_d(Tensor(real), fake)
        expected_g, *_ = train_g(Tensor(real), Tensor(z))
        assert np.allclose(float(loss_d), float(expected_d), rtol=1e-6)
        assert np.allclose(float(loss_g), float(expected_g), rtol=1e-6)
    left, right = values(fused), values(separate)
    for name in right:
        # The separate way runs the generator twice a step: its BatchNorm statistics advance twice.
        if "moving" not in name:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-6, atol=2e-8, err_msg=name)


def test_graph_equals_pynative_bitwise_or_nearly(rng):
    from ms_gan.system import runtime

    real, z = batch(rng)
    results = []
    for name in ("graph", "pynative"):
        runtime.set_mode(name)
        state = state_of(model=DEEPER)
        for _ in range(3):
            state.update(Tensor(real), Tensor(z))
        results.append(values(state))
    runtime.set_mode("graph")
    for name, value in results[0].items():
        atol = 1e-5 if name in BEFORE_NORM else 1e-7
        np.testing.assert_allclose(value, results[1][name], rtol=1e-5, atol=atol, err_msg=name)


def test_each_step_moves_only_its_own_net(rng):
    state = state_of()
    train_d, train_g = separate_cells(state)
    real, z = batch(rng)
    fake = Tensor(rng.uniform(-1, 1, real.shape).astype(np.float32))
    for step, own, arguments in (
        (train_d, "discriminator", (Tensor(real), fake)),
        (train_g, "generator", (Tensor(real), Tensor(z))),
    ):
        before = values(state)
        step(*arguments)
        after = values(state)
        moved = {k.split(".")[0] for k in before if (before[k] != after[k]).any()}
        assert moved == {own, f"optimizer_{own[0]}"}
        assert all(
            (before[k] != after[k]).any() for k in before if k.startswith(own) and "weight" in k
        )


def test_generator_sees_the_new_discriminator(rng):
    """With a huge learning rate of D, loss_g must be that of the updated D, not of the old one."""
    state = state_of(optimizer={"lr_d": 0.1, "lr_g": 2e-4})
    real, z = batch(rng)
    fake, judge = state.generator(Tensor(z)), state.update.train_d.network.judge

    def loss_of_fakes():
        return float(np.logaddexp(0, -judge(fake).asnumpy()).mean())

    old_d = loss_of_fakes()
    _, loss_g, *_ = state.update(Tensor(real), Tensor(z))
    new_d = loss_of_fakes()
    assert abs(new_d - old_d) > 0.1
    assert float(loss_g) == pytest.approx(new_d, rel=1e-5)


class WithLabels(nn.Cell):
    """A one-step cell alone, given labels: compiled once, where a tuple would be a constant."""

    def __init__(self, step):
        super().__init__(auto_prefix=False)
        self.step = step

    def construct(self, real, other, labels):
        return self.step(real, other, (labels, None))


@pytest.mark.parametrize("same_latents", [True, False])
def test_two_discriminator_steps_equal_two_updates(rng, same_latents):
    """d_steps = 2 is two D updates on the two halves, then a G update on the last latents."""
    sections = {
        "model": {**MODEL, "conditional": True},
        "train": {"d_steps": 2, "same_latents": same_latents},
    }
    fused, separate = state_of(10, **sections), state_of(10, **sections)
    train_d, train_g = map(WithLabels, separate_cells(separate))
    real, z = batch(rng, 2, 2 if same_latents else 3)
    labels = rng.integers(0, 10, 2 * N).astype(np.int32)
    loss_d, loss_g, *_ = fused.update(Tensor(real), Tensor(z), Tensor(labels))
    for i in range(2):
        part = slice(i * N, (i + 1) * N)
        of_part = Tensor(labels[part])
        fake = separate.generator(Tensor(z[part]), of_part)
        expected_d, *_ = train_d(Tensor(real[part]), fake, of_part)
    expected_g, *_ = train_g(Tensor(real[N:]), Tensor(z[-N:]), of_part)
    assert float(loss_d) == pytest.approx(float(expected_d), rel=1e-6)
    assert float(loss_g) == pytest.approx(float(expected_g), rel=1e-6)
    left, right = values(fused), values(separate)
    for name in left:
        if "moving" not in name:
            np.testing.assert_allclose(left[name], right[name], rtol=1e-6, atol=2e-8, err_msg=name)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_the_shared_forward_can_be_turned_off(rng, d_steps):
    """runtime.share_forward changes no weight and no loss, only how often BatchNorm looks."""
    train = {"d_steps": d_steps}
    shared, twice = (
        state_of(train=train, runtime={"share_forward": share}) for share in (True, False)
    )
    for _ in range(3):
        real, z = map(Tensor, batch(rng, d_steps))
        left, right = ([x.asnumpy() for x in state.update(real, z)] for state in (shared, twice))
        for one, other in zip(left, right, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    left, right = values(shared), values(twice)
    for name in left:
        if "moving" in name:
            assert (left[name] != right[name]).any(), name
        else:
            assert left[name].tobytes() == right[name].tobytes(), name


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {
            "model": {**MODEL, "conditional": True},
            "loss": "relativistic",
            "regularizer": {"name": "r1_r2", "weight": 0.5},
            "augment": "diff_augment",
        },
        {"loss": "wasserstein", "regularizer": {"name": "gradient_penalty", "weight": 10.0}},
        {"train": {"d_steps": 2, "pack": 2}},
    ],
    ids=["plain", "r1_r2 and labels", "gradient_penalty", "pack"],
)
def test_both_batches_in_one_pass(rng, sections):
    """runtime.join_batches changes no weight, no loss and no score but for rounding."""
    joined, apart = (state_of(10, **sections, runtime={"join_batches": on}) for on in (True, False))
    assert [state.update.train_d.network.joined for state in (joined, apart)] == [True, False]
    rows = joined.rows
    for step in range(3):
        real, z = batch(rng, rows.d_steps)
        labels = rng.integers(0, 10, rows.real).astype(np.int32) if rows.labelled else None
        width = sum(rows.numbers)
        numbers = rng.random((rows.real, width), np.float32) if width else None
        inputs = [None if x is None else Tensor(x) for x in (real, z, labels, numbers)]
        left, right = ([x.asnumpy() for x in s.update(*inputs)] for s in (joined, apart))
        for one, other in zip(left, right, strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-4 if step else 2e-6)
    left, right = values(joined), values(apart)
    for name in left:  # 3 updates of up to 2e-4; where a gradient is near 0, Adam shows its noise
        if name != "discriminator.model.2.bias":  # what compares scores does not see it
            np.testing.assert_allclose(left[name], right[name], rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "dcgan28", "d_norm": "batch"}},
        {"model": {**MODEL, "d_norm": "spectral"}},
        {"regularizer": {"name": "r1", "weight": 1.0}},
    ],
    ids=["batch", "spectral", "r1"],
)
def test_batches_that_must_not_be_joined(sections):
    state = state_of(shape=(1, 28, 28), **sections)
    assert not state.update.train_d.network.joined


@pytest.mark.parametrize("layers", ["fast", "native"])
def test_average_follows_weights_and_statistics(rng, layers):
    decay = 0.25  # from the second update on above (1 + t) / (10 + t), then below: both are met
    state = state_of(train={"ema_decay": decay}, runtime={"layers": layers})
    expected = {k: v for k, v in values(state).items() if k.startswith("average.")}
    assert any("moving_mean" in k for k in expected)
    for t in range(1, 4):
        real, z = batch(rng)
        state.update(Tensor(real), Tensor(z))
        now = values(state)
        rate = max(1 - decay, 9 / (10 + t))
        for name in expected:
            source = now[name.replace("average.", "generator.", 1)].astype(np.float64)
            expected[name] = (1 - rate) * expected[name] + rate * source
    for name, value in expected.items():
        np.testing.assert_allclose(now[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_only_the_loss_is_differentiated(rng):
    """nn.TrainOneStepCell would train on the sum of loss and extras; ours must not."""

    class WithExtra(nn.Cell):
        def __init__(self, net):
            super().__init__(auto_prefix=False)
            self.net = net

        def construct(self, real, fake, given=None):
            return self.net(real).mean(), 100.0 * self.net.weight.sum(), self.net(fake)[:, 0]

    net = nn.Dense(4, 1)
    before = net.weight.asnumpy().copy()
    optimizer = nn.SGD(net.trainable_params(), learning_rate=0.1)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    cells.TrainDiscriminatorCell(WithExtra(net), optimizer)(Tensor(x), Tensor(x))
    np.testing.assert_allclose(net.weight.asnumpy(), before - 0.1 * x.mean(0), rtol=1e-5, atol=1e-6)


def test_gradient_reducers_are_in_the_fused_path(rng):
    """Data-parallel training replaces `grad_reducer`: the fused step must call both of them."""

    class Nothing(nn.Cell):
        def construct(self, grads):
            zeros = ()
            for grad in grads:
                zeros += (grad * 0.0,)
            return zeros

    state = state_of()
    state.update.train_d.grad_reducer = Nothing()
    state.update.train_g.grad_reducer = Nothing()
    before = values(state)
    real, z = batch(rng)
    state.update(Tensor(real), Tensor(z))
    after = values(state)
    for name in before:
        if name.startswith(("generator", "discriminator")) and "moving" not in name:
            assert (before[name] == after[name]).all(), name


@pytest.fixture(scope="module")
def four_steps():
    """A state after four updates, and the names of its parameters before them."""
    state = state_of(train={"ema_decay": 0.9})
    names = [p.name for p in state.parameters]
    for seed in range(4):
        real, z = batch(np.random.default_rng(seed))
        state.update(Tensor(real), Tensor(z))
    return state, names


def test_names_are_clean_for_ever(four_steps):
    state, names = four_steps
    assert len(names) == len(set(names))
    roles = {name.split(".")[0] for name in names}
    assert roles == {"generator", "discriminator", "average", "optimizer_d", "optimizer_g"}
    assert "generator.model.0.weight" in names and "discriminator.model.2.bias" in names
    assert [p.name for p in state.parameters] == names


def test_one_compilation_for_the_whole_run(four_steps):
    """Every step runs the same compiled graph."""
    assert len(four_steps[0].update.compile_cache) == 1


def test_cells_are_train_one_step_cells():
    state = state_of()
    assert isinstance(state.update.train_d, nn.TrainOneStepCell)
    assert isinstance(state.update.train_g, nn.TrainOneStepCell)
    assert ms.get_context("mode") == ms.GRAPH_MODE
