"""Every recipe in configs/ trains 20 steps at smoke size, in graph mode, with finite losses."""

import numpy as np
import pytest

from ms_gan import session
from ms_gan.recipe import reader
from tests.tiny import CONFIGS

STEPS = 20
SMOKE = {  # narrow nets: the same code in a hundredth of the time
    "gan": {"model.g_widths": "[32, 64]", "model.d_widths": "[32]"},
    "dcgan": {"data.size": 32, "model.g_width": 4, "model.d_width": 4},
    "dcgan28": {"model.g_width": 4, "model.d_width": 4},
    "deep_mlp_conv": {"model.d_widths": "[4, 8, 8, 8, 16]", "model.g_widths": "[32, 64]"},
    "r3gan": {"data.size": 12, "data.batch_size": 8, "model.g_width": 8, "model.d_width": 8},
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_trains(path, tmp_path):
    name = reader.load(path).model.name
    assert name in SMOKE, (
        f"add to SMOKE in tests/test_recipes.py: '{name}': the options that make the recipes of "
        "this model so narrow that 20 steps take a second"
    )
    overrides = {
        "data.name": "digits",
        "data.batch_size": 16,
        "train.steps": STEPS,
        "every.log": 2,
        "every.sample": 0,
        "every.save": 0,
        "every.evaluate": 0,
        "runtime.device": "CPU",
        **SMOKE[name],
    }
    run = session.start(path, tmp_path / "run", [f"{k}={v}" for k, v in overrides.items()])
    before, _ = run.sampler.samples(1, 20)
    assert run.train() is True
    rows = run.run.read_log()
    assert [row["step"] for row in rows] == list(range(2, STEPS + 1, 2))
    assert all(np.isfinite(value) for row in rows for value in row.values())
    moved = {round(row["loss_g"], 4) for row in rows}
    assert len(moved) > 5, "the generator's loss stands still"
    images, _ = run.sampler.samples(1, 20)
    assert np.isfinite(images).all() and images.std(axis=0).max() > 1e-3, "all samples are equal"
    assert np.abs(images - before).max() > 1e-3, "the samples stand still"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_named_after_its_file(path):
    assert reader.load(path).name == path.stem
