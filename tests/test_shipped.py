"""The shipped generators: whole, small, described, and usable with nothing but the package."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ms_gan import build, cli
from ms_gan.evaluation import classifier
from ms_gan.runs import sampling, shipped
from ms_gan.runs.checkpoint import CheckpointError
from tests.conftest import ROOT

CARD = (shipped.ASSETS / "README.md").read_text(encoding="utf-8")
GENERATORS = shipped.GENERATORS.items()


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


@pytest.mark.parametrize("name, file", GENERATORS)
def test_the_file_is_whole_small_and_described(name, file):
    path = shipped.ASSETS / file
    assert shipped.damage(path) is None
    assert path.stat().st_size < 8_000_000
    section = re.search(rf"^## {re.escape(file)}$(.*?)(?=^## |\Z)", CARD, re.M | re.S)[1]
    assert shipped.checksums()[file] in section
    assert f"--pretrained {name}" in section and f"{path.stat().st_size:,} bytes" in section
    for row in ("recipe", "data", "command", "commit"):
        assert re.search(rf"^\| {row} \| \S.*\|$", section, re.M), row


def test_nothing_is_listed_that_is_not_there():
    files = {path.name for path in shipped.ASSETS.glob("*.ckpt")}
    assert shipped.checksums().keys() == files
    assert files == {*shipped.GENERATORS.values(), *classifier.SHIPPED.values()}
    assert sum((shipped.ASSETS / file).stat().st_size for file in files) < 25e6


@pytest.mark.parametrize("name, file", GENERATORS)
def test_they_are_what_their_names_say(name, file):
    generator, latent_dim, meta = build.load_generator(shipped.ASSETS / file)
    assert generator.num_classes == (10 if name == "mnist" else 0)
    assert meta["data"] == "mnist" and meta["image_shape"] == [1, 28, 28]
    labels = sampling.class_labels(64, generator.num_classes)
    images = sampling.generate(generator, sampling.latents(1, 64, latent_dim), labels)
    assert images.shape == (64, 1, 28, 28) and len({image.tobytes() for image in images}) == 64
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1  # black paper, white ink
    assert images.mean() < -0.4


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
    generator, latent_dim, _ = build.load_generator(shipped.ASSETS / shipped.GENERATORS["mnist"])
    labels = sampling.class_labels(640, 10)
    images = sampling.generate(generator, sampling.latents(1, 640, latent_dim), labels)
    net, _ = classifier.load(shipped.ASSETS / classifier.SHIPPED["mnist"])
    read = classifier.predict(net, images)[1].argmax(axis=1)
    right = [float((read[labels == label] == label).mean()) for label in range(10)]
    assert min(right) > 0.8 and np.mean(right) > 0.9, right
    words = ["generate", "--num", "3", "--format", "npy", "--device", "CPU", "--out"]
    assert cli.main([*words, str(tmp_path), "--label", "7"]) == 0
    sevens = np.full(3, 7, np.int32)
    expected = sampling.generate(generator, sampling.latents(1, 3, latent_dim), sevens)
    assert np.load(tmp_path / "samples.npy").tobytes() == expected.tobytes()


def refused(words, capsys):
    assert cli.main(["generate", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_what_cannot_be_meant(tmp_path, capsys):
    assert "give one" in refused(["--pretrained", "mnist", tmp_path], capsys)
    assert "takes no labels" in refused(["--pretrained", "mnist-tutorial", "--label", "3"], capsys)
    assert "expected 0 to 9" in refused(["--label", "10"], capsys)
    with pytest.raises(SystemExit):
        cli.main(["generate", "--pretrained", "imagenet"])
    assert "choose from" in capsys.readouterr().err


def test_damaged_and_missing_files_are_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shipped, "ASSETS", tmp_path.resolve())
    file = shipped.GENERATORS["mnist"]
    assert "install the package again" in refused([], capsys)
    shutil.copy(ROOT / "ms_gan" / "assets" / file, tmp_path)
    with open(tmp_path / file, "r+b") as opened:
        opened.seek(3_000_000)  # one weight of a million: only the checksum can tell
        opened.write(b"\x00\x00\x00\x01")
    with pytest.raises(FileNotFoundError):
        shipped.damage(tmp_path / file)
    shutil.copy(ROOT / "ms_gan" / "assets" / "SHA256SUMS", tmp_path)
    assert "damaged: its sha256 is" in refused([], capsys)
    with pytest.raises(CheckpointError):
        build.load_generator(tmp_path / file)  # by its path too
    (tmp_path / file).rename(tmp_path / "other.ckpt")
    assert "expected none" in shipped.damage(tmp_path / "other.ckpt")
