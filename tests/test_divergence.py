"""Nothing that is not finite is saved; a run goes on from what is, with another value of a key."""

import json
import shlex
import shutil

import numpy as np
import pytest
import yaml

import mindspore as ms

from ms_gan import build, cli, session
from ms_gan.recipe import changes, reader
from ms_gan.recipe.schema import ConfigError, Ramp
from ms_gan.runs import checkpoint
from ms_gan.runs.checkpoint import NotFinite
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.training import trainer
from tests.tiny import refused, refused_command, values

BASE = {
    "name": "small",
    "data": {"name": "digits", "size": 8, "batch_size": 8},
    "model": {"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]},
    "optimizer": {"lr_d": 1e-3, "lr_g": 1e-3, "beta1": 0.5},
    "train": {"steps": 4, "ema_decay": 0.9},
    "every": {"log": 1, "sample": 0, "save": 1, "keep": 3},
    "runtime": {"device": "CPU"},
}


def started(folder, *words, steps=4, **sections):
    """(the session, what it said), with `words` of --change."""
    lines = []
    config = reader.from_dict({**BASE, "train": {"steps": steps, "ema_decay": 0.9}, **sections})
    return session.start(config, folder, changes=words, say=lines.append), lines


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four steps with checkpoints of steps 2, 3 and 4."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert started(folder)[0].train()
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return RunDir(tmp_path / "run")


def spoil(run, step, name, value=np.inf):
    """Write a value into a checkpoint as an older version could leave it there."""
    path = run.checkpoint_file(step)
    arrays, meta = checkpoint.load(path)
    arrays[name].ravel()[0] = value
    entries = [{"name": k, "data": ms.Tensor(v)} for k, v in arrays.items()]
    path.unlink()
    ms.save_checkpoint(entries, str(path), append_dict={checkpoint.META: json.dumps(meta)})


# --- what is saved --------------------------------------------------------------------------------

HOLDERS = (
    "generator.model.0.weight", "discriminator.model.0.bias", "average.model.2.bias",
    "optimizer_d.moment2.discriminator.model.0.weight", "optimizer_g.beta1_power",
)  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", HOLDERS)
def test_nothing_is_saved_with_a_value_that_is_not_finite(name, value, whole, tmp_path):
    state = started(tmp_path / "new")[0].state
    (parameter,) = [p for p in state.parameters if p.name == name]
    array = parameter.asnumpy().copy()
    array.ravel()[-1:] = value
    parameter.set_data(ms.Tensor(array.reshape(parameter.shape)))
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"older")
    message = refused(NotFinite, checkpoint.save, path, state.parameters, {})
    assert f"infinity or NaN in 1 of {len(state.parameters)} arrays ('{name}')" in message
    assert path.read_bytes() == b"older" and list(tmp_path.glob(".*")) == []


def test_a_checkpoint_that_is_not_finite_is_passed_over(run):
    spoil(run, 4, "optimizer_d.moment2.discriminator.model.0.weight")
    spoil(run, 3, "average.model.0.weight", np.nan)
    assert trainer.last_finite(run) == run.checkpoint_file(2)
    goes_on, lines = started(run.path, steps=5)
    assert goes_on.train()
    passed = [line for line in lines if "passed over" in line]
    assert [("step_0000004" in a, "step_0000003" in a) for a in passed] == [
        (True, False),
        (False, True),
    ]
    assert "infinity or NaN in 1 of" in passed[0] and "continuing at step 2 of 5" in lines
    assert [step for step, _ in run.checkpoint_files()] == [3, 4, 5]


def test_a_run_of_which_nothing_is_finite_is_left_alone(run):
    for step in (2, 3, 4):
        spoil(run, step, "generator.model.0.weight", np.nan)
    before = run.log_file.read_text()
    assert "no checkpoint to go on from" in refused(RunError, started(run.path, steps=5)[0].train)
    assert run.log_file.read_text() == before and len(run.checkpoint_files()) == 3


# --- a divergence ---------------------------------------------------------------------------------


def test_a_divergence_names_what_is_whole_and_the_command_that_goes_on(tmp_path, capsys):
    """The command is taken from the message and works: no word has to be guessed."""
    tree = {**BASE, "loss": "least_squares", "train": {"steps": 30}}
    tree["model"] = {**BASE["model"], "d_widths": [8] * 6}
    tree["optimizer"] = {"name": "rmsprop", "lr_d": 10.0, "lr_g": 10.0}
    (tmp_path / "hot.yaml").write_text(yaml.safe_dump(tree))
    words = ["train", "--config", tmp_path / "hot.yaml", "--run-dir", tmp_path / "run"]
    message = refused_command(capsys, *words)
    run = RunDir(tmp_path / "run")
    newest = run.checkpoint_files()[-1][1]
    assert f"the newest checkpoint whose values are all finite is {newest}" in message
    for _, path in run.checkpoint_files():
        assert checkpoint.not_finite(checkpoint.load(path)[0]) is None
    command = message.partition("to go on with smaller learning rates: ms-gan ")[2]
    again = shlex.split(command)
    assert again[-4:] == ["--change", "optimizer.lr_d=1", "--change", "optimizer.lr_g=1"]
    for _, path in run.checkpoint_files()[1:]:  # their weights are huge by now
        path.unlink()
    assert cli.main(again) in (0, 2)
    error = capsys.readouterr().err
    assert run.manifest["changes"][0]["changed"]["optimizer.lr_d"] == [10.0, 1.0]
    assert "another recipe" not in error


def test_scores_and_weights_count_as_well(whole, tmp_path):
    """A loss may hide it: a hinge is 0 for a score of infinity."""
    state = started(tmp_path / "new")[0].state
    run = RunDir(whole)
    zero, good = ms.Tensor(0.5), ms.Tensor(np.zeros(4, np.float32))
    bad = ms.Tensor(np.array([0, np.inf, 0, 0], np.float32))
    assert trainer.read((zero, zero, good, good), state, run)["real_score"] == 0
    message = refused(trainer.TrainingDiverged, trainer.read, (zero, zero, bad, good), state, run)
    assert message.startswith("real_score became inf at step 0") and "step_0000004" in message
    state.sampler.net.get_parameters().__next__().set_data(
        ms.Tensor(np.full((8, 4), np.nan, np.float32))
    )
    message = refused(trainer.TrainingDiverged, trainer.check_finite, state, run)
    assert message.startswith("infinity or NaN in 1 of") and "'average." in message


def test_what_does_not_help_twice_is_not_said_twice(run):
    goes_on, _ = started(run.path, steps=9)
    assert "changes=['optimizer.lr_d=0.0001', 'optimizer.lr_g=0.0001']" in goes_on.remedy()
    record = {"step": 4, "changed": {"optimizer.lr_d": [1e-3, 1e-4]}}
    run.write_manifest({**run.manifest, "changes": [record]})
    message = goes_on.remedy()
    assert "did not help" in message and str(run.checkpoint_file(4)) in message


# --- a change -------------------------------------------------------------------------------------


def test_a_change_takes_effect_and_is_recorded(run, capsys):
    """From the step of the change on the weights move by the new rate: here not at all."""
    before, _ = checkpoint.load(run.checkpoint_file(4))
    changed, lines = started(run.path, "optimizer.lr_d=1e-20", "optimizer.lr_g=1e-20", steps=6)
    assert "--change: optimizer.lr_d: 0.001 -> 1e-20; optimizer.lr_g: 0.001 -> 1e-20" in lines
    assert changed.train()
    after = values(changed.state)
    for name in ("generator.model.0.weight", "discriminator.model.0.weight"):
        np.testing.assert_array_equal(after[name], before[name])
    moment = "optimizer_d.moment1.discriminator.model.0.weight"
    assert (after[moment] != before[moment]).any()  # the state of the optimizer went on
    record = {"optimizer.lr_d": [1e-3, 1e-20], "optimizer.lr_g": [1e-3, 1e-20]}
    assert run.manifest["changes"] == [{"step": 4, "changed": record}]
    assert [row for row in run.read_log() if "changed" in row] == [{"step": 4, "changed": record}]
    assert reader.load(run.config_file).optimizer.lr_d == 1e-20
    # the readers of the log are not disturbed: film, curves and the command line
    assert run.curves_file.is_file() and run.gif_file.is_file()
    from ms_gan.cli.train import best_line

    assert best_line(run, changed.headline) is None


def test_the_command_from_before_the_change_goes_on_with_it(run):
    started(run.path, "optimizer.lr_d=1e-4", steps=5)[0].train()
    original, lines = started(run.path, steps=6)
    assert original.config.optimizer.lr_d == 1e-4
    assert "this run was changed at step 4: optimizer.lr_d: 0.001 -> 0.0001" in lines
    same, lines = started(run.path, "optimizer.lr_d=1e-4", steps=6)
    assert same.change == {}
    assert len(same.changes()) == 1
    third = {**BASE["optimizer"], "lr_d": 5e-4}
    message = refused(RunError, started, run.path, optimizer=third)
    assert "another recipe (optimizer.lr_d: 0.0001 -> 0.0005); go on with --change" in message
    message = refused(RunError, started, run.path, seed=3)
    assert "--change" not in message and f"with --from {run.path} to start there" in message
    back, _ = started(run.path, "optimizer.lr_d=1e-3", steps=7)
    assert back.config.optimizer.lr_d == 1e-3 and back.change == {"optimizer.lr_d": [1e-4, 1e-3]}


def test_a_kill_between_recipe_and_manifest(run):
    """config.yaml has the new value, the manifest does not know it yet."""
    changed, _ = started(run.path, "optimizer.lr_d=1e-4", steps=5)
    run.write_recipe(changed.config)
    again, _ = started(run.path, "optimizer.lr_d=1e-4", steps=5)
    again.resume()
    assert again.changes() == [{"step": 4, "changed": {"optimizer.lr_d": [1e-3, 1e-4]}}]


def test_a_change_after_the_step_where_training_goes_on_moves_there(run):
    record = {"step": 4, "changed": {"optimizer.lr_d": [1e-3, 1e-4]}}
    run.write_recipe(started(run.path, "optimizer.lr_d=1e-4", steps=5)[0].config)
    run.write_manifest({**run.manifest, "changes": [record]})
    run.log(4, changed=record["changed"])
    spoil(run, 4, "generator.model.0.weight")
    goes_on, _ = started(run.path, steps=4)
    with run.open(goes_on.config):
        goes_on.resume()
        run.rewind(3)
        run.write_manifest(goes_on.manifest())
        goes_on.log_changes()
    assert run.manifest["changes"] == [{**record, "step": 3}]
    assert run.read_log()[-1] == {**record, "step": 3}


def test_rates_may_become_ramps_and_ramps_rates(run):
    ramp = "optimizer.lr_d={start: 1e-3, end: 1e-4, steps: 100}"
    changed, _ = started(run.path, ramp, steps=5)
    build.load_training(run.checkpoint_file(4), changed.state)
    assert changed.config.optimizer.lr_d == Ramp(1e-3, 1e-4, 100)
    assert changed.change["optimizer.lr_d"][0] == 1e-3
    assert values(changed.state)["optimizer_d.global_step"] == 4


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.g_widths=[9]", "--change model.g_widths: a run keeps it"),
        ("data.batch_size=4", "--change data.batch_size: a run keeps it"),
        ("data.size=9", "--change data.size: a run keeps it"),
        ("seed=3", "--change seed: a run keeps it"),
        ("train.pack=2", "--change train.pack: a run keeps it"),
        ("optimizer.name=rmsprop", "--change optimizer.name: a run keeps it"),
        ("train.ema_decay=0", "--change train.ema_decay: a run with a moving average keeps it"),
        ("train.steps=11", "--change train.steps: no change of the recipe"),
        ("every.log=2", "--change every.log: no change of the recipe"),
        ("optimizer.lr_d=fast", "optimizer.lr_d: expected float, got 'fast'"),
        ("optimizer.lrd=1", "optimizer.lrd: 'adam' has no such option"),
        ("optimizer.lr_d", "expected key.path=value"),
    ],
)  # fmt: skip
def test_changes_that_are_refused(word, said, whole):
    assert said in refused(ConfigError, started, whole, word, steps=9)


def test_changes_of_other_kinds():
    config = session.resolved(reader.from_dict(BASE))
    for word, key, pair in (
        ("regularizer=r1_r2", "regularizer", [None, {"name": "r1_r2"}]),
        ("train.ema_decay=0.5", "train.ema_decay", [0.9, 0.5]),
        ("optimizer.beta1=0.0", "optimizer.beta1", [0.5, 0.0]),
        ("loss=hinge", "loss", [{"name": "non_saturating"}, {"name": "hinge"}]),
    ):
        new, change = changes.changed(config, [word], session.resolved)
        assert change == {key: pair}
        again, lines = changes.repeated(config, [{"step": 3, "changed": change}], session.resolved)
        assert again == new and len(lines) == 1
    assert changes.changed(config, ["optimizer.lr_d=1e-3"], session.resolved) == (config, {})


def test_there_must_be_a_run_and_something_left_to_train(whole, tmp_path):
    from ms_gan.errors import UsageError

    message = refused(UsageError, started, tmp_path / "none", "optimizer.lr_d=1e-4")
    assert "there is no run in" in message and "give optimizer.lr_d=1e-4 by itself" in message
    message = refused(UsageError, started, whole, "optimizer.lr_d=1e-4")
    assert "is complete at step 4; give more train.steps too" in message
