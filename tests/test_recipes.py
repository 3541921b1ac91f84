"""Every recipe in configs/ trains 200 steps at smoke size, in graph mode, with finite losses."""

import json
from pathlib import Path

import numpy as np
import pytest

from ms_gan import cli
from ms_gan.recipe import reader

CONFIGS = sorted((Path(__file__).resolve().parent.parent / "configs").glob("*.yaml"))
STEPS = 200
SMOKE = {  # narrow nets: the same code in a hundredth of the time
    "gan": {"model.g_widths": "[32, 64]", "model.d_widths": "[32]"},
    "dcgan": {"data.size": 32, "model.g_width": 4, "model.d_width": 4},
    "dcgan28": {"model.g_width": 4, "model.d_width": 4},
    "deep_mlp_conv": {"model.d_widths": "[4, 8, 8, 8, 16]", "model.g_widths": "[32, 64]"},
    "r3gan": {"data.size": 12, "data.batch_size": 8, "model.g_width": 8, "model.d_width": 8},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_trains(path, tmp_path):
    recipe = reader.load(path)
    overrides = {
        "data.name": "digits",
        "data.batch_size": 16,
        "train.steps": STEPS,
        "every.log": 20,
        "every.sample": 0,
        "every.save": 0,
        "runtime.device": "CPU",
        **SMOKE[recipe.model.name],
    }
    words = [f"{key}={value}" for key, value in overrides.items()]
    run_dir = tmp_path / "run"
    assert cli.main(["train", "--config", str(path), "--run-dir", str(run_dir), *words]) == 0
    rows = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == STEPS
    assert all(np.isfinite([row["loss_d"], row["loss_g"]]).all() for row in rows)
    moved = {round(row["loss_g"], 4) for row in rows}
    assert len(moved) > 5, "the generator's loss stands still"
    out = tmp_path / "out"
    words = ["--format", "npy", "--num", "20", "--out", str(out)]
    assert cli.main(["generate", str(run_dir), *words]) == 0
    images = np.load(out / "samples.npy")
    assert np.isfinite(images).all() and images.std(axis=0).max() > 1e-3, "all samples are equal"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_named_after_its_file(path):
    assert reader.load(path).name == path.stem
