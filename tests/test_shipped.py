"""The shipped weights: whole, small, described, and usable with nothing but the package."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ms_gan import build, cli
from ms_gan.evaluation import classifier, whole
from ms_gan.runs import shipped, tiles
from ms_gan.runs.checkpoint import CheckpointError
from ms_gan.runs.translating import as_float
from tests.tiny import ROOT, refused, refused_command

CARD = (shipped.ASSETS / "README.md").read_text(encoding="utf-8")
GENERATORS = shipped.GENERATORS.items()
EVERY = (shipped.GENERATORS | shipped.TRANSLATORS).items()
FILES = [file for _, file in EVERY] + list(shipped.CLASSIFIERS.values())


def generate(folder, *words):
    """`ms-gan generate` where nothing is at hand: no data, no cache, no network, another folder."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    nowhere = "http://127.0.0.1:9"
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home),
        "http_proxy": nowhere, "https_proxy": nowhere,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "ms_gan", "generate", *words],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert list(home.iterdir()) == []
    return done


@pytest.mark.parametrize("file", FILES)
def test_the_file_is_whole_small_and_described(file):
    path = shipped.ASSETS / file
    assert shipped.damage(path) is None
    assert path.stat().st_size < (2e6 if "classifier" in file else 8e6)
    section = re.search(rf"^## {re.escape(file)}$(.*?)(?=^## |\Z)", CARD, re.M | re.S)[1]
    assert shipped.checksums()[file] in section and f"{path.stat().st_size:,} bytes" in section
    for name in (name for name, its in EVERY if its == file):
        assert f"--pretrained {name}" in section and re.search(r"^\| recipe \| \S", section, re.M)
    for row in ("data", "command", "commit"):
        assert re.search(rf"^\| {row} \| \S.*\|$", section, re.M), row


def test_nothing_is_listed_that_is_not_there():
    files = {path.name for path in shipped.ASSETS.glob("*.ckpt")}
    assert shipped.checksums().keys() == files
    assert files == set(FILES)
    assert sum((shipped.ASSETS / file).stat().st_size for file in files) < 25e6


@pytest.mark.parametrize("name, file", GENERATORS)
def test_they_are_what_their_names_say(name, file):
    sampler = build.load_sampler(shipped.ASSETS / file)
    assert sampler.num_classes == (10 if name == "mnist" else 0)
    assert sampler.meta["data"] == "mnist" and sampler.image_shape == (1, 28, 28)
    images, _ = sampler.samples(1, 64)
    assert images.shape == (64, 1, 28, 28) and len({image.tobytes() for image in images}) == 64
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1  # black paper, white ink
    assert images.mean() < -0.4


def photographs():
    """scikit-learn's two, which the generators have never seen: uint8 [3, H, W]."""
    return [image.transpose(2, 0, 1) for image in load_sample_images().images]


def test_the_enlarger_is_better_than_bicubic_on_photographs():
    path = shipped.ASSETS / shipped.TRANSLATORS["sr-x2"]
    net = build.load_sampler(path, size=tiles.tile_size(build.load_sampler(path)))
    found = whole.Whole(2, channels=1)
    for photograph in photographs():
        found.add(photograph[:, 100:260, 200:360], lambda small: tiles.restore(net, small))
    made, floors = found.means()
    assert made["psnr"] > floors["bicubic"]["psnr"] + 1.0
    assert made["patches"] < 0.7 * floors["bicubic"]["patches"]
    assert abs(made["detail"] - 1) < abs(floors["bicubic"]["detail"] - 1)


def test_the_filler_goes_on_with_a_shirt_and_leaves_what_is_known():
    net = build.load_sampler(shipped.ASSETS / shipped.TRANSLATORS["inpainting"])
    shirt = np.zeros((1, 28, 28), np.uint8)
    shirt[:, 3:26, 8:20], shirt[:, 3:10, 2:26] = 200, 180  # body and sleeves
    true = as_float(shirt)
    for rows, columns in ((slice(12, 20), slice(10, 18)), (slice(14, 24), slice(0, 6))):
        hole = np.zeros((28, 28), bool)
        hole[rows, columns] = True
        made = tiles.fill(net, shirt, hole)
        np.testing.assert_array_equal(made[:, ~hole], true[:, ~hole])
        assert np.abs(made - true)[:, hole].mean() < 0.1  # of 2


def test_64_digits_with_nothing_at_hand(tmp_path):
    done = generate(tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.splitlines()[-1].endswith("-> samples/grid.png")
    with Image.open(tmp_path / "samples" / "grid.png") as picture:
        assert min(picture.size) > 8 * 28 and np.asarray(picture).std() > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "samples"]


def test_the_best_one_is_the_one_without_a_name(tmp_path):
    words = ["--num", "3", "--format", "npy", "--device", "CPU", "--out"]
    for out, more in (("default", []), ("named", ["--pretrained", "mnist"])):
        assert cli.main(["generate", *words, str(tmp_path / out), *more]) == 0
    default, named = (np.load(tmp_path / out / "samples.npy") for out in ("default", "named"))
    assert default.shape == (3, 1, 28, 28) and default.tobytes() == named.tobytes()


def test_labels_are_obeyed(tmp_path):
    """The classifier reads the digit that was asked for; `--label` needs no checkpoint."""
    sampler = build.load_sampler(shipped.ASSETS / shipped.GENERATORS["mnist"])
    images, labels = sampler.samples(1, 640)
    net, _ = classifier.load(shipped.ASSETS / shipped.CLASSIFIERS["mnist"])
    read = classifier.predict(net, images)[1].argmax(axis=1)
    right = [float((read[labels == label] == label).mean()) for label in range(10)]
    assert min(right) > 0.8 and np.mean(right) > 0.9, right
    words = ["generate", "--num", "3", "--format", "npy", "--device", "CPU", "--out"]
    assert cli.main([*words, str(tmp_path), "--label", "7"]) == 0
    expected = sampler.samples(1, 3, label=7)[0]
    assert np.load(tmp_path / "samples.npy").tobytes() == expected.tobytes()


def test_what_cannot_be_meant(tmp_path, capsys):
    def said(*words):
        return refused_command(capsys, "generate", *words)

    assert "give one" in said("--pretrained", "mnist", tmp_path)
    assert "takes no labels" in said("--pretrained", "mnist-tutorial", "--label", "3")
    assert "expected 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, got 10" in said("--label", "10")
    with pytest.raises(SystemExit):
        cli.main(["generate", "--pretrained", "imagenet"])
    assert "choose from" in capsys.readouterr().err


COMMANDS = {"classifier": ["evaluate", "--pretrained", "mnist-tutorial"], "generator": ["generate"]}


@pytest.mark.parametrize("kind", COMMANDS)
def test_damaged_and_missing_files_are_one_line(kind, tmp_path, capsys, monkeypatch):
    load = classifier.load if kind == "classifier" else build.load_sampler
    table = shipped.CLASSIFIERS if kind == "classifier" else shipped.GENERATORS
    copy = tmp_path / table["mnist"]
    for file in (copy.name, shipped.GENERATORS["mnist-tutorial"]):
        shutil.copy(shipped.ASSETS / file, tmp_path)
    sums = shipped.ASSETS / "SHA256SUMS"
    monkeypatch.setattr(shipped, "ASSETS", tmp_path.resolve())
    with pytest.raises(FileNotFoundError):
        shipped.damage(copy)
    shutil.copy(sums, tmp_path)
    load(copy)
    with open(copy, "r+b") as file:
        file.seek(copy.stat().st_size // 2)  # one bit of one weight: only the checksum can tell
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    assert "damaged: its sha256 is" in refused(CheckpointError, load, copy)  # by its path too
    assert "damaged: its sha256 is" in refused_command(capsys, *COMMANDS[kind])
    copy.rename(tmp_path / "other.ckpt")
    assert "expected none" in shipped.damage(tmp_path / "other.ckpt")
    assert "no such file" in refused(CheckpointError, load, copy)
    assert "install the package again" in refused_command(capsys, *COMMANDS[kind])
