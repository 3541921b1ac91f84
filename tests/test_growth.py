"""What must not grow unseen: graph compilations, kernels of an update, bytes to the device.

Counted, not timed. The tables are what the project does now: who makes a number smaller writes the
smaller one here, who makes it larger says why.
"""

import gc
import json

import numpy as np
import pytest

from mindspore import Tensor, nn

from ms_gan import build, cli, data
from ms_gan.data.dataset import Dataset
from ms_gan.recipe import reader
from ms_gan.training.feed import Feed
from tests.tiny import ROOT, python

# Kernels launched in one update (python -m benchmarks.kernels RECIPE).
KERNELS = {"gan_mnist": 284, "default": 381, "dcgan28_mnist": 193}

# Float32 or int32 numbers that go to the device in one step: for each image, and for each row of
# latents. A conditional net adds the label, a gradient penalty on mixed images a uniform number.
NUMBERS = {
    "gan_mnist": {"images": 128, "each": 784, "latents": 128, "width": 100},
    "dcgan28_mnist": {"images": 128, "each": 784, "latents": 128, "width": 100},
    "r3gan_mnist": {"images": 64, "each": 784, "latents": 64, "width": 64},
    "cgan_mnist": {"images": 128, "each": 784 + 1, "latents": 128, "width": 100},
    "wgan_gp_mnist": {"images": 5 * 64, "each": 784 + 1, "latents": 5 * 64, "width": 100},
}

TINY = [
    "data.name=digits", "data.batch_size=64", "model.g_widths=[16, 16]", "model.d_widths=[16]",
    "every.log=5", "every.sample=6", "every.save=10",
]  # fmt: skip


@pytest.fixture
def compiled(monkeypatch):
    """Class names of the Cells that were compiled, one entry for each graph."""
    names = []
    compile_cell = nn.Cell.compile

    def counting(self, *args, **kwargs):
        before = set(self.compile_cache)
        result = compile_cell(self, *args, **kwargs)
        names.extend(type(self).__name__ for _ in set(self.compile_cache) - before)
        return result

    monkeypatch.setattr(nn.Cell, "compile", counting)
    return names


@pytest.mark.parametrize(
    "recipe, options",
    [
        ("default", []),  # penalties and a moving average
        ("cgan_mnist", ["train.d_steps=2", "train.same_latents=false", "train.ema_decay=0"]),
    ],
)
def test_each_cell_is_compiled_once(recipe, options, compiled, tmp_path, capsys):
    """Across epochs with a partial last batch, logs, samples, saves; again after continuing."""
    gc.collect()  # MindSpore forgets the shapes of all Cells when one goes: not while we count
    run = tmp_path / "run"
    command = ["train", "--config", recipe, "--run-dir", str(run), *TINY, *options]
    for steps in (32, 40):  # an epoch is 28 batches and 5 images
        assert cli.main([*command, f"train.steps={steps}"]) == 0
        assert sorted(compiled) == ["AdversarialStep", "Generator"], f"up to step {steps}"
        compiled.clear()
    gc.collect()
    words = ["generate", str(run / "generator.ckpt"), "--out", str(tmp_path / "new")]
    assert cli.main([*words, "--num", "70"]) == 0  # not a multiple of the batch
    assert compiled == ["Generator"]
    capsys.readouterr()


def test_another_shape_would_be_counted(compiled):
    """The counting itself: the same shape once, another one again."""
    layer = nn.Dense(3, 2)
    for rows in (4, 4, 5):
        layer(Tensor(np.zeros((rows, 3), np.float32)))
    assert compiled == ["Dense", "Dense"]


def test_kernels_of_an_update():
    process = python("-m", "benchmarks.kernels", *KERNELS, "--batch", "8", cwd=ROOT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    found = json.loads(out.splitlines()[-1])
    launches = {
        name: sum(kernel["launches"] for kernel in kernels.values())
        for name, kernels in found.items()
    }
    grown = {name: (launches[name], KERNELS[name]) for name in KERNELS}
    assert all(now <= bound for now, bound in grown.values()), f"(now, bound): {grown}"
    assert all(now > bound / 2 for now, bound in grown.values()), f"counts are missing: {grown}"


@pytest.mark.parametrize("recipe", NUMBERS)
def test_bytes_to_the_device(recipe):
    config = reader.load(ROOT / "configs" / f"{recipe}.yaml")
    images = np.zeros((1000, 1, 28, 28), np.uint8)
    dataset = Dataset("zeros", images, np.zeros(1000, np.int32), tuple("0123456789"), "here", {})
    batches = data.Batches(dataset, config.data.batch_size, seed=0)
    state = build.build_training(config, dataset.image_shape, dataset.num_classes, {})
    given = Feed(batches, state.rows, seed=0).at(0)
    bytes_given = sum(x.nbytes for x in given if x is not None)
    n = NUMBERS[recipe]
    assert bytes_given == 4 * (n["images"] * n["each"] + n["latents"] * n["width"])
