"""Values that are typed on the command line: each key takes them as its type wants them."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from ms_gan import cli, session
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError
from tests import tiny


def read(*words, name="default"):
    """The recipe with words of the command line, its data set and optimizer resolved."""
    return session.resolved(reader.load(reader.find(name), words))


def refused(*words, name="default"):
    return tiny.refused(ConfigError, read, *words, name=name)


# --- texts ----------------------------------------------------------------------------------------

NAMES = [
    "2024", "2024-05-01", "2024-13-45", "1e3", "0x1f", "12:30", "010", "1_000", ".5", "yes", "Off",
    "true", "pics #1", "# pics", "a: b", "a:", "- a", "{a: b}", "[set]", "[set", "{", "@camera",
    "%name", "!tag", "&anchor", "*best*", "C&A", "'quoted'", '"quoted"', "it's", "a\tb", " spaced ",
    "~", "~/pictures", "nullable", "NaN", "中文", "猫 #1", "é", "a=b", "data.root=x", "|", ">", "?",
    "\udce9t\udce9",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_what_was_typed(name):
    words = ["data.name=image_folder", "data.fallback=null", f"data.root={name}"]
    config = read(*words)
    assert config.data.options["root"] == name
    again = reader.from_dict(yaml.safe_load(reader.dump(config)))  # config.yaml of the run
    assert session.resolved(again) == config


@pytest.mark.parametrize("text", ["", "null", "Null", "NULL"])
def test_null_is_null_where_it_may_be(text):
    assert read(f"data.fallback={text}", f"data.root={text}").data.options["root"] is None
    assert read(f"data.fallback={text}").data.fallback is None
    assert read(f"regularizer={text}").regularizer is None
    assert refused(f"seed={text}") == "seed: expected int, got None"


@pytest.mark.parametrize("name", ["2024", "yes", "12:30", "1e3", "010"])
def test_names_of_recipes_and_parts_are_texts(name):
    if ":" in name:
        assert refused(f"name={name}").endswith(f"got '{name}'")
    else:
        assert read(f"name={name}").name == name
    assert read(f"model={name}").model.name == name
    assert read(f"loss.name={name}").loss.name == name
    assert f"no data called '{name}'" in refused(f"data.name={name}")


def test_recipe_files_keep_the_rules_of_yaml_and_errors_hint_at_quotes(tmp_path):
    def file(text):
        path = tmp_path / "own.yaml"
        path.write_text(f"train: {{steps: 5}}\ndata: {{name: image_folder, root: {text}}}\n")
        return path

    for text in ("2024", "2024-05-01", "yes", "[set]"):
        message = refused(name=file(text))
        assert message.startswith("data.root: expected str, got ")
        assert message.endswith("write it in quotes")
        assert read(name=file(f"'{text}'")).data.options["root"] == text
    tree = {"name": 2024, "train": {"steps": 1}}
    message = tiny.refused(ConfigError, reader.from_dict, tree)
    assert message == "name: expected str, got 2024; write it in quotes"


# --- numbers, switches, lists ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("1000", 1000), ("1e3", 1000), ("1E3", 1000), ("2.5e1", 25), ("+7", 7), ("1_000", 1000),
     ("0x1f", 31)],
)  # fmt: skip
def test_whole_numbers(text, value):
    config = read(f"train.steps={text}", f"data.size={text}", f"model.latent_dim={text}")
    assert config.train.steps == value and type(config.train.steps) is int
    assert config.data.options["size"] == value and type(config.data.options["size"]) is int


@pytest.mark.parametrize("text", ["2.5", "1e-3", "1e400", "010", "12:30", "yes", "[5]", "5 6", "x"])
def test_what_is_no_whole_number(text):
    assert refused(f"train.steps={text}").startswith("train.steps: expected int, got ")


def test_a_long_value_is_cut_in_the_error():
    assert len(refused(f"seed={'9' * 5000}")) < 200


def test_a_number_is_no_clock_and_no_octal():
    """YAML 1.1 reads 12:30 as 750 and 010 as 8: nobody means that."""
    assert refused("optimizer.lr_g=1:30").startswith("optimizer.lr_g: expected float, got '1:30'")
    assert refused("data.batch_size=0100") == "data.batch_size: expected int, got '0100'"


def test_other_values_are_yaml():
    assert read("optimizer.lr_g=1e-4").optimizer.lr_g == 1e-4
    assert read("optimizer.lr_g=1").optimizer.lr_g == 1.0
    assert read("optimizer.beta1=1e-1").optimizer.options["beta1"] == 0.1
    assert read("train.same_latents=no").train.same_latents is False
    assert read("model.g_widths=[8, 16]").model.options["g_widths"] == [8, 16]
    ramp = read("optimizer.lr_g={start: 1e-3, end: 0, steps: 1e2}").optimizer.lr_g
    assert (ramp.start, ramp.end, ramp.steps) == (1e-3, 0.0, 100)
    config = read("loss=hinge", "loss.weight=2")
    assert (config.loss.name, config.loss.options) == ("hinge", {"weight": 2})


def test_a_ramp_with_a_wrong_key_is_named():
    message = refused("loss.weight={start: 1.0, ennd: 2.0}")
    assert message == "loss.weight.ennd: unknown key; did you mean 'end'?"


# --- short forms and rivals -----------------------------------------------------------------------


def test_sections_with_a_name_have_a_short_form(tmp_path):
    config, long = read("data=fashion_mnist"), read("data.name=fashion_mnist")
    assert config == long and config.data.batch_size == read().data.batch_size
    assert read("optimizer=adam") == read()
    assert "did you mean 'mnist'" in refused("data=mnits")
    path = tmp_path / "own.yaml"
    path.write_text("data: digits\noptimizer: sgd\ntrain: {steps: 5}\n")
    config = reader.load(path)
    assert (config.data.name, config.optimizer.name) == ("digits", "sgd")
    assert refused("train=5").startswith("train: expected a section")


@pytest.mark.parametrize("words", [("train.epochs=2", "train.steps=5"),
                                   ("train.steps=5", "seed=1", "train.epochs=2")])  # fmt: skip
def test_two_lengths_are_refused(words):
    message = refused(*words)
    assert (
        "train.steps=5" in message and "train.epochs=2" in message and "one of the two" in message
    )


def test_one_length_takes_the_place_of_the_other():
    assert (read("train.epochs=2").train.steps, read("train.epochs=2").train.epochs) == (None, 2)
    config = read("train.steps=5", "train.epochs=null")
    assert (config.train.steps, config.train.epochs) == (5, None)


# --- as commands ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A recipe, and a run of it of 4 steps."""
    folder = tmp_path_factory.mktemp("begun")
    recipe = tiny.recipe_file(folder, train={"steps": 4})
    words = ["train", "--config", str(recipe), "--run-dir", str(folder / "run")]
    assert cli.main(words) == 0
    return words


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("loss=hing", "did you mean 'hinge'"),
        ("model.name=dcgn", "no model called 'dcgn'"),
        ("model.latent_dimm=4", "did you mean 'latent_dim'"),
        ("regularizer=r3", "no regularizer called 'r3'"),
        ("augment=diff_augmant", "did you mean 'diff_augment'"),
        ("data=mnits", "did you mean 'mnist'"),
        ("optimizer=adm", "did you mean 'adam'"),
        ("loss={name: hinge, weight: -1}", "negative"),
        ("loss.weight=-1", "loss: expected a name or {name: …, options}, got {'weight': '-1'}"),
        ("terms.pixl=1", "no terms called 'pixl'"),
    ],
)
def test_a_typing_mistake_is_no_other_recipe(begun, word, says, capsys):
    error = tiny.refused_command(capsys, *begun, word)
    assert says in error and "another recipe" not in error


def test_another_recipe_is_said(begun, capsys):
    assert "loss.name: non_saturating -> hinge" in tiny.refused_command(
        capsys, *begun, "loss=hinge"
    )


def test_fewer_steps_than_are_done(begun, capsys):
    run = Path(begun[-1])
    before = [(run / name).read_bytes() for name in ("config.yaml", "log.jsonl")]
    capsys.readouterr()
    assert cli.main([*begun, "train.steps=3"]) == 0
    out = capsys.readouterr().out
    assert f"{run}: is at step 4 already, more than the 3 that are asked for" in out
    assert "continuing" not in out
    assert before == [(run / name).read_bytes() for name in ("config.yaml", "log.jsonl")]


def test_a_folder_with_any_name_is_trained_on(tmp_path, monkeypatch, capsys):
    """Not the folder `pics`, which YAML would have read."""
    rng = np.random.default_rng(0)
    for name, num in (("pics #1", 9), ("pics", 5)):
        (tmp_path / name).mkdir()
        for i in range(num):
            picture = Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8))
            picture.save(tmp_path / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    recipe = tiny.recipe_file(
        tmp_path, train={"steps": 1}, data={"name": "image_folder", "size": 8, "batch_size": 4}
    )
    words = ["train", "--config", str(recipe), "--run-dir", "run", "data.root=pics #1"]
    assert cli.main(words) == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["images"] == 9
    assert "'data.root=pics #1'" in (tmp_path / "run" / "manifest.json").read_text()
    capsys.readouterr()
    assert cli.main([*words, "train.steps=2"]) == 0  # the recipe of the run holds the name
    assert "continuing at step 1 of 2" in capsys.readouterr().out
