"""Several workers of one run: who gets which rows, and that they train what one would train."""

import os
import re
import signal
import time

import numpy as np
import pytest

from ms_gan import cli, session
from ms_gan.cli import distribute_train
from ms_gan.data import Batches
from ms_gan.data.dataset import Dataset
from ms_gan.errors import UsageError
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError
from ms_gan.runs import checkpoint
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import msrun, workers
from ms_gan.system.msrun import Death, Job, Place
from ms_gan.system.workers import Share
from ms_gan.training.feed import Feed, Rows
from tests import tiny
from tests.tiny import refused, refused_command

SIZES = (1, 2, 4)
# No BatchNorm, whose statistics are those of a worker's own images; and a loss whose gradients are
# more than rounding, which Adam would enlarge (relativistic, the last bias of D has none).
TOGETHER = {
    "name": "together",
    "data": {"name": "digits", "batch_size": 128, "flip": True},
    "model": {**tiny.NETS, "g_norm": "none", "conditional": True},
    "train": {"steps": 20, "ema_decay": 0.9},
    "every": {"log": 5, "sample": 0, "save": 10, "keep": 4},
    "runtime": {"device": "CPU"},
}
WITH_MORE = {
    "train": {"steps": 20, "d_steps": 2, "same_latents": False, "ema_decay": 0.9},
    "regularizer": {"name": "r1_r2", "weight": 0.1},
    "augment": {"name": "diff_augment"},
}


# --- who gets what --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_shares_are_all_rows_and_each_row_is_once(size):
    shares = [np.arange(12)[Share(rank, size).of(12)] for rank in range(size)]
    assert {len(share) for share in shares} == {12 // size}
    np.testing.assert_array_equal(np.concatenate(shares), np.arange(12))


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 1, 4, 4), np.uint8)
    return Dataset("noise", images, np.arange(50, dtype=np.int32) % 10, tuple("0123456789"), "", {})


@pytest.mark.parametrize("sampling, flip", [("shuffle", True), ("random", True), ("random", False)])
@pytest.mark.parametrize("size", SIZES[1:])
def test_batches_of_all_workers_are_the_batch_of_one(dataset, size, sampling, flip):
    given = {"seed": 7, "sampling": sampling, "flip": flip}
    whole = Batches(dataset, 8, **given)
    parts = [Batches(dataset, 8, **given, share=Share(rank, size)) for rank in range(size)]
    for index in (0, 5, 17):  # an epoch has 6
        together = zip(*(part.at(index) for part in parts), strict=True)
        for one, several in zip(whole.at(index), together, strict=True):
            np.testing.assert_array_equal(one, np.concatenate(several))
    assert {part.steps_per_epoch for part in parts} == {whole.steps_per_epoch}


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("more", [{}, {"d_steps": 3}, {"d_steps": 2, "same_latents": False}])
def test_numbers_of_all_workers_are_those_of_one(dataset, size, more):
    """Latents and numbers are other ones on each worker, and a function of (seed, step, rank)."""
    more = {**more, "latents": 5, "numbers": (0, 3), "labelled": True}

    def fed(rank, size):
        share = Share(rank, size)
        batches = Batches(dataset, 8, seed=7, share=share)
        return [
            x.asnumpy() for x in Feed(batches, Rows(8 // size, **more), seed=3, share=share).at(4)
        ]

    parts = [fed(rank, size) for rank in range(size)]
    for i, whole in enumerate(fed(0, 1)):
        blocks = [part[i].reshape(-1, 8 // size, *part[i].shape[1:]) for part in parts]
        together = np.concatenate(blocks, axis=1).reshape(whole.shape)  # update by update
        np.testing.assert_array_equal(together, whole)
        if i in (1, 3):
            assert len(np.unique(whole)) == whole.size


# --- what cannot be shared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "overrides, size, message",
    [
        (["data.batch_size=64"], 3, "64 images for 3 workers; expected a multiple of 3, at least"),
        (["data.batch_size=64", "train.pack=2"], 64, "2 packed together"),
        (["data.batch_size=4"], 4, "at least 8"),
        (["train.history=128", "data.batch_size=64"], 2, "train.history: 128 with 2 workers"),
    ],
)
def test_what_cannot_be_shared_is_one_line(overrides, size, message):
    config = reader.load(reader.find("gan_mnist"), overrides)
    session.check_shared(config, 1)
    assert message in refused(ConfigError, session.check_shared, config, size)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"workers": 4, "local": 3}, "--local_worker_num: 3"),
        ({"workers": 4, "local": 8}, "--local_worker_num: 8"),
        (
            {"workers": 4, "local": 2, "node": 2, "address": "10.0.0.1"},
            "--node_rank: expected 0 to 1",
        ),
        ({"workers": 4, "local": 2}, "--master_addr: 2 machines need the address of the first"),
        ({"workers": 2, "local": 2, "port": 70000}, "--master_port"),
    ],
)
def test_places_that_cannot_be(given, message):
    assert message in refused(UsageError, lambda: Place(**given))


def test_ranks_of_a_machine():
    place = Place(8, 4, node=1, address="10.0.0.1")
    assert list(place.ranks) == [4, 5, 6, 7] and place.machines == 2


def test_a_recipe_is_refused_before_anything_starts(capsys, tmp_path):
    words = ("distribute-train", "3", "--run-dir", tmp_path / "run", "data.batch_size=64")
    assert "64 images for 3 workers" in refused_command(capsys, *words)
    assert "no such option" in refused_command(capsys, *words, "data.nam=x")
    assert not list(tmp_path.iterdir())


# --- what a worker is told, and says --------------------------------------------------------------


def test_a_worker_gets_the_words_of_the_command():
    given = ["--config", "a b.yaml", "--run-dir", "r", "--from", "x.ckpt", "--change", "seed=1"]
    options = ["train.steps=3", "data.root=a b"]
    arguments = cli.parse(["distribute-train", "2", *given, "--join", "True", *options])
    told = cli.parse(distribute_train.words(arguments))
    for name in ("config", "run_dir", "weights", "change", "overrides"):
        assert getattr(told, name) == getattr(arguments, name), name


def test_a_worker_is_known_by_its_first_line(tmp_path):
    job = Job.__new__(Job)
    job.place, job.logs, job.said = Place(2, 2), tmp_path, tmp_path / "msrun.log"
    job.log(1).write_text(f"{msrun.greeting(1, 2)}\nstep 2/20\n")
    job.said.write_text("")
    assert job.processes() == {os.getpid(): 1} and job.death() is None
    assert job.signal(0) == [os.getpid()] and job.signal(0, but=[os.getpid()]) == []
    job.said.write_text(
        f"[ERROR] Worker process {os.getpid()} exit with exception. Error code: -9."
    )
    assert str(job.death()) == "worker 1 was ended by SIGKILL"
    assert str(Death(None, 1)) == "a worker failed (exit code 1)"
    assert str(Death(0, -99)) == "worker 0 was ended by signal 99"


def test_cores_are_for_one_worker_each(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 5, 7}, raising=False)
    monkeypatch.setattr(distribute_train.shutil, "which", lambda _: "/bin/taskset")
    assert distribute_train.cores(Place(2, 2), "CPU") == [[0, 2], [4, 5]]
    assert distribute_train.cores(Place(8, 8), "CPU") is None
    assert distribute_train.cores(Place(2, 2), "auto") is None


def test_alone_nothing_is_asked(monkeypatch):
    monkeypatch.delenv(workers.ROLE, raising=False)
    monkeypatch.setenv(workers.NUMBER, "8")
    workers.join()
    assert workers.share() == Share(0, 1) and workers.asked() == 1 and workers.is_first()
    assert workers.gathered([3, 4]).tolist() == [[3, 4]]
    agreed = workers.Agreement(lambda: signal.SIGTERM)
    assert agreed() and agreed.wished == signal.SIGTERM


def test_values_that_differ_are_named(monkeypatch):
    """Worker 1 has one other weight: every worker hears of it."""
    mine = {"a": np.zeros(3, np.float32), "b": np.ones(2, np.float32)}
    other = {"a": mine["a"], "b": np.float32([1, 1.0000001])}
    sums = []
    monkeypatch.setattr(workers, "_here", Share(0, 2))
    monkeypatch.setattr(
        workers, "gathered", lambda values: sums.append(values) or np.array([values] * 2)
    )
    workers.check_equal(mine, "")
    workers.check_equal(other, "")
    monkeypatch.setattr(workers, "gathered", lambda values: np.array(sums))
    message = refused(workers.WorkersError, workers.check_equal, mine, "at step 8")
    assert message.startswith("worker 1 holds other values than worker 0 at step 8: 'b' (1 of 2")


# --- real processes -------------------------------------------------------------------------------


def start(size, recipe, run_dir, *words):
    return tiny.start("distribute-train", size, "--config", recipe, "--run-dir", run_dir, *words)


def distributed(size, recipe, run_dir, *words, timeout=300):
    """What several workers say until the end of a run."""
    process = start(size, recipe, run_dir, *words)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, f"{out}\n{err}"
    return out


def recipe_of(folder, **changes):
    return tiny.recipe_file(folder, **{**TOGETHER, **changes})


def values_at(run_dir, step):
    """All that a checkpoint holds, by name."""
    return checkpoint.load(RunDir(run_dir).checkpoint_file(step))[0]


def assert_near(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_two_workers_train_what_one_would(tmp_path):
    """2 x 64 images and 1 x 128, 20 updates."""
    recipe = recipe_of(tmp_path)
    out = distributed(2, recipe, tmp_path / "two")
    assert "complete at step 20" in out
    alone = session.start(recipe, tmp_path / "one", say=lambda line: None)
    before = tiny.values(alone.state)
    alone.train()
    two, one = values_at(tmp_path / "two", 20), values_at(tmp_path / "one", 20)
    assert_near(two, one)
    moved = [np.abs(one[name] - value).max() for name, value in before.items()]
    assert np.median(moved) > 1e-3  # far more than the tolerance

    run = RunDir(tmp_path / "two")
    assert [row["step"] for row in run.read_log()] == [5, 10, 15, 20]  # one writer
    assert [s["workers"] for s in run.manifest["sessions"]] == [2]
    assert "distribute-train 2" in run.manifest["sessions"][0]["command"]
    assert {p.name for p in tmp_path.iterdir()} == {"tiny.yaml", "one", "two", "two-workers"}
    said = (tmp_path / "two-workers" / "worker_1.log").read_text()
    assert "worker 1 of 2" in said and "complete" not in said


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(tmp_path):
    """2, 1, then 4 workers, each to a later step: what one worker trains. With all parts in which
    random numbers are drawn, and the gradient of a gradient."""
    recipe = recipe_of(tmp_path, **WITH_MORE)
    for size, steps in ((2, 8), (1, 14), (4, 20)):
        distributed(size, recipe, tmp_path / "run", f"train.steps={steps}", timeout=400)
    session.start(recipe, tmp_path / "one", say=lambda line: None).train()
    assert_near(values_at(tmp_path / "run", 20), values_at(tmp_path / "one", 20))
    sessions = RunDir(tmp_path / "run").manifest["sessions"]
    assert [s.get("workers", 1) for s in sessions] == [2, 1, 4]


@pytest.mark.slow
def test_an_interrupted_run_of_two_goes_on_to_the_last_bit(tmp_path):
    """With BatchNorm, a moving average, and the signal that comes to one of them."""
    recipe = tiny.recipe_file(
        tmp_path, train={"steps": 400, "ema_decay": 0.9}, every={"log": 2, "sample": 0, "save": 0}
    )
    process = start(2, recipe, tmp_path / "run")
    log = tmp_path / "run" / "log.jsonl"
    wait_for(lambda: log.is_file() and len(log.read_text().splitlines()) > 3, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    step = int(re.search(r"interrupted at step (\d+) of 400; everything is saved", out)[1])
    assert 0 < step < 400 and f"to continue: ms-gan distribute-train 2 --config {recipe}" in out
    distributed(2, recipe, tmp_path / "run")
    distributed(2, recipe, tmp_path / "whole")
    run, whole = values_at(tmp_path / "run", 400), values_at(tmp_path / "whole", 400)
    tiny.assert_same_bits(run, whole)


@pytest.mark.slow
def test_a_killed_worker_ends_the_others_in_one_line(tmp_path):
    recipe = recipe_of(tmp_path, train={"steps": 100_000}, every={"log": 2, "save": 10, "keep": 2})
    process = start(2, recipe, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    wait_for(run.checkpoint_files, process)
    logs = [tmp_path / "run-workers" / f"worker_{rank}.log" for rank in (0, 1)]
    pids = [int(re.search(r"process (\d+)", log.read_text())[1]) for log in logs]
    os.kill(pids[1], signal.SIGKILL)
    killed = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - killed < 20
    assert err.startswith("ms-gan: worker 1 was ended by SIGKILL; the others were ended; its log: ")
    assert err.count("\n") == 1 and "Traceback" not in out
    for pid in pids:
        wait_for(lambda pid=pid: not alive(pid), None)
    saved = run.checkpoint_files()[-1][0]
    out = distributed(2, recipe, tmp_path / "run", f"train.steps={saved + 4}")
    assert f"continuing at step {saved} of {saved + 4}" in out


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, process, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.1)
