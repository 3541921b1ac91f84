"""Every recipe in configs/ trains 20 steps at smoke size, in graph mode, with finite losses."""

import numpy as np
import pytest

from ms_gan import session
from ms_gan.recipe import reader
from ms_gan.runs.translating import Translator
from tests.tiny import CONFIGS

STEPS = 20
SMOKE = {  # narrow nets: the same code in a hundredth of the time
    "gan": {"model.g_widths": "[32, 64]", "model.d_widths": "[32]"},
    "dcgan": {"data.size": 32, "model.g_width": 4, "model.d_width": 4},
    "dcgan28": {"model.g_width": 4, "model.d_width": 4},
    "deep_mlp_conv": {"model.d_widths": "[4, 8, 8, 8, 16]", "model.g_widths": "[32, 64]"},
    "r3gan": {"data.size": 12, "data.batch_size": 8, "model.g_width": 8, "model.d_width": 8},
    "progan": {"data.size": 8, "model.levels": "[0, 20]", "model.g_widths": "[4, 4]",
               "model.d_widths": "[4, 4]"},
    "stylegan": {"data.size": 8, "model.g_widths": "[4]", "model.d_widths": "[4]",
                 "model.mapping_layers": 1},
    "srgan": {"data.size": 16, "model.g_width": 4, "model.blocks": 1, "model.d_width": 4},
    "inpainting": {"data.size": 12, "model.g_width": 4, "model.blocks": 1, "model.d_width": 4},
    "pix2pix": {"data.size": 16, "model.g_width": 4, "model.depth": 2, "model.d_width": 4},
    "cyclegan": {"data.size": 16, "model.g_width": 4, "model.blocks": 1, "model.d_width": 4,
                 "data.batch_size": 4, "train.history": 8},
}  # fmt: skip
DIGITS = {  # for recipes of folders and pairs
    "data.fit": {"data.fit": "crop"},
    "data.background": {"data.background": "null"},
    "data.margin": {"data.margin": 0},
    "data.match": {"data.match": "none"},
    "data.pair": {"data.pair": "{name: digits}"},
}


ELSEWHERE = (  # trained among the slow tests only
    # Here as the recipe of smaller images, or as cyclegan_emoji.
    *("progan_64", "stylegan_64", "cyclegan_sprites", "cyclegan_mnist_usps"),
    # By test_growth.py: test_each_cell_is_compiled_once_from_picture_to_picture.
    *("srgan_x2", "inpainting_fashion", "pix2pix_emoji"),
)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * (path.stem in ELSEWHERE), id=path.stem)
        for path in CONFIGS
    ],
)
def test_recipe_trains(path, tmp_path):
    recipe = reader.load(path)
    name = recipe.model.name
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
    for key, instead in DIGITS.items():
        if recipe.data.options.get(key[5:]) or getattr(recipe.data, key[5:], None):
            overrides |= instead
    run = session.start(path, tmp_path / "run", [f"{k}={v}" for k, v in overrides.items()])
    before = some_images(run)
    assert run.train() is True
    rows = run.run.read_log()
    assert [row["step"] for row in rows] == list(range(2, STEPS + 1, 2))
    assert all(np.isfinite(value) for row in rows for value in row.values())
    moved = {round(row["loss_g"], 4) for row in rows}
    assert len(moved) > 5, "the generator's loss stands still"
    images = some_images(run)
    assert np.isfinite(images).all() and images.std(axis=0).max() > 1e-3, "all samples are equal"
    assert np.abs(images - before).max() > 1e-3, "the samples stand still"


def some_images(run):
    """What the generator makes, float32 [20, C, H, W]."""
    if isinstance(run.sampler, Translator):
        return run.sampler.made(run.sampler.receive(run.dataset.images[:20], 1))
    return run.sampler.samples(1, 20)[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_recipe_is_named_after_its_file(path):
    assert reader.load(path).name == path.stem
