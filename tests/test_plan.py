"""A run that is given minutes: it measures its own step, plans its length once and keeps to it."""

import json
import shutil
import signal
import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import yaml

from ms_gan import cli, session
from ms_gan.recipe import reader, schema
from ms_gan.recipe.schema import ConfigError, Every, Ramp
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.training import plan
from ms_gan.training.plan import CLOSING, Costs, seconds_of_a_step, steps_within, times
from ms_gan.training.trainer import is_due
from ms_gan.training.updates import Updates
from tests import tiny
from tests.tiny import CONFIGS, RECIPE, assert_same_bits, newest, recipe_file, refused

SHARES = {"start": 1.0e-3, "end": 1.0e-4, "after_share": 0.25, "share": 0.5, "shape": "linear"}
OPTIMIZER = {"lr_d": SHARES, "lr_g": SHARES}
WEIGHT = {"start": 0.5, "end": 1.0, "share": 1.0}
EVERY = {"log": 5, "sample": 0.25, "save": 20}


def config_of(**sections):
    return reader.from_dict({**RECIPE, **sections})


def planned(folder):
    return RunDir(folder).manifest["plan"]


# --- shares ---------------------------------------------------------------------------------------

# The ramps of the shipped recipes at their own length: (after, steps) of updates. What the
# documents report was trained with these.
RAMPS = {
    "cyclegan_emoji": {"lr_d": (2000, 2000), "lr_g": (2000, 2000)},
    "cyclegan_mnist_usps": {"lr_d": (2500, 2500), "lr_g": (2500, 2500)},
    "cyclegan_sprites": {"lr_d": (2500, 2500), "lr_g": (2500, 2500)},
    "default": {"lr_d": (5600, 8400), "lr_g": (5600, 8400)},
    "inpainting_fashion": {"lr_g": (0, 6000), "loss": (3000, 500)},
    "inpainting_sprites": {"lr_g": (0, 6000), "loss": (3000, 500)},
    "minimax_mnist": {"lr_g": (1000, 1)},
    "r3gan_mnist": {"regularizer": (0, 1500)},
    "srgan_x2": {"lr_g": (0, 4500), "loss": (4000, 500)},
    "srgan_x4": {"lr_g": (0, 4500), "loss": (4000, 500)},
    "stacked_mnist": {"lr_d": (2400, 3600), "lr_g": (2400, 3600)},
}


def ramps_of(config):
    """Where a recipe has ramps -> the ramp."""
    found = {"lr_d": config.optimizer.lr_d, "lr_g": config.optimizer.lr_g}
    parts = {"loss": config.loss, "regularizer": config.regularizer, **config.terms}
    found |= {name: part.options.get("weight") for name, part in parts.items() if part}
    return {name: value for name, value in found.items() if isinstance(value, Ramp)}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_ramps_of_the_recipes_are_shares_with_the_steps_of_before(path):
    config = reader.load(path)
    ramps = ramps_of(config)
    if path.stem in RAMPS or ramps:
        found = ramps_of(schema.settled(config, config.train.steps))
        assert {name: (r.after, r.steps) for name, r in found.items()} == RAMPS[path.stem]
    for name, ramp in ramps.items():
        assert (ramp.share or ramp.after_share) is not None, f"{name}: a ramp in steps"


def test_a_share_is_rounded_to_whole_updates_of_its_optimizer():
    assert Ramp(1.0, 0.0, share=0.6, after_share=0.4).span(14000) == (5600, 8400)
    assert Ramp(1.0, 0.0, share=1 / 3).span(100) == (0, 33)
    assert Ramp(1.0, 0.0, share=0.001, after_share=1).span(20) == (20, 1)  # at least one
    assert Ramp(1.0, 0.0, 7, after_share=0.5).span(20) == (10, 7)
    assert Ramp(1.0, 0.0, after=3, share=0.5).span(20) == (3, 10)
    config = config_of(
        train={"steps": 8, "d_steps": 3}, optimizer=OPTIMIZER,
        regularizer={"name": "r1_r2", "weight": WEIGHT}, loss={"name": "hinge", "weight": WEIGHT},
    )  # fmt: skip
    found = ramps_of(schema.settled(config, 8))
    assert {name: (r.after, r.steps) for name, r in found.items()} == {
        "lr_d": (6, 12), "lr_g": (2, 4), "loss": (0, 8), "regularizer": (0, 24),
    }  # fmt: skip


def test_shares_in_the_graph_are_the_steps_that_they_stand_for():
    """Bit for bit, for G and for D, which counts three updates for each step."""
    given = {"train": {"steps": 8, "d_steps": 3}, "optimizer": OPTIMIZER}
    ends = []
    for recipe in (config_of(**given), schema.settled(config_of(**given), 8)):
        run = session.start(recipe, "unused", say=lambda line: None)
        for step in range(8):
            run.state.update(*run.feed.at(step))
        ends.append(tiny.values(run.state))
    assert_same_bits(*ends)


def test_the_length_is_a_value_in_the_graph():
    from mindspore import Tensor, dtype

    from ms_gan.training.schedules import RampSchedule, settle

    ramp = RampSchedule(1.0, 0.0, shape="linear", span=Ramp(1.0, 0.0, share=0.5).span)
    for length, value in ((8, 0.5), (16, 0.75)):
        settle(ramp, length)
        assert float(ramp(Tensor(2, dtype.int32))) == value
    assert len(ramp.compile_cache) == 1  # not anew


def test_intervals_may_be_shares(tmp_path):
    every = {"log": 0.001, "sample": 0.0357, "evaluate": 0.25, "save": 40, "keep": 3}
    config = config_of(every=every)
    assert config.every.settled(14000) == Every(14, 500, 3500, 40, 3)
    assert config.every.settled(10) == Every(1, 1, 2, 40, 3)  # no interval is none
    assert reader.load(recipe_file(tmp_path), ["every.save=0.5"]).every.save == 0.5
    for given, says in (
        ({"log": 1.5}, "every.log: expected whole steps, or a share of the run between 0 and 1, g"),
        ({"save": 0.0}, "every.save: expected whole steps, or a share"),
        ({"save": -0.5}, "every.save: expected whole steps, or a share"),
        ({"sample": "often"}, "every.sample: expected int, got 'often'"),
        ({"keep": 0.5}, "every.keep: expected int, got 0.5"),
        ({"log": True}, "every.log: expected int, got True"),
    ):
        assert refused(ConfigError, config_of, every=given).startswith(says)


@pytest.mark.parametrize(
    ("ramp", "says"),
    [
        ({"share": 0.0}, "share of a ramp: expected 0 < x <= 1, a share of the run, got 0.0"),
        ({"share": 60}, "share of a ramp: expected 0 < x <= 1, a share of the run, got 60.0"),
        ({"share": 0.5, "after_share": 1.5}, "after_share of a ramp: expected 0 <= x <= 1"),
        ({"share": 0.5, "steps": 5}, "a ramp: give either steps or share"),
        ({}, "a ramp: give either steps or share"),
        ({"share": 0.5, "after": 4, "after_share": 0.5}, "a ramp: give either after or after_sh"),
        ({"steps": 0.5}, "steps: expected int, got 0.5"),
    ],
)
def test_ramps_that_are_refused(ramp, says):
    ramp = {"start": 1.0, "end": 0.0, **ramp}
    for at, sections in (
        ("optimizer.lr_g", {"optimizer": {"lr_g": ramp}}),
        ("loss.weight", {"loss": {"name": "hinge", "weight": ramp}}),
    ):
        message = refused(ConfigError, config_of, **sections)
        assert message.startswith((f"{at}: {says}", f"{at}.{says}"))


def test_steps_and_share_of_a_ramp_replace_each_other(tmp_path):
    recipe = recipe_file(tmp_path, optimizer=OPTIMIZER)
    lr = reader.load(recipe, ["optimizer.lr_g.steps=9"]).optimizer.lr_g
    assert (lr.steps, lr.share, lr.after_share) == (9, None, 0.25)
    words = ["optimizer.lr_g.after=2", "optimizer.lr_g.steps=9"]  # as before there were shares
    assert reader.load(recipe, words).optimizer.lr_g.span(1000) == (2, 9)
    words += ["optimizer.lr_g.after_share=0.1", "optimizer.lr_g.share=0.2"]
    assert reader.load(recipe, words).optimizer.lr_g.span(1000) == (100, 200)


# --- one of three lengths -------------------------------------------------------------------------


def test_minutes_take_the_place_of_steps_and_epochs(tmp_path):
    for given in ({"steps": 12}, {"epochs": 3}):
        train = reader.load(recipe_file(tmp_path, train=given), ["train.minutes=2.5"]).train
        assert (train.steps, train.epochs, train.minutes) == (None, None, 2.5)
    train = reader.load(recipe_file(tmp_path, train={"minutes": 3}), ["train.epochs=2"]).train
    assert (train.steps, train.epochs, train.minutes) == (None, 2, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train.minutes=2", "train.steps=5"], "train.steps=5 and train.minutes=2: both say how"),
        (["train.epochs=2", "train.minutes=1"], "train.epochs=2 and train.minutes=1: both say"),
        (["train.epochs=2", "train.minutes=1", "train.steps=3"], "train.steps=3, train.epochs=2, "),
        (["train.minutes=0"], "train.minutes: expected > 0"),
        (["train.minutes=-1"], "train.minutes: expected > 0"),
        (["train.minutes=.inf"], "train.minutes: expected a finite number"),
        (["train.minutes=ten"], "train.minutes: expected float, got 'ten'"),
        (["train={minutes: 1, steps: 4}"], "train: give one of steps, epochs and minutes (the oth"),
    ],
)
def test_two_lengths_are_refused(words, says, tmp_path):
    assert refused(ConfigError, reader.load, recipe_file(tmp_path), words).startswith(says)


# --- the plan -------------------------------------------------------------------------------------


def test_how_often_something_is_due():
    for every in (0, 1, 2, 3, 4, 5, 7, 50):
        for total in range(1, 60):
            due = [step for step in range(1, total + 1) if is_due(step, every, total)]
            assert times(every, total) == len(due), (every, total)


def test_the_plan_is_the_longest_run_that_fits():
    never = Every(log=0, sample=0, save=0, evaluate=0)
    assert steps_within(CLOSING + 10.05, Costs(step=0.1), lambda steps: never) == 100
    assert steps_within(0.5, Costs(step=0.1), lambda steps: never) == 1  # nothing fits
    every = Every(sample=100, save=40, evaluate=30)
    costs = Costs(step=0.01, picture=0.2, save=0.3, evaluation=2.0)
    for seconds in (3.0, 10.0, 60.0, 601.5):
        steps = steps_within(seconds, costs, lambda steps: every)
        whole = [n * costs.step + costs.beside(n, every) for n in (steps, steps + 1)]
        assert (whole[0] <= seconds or steps == 1) and whole[1] > seconds
    pictures, saves, evaluations = 11, 25, 34  # of 1,000 steps; a film is drawn of the pictures
    assert costs.beside(1000, every) == pytest.approx(
        2 * pictures * 0.2 + saves * 0.3 + evaluations * 2.0 + CLOSING
    )


def test_the_step_is_a_median_without_its_compilation():
    now, took = [0.0], iter([30.0, 0.2, 0.1, 9.0, *[0.1] * 100])  # compiling; warm; one hiccup
    outputs = (None, SimpleNamespace(asnumpy=lambda: None))

    def update(k):
        assert k == asked.pop(0)
        now[0] += next(took)
        return outputs

    asked = list(range(100))
    assert seconds_of_a_step(update, 1.0, lambda: now[0]) == pytest.approx(0.1)
    assert now[0] < 30 + 0.2 + 9.0 + 1.2


def test_what_is_measured_is_undone(tmp_path, monkeypatch):
    """Weights, what optimizers keep, statistics, the average and the history, to the last bit."""
    recipe = config_of(
        optimizer=OPTIMIZER, train={"minutes": 1, "ema_decay": 0.9, "history": 64},
        model={**tiny.NETS, "g_norm": "batch"},
    )  # fmt: skip
    run = session.start(recipe, tmp_path / "run", say=lambda line: None)
    before = tiny.values(run.state)
    assert any("history" in name for name in before) and any("moving" in name for name in before)
    rehearsed = []
    quality = SimpleNamespace(rehearse=rehearsed.append)
    run.run.path.mkdir()
    moved = []
    update = run.state.update
    monkeypatch.setattr(
        Updates, "at", lambda self, step: lambda *given: moved.append(1) or update(*given)
    )
    costs = plan.measure(run.state, run.feed, run.run, run.gallery, quality, seconds=1)
    assert len(moved) >= 5 and len(rehearsed) == 1
    assert 0 < costs.step < 5 and costs.picture > 0 and costs.save > 0
    assert_same_bits(tiny.values(run.state), before)
    assert list(run.run.path.iterdir()) == []


# --- runs -----------------------------------------------------------------------------------------


def slow(*args, measure=plan.measure, **kwargs):
    """As measured, but for the step: 60 seconds are at most 60 steps, which take less."""
    return replace(measure(*args, **kwargs), step=1.0)


@pytest.fixture(scope="module")
def minute(tmp_path_factory):
    """(recipe, folder, lines) of a finished run of train.minutes=1, ramps in shares."""
    folder = tmp_path_factory.mktemp("planned")
    recipe = recipe_file(folder, optimizer=OPTIMIZER, every=EVERY)
    lines = []
    run = session.start(recipe, folder / "run", ["train.minutes=1"], say=lines.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "measure", slow)
        assert run.steps is None and run.train() and run.state.step == run.steps
    assert len(run.state.update.compile_cache) == 1  # what was measured is what trained
    return recipe, folder / "run", lines


def test_a_plan_trains_as_the_same_number_of_steps(minute, tmp_path):
    """Bit for bit, and what it wrote down is that recipe."""
    recipe, folder, _ = minute
    steps = planned(folder)["steps"]
    assert steps > 1 and newest(folder)["optimizer_g.global_step"] == steps
    run = session.start(recipe, tmp_path / "run", [f"train.steps={steps}"], say=lambda line: None)
    assert run.train()
    assert_same_bits(newest(folder), newest(tmp_path / "run"))
    for name in ("config.yaml", "progress.gif", f"samples/{steps:07d}.png"):
        assert (folder / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name


def test_the_plan_is_said_and_recorded(minute):
    from ms_gan.runs import checkpoint

    _, folder, lines = minute
    found, record = [line for line in lines if line.startswith("plan: ")], planned(folder)
    assert len(found) == 1 and f"plan: {record['steps']:,} steps in 1 min: " in found[0]
    assert record["minutes"] == 1 and set(record) == {
        "minutes", "steps", "step", "spent", "beside",
    }  # fmt: skip
    written = yaml.safe_load((folder / "config.yaml").read_text())["train"]
    assert [written[key] for key in schema.LENGTHS] == [record["steps"], None, None]
    for path in folder.rglob("*.ckpt"):
        meta = checkpoint.load(path)[1]
        assert meta["plan"] == record and meta["config"]["train"]["steps"] == record["steps"]


@pytest.mark.parametrize("lost", [None, "manifest.json"])
def test_the_same_minutes_are_the_same_plan(lost, minute, tmp_path):
    """It is not measured again; without its manifest, the checkpoints know it."""
    recipe, folder, _ = minute
    copy = shutil.copytree(folder, tmp_path / "run")
    steps = planned(folder)["steps"]
    if lost:
        (copy / lost).unlink()
    run = session.start(recipe, copy, ["train.minutes=1"], say=lambda line: None)
    assert run.steps == steps and run.train()
    run = session.start(recipe, copy, ["train.minutes=1.5"], say=lambda line: None)
    assert run.steps is None  # other minutes are another plan


@pytest.mark.parametrize("more", [0.5, -0.5])
def test_other_minutes_are_another_plan_of_the_whole_run(more, minute, tmp_path, monkeypatch):
    recipe, folder, _ = minute
    copy, lines, steps = tmp_path / "run", [], planned(folder)["steps"]
    shutil.copytree(folder, copy)
    monkeypatch.setattr(plan, "measure", slow)
    run = session.start(recipe, copy, [f"train.minutes={1 + more}"], say=lines.append)
    assert run.train()
    assert f"continuing at step {steps}" in lines
    assert any(line.endswith(f"was {steps:,} steps and is now {run.steps:,}") for line in lines)
    if more > 0:
        assert run.state.step == run.steps > steps and planned(copy)["steps"] == run.steps
    else:
        assert run.state.step == steps > run.steps and planned(copy)["steps"] == steps
        assert lines[-1].endswith("asked for; nothing is trained")


def test_a_kill_before_the_plan_is_recorded(minute, tmp_path, monkeypatch):
    recipe, _, _ = minute

    class Killed(Exception):
        pass

    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(plan, "measure", killed)
    run = session.start(recipe, tmp_path / "run", ["train.minutes=1"], say=lambda line: None)
    with pytest.raises(Killed):
        run.train()
    assert (tmp_path / "run" / "config.yaml").is_file()
    monkeypatch.setattr(plan, "measure", slow)
    lines = []
    run = session.start(recipe, tmp_path / "run", ["train.minutes=1"], say=lines.append)
    assert run.train() and run.steps == planned(tmp_path / "run")["steps"]
    assert sum(line.startswith("plan: ") for line in lines) == 1


def test_a_longer_run_says_that_its_ramps_follow(minute, tmp_path):
    recipe, folder, _ = minute
    copy = shutil.copytree(folder, tmp_path / "run")
    steps, lines = planned(folder)["steps"], []
    run = session.start(recipe, copy, [f"train.steps={steps + 3}"], say=lines.append)
    assert run.train() and "plan" not in run.run.manifest
    said = f"which was {steps:,} steps and is now {steps + 3:,}"
    assert any(line.endswith(said) for line in lines)


def test_a_run_that_began_with_steps_in_its_ramps_goes_on(minute, tmp_path):
    """As those of before there were shares; another ramp is another recipe."""
    recipe, folder, _ = minute
    steps = planned(folder)["steps"]
    saved = min(step for step, _ in RunDir(folder).checkpoint_files())
    old = RunDir(tiny.copy_run(folder, tmp_path / "run", step=saved))
    began = reader.load(old.config_file)
    old.write_recipe(schema.settled(began, steps))
    assert not any(ramp.share for ramp in ramps_of(reader.load(old.config_file)).values())
    words = [f"train.steps={steps}"]
    start = partial(session.start, recipe, old.path, say=lambda line: None)
    message = refused(RunError, start, [*words, "optimizer.lr_g.share=0.75"])
    length = round(0.75 * steps)
    assert f"optimizer.lr_g.steps: {round(0.5 * steps)} -> {length})" in message
    run = start(words)
    assert run.train()
    assert saved < steps
    assert_same_bits(newest(old.path), newest(folder))


# A child whose steps take so long that it can be killed between them.
SLOW = """
import sys, time
import ms_gan
from ms_gan import cli
from ms_gan.training import feed
at = feed.Feed.at
feed.Feed.at = lambda self, step: time.sleep(0.05) or at(self, step)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_minutes_killed_and_continued(tmp_path, capsys):
    """As processes of their own, with SIGKILL: the plan of the beginning is kept."""
    recipe = recipe_file(tmp_path, optimizer=OPTIMIZER, every={**EVERY, "save": 10})
    words = ["train", "--config", recipe, "--run-dir", tmp_path / "run", "train.minutes=0.5"]
    process = tiny.python("-c", SLOW, *words)
    until = time.monotonic() + 100
    checkpoints = tmp_path / "run" / "checkpoints"
    while not any(checkpoints.glob("step_*.ckpt")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    record = planned(tmp_path / "run")
    assert f"plan: {record['steps']:,} steps in 0.5 min: " in out and "complete" not in out
    assert 0.05 < record["step"] and 10 < record["steps"] < 30 / 0.05
    code, out, err = tiny.run(*words)
    assert code == 0, err
    assert f"plan: {record['steps']:,} steps in 0.5 min, as was measured when it began" in out
    assert f"of {record['steps']}" in out and f"complete at step {record['steps']}" in out
    assert planned(tmp_path / "run") == record
    words = ["train", "--config", str(recipe), "--run-dir", str(tmp_path / "whole")]
    assert cli.main([*words, f"train.steps={record['steps']}"]) == 0
    assert_same_bits(newest(tmp_path / "run"), newest(tmp_path / "whole"))
    capsys.readouterr()


def test_a_dry_run_does_not_measure(tmp_path, capsys):
    words = ["train", "--config", str(recipe_file(tmp_path)), "--run-dir", str(tmp_path / "run")]
    assert cli.main([*words, "--dry-run", "train.minutes=3"]) == 0
    out = capsys.readouterr().out
    assert "minutes: 3.0" in out and out.rstrip().endswith("is measured when training begins")
    assert not (tmp_path / "run").exists()


def test_plans_that_somebody_edited(minute, tmp_path):
    recipe, folder, _ = minute
    copy = shutil.copytree(folder, tmp_path / "run")
    for edited in ("soon", {"minutes": 1.0}, {"minutes": 1.0, "steps": "many"}):
        manifest = json.loads((folder / "manifest.json").read_text())
        (copy / "manifest.json").write_text(json.dumps({**manifest, "plan": edited}))
        run = session.start(recipe, copy, ["train.minutes=1"], say=lambda line: None)
        assert run.steps is None
