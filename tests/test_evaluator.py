"""evaluate: from a checkpoint to numbers, the table and the file; and what it refuses."""

import contextlib
import io
import json
import math

import imageio.v3 as iio
import numpy as np
import pytest

from mindspore import Parameter, Tensor

from ms_gan import build, cli, data
from ms_gan.evaluation import classifier, evaluator, metrics, monitor
from ms_gan.evaluation.evaluator import DISTANCE
from ms_gan.runs import checkpoint, shipped, visualise
from ms_gan.runs.sampling import Sampler
from ms_gan.training import trainer
from tests.tiny import NETS, randomise, recipe_file, refused_command, replay, state_of

ASSET = shipped.ASSETS / shipped.CLASSIFIERS["mnist"]


def train(folder, **sections):
    """A run of two steps."""
    folder.mkdir(parents=True)
    recipe = recipe_file(folder.parent, train={"steps": 2}, every={"sample": 0}, **sections)
    assert cli.main(["train", "--config", str(recipe), "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def net():
    return classifier.load(ASSET)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory, mnist_root):
    """A run on the real MNIST."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return train(folder, data={"name": "mnist", "root": mnist_root, "batch_size": 64})


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on the embedded digits."""
    return train(tmp_path_factory.mktemp("runs") / "digits")


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """A conditional generator of the digits whose classes are far from equally frequent."""
    shares = np.array([8, 1, 4, 1, 1, 1, 1, 1, 1, 1]) / 20
    state = state_of((1, 28, 28), 10, batch=4, model={**NETS, "conditional": True})
    randomise(state.generator, 3)
    path = tmp_path_factory.mktemp("unequal") / "generator.ckpt"
    trainer.save_generator(state, path, data="digits", class_shares=shares.tolist())
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A classifier of the digits, after one epoch."""
    file = tmp_path_factory.mktemp("classifier") / "own.ckpt"
    words = ["train-classifier", "--data", "digits", "--epochs", "1", "--out", str(file)]
    assert cli.main(words) == 0
    return file


def evaluate(*words):
    assert cli.main(["evaluate", *map(str, words)]) == 0


def refused(capsys, *words):
    return refused_command(capsys, "evaluate", *words)


# --- from end to end ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evaluated(run, mnist_root):
    """What is printed and written for the run."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        evaluate(run, "--num", 200, "--data-root", mnist_root)
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
    assert generated[DISTANCE.key] > 10 * floor[DISTANCE.key]
    assert generated["coverage"] < floor["coverage"]
    assert floor["label_accuracy"] > 0.98 and floor["classes_seen"] == 10
    assert [path.name for path in run.glob("*evaluation*")] == [file.name]
    assert result["nearest"] == {"samples": 200, "test_images": 2000}
    assert floor["nearest_share"] == pytest.approx(0.01, abs=1e-3)
    assert generated["nearest_distance"] > floor["nearest_distance"] > 1
    picture = iio.imread(run / "generator.nearest.png")
    assert picture.shape == (8 * 64 + 8, 6 * 120 + 8) and picture.std() > 10


def test_the_file_of_choice_and_a_training_checkpoint(digits, own, tmp_path):
    """The same generator, the same numbers; nothing else is written."""
    step, results = digits / "checkpoints" / "step_0000002.ckpt", []
    for checkpoint_file, name in ((digits, "one"), (step, "numbers")):
        out = tmp_path / name / f"{name}.json"
        out.parent.mkdir()
        evaluate(checkpoint_file, "--num", 100, "--classifier", own, "--out", out)
        results.append(json.loads(out.read_text()))
    one, other = results
    assert one["generated"] == other["generated"] and one["floor"] == other["floor"]
    assert one["checkpoint"]["sha256"] != other["checkpoint"]["sha256"]
    assert [path.name for path in step.parent.iterdir()] == [step.name]
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "numbers.json",
        "numbers.nearest.png",
    ]


def test_every_number_is_of_the_images_that_generate_writes(unequal, own, tmp_path, capsys):
    """With a classifier of one's own, and data without a test split."""
    out, same = tmp_path / "numbers.json", ["--num", "80", "--seed", "5", "--out"]
    words = ["generate", str(unequal), *same, str(tmp_path), "--format", "npy"]
    assert cli.main(words) == 0
    evaluate(unequal, *same, out, "--classifier", own)
    assert "labels obeyed" in capsys.readouterr().out
    result = json.loads(out.read_text())
    assert result["num"] == 80 and result["test_images"] == 300
    generated, images = result["generated"], np.load(tmp_path / "samples.npy")

    train, test = data.splits("digits")
    found = classifier.predict(classifier.load(own)[0], images)[1].argmax(axis=1)
    assert generated["shares"] == (np.bincount(found, minlength=10) / 80).tolist()
    labels = build.load_sampler(unequal).labels(80)
    assert (np.bincount(labels)[:3] == [32, 4, 16]).all()  # of the checkpoint's shares
    assert generated["label_accuracy"] == np.mean(found == labels)
    known, unseen = (data.to_float(part.images).reshape(len(part), -1) for part in (train, test))
    distances = metrics.nearest(known, images.reshape(80, -1))[1]
    assert generated["nearest_distance"] == np.median(distances)
    limit = np.quantile(metrics.nearest(known, unseen)[1], 0.01)
    assert generated["nearest_share"] == np.mean(distances < limit)


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
    assert one[DISTANCE.key] == pytest.approx(other[DISTANCE.key], rel=0.5)
    for key in ("precision", "recall", "coverage"):
        assert one[key] > 0.85 and one[key] == pytest.approx(other[key], abs=0.04)
    assert one["density"] == pytest.approx(1, abs=0.15)
    assert one["classes_seen"] == 10 and one["class_kl"] < 0.01 and one["classifier_score"] > 9.5
    noise = np.random.default_rng(0).uniform(-1, 1, (2000, 1, 28, 28)).astype(np.float32)
    bad = evaluator.measure(reference, *classifier.predict(net, noise), shares)
    assert bad[DISTANCE.key] > 30 * one[DISTANCE.key] and bad["coverage"] < 0.1


class InSmallChunks(Sampler):
    def chunks(self, seed, num, label=None, *, size=64):
        return super().chunks(seed, num, label, size=size)


def test_samples_do_not_depend_on_the_chunks(net, unequal):
    real = evaluator.RealImages(net, *data.splits("digits"), num=150)
    sampler = build.load_sampler(unequal)
    small = InSmallChunks(sampler.net, sampler.image_shape, sampler.meta)
    assert len(list(small.chunks(3, 150))) == 3 and len(list(sampler.chunks(3, 150))) == 1
    whole, parts = (real.compare(one, seed=3) for one in (sampler, small))
    assert whole.pop("shares") == parts.pop("shares")
    assert parts == pytest.approx(whole, rel=1e-3, abs=1e-5)


def test_evaluation_monitor_and_search_for_copies_see_the_same_images(net, unequal):
    """Those of `Sampler.samples`, classes as frequent as the checkpoint says."""
    sampler, (train, test) = build.load_sampler(unequal), data.splits("digits")
    num = len(test)
    images, labels = sampler.samples(5, num)
    found = evaluator.memorisation(sampler, train, test, num=num, seed=5)
    assert found.samples.tobytes() == images.tobytes()
    real = evaluator.RealImages(net, train, test, num=num, host=True)
    features, probabilities = classifier.predict(net, images, host=True)
    expected = evaluator.measure(real.features, features, probabilities, train.class_shares)
    expected["label_accuracy"] = np.mean(probabilities.argmax(axis=1) == labels)
    assert real.compare(sampler, seed=5) == expected
    watch = monitor.Monitor(net, train, test, seed=5, num=num)
    seen = watch.measure(1, sampler, {"real_score": 0.0, "fake_score": 0.0})
    assert monitor.logged(expected).items() <= seen.items()


# --- copies -------------------------------------------------------------------------------------


def test_a_generator_that_copies_is_found(rng):
    train, test = data.splits("digits")
    copies = data.to_float(train.images[100:164])
    found = evaluator.memorisation(replay(copies), train, test, num=64, seed=0)
    assert (found.distances == 0).all() and (found.nearest == copies).all()
    generated, real = found.numbers()
    assert generated == {"nearest_distance": 0, "nearest_share": 1}
    assert real["nearest_distance"] > 1 and real["nearest_share"] == pytest.approx(0.01, abs=0.004)
    # test images are as near as test images
    unseen = data.to_float(test.images[:64])
    generated = evaluator.memorisation(replay(unseen), train, test, num=64, seed=0).numbers()[0]
    assert generated["nearest_distance"] == pytest.approx(real["nearest_distance"], rel=0.1)
    assert generated["nearest_share"] < 0.1
    # noise is far from everything
    noise = rng.uniform(-1, 1, copies.shape).astype(np.float32)
    found = evaluator.memorisation(replay(noise), train, test, num=64, seed=0)
    assert found.numbers()[0]["nearest_share"] == 0


def test_the_picture_begins_with_the_nearest():
    samples = np.linspace(-1, 1, 7, dtype=np.float32).reshape(7, 1, 1, 1) * np.ones((1, 28, 28))
    distances = np.array([3.0, 1.0, 2.0, 7.0, 5.0, 4.0, 6.0])
    found = evaluator.Memorisation(samples, -samples, distances, distances)
    expected = visualise.pairs(samples[[1, 5, 3]], -samples[[1, 5, 3]], columns=2)
    np.testing.assert_array_equal(found.picture(num=3, columns=2), expected)


# --- what is refused ----------------------------------------------------------------------------


def test_the_embedded_digits_have_no_shipped_classifier(digits, tmp_path, capsys):
    evaluate(digits, "--num", 60, "--out", tmp_path / "x.json")
    out = capsys.readouterr().out
    assert "train-classifier --data digits --size 28 --channels 1" in out
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["generated"]["sliced_wasserstein"] > found["floor"]["sliced_wasserstein"] > 0
    assert "frechet_classifier_distance" not in found["generated"]


def test_a_classifier_of_other_data(digits, capsys):
    error = refused(capsys, digits, "--classifier", ASSET)
    assert "is a classifier of mnist" in error and "was trained on digits" in error


def test_data_that_the_checkpoint_does_not_name(digits, tmp_path, capsys):
    """As in the MindSpore tutorial's files."""
    arrays, meta = checkpoint.load(digits / "generator.ckpt")
    del meta["data"]
    path = tmp_path / "unknown.ckpt"
    checkpoint.save(path, [Parameter(Tensor(v), name=k) for k, v in arrays.items()], meta)
    assert "does not say what it was trained on; say it with --data" in refused(capsys, path)


def test_images_of_another_size(tmp_path, capsys):
    state = state_of((1, 20, 20), batch=4)
    trainer.save_generator(state, tmp_path / "small.ckpt", data="digits")
    words = [tmp_path / "small.ckpt", "--data", "digits", "--classifier", ASSET]
    assert "mnist_classifier.ckpt" in refused(capsys, *words)
    evaluate(tmp_path / "small.ckpt", "--num", 60)  # without a classifier
    assert "train-classifier --data digits --size 20" in capsys.readouterr().out


def test_too_few_samples(run, mnist_root, capsys):
    error = refused(capsys, run, "--num", 5, "--data-root", mnist_root)
    assert "5 images cannot be compared" in error


def test_no_such_checkpoint_and_bad_targets(digits, tmp_path, capsys):
    assert "not a folder that can be written to" in refused(capsys, tmp_path / "no" / "x.ckpt")
    assert "holds no run" in refused(capsys, tmp_path)
    assert "ends in .json" in refused(capsys, digits, "--out", tmp_path / "x.txt")


def test_a_shipped_generator_is_evaluated_into_the_current_folder(
    own, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = ["--num", 100, "--data", "digits", "--classifier", own]
    evaluate("--pretrained", "mnist-tutorial", *words)
    name = "mnist_tutorial_generator"
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{name}.evaluation.json", f"{name}.nearest.png"]
    assert f"\nwritten to {files[0]}\n" in capsys.readouterr().out
