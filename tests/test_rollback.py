"""A number that is not finite: noticed within one logging interval, and gone back from."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import mindspore as ms

from ms_gan import session
from ms_gan.recipe import changes, reader
from ms_gan.runs.run_dir import RunDir
from ms_gan.training import trainer
from ms_gan.training.trainer import TrainingDiverged
from tests.test_divergence import BASE, started
from tests.tiny import assert_same_bits, newest, refused

STEPS = 12
ROLLBACK = {"steps": STEPS, "ema_decay": 0.9, "on_divergence": "rollback"}
EVERY = {"log": 3, "sample": 0, "save": 4, "keep": 2}


class Faulty:
    """A feed whose images are infinite at one step, as long as D's learning rate is too large."""

    def __init__(self, run, at, below=1e-3):
        self.run, self.step, self.below = run, at, below
        self.feed = run.feed

    def at(self, step):
        images, *others = self.feed.at(step)
        if step == self.step and self.run.config.optimizer.lr_d >= self.below:
            images = ms.Tensor(np.full(images.shape, np.inf, np.float32))
        return images, *others


def begun(folder, at, train=ROLLBACK, below=1e-3, **sections):
    """(a session whose feed is faulty, what it said)"""
    run, lines = started(folder, train=train, every=EVERY, **sections)
    run.feed = Faulty(run, at, below)
    return run, lines


def log(run):
    """The log but for the pace."""
    rows = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that diverged at update 7 and went back to step 4."""
    folder = tmp_path_factory.mktemp("rollback") / "run"
    run, lines = begun(folder, 6)
    assert run.train()
    return folder, lines


def test_back_to_the_last_finite_checkpoint_with_half_the_rates(whole, capsys):
    folder, _ = whole
    run = RunDir(folder)
    (record,) = run.manifest["changes"]
    rates = {"optimizer.lr_d": [1e-3, 5e-4], "optimizer.lr_g": [1e-3, 5e-4]}
    assert record == {"step": 4, "changed": rates, "diverged": "loss_d became nan at step 7"}
    assert len(run.manifest["sessions"]) == 1
    rows = log(run)
    assert [row["step"] for row in rows] == [3, 4, 4, 6, 8, 9, 12]
    assert rows[2] == {"step": 4, "changed": rates, "warning": "loss_d became nan at step 7"}
    assert "lr_d: 0.0005" in run.config_file.read_text()


def test_what_comes_after_is_what_the_change_by_hand_gives(whole, tmp_path):
    stopped, _ = begun(tmp_path / "run", 6, {**ROLLBACK, "on_divergence": "stop"})
    message = refused(TrainingDiverged, stopped.train)
    assert message.startswith("loss_d became nan at step 7; the newest checkpoint whose values ")
    words = ["optimizer.lr_d=5e-4", "optimizer.lr_g=5e-4"]
    assert started(tmp_path / "run", *words, train=ROLLBACK, every=EVERY)[0].train()
    assert_same_bits(newest(tmp_path / "run"), newest(whole[0]))


MOMENTS = ("write_manifest", "write_recipe", "rewind", "log_changes", "the next save")
SHORT = ("write_recipe",)  # of the others, a long version


@pytest.mark.parametrize(
    "moment",
    [m if m in SHORT else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS],
)
def test_a_kill_changes_nothing(moment, whole, tmp_path, monkeypatch):
    """Before each thing that going back writes, and later: the same command ends the same."""
    run, _ = begun(tmp_path / "run", 6)

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    real = session.Session.roll_back

    def roll_back(self, *arguments):
        holder = self if moment == "log_changes" else self.run
        if moment in MOMENTS[:-1]:
            monkeypatch.setattr(holder, moment, killed, raising=True)
        back = real(self, *arguments)
        monkeypatch.setattr(trainer, "save_all", killed)
        return back

    with monkeypatch.context():
        monkeypatch.setattr(session.Session, "roll_back", roll_back)
        with pytest.raises(Killed):
            run.train()
        monkeypatch.undo()
    again, lines = begun(tmp_path / "run", 6)
    assert again.train()
    assert_same_bits(newest(tmp_path / "run"), newest(whole[0]))
    assert log(RunDir(tmp_path / "run")) == log(RunDir(whole[0]))
    assert again.changes() == RunDir(whole[0]).manifest["changes"]


def test_before_the_first_checkpoint_back_to_the_start_and_three_times_at_most(tmp_path):
    run, _ = begun(tmp_path / "run", 2, below=0.0)
    message = refused(TrainingDiverged, run.train)
    assert "loss_d became nan at step 3; no checkpoint" in message
    assert [r["changed"]["optimizer.lr_g"][1] for r in run.run.manifest["changes"]] == [
        5e-4, 2.5e-4, 1.25e-4,
    ]  # fmt: skip


def test_ramps_are_halved():
    ramp = {"start": 1e-3, "end": 1e-4, "steps": 10}
    config = session.resolved(reader.from_dict({**BASE, "optimizer": {"lr_d": ramp, "lr_g": 1e-3}}))
    new, change = session.recorded.halved(config)
    assert (new.optimizer.lr_d.start, new.optimizer.lr_d.end, new.optimizer.lr_d.steps) == (
        5e-4, 5e-5, 10,
    )  # fmt: skip
    assert change["optimizer.lr_g"] == [1e-3, 5e-4]
    again, lines = changes.repeated(config, [{"step": 3, "changed": change}], session.resolved)
    assert again == new and len(lines) == 2


# --- noticed within one logging interval ----------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["generator.model.0.bias", "optimizer_d.moment1.discriminator.model.0.weight"]
)
def test_a_number_anywhere_is_noticed_at_the_next_logged_step(name, tmp_path, monkeypatch):
    """Also where no loss shows it: the update is replaced by one that spoils a single number."""
    run, _ = started(tmp_path / "run", train={**ROLLBACK, "on_divergence": "stop"}, every=EVERY)
    (parameter,) = [p for p in run.state.parameters if p.name == name]
    zero, scores = ms.Tensor(0.5), ms.Tensor(np.zeros(4, np.float32))

    def update(*inputs):
        if run.state.step == 1:
            array = parameter.asnumpy().copy()
            array.ravel()[-1] = np.inf
            parameter.set_data(ms.Tensor(array))
        return zero, zero, scores, scores

    run.state.updates = SimpleNamespace(at=lambda step: update, all=list)
    assert f"infinity or NaN in 1 of {len(run.state.parameters)} arrays ('{name}') at step 3" in (
        refused(TrainingDiverged, run.train)
    )


@pytest.mark.parametrize(("interval", "at", "noticed"), [(5, 2, 5), (0, 2, 8)])
def test_a_loss_between_two_logged_steps_is_noticed(interval, at, noticed, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "PENDING", 8)
    every = {"log": interval, "sample": 0, "save": 0, "keep": 1}
    run, _ = started(tmp_path / "run", train={"steps": 30, "ema_decay": 0.9}, every=every)
    good, scores = ms.Tensor(0.5), ms.Tensor(np.zeros(4, np.float32))
    done = []

    def update(*inputs):
        done.append(run.state.step)
        bad = ms.Tensor(-np.inf) if run.state.step == at - 1 else good
        return good, bad, scores, scores

    run.state.updates = SimpleNamespace(at=lambda step: update, all=list)
    assert f"loss_g became -inf at step {at}; " in refused(TrainingDiverged, run.train)
    assert len(done) == noticed
