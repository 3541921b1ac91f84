"""scripts/data_augmentation.py: subsets, the table, and a whole run at smoke size."""

import json

import numpy as np
import pytest

from ms_gan import data
from tests import tiny

script = tiny.script("data_augmentation")


def test_subsets_are_balanced_and_apart_from_what_is_held_out():
    digits = data.load("digits", size=8)
    subset, held_out = script.draw_subset(digits, 100, seed=3)
    assert (np.bincount(subset.labels) == 10).all()
    assert len(held_out) == len(digits) - 100
    both = np.concatenate([subset.images, held_out.images]).reshape(len(digits), -1)
    assert (np.sort(both, axis=0) == np.sort(digits.images.reshape(len(digits), -1), axis=0)).all()
    again, other = (script.draw_subset(digits, 100, seed)[0] for seed in (3, 4))
    assert (again.images == subset.images).all() and (other.images != subset.images).any()
    for size, expected in ((1800, "images of class"), (105, "equal size"), (60, "64 or more")):
        with pytest.raises(ValueError, match=expected):
            script.draw_subset(digits, size, seed=3)


def accuracies(*values):
    return {str(seed): value for seed, value in enumerate(values)}


def test_table_has_mean_and_spread_of_accuracies_and_of_paired_gains():
    results = {
        "2000": {arm: accuracies(0.97) for arm in script.ARMS},
        "100": {
            "real": accuracies(0.80, 0.84),
            "generated": accuracies(0.81, 0.85, 0.10),  # a seed that the others lack
            "shifted": accuracies(0.90, 0.92),
            "shifted + generated": accuracies(0.88, 0.92),
        },
    }
    first, second = script.table(results).splitlines()[2:]
    assert first.split(" | ")[:4] == ["| 100", "2", "82.00 ± 2.83", "83.00 ± 2.83"]
    gains = ["+1.00 ± 0.00", "+9.00 ± 1.41", "-1.00 ± 1.41 |"]
    assert first.split(" | ")[6:] == gains
    assert second.startswith("| 2,000 | 1 | 97.00 |")


def test_a_page_gets_the_table_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(["before", script.MARKS[0], "old", script.MARKS[1], "after", ""]))
    script.fill(page, "new")
    assert page.read_text().split("\n") == ["before", script.MARKS[0], "new", script.MARKS[1],
                                            "after", ""]  # fmt: skip
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no lines"):
        script.fill(page, "new")
    assert page.read_text() == "no marks"


def run(folder, *words):
    """(exit code, stdout, stderr) of the script for one subset."""
    narrow = ["model.g_widths=[16, 24]", "model.d_widths=[16]"]
    process = tiny.python(
        tiny.ROOT / "scripts" / "data_augmentation.py", "--data", "digits", "--out", folder,
        "--sizes", "70", "--seeds", "0", *words, "train.steps=2", *narrow,
    )  # fmt: skip
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


@pytest.mark.slow
def test_a_whole_run_and_again(tmp_path):
    code, first, err = run(tmp_path, "--updates", "2")
    assert code == 0, err
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["settings"]["split"] == "test" and content["settings"]["updates"] == 2
    assert set(content["accuracy"]["70"]) == set(script.ARMS)
    assert all(0 <= arm["0"] <= 1 for arm in content["accuracy"]["70"].values())
    with np.load(tmp_path / "generated_70_0.npz") as found:
        assert found["images"].shape == (10 * script.PER_CLASS, 1, 28, 28)
        # one class in each column of the picture
        assert (found["labels"] == np.arange(10 * script.PER_CLASS) % 10).all()
    del content["accuracy"]["70"]["shifted"]["0"]  # as if stopped before it
    (tmp_path / "results.json").write_text(json.dumps(content))
    code, again, _ = run(tmp_path, "--updates", "2")
    assert code == 0 and "70 images, seed 0, shifted:" in again
    assert again.count(" % (") == 1 and "GAN" not in again
    assert again.splitlines()[-4:] == first.splitlines()[-4:], "the same numbers"
    code, _, err = run(tmp_path, "--updates", "3")
    assert code == 1 and "made with other settings" in err and err.count("\n") == 1
