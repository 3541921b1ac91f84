"""The classifier: shipped file, training, what it refuses."""

import numpy as np
import pytest

from mindspore import Parameter, Tensor

from ms_gan import cli, data
from ms_gan.evaluation import classifier
from ms_gan.runs import checkpoint, shipped
from tests.tiny import refused, refused_command

ASSET = shipped.ASSETS / shipped.CLASSIFIERS["mnist"]


@pytest.fixture(scope="module")
def loaded():
    """The shipped one, and what its file says."""
    return classifier.load(ASSET)


@pytest.fixture(scope="module")
def net(loaded):
    return loaded[0]


# --- the shipped file ---------------------------------------------------------------------------


def test_the_shipped_one_says_what_it_is(loaded):
    net, meta = loaded
    assert meta["data"] == "mnist" and meta["accuracy"] >= 0.995 and meta["seed"] == 0
    assert meta["md5"]["train"].keys() == {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"}
    assert net.image_shape == (1, 28, 28) and 64 <= net.num_features <= 128


def test_accuracy_on_the_real_test_images(loaded, mnist_root):
    test = data.load("mnist", root=mnist_root, split="test")
    accuracy = classifier.accuracy(loaded[0], test)
    assert accuracy >= 0.995
    assert accuracy == pytest.approx(loaded[1]["accuracy"], abs=3e-4)  # another CPU may round so


# --- use ----------------------------------------------------------------------------------------


def test_answers_do_not_depend_on_the_neighbours(net, rng):
    images = rng.uniform(-1, 1, (classifier.BATCH + 3, 1, 28, 28)).astype(np.float32)
    features, probabilities = classifier.predict(net, images)
    assert features.shape == (len(images), net.num_features) and features.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    again = classifier.predict(net, images[-2:])
    np.testing.assert_allclose(again[0], features[-2:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 40), (1, 6, 7)])
def test_the_host_computes_what_mindspore_does(shape, rng):
    net = classifier.Classifier(image_shape=shape, num_classes=7)
    for p in net.get_parameters():  # also what is 0 or 1 before training
        p.set_data(Tensor(rng.uniform(0.5, 1.5, p.shape).astype(np.float32) * p.asnumpy() + 0.01))
    net.set_train(False)
    images = rng.uniform(-1, 1, (classifier.HOST_BATCH + 7, *shape)).astype(np.float32)
    device, host = (classifier.predict(net, images, host=host) for host in (False, True))
    for a, b in zip(device, host, strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bytes_and_floats_are_the_same_images(net, rng):
    images = rng.integers(0, 256, (4, 1, 28, 28)).astype(np.uint8)
    for a, b in zip(
        classifier.predict(net, images),
        classifier.predict(net, data.to_float(images)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


ZEROS = np.zeros((2, 1, 28, 28), np.float32)
REFUSED = {
    "another size": (np.zeros((2, 1, 32, 32), np.float32), "have the shape [2, 1, 32, 32]"),
    "colour": (np.zeros((2, 3, 28, 28), np.float32), "takes [N, 1, 28, 28]"),
    "no channel": (ZEROS[:, 0], "have the shape [2, 28, 28]"),
    "nothing": (ZEROS[:0], "have the shape [0, 1, 28, 28]"),
    "0 to 1": (np.linspace(0, 1, 1568, dtype=np.float32).reshape(2, 1, 28, 28), "none below 0"),
    "0 to 255": (ZEROS + 255, "values 255 to 255; expected [-1, 1]"),
    "NaN": (ZEROS + np.float32("nan"), "NaN or infinity"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_shapes_and_ranges_are_refused_in_one_line(what, net):
    images, message = REFUSED[what]
    assert message in refused(classifier.ClassifierError, classifier.predict, net, images)


def test_a_file_that_is_no_classifier_is_refused(tmp_path):
    path = tmp_path / "generator.ckpt"
    checkpoint.save(path, [Parameter(Tensor([1.0]), name="generator.x")], {"step": 1})
    error = refused(checkpoint.CheckpointError, classifier.load, path)
    assert "not a classifier; make one with" in error


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 32, 32), (1, 64, 64), (1, 5, 9)])
def test_other_image_shapes(shape, rng):
    net = classifier.Classifier(image_shape=shape, num_classes=3)
    net.set_train(False)
    images = rng.uniform(-1, 1, (2, *shape)).astype(np.float32)
    features, probabilities = classifier.predict(net, images)
    assert features.shape == (2, 96) and probabilities.shape == (2, 3)


# --- data and training --------------------------------------------------------------------------


def test_shifted_moves_whole_images(rng):
    x = rng.normal(size=(200, 2, 6, 5)).astype(np.float32)
    moved = classifier.shifted(x, np.random.default_rng(1), most=1)
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    seen = set()
    for image, around in zip(moved, wide, strict=True):
        fits = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(image, around[:, i : i + 6, j : j + 5])
        ]
        assert fits
        seen.update(fits)
    assert len(seen) == 9
    again = classifier.shifted(x, np.random.default_rng(1), most=1)
    np.testing.assert_array_equal(moved, again)


def test_held_out_images_of_a_data_set_without_a_test_split():
    train, test = data.splits("digits")
    assert (len(train), len(test)) == (1497, 300)
    together = np.concatenate([train.images, test.images]).reshape(1797, -1)
    every = data.load("digits").images.reshape(1797, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, every))
    np.testing.assert_array_equal(data.splits("digits")[1].images, test.images)


def test_one_epoch_on_the_embedded_digits(tmp_path, capsys):
    out = tmp_path / "digits.ckpt"
    words = ["train-classifier", "--data", "digits", "--epochs", "1", "--device", "CPU"]
    assert cli.main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1497 images [1, 28, 28] to train, 300 to test" in printed
    assert "epoch 1/1: loss " in printed and "test accuracy " in printed
    net, meta = classifier.load(out)
    assert meta["accuracy"] > 0.5  # 0.1 is chance
    assert classifier.accuracy(net, data.splits("digits")[1]) == meta["accuracy"]
    assert {"md5", "seed", "command", "git_commit", "classes"} <= meta.keys()
    assert f"{100 * meta['accuracy']:.2f} %" in printed


def test_pictures_without_classes_are_refused(tmp_path, capsys):
    from PIL import Image

    for i in range(12):
        Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    words = ["train-classifier", "--data", "image_folder", "--data-root", tmp_path]
    error = refused_command(capsys, *words, "--out", tmp_path / "x.ckpt")
    assert "no classes; expected the pictures in two or more sub-folders" in error


@pytest.mark.parametrize("out", ["classifier.npz", "missing/classifier.ckpt", "."])
def test_a_bad_target_is_refused_before_training(out, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused_command(capsys, "train-classifier", "--out", out)
    assert error.startswith(f"ms-gan: --out {out}: ")
