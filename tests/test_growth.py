"""What must not grow unseen: graph compilations, kernels of an update, bytes to the device.

Counted, not timed. The tables are what the project does now: who makes a number smaller writes the
smaller one here, who makes it larger says why.
"""

import dataclasses
import gc
import json

import numpy as np
import pytest

from mindspore import Tensor, nn

from ms_gan import build, cli, data, session
from ms_gan.data.dataset import Dataset
from ms_gan.recipe import reader
from ms_gan.training.feed import Feed
from tests.tiny import ROOT, python

# Kernels launched in one update (python -m benchmarks.kernels RECIPE).
KERNELS = {
    "gan_mnist": 284,
    "default": 381,
    "dcgan28_mnist": 193,
    "srgan_x2": 847,
    # Cycle, identity and history. Of its 96 Conv2D, 20 are one pass of the generator too many:
    # where it runs again, MindSpore does not merge the first pass with that of its gradient, as it
    # does without such a term.
    "cyclegan_mnist_usps": 2293,
}

# Float32 or int32 numbers that go to the device in one step: for each image, and for each row of
# latents. A conditional net adds the label, a gradient penalty on mixed images a uniform number, a
# hole six, the history of a generator two; mixed styles are two latents and a number. Of a
# generator that receives pictures nothing else goes there: what it receives is made of the real
# images on the device.
NUMBERS = {
    "gan_mnist": {"images": 128, "each": 784, "latents": 128, "width": 100},
    "dcgan28_mnist": {"images": 128, "each": 784, "latents": 128, "width": 100},
    "r3gan_mnist": {"images": 64, "each": 784, "latents": 64, "width": 64},
    "progan_fashion": {"images": 32, "each": 32 * 32, "latents": 32, "width": 64},
    "stylegan_sprites": {"images": 32, "each": 3 * 32 * 32, "latents": 32, "width": 2 * 64 + 1},
    "cgan_mnist": {"images": 128, "each": 784 + 1, "latents": 128, "width": 100},
    "wgan_gp_mnist": {"images": 5 * 64, "each": 784 + 1, "latents": 5 * 64, "width": 100},
    "srgan_x2": {"images": 16, "each": 48 * 48, "latents": 0, "width": 0},
    "inpainting_fashion": {"images": 32, "each": 784 + 6, "latents": 0, "width": 0},
    "pix2pix_emoji": {"images": 16, "each": 2 * 3 * 32 * 32, "latents": 0, "width": 0},
    "cyclegan_mnist_usps": {"images": 16, "each": 2 * 784 + 2, "latents": 0, "width": 0},
}

# Recipes of generators that receive pictures, made tiny; what makes their input of real images.
PICTURES = {
    "srgan_x2": ("LowResolution", ["model.blocks=1", "model.depth=1"]),
    "inpainting_fashion": ("Masked", ["model.blocks=1", "model.depth=1"]),
    "pix2pix_emoji": ("First", ["model.depth=2", "model.d_depth=1"]),
    "cyclegan_mnist_usps": ("Both", ["model.blocks=1", "model.d_depth=1", "train.history=8"]),
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


def random_dataset(config, num, side):
    """Images of the shape that a recipe is for, of no data set that is known."""
    channels = config.data.options.get("channels", 3 if config.data.name == "image_folder" else 1)
    shape = (num, channels * (2 if config.data.pair else 1), side, side)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    labels = np.zeros(num, np.int32)
    return Dataset("random", images, labels, ("any",), "here", {"all": "0"})


@pytest.mark.parametrize("recipe", PICTURES)
def test_each_cell_is_compiled_once_from_picture_to_picture(recipe, compiled, tmp_path):
    """Logs, samples, saves, evaluations of a number of images that no batch divides; and whoever
    uses the generator of the run compiles what it runs on and the net itself."""
    given, options = PICTURES[recipe]
    options = [
        *options, "model.g_width=4", "model.d_width=4", "data.batch_size=8", "train.steps=9",
        "every.log=2", "every.sample=3", "every.evaluate=4", "every.save=5",
    ]  # fmt: skip
    config = reader.load(ROOT / "configs" / f"{recipe}.yaml", options)
    dataset = random_dataset(config, 45, 16)
    gc.collect()
    run = session.start(config, tmp_path / "run", dataset=dataset, say=lambda line: None)
    assert run.train()
    rows = run.run.read_log()
    assert [row["step"] for row in rows if run.headline.key in row] == [4, 8, 9]
    assert np.isfinite([row[key] for row in rows for key in ("loss_d", "loss_g")]).all()
    assert len({round(row["loss_g"], 4) for row in rows}) > 3, "the generator's loss stands still"
    assert sorted(compiled) == sorted(["AdversarialStep", "Generator", given])
    compiled.clear()
    gc.collect()
    translator = build.load_sampler(tmp_path / "run" / "generator.ckpt")
    for num in (45, 70):  # fewer and more than go through the net at once
        images = np.resize(dataset.images, (num, *dataset.image_shape))
        made = translator.made(translator.receive(images, seed=0))
        assert len(made) == num
        assert np.isfinite(made).all() and made.std(axis=0).max() > 1e-3, "all samples are equal"
    assert sorted(compiled) == sorted(["Generator", given])


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
    dataset = random_dataset(config, 400, config.data.options.get("size", 28))
    dataset = dataclasses.replace(dataset, classes=tuple("0123456789"))
    batches = data.Batches(dataset, config.data.batch_size, seed=0)
    state = build.build_training(config, dataset.image_shape, dataset.num_classes, {})
    given = Feed(batches, state.rows, seed=0).at(0)
    bytes_given = sum(x.nbytes for x in given if x is not None)
    n = NUMBERS[recipe]
    assert bytes_given == 4 * (n["images"] * n["each"] + n["latents"] * n["width"])
