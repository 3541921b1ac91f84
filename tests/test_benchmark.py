"""The benchmark: it counts the floor rightly, all ways train the same thing, and it runs."""

import dataclasses
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mindspore import Tensor

from benchmarks import kernels, ours, quality, recipes, run
from benchmarks.floor import update_operations
from benchmarks.measure import milliseconds
from benchmarks.systems import CHANNELS, SYSTEMS
from ms_gan import build, session
from ms_gan.portability import cases
from ms_gan.recipe import reader
from ms_gan.system import runtime
from ms_gan.training.updates import Updates
from tests.tiny import ROOT, recipe_file


def made(name, *overrides):
    """The recipe of a system, with all its options, and what is trained."""
    system = SYSTEMS[name]
    config = reader.load(reader.find(system.recipe), [*system.overrides, *overrides])
    config = session.resolved(config)
    return config, build.build_training(config, (1, system.size, system.size), 10, {})


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_numbers_are_those_of_the_recipe(name):
    system = SYSTEMS[name]
    config, state = made(name)
    assert config.data.batch_size == state.rows.real == system.batch
    assert (config.data.options["size"] or 28) == system.size
    options = config.optimizer.options
    assert (options["beta1"], options["beta2"]) == system.betas
    assert config.optimizer.lr_d == config.optimizer.lr_g == system.lr
    assert config.loss.options.get("real_target", 1.0) == system.real_target
    assert config.train.d_steps == 1 and config.train.same_latents and not state.averaged
    assert bool(config.regularizer) == bool(system.penalty)
    if system.penalty:
        assert config.regularizer.name == "r1_r2"
        assert config.regularizer.options["weight"].start == system.penalty
    assert not config.terms and config.augment is None and config.train.pack == 1
    assert state.rows.latents == system.latent_dim
    for role in ("generator", "discriminator"):
        weights = [
            p.size
            for p in state.parameters
            if p.name.startswith(role) and p.name.endswith("weight")
        ]
        assert weights == [layer.weights for layer in getattr(system, role) if layer.trained]


class Enough(Exception):
    """The process has been prepared."""


@pytest.mark.parametrize("program", ["ours", "kernels"])
def test_the_process_is_the_one_that_the_recipe_asks_for(program, tmp_path, monkeypatch):
    """As `ms-gan train` prepares it; else another program would be timed."""

    def enough(*args, **kwargs):
        raise Enough

    for name in (*runtime.ISA_VARIABLES, runtime.ISA_MARK):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    wanted = "runtime.onednn_isa=SSE41"
    system = dataclasses.replace(SYSTEMS["mlp"], overrides=(*SYSTEMS["mlp"].overrides, wanted))
    monkeypatch.setitem(SYSTEMS, "mlp", system)
    monkeypatch.setattr(session, "start", enough)
    monkeypatch.setattr(runtime, "set_device", enough)
    recipe = recipe_file(tmp_path, runtime={"onednn_isa": "SSE41"})
    what = "mlp" if program == "ours" else str(recipe)
    monkeypatch.setattr("sys.argv", [program, what])
    with pytest.raises(Enough):
        (ours if program == "ours" else kernels).main()
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "SSE41"


def test_the_operations_of_the_mlp_by_hand():
    """Multiplications of the tutorial's pair, for each image, written out."""
    g = 100 * 128 + 128 * 256 + 256 * 512 + 512 * 1024 + 1024 * 784
    d = 784 * 512 + 512 * 256 + 256 * 1
    real = d + d + (d - 784 * 512)  # forward, weights, inputs but for the first layer's
    to_images = d + d
    back_through_g = g + (g - 100 * 128)
    assert update_operations(SYSTEMS["mlp"]) == 2 * 128 * (
        g + real + real + to_images + back_through_g
    )


class Untracked:
    """In place of the counter's list of modules, whose hooks refuse a gradient of a gradient."""

    parents = frozenset({"Global"})

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def convolution_backward(output, x, weight, *options, out_shape=None):
    """PyTorch's own formula (2.13) counts the weights' gradient of grouped ones `groups` times."""
    transposed, (to_input, to_weight, _) = options[4], options[7]
    places = x if transposed else output
    return 2 * int(np.prod(weight)) * places[0] * int(np.prod(places[2:])) * (to_input + to_weight)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_operations_as_pytorch_counts_them(name):
    """Its counter sees every matrix product and convolution that runs."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.pytorch import Training

    system = SYSTEMS[name]
    with torch.device("meta"):  # shapes only
        training = Training(name)
        real = torch.empty(system.batch, 1, system.size, system.size)
        z = torch.empty(system.batch, system.latent_dim)
    training.adam_d.step = training.adam_g.step = int
    grouped = {torch.ops.aten.convolution_backward: convolution_backward} if name == "r3gan" else {}
    counter = FlopCounterMode(display=False, custom_mapping=grouped)
    counter.mod_tracker = Untracked()
    with counter:
        training.update(real, z)
    found = counter.get_total_flops()
    if name == "r3gan":  # for both images it also takes the gradient of the constant filter, 4x4
        found -= 2 * system.batch * (2 * 32 * 4 * 4 * 7 * 7)
    assert update_operations(system) == found


@pytest.mark.parametrize(
    "name", [*list(SYSTEMS)[:-1], pytest.param("dcgan64", marks=pytest.mark.slow)]
)
def test_pytorch_computes_the_same(name, rng):
    """From the same weights, the same losses of D before its update and of G after it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from benchmarks.pytorch import Training

    system, (_, state) = SYSTEMS[name], made(name, "data.batch_size=4")
    training = Training(name)
    for role in ("generator", "discriminator"):
        ours = [p for p in state.parameters if p.name.startswith(f"{role}.") and p.requires_grad]
        theirs = list(getattr(training, role).parameters())
        for source, target in zip(ours, theirs, strict=True):
            if not source.asnumpy().any():  # so that a zero hides nothing
                source.set_data(Tensor(rng.normal(0, 0.02, source.shape).astype(np.float32)))
            with torch.no_grad():
                target.copy_(torch.tensor(source.asnumpy()))
    real = rng.uniform(-1, 1, (4, 1, system.size, system.size)).astype(np.float32)
    z = rng.standard_normal((4, system.latent_dim)).astype(np.float32)
    expected = [float(loss) for loss in training.update(torch.tensor(real), torch.tensor(z))]
    found = [float(loss.asnumpy()) for loss in state.update(Tensor(real), Tensor(z))[:2]]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_times_are_of_one_update():
    calls = []
    times = milliseconds(lambda: calls.append(1), id, 0.01)
    assert len(times) >= 2 and len(calls) >= 2 + len(times)
    assert sum(times) / 1e3 < 0.05
    slow = milliseconds(lambda: sum(range(200_000)), id, 1e-6)
    assert len(slow) == 1 and slow[0] > 1e-3


def test_ratios_are_taken_round_by_round():
    rounds = [
        {"ours": {"step_ms": [a], "bare_ms": [a]}, "torch": {"step_ms": [b], "peak_mib": 1}}
        for a, b in ((10.0, 20.0), (30.0, 60.0), (20.0, 50.0))
    ]
    operations = update_operations(SYSTEMS["mlp"])
    floor = [{"mindspore": {"gflops": operations / 1e6}, "torch": {"error": "no"}}] * 3  # 1 ms
    found = run.summary("mlp", rounds, floor)
    assert found["ours / PyTorch"]["values"] == [0.5, 0.5, 0.4]
    assert found["ours / PyTorch"]["median"] == 0.5
    assert found["ours / floor"]["max"] == pytest.approx(30.0)
    assert found["tutorial / ours"] is None and found["compile"] is None


def test_a_short_run(tmp_path):
    """Real processes; one round of the MLP, as the script starts it."""
    file = tmp_path / "benchmark.json"
    words = ["--systems", "mlp", "--ways", "ours", "tutorial", "torch", "--rounds", "1"]
    words += ["--recipes", "stacked_mnist", "no_such_recipe"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", *words, "--budget", "0.1", "--out", str(file)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    (one,) = result["systems"]["mlp"]
    ways = ["ours", "tutorial", *(["torch"] if result["torch"] else [])]
    for way in ways:
        assert "error" not in one[way], one[way]
        assert min(one[way]["step_ms"]) > 0 and one[way]["peak_mib"] > 50
        assert one[way]["first_step_s"] > 0
    assert set(one["ours"]["parts"]["seconds"]) == {
        "data", "log", "samples", "checkpoints", "film",
    }  # fmt: skip
    assert result["floor"][0]["mindspore"]["gflops"] > 0
    assert "ms_gan train / floor" in done.stdout and "PyTorch torch.compile" in done.stdout
    median = f"{result['summary']['mlp']['bare']['median']:.1f}"
    rows = [row.split("  ", 1) for row in done.stdout.splitlines()]
    assert any(row[0] == "ms_gan bare step" and median in row[1] for row in rows)
    plan = next(row[1] for row in rows if row[0] == "steps in train.minutes=10")
    alone = 600_000 / result["summary"]["mlp"]["ours"]["median"]
    assert 0.5 * alone < int(plan.strip().replace(",", "")) < alone
    stacked, missing = (result["recipes"][name][0]["ours"] for name in words[-2:])
    assert stacked["batch"] == 128 and stacked["kinds_ms"] == [stacked["step_ms"]]
    assert any(row[0] == "stacked_mnist" and f"{stacked['step_ms']:.1f}" in row[1] for row in rows)
    assert "no_such_recipe" in missing["error"] and missing["error"] in done.stdout


def test_each_kind_of_update_counts_as_often_as_it_occurs():
    steps = [{(True,): "a0", (False,): "a1"}, {(True,): "b0", (False,): "b1"}]
    updates = Updates(steps, (4,), SimpleNamespace(level=lambda step: step >= 8))
    assert recipes.kinds_of(updates, 16) == {0: 1 / 8, 1: 3 / 8, 8: 1 / 8, 9: 3 / 8}


def test_the_channels_of_every_recipe_build_it():
    for name, channels in CHANNELS.items():
        shape = (channels, *cases.image_shape(cases.narrow(name))[1:])
        assert build.build_training(cases.narrow(name), shape, 10, {}).updates.all()


def test_the_points_of_a_curve_grow_by_a_factor():
    files = [(step, f"{step}.ckpt") for step in range(10, 1010, 10)]
    chosen = quality.chosen(files, 3)
    assert chosen == [(10, "10.ckpt"), (100, "100.ckpt"), (1000, "1000.ckpt")]
    assert quality.chosen(files[:2], 8) == files[:2]
