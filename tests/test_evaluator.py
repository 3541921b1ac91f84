"""evaluate: from a checkpoint to numbers, the table and the file; and what it refuses."""

import contextlib
import io
import json
import math
import shutil

import imageio.v3 as iio
import numpy as np
import pytest

from mindspore import Parameter, Tensor, nn

from ms_gan import cli, data
from ms_gan.evaluation import classifier, evaluator
from ms_gan.runs import checkpoint, shipped, visualise

TINY = [
    "data.batch_size=64", "model.latent_dim=8", "model.g_widths=[16,24]", "model.d_widths=[16]",
    "train.epochs=null", "train.steps=2", "every.sample=0", "every.save=0", "runtime.device=CPU",
]  # fmt: skip


def train(folder, *words):
    assert cli.main(["train", "--run-dir", str(folder), *TINY, *words]) == 0
    return folder


@pytest.fixture(scope="module")
def net():
    return classifier.load(classifier.ASSETS / classifier.SHIPPED["mnist"])[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory, mnist_root):
    """A run of two steps on the real MNIST."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return train(folder, "-c", "gan_mnist", "data.name=mnist", f"data.root={mnist_root}")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run of two steps on the embedded digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return train(folder, "-c", "gan_mnist", "data.name=digits")


def refused(words, capsys):
    capsys.readouterr()
    assert cli.main(["evaluate", *map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ms-gan: ") and error.count("\n") == 1
    return error


# --- from end to end ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(run, mnist_root):
    """What is printed and written for the run."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(["evaluate", str(run), "--num", "200", "--data-root", mnist_root]) == 0
    return out.getvalue(), json.loads((run / "generator.evaluation.json").read_text())


def test_evaluate_a_run(run, evaluated):
    out, result = evaluated
    for _, name, _ in evaluator.ROWS[:-1]:
        assert f"\n{name} " in out
    assert "share of 9 " in out and "floor" in out and "FID" not in out
    file = run / "generator.evaluation.json"
    assert f"written to {file}" in out
    assert result["num"] == 200 and result["test_images"] == 10_000 and result["data"] == "mnist"
    generated, floor = result["generated"], result["floor"]
    keys = {key for key, _, _ in evaluator.ROWS} | {"shares"}
    assert floor.keys() == keys and generated.keys() == keys - {"label_accuracy"}
    for part in (generated, floor):
        numbers = [value for key, value in part.items() if key != "shares"]
        assert all(math.isfinite(value) for value in [*numbers, *part["shares"]])
        assert sum(part["shares"]) == pytest.approx(1)
    # after two steps there are no digits yet
    distance = "frechet_classifier_distance"
    assert generated[distance] > 10 * floor[distance]
    assert generated["coverage"] < floor["coverage"]
    assert floor["label_accuracy"] > 0.98 and floor["classes_seen"] == 10
    assert [path.name for path in run.glob("*evaluation*")] == [file.name]
    assert result["nearest"] == {"samples": 200, "test_images": 2000}
    assert floor["nearest_share"] == pytest.approx(0.01, abs=1e-3)
    assert generated["nearest_distance"] > floor["nearest_distance"] > 1
    picture = iio.imread(run / "generator.nearest.png")
    assert picture.shape == (8 * 64 + 8, 6 * 120 + 8) and picture.std() > 10


def test_the_file_of_choice_and_a_training_checkpoint(run, evaluated, mnist_root, tmp_path):
    """The same generator, the same numbers; nothing else is written."""
    out = tmp_path / "numbers.json"
    step = run / "checkpoints" / "step_0000002.ckpt"
    words = ["--num", "200", "--data-root", mnist_root, "--out", str(out)]
    assert cli.main(["evaluate", str(step), *words]) == 0
    one, other = json.loads(out.read_text()), evaluated[1]
    assert one["generated"] == other["generated"] and one["floor"] == other["floor"]
    assert one["checkpoint"]["sha256"] != other["checkpoint"]["sha256"]
    assert [path.name for path in step.parent.iterdir()] == [step.name]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "numbers.json",
        "numbers.nearest.png",
    ]


def test_a_classifier_of_ones_own(digits, tmp_path, capsys):
    """Data without a test split and a conditional generator, from training to the table."""
    own = tmp_path / "own.ckpt"
    words = ["train-classifier", "--data", "digits", "--epochs", "1", "--out", str(own)]
    assert cli.main(words) == 0
    conditional = train(tmp_path / "conditional", "-c", "cgan_mnist", "data.name=digits")
    words = ["evaluate", str(conditional), "--classifier", str(own), "--num", "40"]
    assert cli.main(words) == 0
    assert "labels obeyed" in capsys.readouterr().out
    result = json.loads((conditional / "generator.evaluation.json").read_text())
    assert 0 <= result["generated"]["label_accuracy"] <= 1 and result["test_images"] == 300


# --- the numbers --------------------------------------------------------------------------------


def test_real_images_are_at_the_floor(net, mnist_root):
    """Two other sets of training images differ from the test images as the floor says."""
    train, test = (data.load("mnist", root=mnist_root, split=s) for s in ("train", "test"))
    shares = np.bincount(train.labels) / len(train)
    reference = classifier.predict(net, test.images[::5])[0]  # neighbours are of one writer
    one, other = (
        evaluator.measure(reference, *classifier.predict(net, train.images[first::30]), shares)
        for first in (0, 15)
    )
    distance = "frechet_classifier_distance"
    assert one[distance] == pytest.approx(other[distance], rel=0.5)
    for key in ("precision", "recall", "coverage"):
        assert one[key] > 0.85 and one[key] == pytest.approx(other[key], abs=0.04)
    assert one["density"] == pytest.approx(1, abs=0.15)
    assert one["classes_seen"] == 10 and one["class_kl"] < 0.01 and one["classifier_score"] > 9.5
    noise = np.random.default_rng(0).uniform(-1, 1, (2000, 1, 28, 28)).astype(np.float32)
    bad = evaluator.measure(reference, *classifier.predict(net, noise), shares)
    assert bad[distance] > 30 * one[distance] and bad["coverage"] < 0.1


def test_samples_do_not_depend_on_the_chunks(net, digits, monkeypatch):
    from ms_gan import build

    generator, latent_dim, _ = build.load_generator(digits / "generator.ckpt")
    options = {"labels": None, "num": 150, "seed": 3}
    whole = evaluator.sampled_features(generator, latent_dim, net, **options)
    monkeypatch.setattr(evaluator, "CHUNK", 64)
    for a, b in zip(
        whole, evaluator.sampled_features(generator, latent_dim, net, **options), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- copies -------------------------------------------------------------------------------------


class Replay(nn.Cell):
    """A generator that shows the images that it was given, whatever its latents are."""

    num_classes = 0

    def __init__(self, images):
        super().__init__()
        self.images = Parameter(Tensor(images), name="images")

    def construct(self, z):
        return self.images + 0 * z.sum()


def test_a_generator_that_copies_is_found(rng):
    train, test = classifier.splits("digits")
    copies = data.to_float(train.images[100:164])
    found = evaluator.memorisation(Replay(copies), 4, train, test, num=64, seed=0)
    assert (found.distances == 0).all() and (found.nearest == copies).all()
    generated, real = found.numbers()
    assert generated == {"nearest_distance": 0, "nearest_share": 1}
    assert real["nearest_distance"] > 1 and real["nearest_share"] == pytest.approx(0.01, abs=0.004)
    # test images are as near as test images
    unseen = data.to_float(test.images[:64])
    generated = evaluator.memorisation(Replay(unseen), 4, train, test, num=64, seed=0).numbers()[0]
    assert generated["nearest_distance"] == pytest.approx(real["nearest_distance"], rel=0.1)
    assert generated["nearest_share"] < 0.1
    # noise is far from everything
    noise = rng.uniform(-1, 1, copies.shape).astype(np.float32)
    found = evaluator.memorisation(Replay(noise), 4, train, test, num=64, seed=0)
    assert found.numbers()[0]["nearest_share"] == 0


def test_the_picture_begins_with_the_nearest():
    samples = np.linspace(-1, 1, 7, dtype=np.float32).reshape(7, 1, 1, 1) * np.ones((1, 28, 28))
    distances = np.array([3.0, 1.0, 2.0, 7.0, 5.0, 4.0, 6.0])
    found = evaluator.Memorisation(samples, -samples, distances, distances)
    expected = visualise.pairs(samples[[1, 5, 3]], -samples[[1, 5, 3]], columns=2)
    np.testing.assert_array_equal(found.picture(num=3, columns=2), expected)


# --- what is refused ----------------------------------------------------------------------------


def test_the_embedded_digits_have_no_shipped_classifier(digits, capsys):
    error = refused([digits], capsys)
    assert "was trained on digits, for which no classifier is shipped" in error
    assert "train-classifier --data digits" in error
    assert not list(digits.glob("*evaluation*"))


def test_a_classifier_of_other_data(digits, capsys):
    asset = classifier.ASSETS / classifier.SHIPPED["mnist"]
    error = refused([digits, "--classifier", asset], capsys)
    assert "is a classifier of mnist" in error and "was trained on digits" in error


def test_data_that_the_checkpoint_does_not_name(digits, tmp_path, capsys):
    """As in the MindSpore tutorial's files."""
    arrays, meta = checkpoint.load(digits / "generator.ckpt")
    del meta["data"]
    path = tmp_path / "unknown.ckpt"
    checkpoint.save(path, [Parameter(Tensor(v), name=k) for k, v in arrays.items()], meta)
    assert "does not say what it was trained on; say it with --data" in refused([path], capsys)


def test_images_of_another_size(tmp_path, capsys):
    folder = train(tmp_path / "small", "data.name=digits", "data.size=20")
    error = refused([folder, "--data", "mnist"], capsys)
    assert "makes images [1, 20, 20], but mnist_classifier.ckpt takes [1, 28, 28]" in error


def test_too_few_samples(run, mnist_root, capsys):
    error = refused([run, "--num", "5", "--data-root", mnist_root], capsys)
    assert "5 images cannot be compared" in error


def test_no_such_checkpoint_and_bad_targets(digits, tmp_path, capsys):
    assert "not a folder that can be written to" in refused([tmp_path / "no" / "x.ckpt"], capsys)
    assert "no such file" in refused([tmp_path], capsys)
    assert "ends in .json" in refused([digits, "--out", tmp_path / "x.txt"], capsys)


def test_a_damaged_shipped_classifier(run, tmp_path, capsys, monkeypatch):
    for module in (classifier, shipped):
        monkeypatch.setattr(module, "ASSETS", tmp_path.resolve())
    for source in (classifier.SHIPPED["mnist"], "SHA256SUMS"):
        shutil.copy(cli.console.ROOT / "ms_gan" / "assets" / source, tmp_path)
    with open(tmp_path / classifier.SHIPPED["mnist"], "r+b") as file:
        file.seek(1000)
        file.write(b"\xff\x00\xff")
    assert "damaged" in refused([run], capsys)


def test_a_shipped_generator_is_evaluated_into_the_current_folder(
    mnist_root, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["--pretrained", "mnist-tutorial", "--num", "100", "--data-root", mnist_root]
    assert cli.main(["evaluate", *words]) == 0
    name = "mnist_tutorial_generator"
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{name}.evaluation.json", f"{name}.nearest.png"]
    assert f"\nwritten to {files[0]}\n" in capsys.readouterr().out
