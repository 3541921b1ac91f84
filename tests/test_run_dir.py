"""The run directory: who may go on in it, and what is left after a kill."""

import json
import os
from contextlib import ExitStack
from functools import partial

import pytest

from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError
from ms_gan.runs.run_dir import RunDir, RunError
from tests import tiny

refused = partial(tiny.refused, RunError)
RECIPE = reader.from_dict({"name": "t", "train": {"steps": 10}})


def changed(*overrides):
    tree = reader.to_dict(RECIPE)
    for override in overrides:
        reader.apply_override(tree, override)
    return reader.from_dict(tree)


@pytest.fixture
def opened():
    """Opens runs and gives their locks back when the test ends."""
    with ExitStack() as stack:

        def open_run(path, config=RECIPE):
            run = RunDir(path)
            run.check(config)
            stack.enter_context(run.open(config))
            return run

        yield open_run


@pytest.fixture
def run(opened, tmp_path):
    return opened(tmp_path / "runs" / "a b")


# --- who may go on --------------------------------------------------------------------------------


def test_a_new_run(run):
    assert run.exists and reader.load(run.config_file) == RECIPE
    assert run.samples.is_dir() and run.checkpoints.is_dir()
    assert run.manifest == {} and run.read_log() == [] and run.checkpoint_files() == []


@pytest.mark.parametrize(
    "override",
    ["train.steps=20", "train.epochs=3", "every.log=1", "every.keep=9", "runtime.device=CPU",
     "runtime.mode=pynative", "runtime.onednn_isa=AVX2", "runtime.share_forward=false",
     "data.root=/elsewhere"],
)  # fmt: skip
def test_continuations_of_the_same_run(run, override):
    RunDir(run.path).check(changed(override))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("seed=1", "seed: 0 -> 1"),
        ("data.batch_size=64", "data.batch_size: 128 -> 64"),
        ("model.latent_dim=7", "model.latent_dim: None -> 7"),
        ("loss=hinge", "loss.name: non_saturating -> hinge"),
        ("optimizer.lr_g=1e-3", "optimizer.lr_g: 0.0002 -> 0.001"),
        ("train.d_steps=2", "train.d_steps: 1 -> 2"),
        ("train.ema_decay=0.9", "train.ema_decay: 0.0 -> 0.9"),
    ],
)
def test_another_recipe_is_refused(run, override, says):
    message = refused(RunDir(run.path).check, changed(override))
    assert message.startswith(f"{run.path}: was started with another recipe ({says})")
    assert f"--config {run.config_file}, or" in message and "--run-dir" in message


def test_what_the_recipe_of_the_run_leaves_open_is_filled_up(run):
    """Both recipes are compared as they are after the same filling up."""

    def resolve(config):
        if "zzz" in config.model.options:
            raise ConfigError("model.zzz: 'gan' has no such option")
        tree = reader.to_dict(config)
        tree["model"].setdefault("latent_dim", 100)
        return reader.from_dict(tree)

    assert "latent_dim: None -> 100" in refused(RunDir(run.path).check, resolve(RECIPE))
    RunDir(run.path).check(resolve(RECIPE), resolve)
    message = refused(RunDir(run.path).check, changed("model.latent_dim=7"), resolve)
    assert "(model.latent_dim: 100 -> 7)" in message
    run.config_file.write_text(reader.dump(changed("model.zzz=1")))
    message = refused(RunDir(run.path).check, RECIPE, resolve)
    assert "its config.yaml cannot be used (model.zzz: " in message and "--run-dir" in message


def test_a_recipe_that_cannot_be_read(run):
    run.config_file.write_text("name: t\nkey_of_tomorrow: 1\n")
    message = refused(RunDir(run.path).check, RECIPE)
    assert message.startswith(f"{run.path}: ") and "key_of_tomorrow" in message


def test_foreign_folders_and_files_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    assert "no config.yaml" in refused(RunDir(tmp_path).check, RECIPE)
    assert "is a file" in refused(RunDir(tmp_path / "thesis.tex").check, RECIPE)
    below = RunDir(tmp_path / "thesis.tex" / "run")
    below.check(RECIPE)
    message = refused(below.open(RECIPE).__enter__)
    assert message.startswith(f"{below.path}: cannot be written: ") and "--run-dir" in message
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_empty_and_half_started_folders_are_taken(tmp_path, opened):
    opened(tmp_path)
    half = tmp_path / "half"
    half.mkdir()
    (half / ".lock").write_text("")
    (half / ".config.123.yaml").write_text("name: t\ntra")  # killed while it was written
    assert opened(half).exists


def test_killed_before_the_folders_were_made(tmp_path, opened):
    (tmp_path / "config.yaml").write_text(reader.dump(RECIPE))
    assert opened(tmp_path).samples.is_dir()


# --- the lock -------------------------------------------------------------------------------------

HOLD = """
import sys, time
from ms_gan.recipe import reader
from ms_gan.runs.run_dir import RunDir, RunError
run = RunDir(sys.argv[1])
try:
    with run.open(reader.from_dict({"name": "t", "train": {"steps": 10}})):
        print("ready", flush=True)
        time.sleep(float(sys.argv[2]))
except RunError as error:
    sys.exit(str(error))
"""


def holder(path, seconds):
    return tiny.python("-c", HOLD, path, seconds)


def test_one_process_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    path = tmp_path / "run"
    with holder(path, 60) as first:
        assert first.stdout.readline() == "ready\n"
        with holder(path, 0) as second:
            _, err = second.communicate(timeout=30)
        assert second.returncode == 1 and len(err.splitlines()) == 1
        assert err.startswith(f"{path}: another process trains in this folder")
        first.kill()
    with holder(path, 0) as third:  # the kill has freed it
        out, err = third.communicate(timeout=30)
    assert (third.returncode, out, err) == (0, "ready\n", "")


def test_the_lock_goes_with_the_block(tmp_path):
    pytest.importorskip("fcntl")
    with RunDir(tmp_path).open(RECIPE):
        message = refused(RunDir(tmp_path).open(RECIPE).__enter__)
        assert "another process trains in this folder" in message
    with pytest.raises(ZeroDivisionError), RunDir(tmp_path).open(RECIPE):
        raise ZeroDivisionError
    with RunDir(tmp_path).open(RECIPE):
        pass


# --- the log and going back -----------------------------------------------------------------------


def fill(run, steps=(10, 20, 30, 40)):
    for step in steps:
        run.log(step, loss_d=step / 7)
        run.sample_file(step).write_bytes(b"png")
        run.checkpoint_file(step).write_bytes(b"ckpt")


def test_log(run):
    fill(run)
    rows = run.read_log()
    assert rows == [{"step": s, "loss_d": s / 7} for s in (10, 20, 30, 40)]
    assert len(run.log_file.read_text().splitlines()) == 4


def test_rewind(run):
    fill(run)
    kept = run.log_file.read_text().splitlines()[:2]
    run.rewind(25)
    assert run.log_file.read_text().splitlines() == kept
    assert [step for step, _ in run.sample_files()] == [10, 20]
    run.log(30, loss_d=0.0)
    assert [row["step"] for row in run.read_log()] == [10, 20, 30]


def test_rewind_to_the_very_step_keeps_it(run):
    fill(run)
    run.rewind(30)
    assert [row["step"] for row in run.read_log()] == [10, 20, 30]
    assert [step for step, _ in run.sample_files()] == [10, 20, 30]


@pytest.mark.parametrize("tail", [b'{"step": 50, "los', b"{", b"\x00\x00\x00\x00", b'{"a": "\xc3'])
def test_a_line_that_a_kill_has_cut(run, tail):
    fill(run)
    with open(run.log_file, "ab") as file:
        file.write(tail)
    assert [row["step"] for row in run.read_log()] == [10, 20, 30, 40]
    run.rewind(40)
    run.log(50, loss_d=1.0)
    assert [row["step"] for row in run.read_log()] == [10, 20, 30, 40, 50]
    assert all(json.loads(line) for line in run.log_file.read_text().splitlines())


def test_rewind_of_a_run_without_a_log(run):
    run.rewind(0)
    assert run.read_log() == []


def test_prune_keeps_the_newest(run):
    fill(run, (2, 10, 9, 100, 12345678))
    run.prune(2)
    assert [step for step, _ in run.checkpoint_files()] == [100, 12345678]
    assert len(run.sample_files()) == 5
    run.prune(5)
    assert [step for step, _ in run.checkpoint_files()] == [100, 12345678]


def test_prune_never_keeps_a_refused_checkpoint_for_a_good_one(run):
    """Step 40 could not be loaded, training went on from 30: 40 must not push 35 out."""
    fill(run)
    run.rewind(30)
    run.checkpoint_file(35).write_bytes(b"ckpt")
    run.prune(1)
    assert [step for step, _ in run.checkpoint_files()] == [35]
    assert (run.checkpoints / "step_0000040.refused").exists()


def test_prune_sweeps_up_after_killed_processes_only(run):
    left = [run.path / ".generator.321.ckpt", run.checkpoints / ".step_0000010.321.ckpt",
            run.checkpoints / ".step_0000010.321.tmp", run.samples / ".0000010.4.png"]  # fmt: skip
    users = [run.path / ".notes.txt", run.path / "my.notes.txt", run.samples / ".DS_Store"]
    for path in (*left, *users):
        path.write_text("x")
    (run.path / ".cache.d").mkdir()
    run.prune(1)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in users)
    assert (run.path / ".lock").exists() and (run.path / ".cache.d").is_dir()


def test_manifest(run):
    run.write_manifest({"data": {"md5": {"ä": "x"}}, "sessions": [{"step": 1}]})
    assert run.manifest == {"data": {"md5": {"ä": "x"}}, "sessions": [{"step": 1}]}
    run.manifest_file.write_text('{"data": ')
    assert run.manifest == {}


def test_file_names_sort_by_step(run):
    names = [run.checkpoint_file(step).name for step in (5, 40, 300, 2_000_000)]
    assert names == sorted(names) and names[0] == "step_0000005.ckpt"
    (run.checkpoints / "step_x.ckpt").write_text("")
    (run.checkpoints / "other.ckpt").write_text("")
    assert run.checkpoint_files() == []


def test_a_complete_run_is_swept_too(tmp_path):
    """A kill while it was tried what a save will do; nothing is saved any more after that."""
    run = RunDir(tmp_path)
    with run.open(RECIPE):
        left = [run.path / "..trial.0.77.ckpt", run.samples / ".0000003.77.png"]
    for path in left:
        path.write_bytes(b"trial")
    with run.open(RECIPE):
        assert not any(path.exists() for path in left)
