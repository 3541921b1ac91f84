"""Progressive GAN: levels, blending, one set of weights at several levels, runs that go on."""

import gc

import numpy as np
import pytest

from mindspore import nn

from ms_gan import build, cli, session
from ms_gan.models import progan
from ms_gan.models.growth import Growth
from ms_gan.runs import sampling
from ms_gan.runs.run_dir import RunDir
from ms_gan.training.feed import Feed
from tests import tiny
from tests.derivatives import numpy_of, tensor
from tests.test_models import equalised, halved, leaky, nearest, with_deviation
from tests.tiny import RECIPE, assert_same_bits, copy_run, newest, randomise, refused, values

SHAPE = (1, 8, 8)
LEVELS = [2, 4, 2]  # 2x2, 4x4, 8x8; the second one is blended in over two updates
NETS = {
    "name": "progan", "latent_dim": 3, "levels": LEVELS, "g_widths": [4, 3, 2],
    "d_widths": [4, 3, 2],
}  # fmt: skip


# --- when ---------------------------------------------------------------------------------------


def test_levels_and_shares():
    growth = Growth([4, 8, 6], fade=0.5)
    level = [0] * 4 + [1] * 8 + [2] * 20
    share = [1.0] * 4 + [0, 1 / 4, 2 / 4, 3 / 4] + [1.0] * 4 + [0, 1 / 3, 2 / 3] + [1.0] * 17
    assert growth.levels == 3 and growth.size((3, 32, 48)) == (8, 12)
    for step, (here, strength) in enumerate(zip(level, share, strict=True)):
        assert growth.level(step) == here and growth.share(step) == pytest.approx(strength)
        expected = np.zeros(3)
        expected[here], expected[here - 1] = strength, (1.0 - strength) if here else expected[-1]
        np.testing.assert_allclose(growth.shares(step), expected, rtol=1e-6)
        assert growth.grown(step) == (step >= 12 + 3)


def test_levels_that_are_passed_over_and_no_fade():
    growth = Growth([0, 0, 5], fade=0.5)
    assert (growth.level(0), growth.share(0), growth.grown(0)) == (2, 1.0, True)
    growth = Growth([2, 2], fade=0.0)
    assert [growth.shares(step).tolist() for step in (1, 2)] == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "steps, fade, start",
    [([], 0.5, "levels: "), ([2, -1], 0.5, "levels: "), ([2, 1.5], 0.5, "levels: "),
     ([True, 2], 0.5, "levels: "), ([2, 2], -0.1, "fade: "), ([2, 2], 1.1, "fade: ")],
)  # fmt: skip
def test_growth_that_cannot_be(steps, fade, start):
    assert refused(ValueError, Growth, steps, fade).startswith(start)


@pytest.mark.parametrize("side, levels", [(28, 4), (30, 3), (4, 3)])
def test_images_that_cannot_be_halved_so_often(side, levels):
    message = refused(ValueError, Growth([1] * levels).size, (1, side, side))
    assert f"levels: images of {side}x{side} cannot have {levels} sizes" in message


# --- blending -----------------------------------------------------------------------------------


class AllLevels(nn.Cell):
    """What a net makes at each level, blended by the share that it gets."""

    def __init__(self, method):
        super().__init__(auto_prefix=False)
        self.method = method

    def construct(self, x, share):
        return self.method(x, 0, share), self.method(x, 1, share), self.method(x, 2, share)


class Of(nn.Cell):
    def __init__(self, net):
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, x, level, share):
        return self.net.at(x, None, level, share)


class Viewed(Of):
    def construct(self, x, level, share):
        return self.net.view(x, level, share)


def at_all(kind, net, x, share):
    levels = AllLevels(kind(net))
    return [numpy_of(images) for images in levels(tensor(x), tensor(share))]


def reduced(x, times):
    for _ in range(times):
        x = halved(x)
    return x


def seen(x, times):
    """An image as it is after so many halvings, at its full size."""
    x = reduced(x, times)
    for _ in range(times):
        x = nearest(x)
    return x


def nets():
    options = {"image_shape": SHAPE, "levels": LEVELS}
    generator = progan.Generator(latent_dim=3, g_widths=(4, 3, 2), **options)
    discriminator = progan.Discriminator(d_widths=(4, 3, 2), **options)
    return randomise(generator, 1).set_train(False), randomise(discriminator, 2).set_train(False)


def test_the_generator_blends_what_its_levels_make(rng):
    """Level by level, and as all of them together when images of a growing net are shown."""
    net, z = nets()[0], rng.standard_normal((5, 3))
    alone, blended = at_all(Of, net, z, 1.0), at_all(Of, net, z, 0.25)
    for level in (0, 1, 2):
        np.testing.assert_array_equal(alone[level], seen(alone[level], 2 - level))
        below = alone[max(0, level - 1)]
        expected = 0.25 * alone[level] + 0.75 * below
        np.testing.assert_allclose(blended[level], expected, atol=1e-6)
        shares = np.zeros(3)
        shares[level] += 0.25
        shares[max(0, level - 1)] += 0.75
        shown = net(tensor(z), None, tensor(shares)).asnumpy()
        np.testing.assert_allclose(shown, expected, atol=1e-6)
    np.testing.assert_allclose(net(tensor(z)).asnumpy(), alone[2], atol=1e-6)
    assert np.abs(alone[2] - alone[1]).max() > 1e-2


def test_the_discriminator_blends_and_real_images_are_blended_alike(rng):
    net, x = nets()[1], rng.uniform(-1, 1, (5, *SHAPE)).astype(np.float32).astype(np.float64)
    none, all_, some = (at_all(Of, net, x, share) for share in (0.0, 1.0, 0.3))
    views = {share: at_all(Viewed, net, x, share) for share in (0.0, 1.0, 0.3)}
    weights = {p.name: numpy_of(p) for p in net.get_parameters()}
    for level in (1, 2):
        np.testing.assert_array_equal(none[level], all_[level - 1])
        h = leaky(equalised(reduced(x, 2 - level), weights, f"from_rgb.{level}.0"))
        below = leaky(equalised(reduced(x, 3 - level), weights, f"from_rgb.{level - 1}.0"))
        for i in range(level, 0, -1):
            h = leaky(
                equalised(leaky(equalised(h, weights, f"blocks.{i}.0")), weights, f"blocks.{i}.2")
            )
            h = halved(h)
            h = 0.3 * h + 0.7 * below if i == level else h
        h = leaky(equalised(with_deviation(h, 4), weights, "blocks.0.1"))
        h = leaky(equalised(h.reshape(5, -1), weights, "dense.0"))
        expected = equalised(h, weights, "head", 1.0)[:, 0]
        np.testing.assert_allclose(some[level], expected, rtol=1e-4, atol=1e-5)
        here, under = seen(x, 2 - level), seen(x, 3 - level)
        np.testing.assert_allclose(views[1.0][level], here, atol=1e-6)
        np.testing.assert_array_equal(views[0.0][level], views[1.0][level - 1])
        np.testing.assert_allclose(views[0.3][level], 0.3 * here + 0.7 * under, atol=1e-6)
    np.testing.assert_array_equal(net(tensor(x)).asnumpy(), all_[2].astype(np.float32))
    np.testing.assert_allclose(views[0.3][0], seen(x, 2), atol=1e-6)


# --- training -----------------------------------------------------------------------------------

TO_ZERO = {"start": 1.0e-2, "end": 0.0, "steps": 4, "shape": "linear"}  # in updates of the run


@pytest.fixture(scope="module")
def steps():
    """Five updates, two of them at level 0: the state, its values before each and at the end, and
    what each gave."""
    from ms_gan.system import runtime

    runtime.set_mode("graph")
    state = tiny.state_of(
        SHAPE, batch=4, model=NETS, train={"ema_decay": 0.9},
        regularizer={"name": "r1", "weight": {**TO_ZERO, "start": 50.0, "steps": 3}},
        optimizer={"lr_d": TO_ZERO, "lr_g": TO_ZERO, "beta1": 0.0, "beta2": 0.99},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    images = tiny.Images(rng.uniform(-1, 1, (4, *SHAPE)).astype(np.float32), np.zeros(4), 4)
    feed, snapshots, outputs = Feed(images, state.rows, seed=1), [values(state)], []
    for step in range(5):
        outputs.append([x.asnumpy() for x in state.update(*feed.at(step))])
        state.step += 1
        snapshots.append(values(state))
    return state, snapshots, outputs


def moved(before, after):
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


def names(parameters, prefix=None):
    return {
        p.name if prefix is None else f"{prefix}.{p.name.partition('.')[2]}" for p in parameters
    }


def test_a_level_moves_its_own_weights_and_nothing_else(steps):
    """Bit for bit, of nets, averages and optimizers."""
    state, snapshots, _ = steps
    generator = state.generator
    discriminator = state.updates.at(0).train_d.network.judge.discriminator.net
    for level, (first, last) in enumerate([(0, 2), (2, 4)]):
        own = generator.weights_at(level)
        expected = names(own) | names(own, "average") | names(discriminator.weights_at(level))
        changed = moved(snapshots[first], snapshots[last])
        weights = {n for n in changed if n.startswith(("generator.", "discriminator.", "average."))}
        assert weights == expected
        others = changed - weights - {"clock.steps"}
        assert {n.split(".")[1] for n in others} == {str(level)}
        assert {n.split(".")[0] for n in others} == {"optimizer_d", "optimizer_g"}
    every = {n for n in snapshots[0] if n.startswith("optimizer_")}
    assert {n.split(".")[1] for n in every} == {"0", "1", "2"}
    unused = names(generator.get_parameters()) - names(generator.weights_at(1))
    assert unused == {n for n in names(generator.get_parameters()) if ".2." in n[:22]} and unused


def test_the_clock_counts_the_updates_of_the_run(steps):
    _, snapshots, _ = steps
    assert [int(s["clock.steps"][0]) for s in snapshots] == [0, 1, 2, 3, 4, 5]
    counters = [int(s["optimizer_g.1.global_step"][0]) for s in snapshots]
    assert counters == [0, 0, 0, 1, 2, 3]  # those of the levels begin anew


def test_ramps_are_in_updates_of_the_run(steps):
    """Where a level begins, learning rates and the penalty's weight are where they were."""
    _, snapshots, outputs = steps
    for step in (0, 2):  # the first update of an Adam moves by its rate
        for net in ("generator", "discriminator"):
            moves = max(
                np.abs(snapshots[step + 1][n] - snapshots[step][n]).max()
                for n in snapshots[0] if n.startswith(net)
            )  # fmt: skip
            assert moves == pytest.approx(1e-2 * (1 - step / 4), rel=1e-3)
    assert moved(snapshots[4], snapshots[5]) <= {
        n for n in snapshots[4] if n.startswith(("optimizer", "average", "clock"))
    }
    for step, (loss_d, _, real, fake, *_) in enumerate(outputs):
        penalty = loss_d - np.logaddexp(0, fake).mean() - np.logaddexp(0, -real).mean()
        assert penalty > 1e-4 if step < 3 else abs(penalty) < 1e-6


def test_the_average_does_not_begin_again(steps):
    """After t updates of the run it keeps min(0.9, (1 + t) / (10 + t)) of what it was."""
    _, snapshots, _ = steps
    name = "blocks.0.0.weight"
    for t in (1, 2, 3, 4, 5):
        before, after = (snapshots[i][f"average.{name}"] for i in (t - 1, t))
        kept = min(0.9, (1 + t) / (10 + t))
        expected = kept * before + (1 - kept) * snapshots[t][f"generator.{name}"]
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-7)


# --- runs that go on ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run: level 0 up to step 4, blended up to step 7, ten in all; and how
    often the updates of both levels and the generator were compiled."""
    from ms_gan.system import runtime

    runtime.set_mode("graph")
    folder = tmp_path_factory.mktemp("progan")
    gc.collect()  # MindSpore forgets the shapes of all Cells when one goes: not while we count
    training = session.start(recipe_of(folder), folder / "run", say=lambda line: None)
    assert training.train()
    compiled = [*training.state.updates.all(), training.state.sampler.net]
    return folder / "run", [len(cell.compile_cache) for cell in compiled]


@pytest.fixture(scope="module")
def run(finished):
    return finished[0]


def test_each_level_is_compiled_once(finished):
    """And the generator that is shown twice: while it grows, and when it has grown."""
    assert finished[1] == [1, 1, 2]


def recipe_of(folder):
    model = {**NETS, "levels": [4, 6], "g_widths": [4, 3], "d_widths": [4, 3]}
    every = {**RECIPE["every"], "sample": 2, "save": 2, "keep": 9}
    return tiny.recipe_file(
        folder, model=model, loss={"name": "wasserstein", "drift": 0.001}, every=every,
        data={"name": "digits", "size": 8, "batch_size": 16}, train={"steps": 10, "ema_decay": 0.9},
    )  # fmt: skip


@pytest.mark.parametrize("step", [4, 6], ids=["where a level begins", "in a fade"])
def test_a_run_that_was_killed_continues_bit_for_bit(run, step, tmp_path):
    copy = copy_run(run, tmp_path / "run", step)
    assert session.start(recipe_of(tmp_path), copy, say=lambda line: None).train()
    assert_same_bits(newest(copy), newest(run))
    pictures = [sorted(RunDir(folder).samples.glob("*.png")) for folder in (copy, run)]
    assert [p.name for p in pictures[0]] == [p.name for p in pictures[1]]
    assert [p.read_bytes() for p in pictures[0]] == [p.read_bytes() for p in pictures[1]]


def test_a_net_that_grows_is_shown_as_it_is_and_exported_when_it_has_grown(run, tmp_path, capsys):
    checkpoints = dict(RunDir(run).checkpoint_files())
    growing, grown = build.load_sampler(checkpoints[6]), build.load_sampler(checkpoints[10])
    shares = [sampling.shares_of(s.net, s.meta) for s in (growing, grown)]
    np.testing.assert_allclose(shares[0][0].asnumpy(), [1 / 3, 2 / 3], rtol=1e-6)  # 2 of 3 updates
    assert shares[1] == ()
    z = sampling.latents(0, 5, 3)
    images = growing.net(tensor(z), None, tensor([1 / 3, 2 / 3])).asnumpy()
    np.testing.assert_allclose(growing.made(z), np.clip(images, -1, 1), atol=1e-6)
    assert np.abs(growing.made(z) - np.clip(growing.net(tensor(z)).asnumpy(), -1, 1)).max() > 1e-4

    out = tmp_path / "g.mindir"
    words = ("--format", "mindir", "--device", "CPU", "--out", out)
    assert "still growing" in tiny.refused_command(capsys, "export", checkpoints[6], *words)
    assert not out.exists()
    assert cli.main(["export", str(run), *map(str, words)]) == 0 and out.is_file()
    for option in (["--truncation", "0.7"], ["--format", "mix"]):
        message = tiny.refused_command(capsys, "generate", run, *option, "--out", tmp_path / "new")
        assert option[-2] in message and "has no styles" in message
    assert not (tmp_path / "new").exists()
