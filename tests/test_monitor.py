"""Evaluation while training: its numbers, its rule, what is kept, what a kill does to it."""

import json
import time

import numpy as np
import pytest

from mindspore import Tensor

from ms_gan import build, cli, data
from ms_gan.evaluation import classifier
from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.evaluation.monitor import Monitor, collapse
from ms_gan.runs import checkpoint, shipped
from ms_gan.runs.run_dir import RunDir
from tests import tiny
from tests.tiny import replay


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny.recipe_file(
        tmp_path_factory.mktemp("recipe"),
        optimizer={"lr_d": 2e-3, "lr_g": 2e-3},
        train={"steps": 12},
        every={"log": 2, "sample": 4, "save": 4, "evaluate": 3, "keep": 9},
    )


def train(recipe, folder, *overrides):
    words = ["train", "--config", recipe, "--run-dir", folder, *overrides]
    assert cli.main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A finished run, never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(recipe, folder)
    return folder


# --- the rule -------------------------------------------------------------------------------------


def row(classes_seen=10, coverage=0.9, real_score=0.5, fake_score=-0.5):
    return {
        "classes_seen": classes_seen, "coverage": coverage,
        "real_score": real_score, "fake_score": fake_score,
    }  # fmt: skip


WINS = {"real_score": 1.5, "fake_score": -1.5}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row(classes_seen=3)], None),  # the first
        ([row(3), row(5), row(9), row(10)], None),  # still finding them
        ([row(3), row(3)], "modes lost: 3 of 10"),
        ([row(10), row(9)], "modes lost: 9 of 10"),
        ([row(10), row(7), row(9)], "modes lost: 9 of 10"),
        ([row(10), row(7), row(10)], None),
        ([row(), row(coverage=0.5)], None),  # D does not win
        ([row(), row(coverage=0.5, **WINS)], "coverage fell from 0.90 to 0.50"),
        ([row(), row(coverage=0.5, real_score=9.0, fake_score=6.0)], "are 3.0 above"),  # no zero
        ([row(), row(coverage=0.73, **WINS)], None),  # above four fifths
        ([row(), row(coverage=0.71, **WINS)], "coverage fell"),
        ([row(), row(coverage=0.6), row(coverage=0.65, **WINS)], "from 0.90 to 0.65"),
        ([row(coverage=0.05), row(coverage=0.01, **WINS)], None),  # nothing learnt yet
        ([row(**WINS), row(coverage=0.95, **WINS)], None),
    ],
)
def test_collapse(rows, says):
    found = collapse(rows, 10)
    assert found is None if says is None else says in found


# --- the monitor ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net():
    return classifier.load(shipped.ASSETS / shipped.CLASSIFIERS["mnist"])[0]


@pytest.fixture(scope="module")
def digits():
    return data.splits("digits")


def test_a_monitor_warns_once_an_episode(net, digits):
    train, test = digits
    good = data.to_float(train.images[:64])
    poor = np.repeat(good[:1], 64, axis=0)
    lines = []
    sampler = replay(good)
    scores = {"real_score": 0.0, "fake_score": 0.0}
    monitor = Monitor(net, train, test, seed=0, num=128, say=lines.append)
    assert len(lines) == 1 and f"distance {monitor.floor:.2f}" in lines[0]
    assert "128 samples against 128 test images" in lines[0]
    warned = []
    for step, images in enumerate((poor, good, poor, poor, good, poor)):
        sampler.net.images.set_data(Tensor(images))
        lines.clear()
        values = monitor.measure(step, sampler, scores)
        assert f"step {step}: distance {values[DISTANCE.key]:.2f}" in lines[0]
        assert values["floor"] == monitor.floor
        assert sum(values["shares"]) == pytest.approx(1, abs=1e-3)
        assert values["classes_seen"] == (1 if images is poor else 10)
        assert ("warning" in values) == (images is poor and step > 0)
        warned.append(any(line.startswith("warning: ") for line in lines))
        assert monitor.improved == (step in (0, 1))
        assert json.dumps(values) and "warning" not in monitor.latest
    assert warned == [False, False, True, False, False, True]
    # one that is made from the log goes on as if it had been there
    for known in (2, 3):
        again = Monitor(
            net, train, test, seed=0, num=128, rows=[{"step": 9}, *monitor.rows[:known]]
        )
        sampler.net.images.set_data(Tensor(poor))
        values = again.measure(known, sampler, scores)
        assert again.rows[-1] == monitor.rows[known] and not again.improved


# --- in a run -------------------------------------------------------------------------------------


def evaluations(folder):
    return [row for row in RunDir(folder).read_log() if DISTANCE.key in row]


def test_log_and_best(whole, recipe, tmp_path):
    rows = RunDir(whole).read_log()
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 8, 9, 10, 12]  # one line a step
    found = evaluations(whole)
    assert [row["step"] for row in found] == [3, 6, 9, 12]
    for row in found:
        assert {"precision", "recall", "coverage", "classes_seen", "shares", "floor"} < row.keys()
    assert len({row["floor"] for row in found}) == 1
    best = min(found, key=lambda row: row[DISTANCE.key])
    assert 0 < best["floor"] < best[DISTANCE.key]
    sampler = build.load_sampler(whole / "best.ckpt")
    assert sampler.meta["step"] == best["step"]
    assert sampler.meta["evaluation"].items() <= best.items()
    training = RunDir(whole).checkpoint_file(best["step"])
    if not training.exists():
        training = tmp_path / "generator.ckpt"
        train(recipe, tmp_path, f"train.steps={best['step']}", "every.evaluate=0")
    expected = build.load_sampler(training).samples(0, 3)[0]
    assert (sampler.samples(0, 3)[0] == expected).all()


def test_the_end_names_the_best(whole, recipe, capsys):
    train(recipe, whole)
    best = min(evaluations(whole), key=lambda row: row[DISTANCE.key])
    expected = f"best at step {best['step']}: distance {best[DISTANCE.key]:.2f} (floor "
    assert expected in capsys.readouterr().out


def assert_same(one, other):
    """All that does not depend on the clock."""
    for name in ("best.ckpt", "generator.ckpt", "curves.png", "progress.gif"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    left, right = (RunDir(folder).read_log() for folder in (one, other))
    for row in (*left, *right):
        del row["images_per_second"]
    assert left == right


@pytest.mark.parametrize("step", [0, 8])
def test_a_best_of_a_forgotten_step_comes_again(step, whole, recipe, tmp_path):
    """As after a kill: log, samples and best.ckpt are of later steps than the newest checkpoint."""
    folder = tiny.copy_run(whole, tmp_path / "run", step)
    assert checkpoint.load(folder / "best.ckpt")[1]["step"] > step
    train(recipe, folder)
    assert_same(folder, whole)


def test_a_kill_changes_nothing(whole, recipe, tmp_path):
    folder = tmp_path / "run"
    words = ["train", "--config", recipe, "--run-dir", folder]
    with tiny.start(*words) as process:
        while len(evaluations(folder)) < 2:  # step 6: after the checkpoint of step 4
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert process.returncode != 0, "it ended before the kill"
    assert tiny.run(*words)[0] == 0
    assert_same(folder, whole)


def test_never_means_never(recipe, tmp_path, capsys):
    train(recipe, tmp_path, "every.evaluate=0")
    assert not evaluations(tmp_path) and not (tmp_path / "best.ckpt").exists()
    out = capsys.readouterr().out
    assert "evaluation" not in out and "best at" not in out


def test_no_classifier_fits(recipe, tmp_path, capsys):
    """Then the patches of the images are compared, which needs no classifier."""
    train(recipe, tmp_path, "data.size=20")
    out = capsys.readouterr().out
    rows = [row for row in RunDir(tmp_path).read_log() if "sliced_wasserstein" in row]
    assert [row["step"] for row in rows] == [3, 6, 9, 12] and not evaluations(tmp_path)
    assert all(row["sliced_wasserstein"] > row["floor"] > 0 for row in rows)
    assert "best at step" in out and (tmp_path / "best.ckpt").exists()


def test_no_test_images(recipe, tmp_path, capsys):
    """A folder with training images alone: nothing is downloaded, training goes on."""
    root = tmp_path / "mnist"
    root.mkdir()
    images, labels = np.zeros((70, 28, 28), np.uint8), (np.arange(70) % 10).astype(np.uint8)
    for kind, array in (("images", images), ("labels", labels)):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (root / f"train-{kind}-idx{array.ndim}-ubyte").write_bytes(header + array.tobytes())
    train(recipe, tmp_path / "run", "data.name=mnist", f"data.root={root}")
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "no evaluation while training" in line)
    assert "no mnist files of split 'test'" in line and "best at" not in out
