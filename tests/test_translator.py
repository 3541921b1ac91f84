"""Generators from picture to picture in use: what they receive, what is shown, how they are judged,
and runs of them that stop and go on."""

import json

import numpy as np
import pytest
from PIL import Image

from mindspore import nn, ops

from ms_gan import build, cli, data, session
from ms_gan.evaluation import translation
from ms_gan.objectives.inputs import INPUTS
from ms_gan.recipe import reader
from ms_gan.runs.sampling import BATCH
from ms_gan.runs.translating import Translator
from tests.tiny import RECIPE, assert_same_bits, copy_run, newest

CYCLE = {"name": "cyclegan", "g_width": 2, "blocks": 1, "d_width": 4, "d_depth": 1}
SYSTEMS = {  # input -> model, terms, more of the recipe
    "low_resolution": (
        {"name": "srgan", "g_width": 4, "blocks": 1, "d_width": 4, "depth": 1}, {"pixel": 1.0},
        {"input": {"name": "low_resolution", "scale": 2},
         "loss": {"name": "hinge", "weight": {"start": 0.0, "end": 0.1, "after": 2, "steps": 2}}},
    ),
    "masked": (
        {"name": "inpainting", "g_width": 4, "blocks": 1, "d_width": 4, "depth": 1},
        {"hole": 1.0}, {},
    ),
    "first": (
        {"name": "pix2pix", "g_width": 4, "depth": 2, "d_width": 4, "d_depth": 1},
        {"pixel": 10.0}, {},
    ),
    "both": (CYCLE, {"cycle": 10.0, "identity": 5.0}, {"loss": "least_squares"}),
}  # fmt: skip
SIDE = 16


def smooth(num, channels, height=SIDE, width=SIDE):
    """Pictures uint8 [num, channels, height, width] in which there is something to restore."""
    rows, columns = np.mgrid[:height, :width] / SIDE
    phases = np.arange(num * channels).reshape(num, channels, 1, 1)
    return (127.5 + 100 * np.sin(5 * rows + phases) * np.cos(4 * columns - phases)).astype(np.uint8)


def dataset(channels, num=24):
    labels = np.zeros(num, np.int32)
    return data.Dataset("digits", smooth(num, channels), labels, (), "the test", {"x": "1"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders with pictures of the same names, and one of larger pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for name, images in (
        ("a", smooth(24, 1)), ("b", smooth(24, 1)[::-1]), ("large", smooth(6, 1, 40, 53)),
    ):  # fmt: skip
        (root / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[0]).save(root / name / f"{i:02d}.png")
    return root


def recipe(name, folders):
    model, terms, more = SYSTEMS[name]
    here = {"name": "image_folder", "root": str(folders / "a"), "size": SIDE, "channels": 1}
    if name == "low_resolution":
        here |= {"root": str(folders / "large"), "fit": "tiles"}
    if name in ("first", "both"):
        here["pair"] = {"root": str(folders / "b")}
    if name == "first":
        here["match"] = "names"
    tree = {
        **RECIPE,
        "name": name,
        "data": {**here, "batch_size": 4},
        "model": model,
        "input": name,
        "terms": terms,
        "train": {"steps": 6, "ema_decay": 0.9, "history": 8 if name == "both" else 0},
        "every": {"log": 1, "sample": 3, "save": 3, "evaluate": 3, "keep": 2},
        **more,
    }
    return reader.from_dict(tree)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_run_that_is_stopped_goes_on_bit_for_bit(name, folders, tmp_path, capsys):
    """History, holes and ramps included; and what it saved is measured by the right judge."""
    config = recipe(name, folders)

    def start(folder):
        return session.start(config, folder, say=lambda line: None)

    whole = start(tmp_path / "whole")
    assert whole.train()
    run = start(copy_run(tmp_path / "whole", tmp_path / "parts", step=3))
    assert run.train()  # nothing but the checkpoint is left of it
    assert run.run.manifest["sessions"][-1]["step"] == 3
    assert_same_bits(*(newest(tmp_path / folder) for folder in ("whole", "parts")))
    if name == "both":
        held = newest(tmp_path / "whole")
        assert held["history.count"] == 8 and np.abs(held["history.images"]).max() > 0
    rows = whole.run.read_log()
    headline = translation.JUDGES[name].headline
    assert [row["step"] for row in rows if headline.key in row] == [3, 6]
    assert {f"loss_{term}" for term in config.terms} <= set(rows[-1])

    images = whole.dataset
    generator = tmp_path / "whole" / "generator.ckpt"
    translator = build.load_sampler(generator)
    assert isinstance(translator, Translator)
    received = translator.receive(images.images, seed=3)
    more = translator.receive(np.concatenate([images.images] * 4), seed=3)
    assert len(more) > BATCH
    np.testing.assert_array_equal(received, more[: len(received)])
    made = translator.made(received)
    assert made.shape == (len(images), *images.image_shape) and np.abs(made).max() <= 1
    np.testing.assert_array_equal(translator.gallery(0, images), whole.sampler.gallery(0, images))

    capsys.readouterr()
    assert cli.main(["evaluate", str(generator), "--device", "CPU", "--num", "5"]) == 0
    said = capsys.readouterr().out
    found = json.loads(generator.with_suffix(".evaluation.json").read_text())
    expected = {
        "low_resolution": "6 whole pictures",
        "masked": "4 of 4 test pictures",
        "first": "linear colours",
        "both": "difference after the cycle",
    }
    assert expected[name] in said and set(found["made"]) >= set(translation.JUDGES[name].keys)
    assert all(set(floor) <= set(found["made"]) for floor in found["floors"].values())
    assert translation.ROWS[headline.key][0] in said
    assert cli.main(["generate", str(generator), "--device", "CPU"]) == 2
    line = capsys.readouterr().err
    assert "apply" in line and line.count("\n") == 1


class Knowing(nn.Cell):
    """A generator that does not have to learn."""

    num_classes, latent_dim = 0, 0


class Swap(Knowing):
    def construct(self, x, labels=None):
        return ops.concat((x[:, 1:], x[:, :1]), axis=1)


class Twice(Knowing):
    def construct(self, x, labels=None):
        return ops.concat((x, x), axis=1)


class First(Knowing):
    def construct(self, x, labels=None):
        return x[:, :1]


def translator_of(name, images, net, **options):
    given = INPUTS[name](image_shape=images.image_shape, **options)
    return Translator(net, images.image_shape, {}, given)


def test_who_leaves_everything_as_it_is_gets_the_floor():
    pairs = dataset(2)
    both = translator_of("both", pairs, Swap())
    judge = translation.Swapping(both, pairs, pairs, seed=0, matched=True)
    found = judge.compare(both)
    assert found["cycle"] == pytest.approx(0.0, abs=1e-6)
    assert found["psnr"] == pytest.approx(judge.floors["left as it is"]["psnr"])
    assert found["sliced_wasserstein"] == pytest.approx(judge.floor["sliced_wasserstein"])
    first = translator_of("first", pairs, Twice())
    judge = translation.Pairing(first, pairs, pairs, seed=0)
    assert judge.compare(first)["psnr"] == pytest.approx(judge.floors["left as it is"]["psnr"])
    assert judge.floors["linear colours"]["psnr"] > judge.floors["left as it is"]["psnr"]


def test_who_fills_with_grey_is_measured_in_the_hole_alone():
    grey = dataset(1)
    masked = translator_of("masked", grey, First())
    judge = translation.Filling(masked, grey, grey, seed=4)
    assert (judge.mask.sum(axis=(1, 2, 3)) == 8 * 8).all()
    real = data.to_float(grey.images)
    inside = real[judge.mask == 1]
    expected = -10 * np.log10(np.mean((np.rint((inside + 1) * 127.5) - 128) ** 2) / 255**2)
    found = judge.compare(masked)
    assert found["psnr_hole"] == pytest.approx(expected, abs=0.02)
    assert found["l1_hole"] == pytest.approx(np.abs(inside).mean(), abs=0.01)
    # the training set is the test set: the nearest one is the picture itself
    assert judge.floors["nearest"]["psnr_hole"] == float("inf")


def test_holes_do_not_depend_on_their_number():
    few, many = (translation.half_holes(n, 9, 12, 5) for n in (3, 8))
    np.testing.assert_array_equal(few, many[:3])
    assert (many.sum(axis=(1, 2, 3)) == 4 * 6).all()
    assert len({one.tobytes() for one in many}) > 4


def test_detail_tells_blur_from_the_truth():
    fine = np.random.default_rng(0).integers(0, 255, (6, 1, 32, 32)).astype(np.uint8)
    noise = data.Dataset("digits", fine, np.zeros(6, np.int32), (), "", {})
    halved = translator_of("low_resolution", noise, First(), scale=2)
    judge = translation.Enlarging(halved, noise, noise, seed=0)
    floor, truth = judge.floor, judge.measure(judge.real)
    assert truth["detail"] == pytest.approx(1.0) and truth["ssim"] == pytest.approx(1.0)
    assert floor["detail"] < 0.1 and floor["patches"] > 10 * truth["patches"]
    assert floor["psnr"] < 20 < truth["psnr"]
