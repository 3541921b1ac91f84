"""Recipes: what loads is what is written, and every mistake is one line that names its key."""

import json
import subprocess
import sys

import pytest
import yaml

from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, ConfigError, Part
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "configs").glob("*.yaml"))


def refused(function, *args):
    """The message of the ConfigError, which must be one line."""
    with pytest.raises(ConfigError) as caught:
        function(*args)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def recipe(tmp_path, text, name="some.yaml"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def tree(**changes):
    return {"name": "t", **changes}


def overridden(*overrides, **changes):
    t = tree(**changes)
    for override in overrides:
        reader.apply_override(t, override)
    return reader.from_dict(t)


# --- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_round_trip(path, tmp_path):
    config = reader.load(path)
    assert reader.from_dict(reader.to_dict(config)) == config
    assert reader.load(recipe(tmp_path, reader.dump(config))) == config
    assert reader.from_dict(json.loads(json.dumps(reader.to_dict(config)))) == config  # in a .ckpt


def test_there_are_recipes():
    assert RECIPES


def test_defaults_are_the_tutorials():
    c = Config("t")
    assert (c.data.name, c.data.batch_size) == ("mnist", 128)
    assert (c.model, c.regularizer) == (Part("gan"), None)
    o = c.optimizer
    assert (o.lr_d, o.lr_g, o.beta1, o.beta2, c.train.epochs) == (2e-4, 2e-4, 0.5, 0.999, 200)


def test_empty_file_is_the_tutorial_under_the_files_name(tmp_path):
    assert reader.load(recipe(tmp_path, "", "mine.yaml")) == Config("mine")
    assert reader.load(recipe(tmp_path, "# only a comment\n", "mine.yaml")) == Config("mine")


def test_numbers_in_scientific_notation_without_a_dot(tmp_path):
    text = (
        "optimizer: {lr_d: 1e-4, lr_g: 3E-5, beta1: 0}\n"
        "regularizer: {name: r1, weight: 1e1, other: .5e3}\n"
    )
    config = reader.load(recipe(tmp_path, text))
    assert (config.optimizer.lr_d, config.optimizer.lr_g) == (1e-4, 3e-5)
    assert config.regularizer == Part("r1", {"weight": 10.0, "other": 500.0})
    numbers = (config.optimizer.lr_d, config.optimizer.beta1, config.regularizer.options["weight"])
    assert [type(n) for n in numbers] == [float, float, float]
    config = overridden("optimizer.lr_g=2e-3", "loss=x", "loss.y=1e-4")
    assert (config.optimizer.lr_g, config.loss) == (0.002, Part("x", {"y": 0.0001}))


def test_strings_that_look_a_little_like_numbers_stay_strings():
    part = reader.from_dict(tree(model={"name": "gan", "a": "e5", "b": "1e", "c": "v1e5"})).model
    assert part.options == {"a": "e5", "b": "1e", "c": "v1e5"}


def test_ramps_round_trip():
    ramp = {"start": 0.1, "end": 1e-3, "steps": 5}
    config = overridden(optimizer={"lr_d": ramp}, regularizer={"name": "r1", "weight": ramp})
    assert config.optimizer.lr_d == reader.Ramp(0.1, 1e-3, 5)
    assert config.regularizer.options["weight"] == reader.Ramp(0.1, 1e-3, 5)
    assert reader.from_dict(json.loads(json.dumps(reader.to_dict(config)))) == config
    assert reader.differences(
        config, overridden("optimizer.lr_d.steps=6", **reader.to_dict(config))
    ) == ["optimizer.lr_d.steps: 5 -> 6"]


# --- overrides ------------------------------------------------------------------------------------


def test_nested_overrides_keep_the_neighbours():
    c = overridden(
        "data.batch_size=64", "seed=7", "data.root=null", data={"name": "digits", "root": "x"}
    )
    assert (c.data.name, c.data.batch_size, c.data.root, c.seed) == ("digits", 64, None, 7)


def test_override_makes_missing_sections():
    assert overridden("every.log=3").every == reader.Every(log=3)


def test_short_form_of_a_part():
    assert overridden("loss=hinge", loss={"name": "x", "real_target": 0.9}).loss == Part("hinge")
    c = overridden("loss.real_target=0.9", loss="non_saturating")
    assert c.loss == Part("non_saturating", {"real_target": 0.9})
    c = overridden("loss=minimax", "loss.real_target=9e-1")
    assert c.loss == Part("minimax", {"real_target": 0.9})
    assert overridden("regularizer=null", regularizer="r1").regularizer is None


def test_steps_and_epochs_replace_each_other():
    c = overridden("train.steps=10", train={"epochs": 200, "d_steps": 2})
    assert (c.train.steps, c.train.epochs, c.train.d_steps) == (10, None, 2)
    c = overridden("train.epochs=3", train={"steps": 200})
    assert (c.train.steps, c.train.epochs) == (None, 3)
    c = overridden("train.steps=10", "train.epochs=4")
    assert (c.train.steps, c.train.epochs) == (None, 4)


def test_the_last_override_wins_and_values_may_hold_an_equals_sign():
    assert overridden("seed=1", "seed=2").seed == 2
    assert overridden("data.root=/a=b").data.root == "/a=b"


def test_load_applies_overrides(tmp_path):
    path = recipe(tmp_path, "name: a\nloss: minimax\n")
    c = reader.load(path, ["name=b", "loss.real_target=0.5"])
    assert (c.name, c.loss) == ("b", Part("minimax", {"real_target": 0.5}))


@pytest.mark.parametrize(
    "override", ["train.epochs", "=5", "", "train.=5", ".epochs=5", "a..b=1", "."]
)
def test_override_without_key_or_value(override):
    assert refused(overridden, override).startswith(f"'{override}': expected key.path=value")


def test_override_below_a_plain_value():
    assert refused(overridden, "seed.x=1").startswith("seed: expected int")
    assert refused(lambda: overridden("seed.x=1", seed=3)).startswith("seed.x: 'seed' is a plain")


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "start", "hint"),
    [
        ({"trian": {}}, "trian: unknown key", "'train'"),
        ({"data": {"batchsize": 4}}, "data.batchsize: unknown key", "'batch_size'"),
        ({"optimizer": {"lr": 4}}, "optimizer.lr: unknown key", "'lr_"),
        ({"train": {"step": 4}}, "train.step: unknown key", "'steps'"),
        ({"every": {"sav": 4}}, "every.sav: unknown key", "'save'"),
        ({"runtime": {"devise": "CPU"}}, "runtime.devise: unknown key", "'device'"),
        ({"data": {"zzzz": 4}}, "data.zzzz: unknown key", "known: name, root, batch_size"),
        ({"data": {1: 4}}, "data.1: unknown key", "known: "),
        ({"model": {"name": "gan", True: 4}}, "model.True: unknown key", "option"),
    ],
)
def test_unknown_keys_and_the_near_miss(changes, start, hint):
    message = refused(reader.from_dict, tree(**changes))
    assert message.startswith(start) and hint in message


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"seed": True}, "seed: expected int, got True"),
        ({"seed": 2.0}, "seed: expected int, got 2.0"),
        ({"seed": "3"}, "seed: expected int, got '3'"),
        ({"seed": None}, "seed: expected int, got None"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"name": None}, "name: expected str, got None"),
        ({"optimizer": {"lr_g": "fast"}}, "optimizer.lr_g: expected float, got 'fast'"),
        ({"optimizer": {"lr_g": True}}, "optimizer.lr_g: expected float, got True"),
        ({"optimizer": {"lr_g": None}}, "optimizer.lr_g: expected float, got None"),
        ({"optimizer": {"lr_g": [1.0]}}, "optimizer.lr_g: expected float, got [1.0]"),
        ({"optimizer": {"lr_g": 10**400}}, "optimizer.lr_g: expected float, got 1000"),
        ({"train": {"steps": 2.5}}, "train.steps: expected int, got 2.5"),
        ({"train": {"same_latents": 1}}, "train.same_latents: expected bool, got 1"),
        ({"train": {"same_latents": "no"}}, "train.same_latents: expected bool, got 'no'"),
        ({"train": [1]}, "train: expected a section"),
        ({"train": None}, "train: expected a section"),
        ({"data": "mnist"}, "data: expected a section"),
        ({"model": None}, "model: expected a name"),
        ({"model": 3}, "model: expected a name"),
        ({"model": {"latent_dim": 3}}, "model: expected a name"),
        ({"model": {"name": 3}}, "model: expected a name"),
        ({"regularizer": ["r1"]}, "regularizer: expected a name"),
    ],
)
def test_wrong_types(changes, start):
    assert refused(reader.from_dict, tree(**changes)).startswith(start)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", float("nan"), float("inf")])
def test_numbers_that_are_not_finite(number):
    start = "optimizer.lr_d: expected a finite number, got "
    assert refused(reader.from_dict, tree(optimizer={"lr_d": number})).startswith(start)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "1e999"])
def test_options_that_are_not_finite(text):
    start = "regularizer.weight: expected a finite number, got "
    message = refused(overridden, "regularizer=r1", f"regularizer.weight={text}")
    assert message.startswith(start)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"seed": -1}, "seed: expected at least 0"),
        ({"seed": 2**32}, "seed: expected less than 2**32"),  # ms.set_seed takes no more
        ({"name": "a/b"}, "name: expected letters"),
        ({"name": ".."}, "name: expected letters"),  # runs/.. would be the project itself
        ({"name": ""}, "name: expected letters"),
        ({"data": {"batch_size": 1}}, "data.batch_size: expected at least 2"),
        ({"data": {"sampling": "sorted"}}, "data.sampling: expected one of shuffle, random"),
        ({"data": {"fallback": "mnist"}}, "data.fallback: expected one of null, digits"),
        ({"data": {"channels": 2}}, "data.channels: expected one of null, 1, 3"),
        ({"optimizer": {"lr_d": 0}}, "optimizer.lr_d: expected > 0"),
        ({"optimizer": {"eps": -1e-8}}, "optimizer.eps: expected > 0"),
        ({"optimizer": {"beta1": 1}}, "optimizer.beta1: expected 0 <= x < 1"),
        ({"optimizer": {"beta2": -0.1}}, "optimizer.beta2: expected 0 <= x < 1"),
        ({"train": {"steps": 0}}, "train.steps: expected at least 1"),
        ({"train": {"epochs": 0}}, "train.epochs: expected at least 1"),
        ({"train": {"steps": 1, "epochs": 1}}, "train: give either steps or epochs"),
        ({"train": {}}, "train: give either steps or epochs"),
        ({"train": {"steps": 1, "d_steps": 0}}, "train.d_steps: expected at least 1"),
        ({"train": {"steps": 1, "ema_decay": 1.0}}, "train.ema_decay: expected 0 <= x < 1"),
        ({"every": {"log": -1}}, "every.log: expected at least 0"),
        ({"every": {"evaluate": -1}}, "every.evaluate: expected at least 0"),
        ({"every": {"keep": 0}}, "every.keep: expected at least 1"),
        ({"runtime": {"device": "cpu"}}, "runtime.device: expected one of auto, Ascend, GPU, CPU"),
        ({"runtime": {"mode": "eager"}}, "runtime.mode: expected one of graph, pynative"),
        ({"runtime": {"onednn_isa": "avx2"}}, "runtime.onednn_isa: expected one of auto, default"),
    ],
)
def test_values_out_of_range(changes, start):
    assert refused(reader.from_dict, tree(**changes)).startswith(start)


def test_extremes_that_are_allowed():
    c = reader.from_dict(
        tree(seed=2**32 - 1, every={"log": 0}, optimizer={"beta1": 0}, name="a-b_c.1")
    )
    assert c.seed == 2**32 - 1 and c.every.log == 0 and c.optimizer.beta1 == 0.0


def test_from_dict_of_something_else():
    assert refused(reader.from_dict, {}).startswith("name: missing")
    assert refused(reader.from_dict, None).startswith("recipe: expected a section")
    assert refused(reader.from_dict, [1]).startswith("recipe: expected a section")


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1", "not YAML"),
        (b"a: b: c\n", "not YAML"),
        (b"\tname: x\n", "not YAML"),
        (b"!!python/object:os.system {}\n", "not YAML"),
        (b"name: 2024-13-45\n", "not YAML"),
        (b"seed: !!bool x\n", "not YAML"),
        (b"seed: !!timestamp x\n", "not YAML"),
        (b"seed: !!int x\n", "not YAML"),
        (b"seed: " + b"9" * 5000, "not YAML"),
        (b"seed: " + b"[" * 3000, "not YAML"),
        (bytes(range(256)) * 4, "cannot be read"),
        (b"\x00\x01\x02\x03", "not YAML"),
        (b"- a\n- b\n", "expected `key: value` lines, got list"),
        (b"just words\n", "expected `key: value` lines, got str"),
        (b"3\n", "expected `key: value` lines, got int"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, expected):
    path = recipe(tmp_path, content)
    message = refused(reader.load, path)
    assert message.startswith(f"{path}: {expected}")


def test_missing_file_and_directory(tmp_path):
    assert refused(reader.load, tmp_path / "no.yaml").startswith(f"{tmp_path / 'no.yaml'}: no such")
    assert refused(reader.load, tmp_path).startswith(f"{tmp_path}: cannot be read")


@pytest.mark.parametrize(
    "override",
    ["name=2024-13-45", "seed=!!bool x", "seed=[", "seed=" + "9" * 5000, "seed={a: 1, a: 2}"],
)
def test_overrides_that_are_no_yaml(override):
    key = override.split("=")[0]
    assert refused(overridden, override).startswith(f"{key}: not a YAML value")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: a\nseed: 1\nseed: 2\n", "seed"),
        ("train: {steps: 1, d_steps: 1, steps: 2}\n", "steps"),
        ("data: {name: mnist}\ntrain: {steps: 1}\ndata: {name: digits}\n", "data"),
    ],
)
def test_a_key_given_twice_is_refused(tmp_path, text, key):
    message = refused(reader.load, recipe(tmp_path, text))
    assert f"key '{key}' is given twice" in message and "line " in message


def test_anchors_and_merge_keys_still_work(tmp_path):
    text = "data: &d {name: digits, batch_size: 8}\nevery: &e {log: 1, save: 2}\n"
    assert reader.load(recipe(tmp_path, text)).data.batch_size == 8
    merged = "optimizer: {<<: {lr_d: 0.5, lr_g: 0.25}, lr_g: 0.125}\n"
    optimizer = reader.load(recipe(tmp_path, merged)).optimizer
    assert (optimizer.lr_d, optimizer.lr_g) == (0.5, 0.125)


# --- comparing and importing ----------------------------------------------------------------------


def test_differences():
    old = overridden("train.steps=10")
    new = overridden("train.steps=20", "seed=3", "loss=hinge", "regularizer={name: r1, weight: 5}")
    found = reader.differences(old, new)
    assert set(found) == {
        "seed: 0 -> 3",
        "loss.name: non_saturating -> hinge",
        "regularizer.name: None -> r1",
        "regularizer.weight: None -> 5",
        "train.steps: 10 -> 20",
    }
    assert reader.differences(new, old)[0] == "seed: 3 -> 0"
    assert not any("train" in d for d in reader.differences(old, new, ignore=("train.",)))
    assert reader.differences(new, reader.from_dict(reader.to_dict(new))) == []


def test_dump_is_plain_yaml():
    config = overridden("data.root=/tmp/é x", "model={name: gan, g_widths: [4, 5]}")
    text = reader.dump(config)
    assert yaml.safe_load(text) == reader.to_dict(config) and "é" in text


def test_importing_config_does_not_import_mindspore():
    code = (
        "import sys, ms_gan.recipe.config, ms_gan.recipe.registry, ms_gan.runs.run_dir, ms_gan.errors, ms_gan.system.files;"
        "sys.exit(any(n.split('.')[0] == 'mindspore' for n in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
