"""Recipes: what loads is what is written, and every mistake is one line that names its key."""

import json
from functools import partial

import pytest
import yaml

from ms_gan import session
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, ConfigError, Every, Part, Ramp
from tests import tiny
from tests.tiny import CONFIGS

refused = partial(tiny.refused, ConfigError)


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


def resolved(changes):
    """The recipe with the options of its data set and its optimizer, as a run reads it."""
    return session.resolved(reader.from_dict(tree(**changes)))


# --- what is right --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_recipes_round_trip(path, tmp_path):
    config = reader.load(path)
    assert reader.from_dict(reader.to_dict(config)) == config
    assert reader.load(recipe(tmp_path, reader.dump(config))) == config
    assert reader.from_dict(json.loads(json.dumps(reader.to_dict(config)))) == config  # in a .ckpt


def test_there_are_recipes():
    assert CONFIGS


def test_defaults_are_the_tutorials():
    c = Config("t")
    assert (c.data.name, c.data.batch_size) == ("mnist", 128)
    assert (c.model, c.regularizer) == (Part("gan"), None)
    assert (c.optimizer.lr_d, c.optimizer.lr_g, c.train.epochs) == (2e-4, 2e-4, 200)
    adam = {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8}
    assert session.resolved(c).optimizer.options == adam
    data = {"root": None, "size": None, "channels": None, "margin": 0}
    assert session.resolved(c).data.options == data


def test_empty_file_is_the_tutorial_under_the_files_name(tmp_path):
    assert reader.load(recipe(tmp_path, "", "mine.yaml")) == Config("mine")
    assert reader.load(recipe(tmp_path, "# only a comment\n", "mine.yaml")) == Config("mine")


def test_numbers_in_scientific_notation_without_a_dot(tmp_path):
    text = (
        "optimizer: {lr_d: 1e-4, lr_g: 3E-5, eps: 1e-7, beta1: 0}\n"
        "regularizer: {name: r1, weight: 1e1, other: .5e3}\n"
    )
    config = reader.load(recipe(tmp_path, text))
    assert (config.optimizer.lr_d, config.optimizer.lr_g) == (1e-4, 3e-5)
    assert config.regularizer == Part("r1", {"weight": 10.0, "other": 500.0})
    assert config.optimizer.options == {"eps": 1e-7, "beta1": 0}
    weight, eps = config.regularizer.options["weight"], config.optimizer.options["eps"]
    assert {type(n) for n in (config.optimizer.lr_d, weight, eps)} == {float}
    config = overridden("optimizer.lr_g=2e-3", "loss=x", "loss.y=1e-4")
    assert (config.optimizer.lr_g, config.loss) == (0.002, Part("x", {"y": 0.0001}))


def test_strings_that_look_a_little_like_numbers_stay_strings():
    part = reader.from_dict(tree(model={"name": "gan", "a": "e5", "b": "1e", "c": "v1e5"})).model
    assert part.options == {"a": "e5", "b": "1e", "c": "v1e5"}


def test_ramps_round_trip():
    ramp = {"start": 0.1, "end": 1e-3, "steps": 5}
    config = overridden(optimizer={"lr_d": ramp}, regularizer={"name": "r1", "weight": ramp})
    assert config.optimizer.lr_d == Ramp(0.1, 1e-3, 5)
    assert config.regularizer.options["weight"] == Ramp(0.1, 1e-3, 5)
    assert reader.from_dict(json.loads(json.dumps(reader.to_dict(config)))) == config
    assert reader.differences(
        config, overridden("optimizer.lr_d.steps=6", **reader.to_dict(config))
    ) == ["optimizer.lr_d.steps: 5 -> 6"]


def test_terms_are_weights_or_sections():
    ramp = {"start": 0.0, "end": 1.0, "steps": 9}

    def terms():
        return {"cycle": 10.0, "pixel": {"weight": 1e-1, "norm": "l1"}, "slow": ramp}

    config = overridden(terms=terms())
    assert config.terms == {
        "cycle": Part("cycle", {"weight": 10.0}),
        "pixel": Part("pixel", {"weight": 0.1, "norm": "l1"}),
        "slow": Part("slow", {"weight": Ramp(0.0, 1.0, 9)}),
    }
    assert list(config.terms) == list(terms())  # the order of the log's columns
    assert reader.from_dict(json.loads(json.dumps(reader.to_dict(config)))) == config
    changed = overridden("terms.cycle=5", "terms.pixel.norm=l2", "terms.new=1e-3", terms=terms())
    assert reader.differences(config, changed) == [
        "terms.cycle.weight: 10.0 -> 5",
        "terms.pixel.norm: l1 -> l2",
        "terms.new.weight: None -> 0.001",
    ]
    assert overridden("terms.cycle.norm=l2", terms=terms()).terms["cycle"].options == {
        "weight": 10.0, "norm": "l2",
    }  # fmt: skip


# --- overrides ------------------------------------------------------------------------------------


def test_nested_overrides_keep_the_neighbours():
    c = overridden(
        "data.batch_size=64", "seed=7", "data.root=null", data={"name": "digits", "root": "x"}
    )
    assert (c.data.name, c.data.batch_size, c.data.options, c.seed) == ("digits", 64, {}, 7)
    c = overridden("optimizer.beta1=0.25", optimizer={"beta1": 0.5, "beta2": 0.75, "lr_d": 1.0})
    assert (c.optimizer.options, c.optimizer.lr_d) == ({"beta1": 0.25, "beta2": 0.75}, 1.0)


def test_override_makes_missing_sections():
    assert overridden("every.log=3").every == Every(log=3)


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
    assert overridden("data.root=/a=b").data.options == {"root": "/a=b"}


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
        ({"data": {"batchsize": 4}}, "data.batchsize: 'mnist' has no such", "'batch_size'"),
        ({"data": {"chanels": 3}}, "data.chanels: 'mnist' has no such", "'channels'"),
        ({"optimizer": {"lr": 4}}, "optimizer.lr: 'adam' has no such", "'lr_"),
        ({"optimizer": {"beta": 0.5}}, "optimizer.beta: 'adam' has no such", "'beta"),
        ({"train": {"step": 4}}, "train.step: unknown key", "'steps'"),
        ({"every": {"sav": 4}}, "every.sav: unknown key", "'save'"),
        ({"runtime": {"devise": "CPU"}}, "runtime.devise: unknown key", "'device'"),
        ({"data": {"zzzz": 4}}, "data.zzzz: 'mnist' has no such", "it has: root, size, channels"),
        ({"data": {"name": "mnits"}}, "data.name: no data called 'mnits'", "'mnist'"),
        ({"optimizer": {"name": "adm"}}, "optimizer.name: no optimizer called 'adm'", "'adam'"),
        ({"data": {1: 4}}, "data.1: unknown key", "option"),
        ({"model": {"name": "gan", True: 4}}, "model.True: unknown key", "option"),
    ],
)
def test_unknown_keys_and_the_near_miss(changes, start, hint):
    message = refused(resolved, changes)
    assert message.startswith(start) and hint in message


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({"optimizer": {"decay": 0.5}}, "optimizer.decay: 'adam' has no such option"),
        ({"optimizer": {"name": "rmsprop", "beta1": 0.3}}, "optimizer.beta1: 'rmsprop' has no"),
        ({"data": {"name": "digits", "root": "X"}}, "data.root: 'digits' has no such option"),
        ({"data": {"name": "digits", "split": "train"}}, "data.split: 'digits' has no such"),
        ({"data": {"split": "train"}}, "data.split: 'mnist' has no such"),  # the program's own
    ],
)
def test_options_of_another_row(changes, start):
    assert refused(resolved, changes).startswith(start)


def test_options_of_another_row_at_its_default_are_let_go():
    """The recipes of runs and checkpoints until 0.1 hold the options of all rows."""
    adam = {"beta1": 0.5, "beta2": 0.999, "eps": 1e-8}
    assert resolved({"optimizer": {**adam, "decay": 0.9}}).optimizer.options == adam
    changes = {"optimizer": {"name": "rmsprop", **adam, "decay": 0.8}}
    assert resolved(changes).optimizer.options == {"decay": 0.8, "eps": 1e-8}
    changes = {"data": {"name": "digits", "root": None, "size": None, "channels": None}}
    assert resolved(changes).data.options == {"size": None, "channels": None}


def test_resolving_again_changes_nothing():
    for path in CONFIGS:
        config = session.resolved(reader.load(path))
        assert session.resolved(config) == config
        assert session.resolved(reader.from_dict(reader.to_dict(config))) == config


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
        ({"data": 3}, "data: expected a section"),
        ({"model": None}, "model: expected a name"),
        ({"model": 3}, "model: expected a name"),
        ({"model": {"latent_dim": 3}}, "model: expected a name"),
        ({"model": {"name": 3}}, "model: expected a name"),
        ({"regularizer": ["r1"]}, "regularizer: expected a name"),
        ({"terms": ["cycle"]}, "terms: expected a section"),
        ({"terms": {"cycle": None}}, "terms.cycle: expected a weight or a section"),
        ({"terms": {"cycle": "strong"}}, "terms.cycle: expected a weight or a section"),
        ({"terms": {"cycle": {"name": "pixel"}}}, "terms.cycle: expected a weight or a section"),
        ({"data": {"size": "28"}}, "data.size: expected int or [int, int], got '28'"),
        ({"data": {"channels": 1.5}}, "data.channels: expected int, got 1.5"),
        ({"data": {"root": 3}}, "data.root: expected str, got 3"),
        ({"optimizer": {"beta1": "half"}}, "optimizer.beta1: expected float, got 'half'"),
        ({"optimizer": {"eps": True}}, "optimizer.eps: expected float, got True"),
    ],
)
def test_wrong_types(changes, start):
    assert refused(resolved, changes).startswith(start)


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
        ({"optimizer": {"lr_d": 0}}, "optimizer.lr_d: expected > 0"),
        ({"optimizer": {"lr_g": {"start": -1.0, "end": 0.1, "steps": 1}}}, "optimizer.lr_g: exp"),
        ({"train": {"steps": 0}}, "train.steps: expected at least 1"),
        ({"train": {"epochs": 0}}, "train.epochs: expected at least 1"),
        ({"train": {"steps": 1, "epochs": 1}}, "train: give one of steps, epochs and minutes"),
        ({"train": {}}, "train: give one of steps, epochs and minutes"),
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"eps": -1e-8}, "eps: expected > 0, got -1e-08"),
        ({"beta1": 1}, "beta1: expected 0 <= x < 1, got 1"),
        ({"beta2": -0.1}, "beta2: expected 0 <= x < 1, got -0.1"),
        ({"name": "rmsprop", "decay": 1.0}, "decay: expected 0 <= x < 1, got 1.0"),
    ],
)
def test_options_of_an_optimizer_out_of_range(options, says):
    from mindspore import nn

    from ms_gan import build

    config = resolved({"optimizer": options})
    message = refused(build.build_optimizer, config, "optimizer_d", nn.Dense(2, 1), 1e-3)
    assert message == f"optimizer: '{config.optimizer.name}': {says}"


def test_extremes_that_are_allowed():
    c = resolved(
        {"seed": 2**32 - 1, "every": {"log": 0}, "optimizer": {"beta1": 0}, "name": "a-b_c.1"}
    )
    assert c.seed == 2**32 - 1 and c.every.log == 0 and c.optimizer.options["beta1"] == 0.0


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
        (b"seed: " + b"[" * 1000, "not YAML"),
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


@pytest.mark.parametrize("text", ["!!bool x", "[", "9" * 5000, "{a: 1, a: 2}"])
def test_overrides_that_are_no_yaml(text):
    """They are text, which only some keys take."""
    assert refused(overridden, f"seed={text}").startswith(f"seed: expected int, got '{text[:20]}")


def test_a_text_is_taken_as_it_was_typed():
    assert overridden("name=2024-13-45").name == "2024-13-45"


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


def test_reading_recipes_does_not_import_mindspore():
    code = (
        "import sys, ms_gan.recipe.reader, ms_gan.recipe.registry, ms_gan.runs.run_dir\n"
        "import ms_gan.errors, ms_gan.system.files, ms_gan.session\n"
        "sys.exit(any(n.split('.')[0] == 'mindspore' for n in sys.modules))"
    )
    process = tiny.python("-c", code)
    assert process.communicate() == ("", "") and process.returncode == 0
