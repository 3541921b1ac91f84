"""A run from Python: the same as by the command, in any thread, stopped and continued."""

import json
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from ms_gan import build, cli, data, session
from ms_gan.recipe import reader
from ms_gan.runs import checkpoint
from ms_gan.runs.run_dir import RunDir, RunError
from tests.tiny import RECIPE, assert_same_bits, copy_run, newest, python, recipe_file, refused

UNTIL_0_1 = """\
name: tiny
seed: 0
data: {name: digits, root: null, batch_size: 64, size: null, channels: null, sampling: shuffle,
  fallback: null}
model: {name: gan, latent_dim: 8, g_widths: [16, 24], d_widths: [16]}
loss: {name: non_saturating}
regularizer: null
augment: null
optimizer: {name: adam, lr_d: 0.0002, lr_g: 0.0002, beta1: 0.5, beta2: 0.999, decay: 0.9,
  eps: 1.0e-08}
train: {steps: 12, epochs: null, d_steps: 1, same_latents: true, ema_decay: 0.9, pack: 1}
every: {log: 2, sample: 4, evaluate: 0, save: 4, keep: 2}
runtime: {device: CPU, mode: graph, layers: fast, share_forward: true, join_batches: true,
  onednn_isa: auto, onednn_fpmath: strict}
"""  # what version 0.1 wrote down of tiny.RECIPE


def files_of(folder):
    """Path -> content, of all that a run has written and no clock has touched."""
    clocks = ("manifest.json", "log.jsonl", "curves.png", "report.html", ".lock")
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name not in clocks]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def log_of(folder):
    """Step -> what was logged there, without the speed."""
    rows = RunDir(folder).read_log()
    return {row["step"]: {k: row[k] for k in row if k != "images_per_second"} for row in rows}


def test_training_in_a_thread_writes_what_the_command_writes(trained, tmp_path):
    """Also from a Config; Python allows a thread no signal handlers."""
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGINT)
    config = reader.load(recipe_file(tmp_path))
    said, ended, handlers = [], [], set()

    def stop():
        handlers.add(signal.getsignal(signal.SIGINT))
        return False

    def work():
        run = session.start(config, folder, say=said.append)
        ended.append(run.train(stop=stop))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [True] and handlers == {handler}
    ours, commands = files_of(folder), files_of(trained)
    assert ours.keys() == commands.keys()
    assert [name for name in ours if ours[name] != commands[name]] == []
    assert (folder / "curves.png").is_file()
    assert log_of(folder) == log_of(trained)
    manifests = [json.loads((f / "manifest.json").read_text()) for f in (folder, trained)]
    assert manifests[0]["data"] == manifests[1]["data"]
    assert said[0].endswith(f"tiny -> {folder}") and said[-1].startswith("data: digits, 1797 ")


def test_stop_saves_everything_and_the_next_call_goes_on(trained, tmp_path):
    folder, handler = tmp_path / "run", signal.getsignal(signal.SIGTERM)
    handlers = []
    run = session.start(recipe_file(tmp_path), folder)
    assert not folder.exists() and run.state.step == 0  # nothing is written yet

    def stop():
        handlers.append(signal.getsignal(signal.SIGTERM))
        return run.state.step == 5  # nothing else is due there

    assert run.train(stop=stop) is False
    assert (run.state.step, run.interrupted) == (5, None)
    assert run.run.checkpoint_files()[-1][0] == 5 and (folder / "progress.gif").is_file()
    assert_same_bits(newest(folder), {p.name: p.asnumpy() for p in run.state.parameters})
    shown = build.load_sampler(folder / "generator.ckpt")
    np.testing.assert_array_equal(shown.samples(3, 9)[0], run.sampler.samples(3, 9)[0])
    assert handlers[0] not in (handler, signal.SIG_DFL)  # here a signal is a wish to stop, too
    assert signal.getsignal(signal.SIGTERM) is handler

    assert run.train() is True
    assert_same_bits(newest(folder), newest(trained))
    there = log_of(folder)
    assert {step: there[step] for step in there if step != 5} == log_of(trained)
    assert [s["step"] for s in run.run.manifest["sessions"]] == [0, 5]

    before = files_of(folder)
    assert run.train() is True and files_of(folder) == before  # there is nothing left to do


def test_the_sampler_makes_the_images_of_generate(trained, tmp_path):
    run = session.start(recipe_file(tmp_path), trained)
    assert run.train() is True  # a finished run: only read
    images, labels = run.sampler.samples(seed=5, num=70)  # more than one batch
    words = ["--format", "npy", "--seed", "5", "--num", "70", "--out", str(tmp_path)]
    assert cli.main(["generate", str(trained), *words]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "samples.npy"), images)
    assert labels is None and images.shape == (70, *run.sampler.image_shape)


def test_images_of_ones_own(tmp_path, monkeypatch, rng):
    """They stand in for the recipe's, which are not even looked for."""
    monkeypatch.chdir(tmp_path)
    images = rng.integers(0, 256, (40, 1, 8, 8), np.uint8)
    labels = np.arange(40, dtype=np.int32) % 2
    mine = data.Dataset("mine", images, labels, ("left", "right"), "made here", {"mine": "abc"})
    recipe = {
        **RECIPE,
        "data": {"name": "mnist", "root": "/nowhere", "batch_size": 16},
        "model": {**RECIPE["model"], "conditional": True},
        "train": {"steps": 2},
    }
    run = session.start(reader.from_dict(recipe), dataset=mine)
    assert run.run.path == Path("runs/tiny") and run.dataset is mine
    real, _, given, _ = run.feed.at(0)
    known = data.to_float(images)
    rows = [np.flatnonzero((known == x).all(axis=(1, 2, 3))) for x in real.asnumpy()]
    assert [len(row) for row in rows] == [1] * 16
    assert given.asnumpy().tolist() == [row[0] % 2 for row in rows]
    assert run.train() is True
    assert run.run.manifest["data"] == {
        "name": "mine", "source": "made here", "images": 40, "image_shape": [1, 8, 8],
        "classes": ["left", "right"], "class_shares": [0.5, 0.5], "md5": {"mine": "abc"},
    }  # fmt: skip
    images, labels = run.sampler.samples(1, 4, label=1)
    assert images.shape == (4, 1, 8, 8) and labels.tolist() == [1] * 4
    others = replace(mine, md5={"mine": "def"})
    config = reader.from_dict(recipe)
    assert "other data (mine, 40 images" in refused(RunError, session.start, config, dataset=others)


# --- mistakes -------------------------------------------------------------------------------------

START = """
import sys
from ms_gan import session
from ms_gan.errors import UserError
recipe, *overrides = sys.argv[1:]
for override in overrides:
    try:
        session.start(recipe, "run", override.split())
    except UserError as error:
        print(error)
print("mindspore" in sys.modules)
"""
WRONG = {
    "data.sise=8": "data.sise: 'digits' has no such option; it has: size, channels (did you mean",
    "data.size=8.0": "data.size: expected int or [int, int], got 8.0",
    "data.root=X": "data.root: 'digits' has no such option; it has: size, channels",
    "data.name=mnist data.rot=X": "data.rot: 'mnist' has no such option; it has: root, size, ch",
    "data.name=mnits": "data.name: no data called 'mnits'; known: mnist, ",
    "optimizer.beta3=0.5": "optimizer.beta3: 'adam' has no such option; it has: beta1, beta2, eps",
    "optimizer.beta1=half": "optimizer.beta1: expected float, got 'half'",
    "optimizer.decay=0.5": "optimizer.decay: 'adam' has no such option; it has: beta1, beta2, eps",
    "optimizer.name=rmsprop optimizer.beta1=0.3": "optimizer.beta1: 'rmsprop' has no such option",
    "optimizer.name=sgd": "optimizer.name: no optimizer called 'sgd'; known: adam, rmsprop",
}


def test_wrong_keys_are_refused_before_mindspore_is_imported(tmp_path):
    process = python("-c", START, recipe_file(tmp_path), *WRONG, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    *lines, imported = out.splitlines()
    assert err == "" and imported == "False"
    for line, start in zip(lines, WRONG.values(), strict=True):
        assert line.startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny.yaml"]


# --- runs of version 0.1 --------------------------------------------------------------------------


@pytest.fixture
def old_run(trained, tmp_path):
    """A run as version 0.1 left it at step 8 of 12: all options of all rows, no newer keys."""
    from mindspore import Parameter, Tensor

    folder = copy_run(trained, tmp_path / "old", step=8)
    (folder / "config.yaml").write_text(UNTIL_0_1)
    for path in folder.rglob("*.ckpt"):
        arrays, meta = checkpoint.load(path)
        meta["config"] = yaml.safe_load(UNTIL_0_1)
        checkpoint.save(path, [Parameter(Tensor(v), name=k) for k, v in arrays.items()], meta)
    return folder


def test_a_run_of_0_1_goes_on(trained, old_run, tmp_path):
    recipe, said = recipe_file(tmp_path), []
    config = session.resolved(reader.load(recipe))
    RunDir(old_run).check(config, session.resolved)
    run = session.start(recipe, old_run, say=said.append)
    assert run.train() is True and "continuing at step 8 of 12" in said
    assert_same_bits(newest(old_run), newest(trained))
    assert yaml.safe_load((old_run / "config.yaml").read_text()) == reader.to_dict(config)


def test_a_run_of_0_1_is_protected_as_any_other(old_run, tmp_path):
    recipe = recipe_file(tmp_path)
    for override, said in (
        ("optimizer.beta1=0.25", "(optimizer.beta1: 0.5 -> 0.25)"),
        ("data.size=14", "(data.size: None -> 14)"),
        ("terms.mode_seeking=0.5", "(terms.mode_seeking.weight: None -> 0.5)"),
        ("seed=3", "(seed: 0 -> 3)"),
    ):
        assert said in refused(RunError, session.start, recipe, old_run, [override])


def test_the_recipe_of_0_1_starts_the_same_run(trained, tmp_path):
    path = tmp_path / "old.yaml"
    path.write_text(UNTIL_0_1)
    config = session.resolved(reader.load(path))
    assert config == session.resolved(reader.from_dict(RECIPE))
    RunDir(trained).check(config, session.resolved)


def test_checkpoints_of_0_1_generate_the_same(trained, old_run):
    names = ("generator.ckpt", "checkpoints/step_0000008.ckpt")
    old = [build.load_sampler(old_run / name) for name in names]
    new = [build.load_sampler(trained / name) for name in names]
    for one, other in zip(old, new, strict=True):
        np.testing.assert_array_equal(one.samples(1, 4)[0], other.samples(1, 4)[0])
    assert old[0].meta["config"]["optimizer"]["decay"] == 0.9
