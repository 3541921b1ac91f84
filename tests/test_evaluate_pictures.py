"""Pictures of one's own, with classes and without: their numbers, and what is said of them."""

import json
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from ms_gan import build, cli, data, session
from ms_gan.evaluation import classifier, evaluator, metrics, monitor, pyramid
from ms_gan.evaluation.evaluator import DISTANCE, LEVELS, SLICED
from ms_gan.recipe import reader
from ms_gan.runs import visualise
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import streams
from tests.tiny import recipe_file, refused, refused_command, replay

SIDE = 12


def pictures(folder, rng, **classes):
    """PNG files of 12x12 grey pixels, class=number; '' is the folder itself."""
    for name, num in classes.items():
        place = folder / name if name != "flat" else folder
        place.mkdir(parents=True, exist_ok=True)
        base = 40 + 37 * len(name)
        for i in range(num):
            image = np.clip(rng.normal(base, 40, (SIDE, SIDE)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(place / f"{i:03}.png")
    return folder


def recipe(folder, root, **every):
    return recipe_file(
        folder,
        data={"name": "image_folder", "root": str(root), "size": SIDE, "channels": 1,
              "batch_size": 8},
        train={"steps": 6}, every={"log": 2, "sample": 0, "save": 3, "keep": 9, **every},
    )  # fmt: skip


def run(*words):
    """What `ms-gan …` prints, which must end well."""
    assert cli.main([str(word) for word in words]) == 0


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """61 pictures without classes, and a finished run on them that evaluated."""
    folder = tmp_path_factory.mktemp("flat")
    root = pictures(folder / "pictures", np.random.default_rng(1), flat=61)
    run("train", "--config", recipe(folder, root, evaluate=2), "--run-dir", folder / "run")
    return folder


@pytest.fixture(scope="module")
def sorted_(tmp_path_factory):
    """Three classes, one of a single picture, and a finished run on them."""
    folder = tmp_path_factory.mktemp("sorted")
    root = pictures(folder / "pictures", np.random.default_rng(2), cats=20, one=1, elephants=28)
    run("train", "--config", recipe(folder, root), "--run-dir", folder / "run")
    return folder


def log(folder):
    return [row for row in RunDir(folder).read_log() if SLICED.key in row]


# --- while training -----------------------------------------------------------------------------


def test_a_run_without_classes_is_measured_by_patches(flat, capsys):
    rows = log(flat / "run")
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        assert row[LEVELS] == {"12x12": row[SLICED.key]} and row["floor"] == rows[0]["floor"]
        assert 0 < row["floor"] < row[SLICED.key] and DISTANCE.key not in row
    best = min(rows, key=lambda row: row[SLICED.key])
    meta = build.load_sampler(flat / "run" / "best.ckpt").meta
    assert meta["step"] == best["step"]
    assert meta["evaluation"] == {key: best[key] for key in (SLICED.key, LEVELS, "floor")}
    capsys.readouterr()
    run("train", "--config", flat / "tiny.yaml", "--run-dir", flat / "run")
    value, floor = best[SLICED.key], best["floor"]
    line = f"best at step {best['step']}: SWD {value:.2f} (floor {floor:.2f}): "
    assert line in capsys.readouterr().out


def test_a_finished_run_is_drawn_again_by_its_log(flat, tmp_path, monkeypatch):
    """Also where nothing is to be measured any more."""
    folder = tmp_path / "run"
    shutil.copytree(flat / "run", folder)
    curves = (folder / "curves.png").read_bytes()
    (folder / "curves.png").unlink()
    captions = []
    captioned = visualise.captioned
    monkeypatch.setattr(
        visualise,
        "captioned",
        lambda picture, text: captions.append(text) or captioned(picture, text),
    )
    run("train", "--config", flat / "tiny.yaml", "--run-dir", folder, "every.evaluate=0")
    assert (folder / "curves.png").read_bytes() == curves
    assert f"step 6  SWD {log(folder)[-1][SLICED.key]:.1f}" in captions


def test_a_continued_run_decides_as_one_that_was_never_interrupted(flat, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(flat / "run", folder)
    RunDir(folder).checkpoint_file(6).unlink()  # goes on at 3
    run("train", "--config", flat / "tiny.yaml", "--run-dir", folder)
    assert log(folder)[1:] == [
        {**row, "images_per_second": again["images_per_second"]}
        for row, again in zip(log(flat / "run")[1:], log(folder)[1:], strict=True)
    ]
    assert (folder / "best.ckpt").read_bytes() == (flat / "run" / "best.ckpt").read_bytes()


def test_what_is_best_is_decided_by_all_rows(rng):
    dataset = digits()
    halves = data.halves(dataset, *data.split(dataset))
    good = data.to_float(dataset.images[:64])
    grey = np.zeros_like(good)
    lines, rows = [], [{"step": 1}, {"step": 2, SLICED.key: 5.0, "floor": 1.0}]
    for earlier, improved in (([], [True, True, False]), (rows, [False, False, False])):
        watch = monitor.PatchMonitor(*halves, seed=0, rows=earlier, num=64, say=lines.append)
        for step, (images, better) in enumerate(zip((grey, good, grey), improved, strict=True)):
            values = watch.measure(step, replay(images), {"real_score": 0.0})
            assert watch.improved == better and watch.latest == values
            assert lines[-1].startswith(f"step {step}: SWD {values[SLICED.key]:.2f} (28x28 ")
            assert values["floor"] == watch.floor and json.dumps(values)
    assert "64 samples against as many real images" in lines[0]
    assert f"floor (real images): SWD {watch.floor:.2f} (28x28 " in lines[0]


def digits():
    return data.load("digits")


def test_a_classifier_that_fits_is_asked_first(tmp_path):
    """The choice follows the images, and in a run that has begun its log."""
    config = reader.from_dict(
        {"name": "tiny", "data": {"name": "digits", "batch_size": 8}, "train": {"steps": 2},
         "every": {"evaluate": 1}, "runtime": {"device": "CPU"},
         "model": {"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]}}
    )  # fmt: skip
    lines = []
    fits = session.start(config, tmp_path / "fits", say=lines.append)
    assert fits.headline is DISTANCE and isinstance(fits.quality(lines.append), monitor.Monitor)
    small = data.load("digits", size=20)
    other = session.start(config, tmp_path / "small", dataset=small, say=lines.append)
    assert other.headline is SLICED
    assert isinstance(other.quality(lines.append), monitor.PatchMonitor)
    other.run.path.mkdir()
    other.run.log(1, **{DISTANCE.key: 3.0})
    assert other.headline is DISTANCE
    assert not any("no evaluation" in line for line in lines)


# --- evaluate -----------------------------------------------------------------------------------


def evaluated(folder, capsys, *words):
    capsys.readouterr()
    run("evaluate", folder, *words)
    out = capsys.readouterr().out
    return out, json.loads((folder / "generator.evaluation.json").read_text())


def test_numbers_without_classes(flat, capsys):
    out, result = evaluated(flat / "run", capsys, "--num", 200, "--seed", 5)
    assert "30 samples against as many real images of image_folder" in out
    assert "these images have no classes" in out and "train-classifier" not in out
    assert re.search(r"\nsliced Wasserstein distance +[\d.]+ +[\d.]+ +floor\n", out)
    assert re.search(r"\nnearest training image +[\d.]+ +[\d.]+ +floor\n", out)
    assert "precision " not in out.split("\n", 3)[3] and "Frechet" not in out
    assert "warning: 30 samples beside 30 real images are few" in out
    assert (flat / "run" / "generator.nearest.png").is_file()
    assert "generator.evaluation.json" in (flat / "run" / "report.html").read_text()
    generated, floor = result["generated"], result["floor"]
    keys = {SLICED.key, "nearest_distance", "nearest_share"}
    assert generated.keys() == floor.keys() == keys
    assert result["classifier"] is None and result["data"] == "image_folder"
    assert result["sliced_wasserstein_images"] == 30

    # by hand: the halves of the 61 pictures, and the samples as generate writes them
    dataset = data.load("image_folder", root=str(flat / "pictures"), size=SIDE, channels=1)
    order = streams.chosen(streams.Choice.SPLIT, 61)
    sampler = build.load_sampler(flat / "run" / "generator.ckpt")
    samples = visualise.to_uint8(sampler.samples(5, 30)[0])
    sets = (samples, dataset.images[order[:30]], dataset.images[order[30:60]])
    made, one, other = (pyramid.patches(images, seed=5) for images in sets)
    value, beside = (pyramid.distances(a, one, seed=5) for a in (made, other))
    assert [generated[SLICED.key]] == pytest.approx(value, rel=1e-6)
    assert [floor[SLICED.key]] == pytest.approx(beside, rel=1e-6)
    assert result[LEVELS] == {
        "12x12": {"generated": generated[SLICED.key], "floor": floor[SLICED.key]}
    }


def test_the_command_that_is_named_works(sorted_, tmp_path, monkeypatch, capsys):
    """Pictures in class folders: first by patches, then with the classifier as well."""
    monkeypatch.chdir(tmp_path)
    out, alone = evaluated(sorted_ / "run", capsys, "--num", 60)
    named = re.search(r"for them: (ms-gan train-classifier .*), then evaluate with (.*)\n", out)
    words, option = (shlex.split(part) for part in named.groups())
    assert words[2:] == [
        *("--data", "image_folder", "--size", str(SIDE), "--channels", "1"),
        *("--data-root", str(sorted_ / "pictures")),
    ]
    run(*words[1:], "--epochs", 8)
    assert f"-> {option[1]}" in capsys.readouterr().out
    out, result = evaluated(sorted_ / "run", capsys, "--num", 60, *option)
    assert result["generated"][SLICED.key] == alone["generated"][SLICED.key]
    assert result[LEVELS] == alone[LEVELS]
    assert {DISTANCE.key, "precision", "class_kl"} < result["generated"].keys()
    assert result["classifier"]["file"] == option[1]
    assert min(result["reference_shares"]) == 1 / 40  # of the single picture: trained on
    assert "60 samples and 9 test images are few" in out


def test_other_classes_in_the_folder_are_named(sorted_, tmp_path, capsys):
    words = ["train-classifier", "--data", "image_folder", "--size", SIDE, "--channels", 1]
    root = pictures(tmp_path / "x", np.random.default_rng(0), cats=6, dogs=6, lions=6)
    file = tmp_path / "c.ckpt"
    run(*words, "--data-root", root, "--out", file, "--epochs", 1)
    error = refused_command(capsys, "evaluate", sorted_ / "run", "--classifier", file)
    assert "knows other classes, such as 'dogs' in place of 'elephants'" in error
    (root / "dogs").rename(tmp_path / "dogs")
    run(*words, "--data-root", root, "--out", file, "--epochs", 1)
    error = refused_command(capsys, "evaluate", sorted_ / "run", "--classifier", file)
    assert "knows 2 classes, but image_folder has 3 here" in error


def test_a_classifier_for_pictures_without_classes(flat, sorted_, tmp_path, capsys):
    file = tmp_path / "c.ckpt"
    run("train-classifier", "--data", "image_folder", "--data-root", sorted_ / "pictures",
        "--size", SIDE, "--channels", 1, "--out", file, "--epochs", 1)  # fmt: skip
    error = refused_command(capsys, "evaluate", flat / "run", "--classifier", file)
    assert "has 0 here; leave --classifier out" in error


def test_a_folder_that_was_moved(flat, tmp_path, capsys):
    (flat / "pictures").rename(tmp_path / "elsewhere")
    try:
        error = refused_command(capsys, "evaluate", flat / "run")
        evaluated(flat / "run", capsys, "--data-root", tmp_path / "elsewhere")
    finally:
        (tmp_path / "elsewhere").rename(flat / "pictures")
    assert "--data-root" in error and f"its folder was {flat / 'pictures'}" in error


def test_real_images_are_made_as_those_of_the_run(tmp_path, capsys):
    """Rectangles in colour, padded on a white ground: all of it stands in the checkpoint."""
    root = pictures(tmp_path / "pictures", np.random.default_rng(3), flat=12)
    look = {"root": str(root), "size": [24, 16], "channels": 3, "fit": "pad", "background": 255}
    tree = {"name": "image_folder", "batch_size": 4, **look}
    file = recipe_file(tmp_path, data=tree, train={"steps": 1}, every={"sample": 0})
    run("train", "--config", file, "--run-dir", tmp_path / "run")
    out, result = evaluated(tmp_path / "run", capsys)
    assert list(result[LEVELS]) == ["24x16"]
    dataset = data.load("image_folder", **look)
    assert (dataset.images[:, :, :4] == 255).all()
    real = evaluator.RealPatches(*data.halves(dataset, *data.split(dataset)), num=99, seed=1)
    assert result["floor"][SLICED.key] == real.floor[SLICED.key]


# --- train-classifier ---------------------------------------------------------------------------


def test_pictures_without_classes_are_refused_before_they_are_read(tmp_path, capsys):
    root = pictures(tmp_path, np.random.default_rng(0), flat=3)
    (root / "000.png").write_bytes(b"no picture")  # which reading would find
    words = ["train-classifier", "--data", "image_folder"]
    error = refused_command(capsys, *words, "--data-root", root, "--out", tmp_path / "x.ckpt")
    assert "no classes; expected the pictures in two or more sub-folders" in error
    error = refused_command(capsys, *words, "--out", tmp_path / "x.ckpt")
    assert "no root" in error and "--data-root FOLDER" in error
    assert not (tmp_path / "x.ckpt").exists()


def test_options_of_the_data_set(tmp_path, capsys):
    root = pictures(tmp_path / "x", np.random.default_rng(0), cats=6, dogs=6)
    out = tmp_path / "c.ckpt"
    words = ["train-classifier", "--data", "image_folder", "--data-root", root, "--out", out]
    words += ["--size", "16x8", "--channels", 1, "--epochs", 1]
    run(*words, "data.fit=pad", "data.background=white")
    net, meta = classifier.load(out)
    assert net.image_shape == (1, 16, 8) and meta["classes"] == ["cats", "dogs"]
    look = {"size": [16, 8], "channels": 1, "fit": "pad", "background": "white"}
    dataset = data.load("image_folder", root=str(root), **look)
    assert meta["md5"]["train"] == dataset.md5 and (dataset.images[:, :, 0] == 255).all()
    for word, says in {
        "data.batch_size=3": "not an option of image_folder; expected one of data.root, data.size",
        "train.steps=3": "not an option of image_folder",
        "data.fitt=pad": "did you mean 'fit'?",
        "data.fit=cut": "expected one of crop, pad, stretch",
    }.items():
        assert says in refused_command(capsys, *words, word)


def test_a_class_of_one_picture_each(tmp_path, capsys):
    """Nothing can be held out: no classifier, but the patches are compared."""
    root = pictures(tmp_path / "x", np.random.default_rng(0), a=1, bb=1, ccc=1, dddd=1)
    words = ["--data", "image_folder", "--data-root", root, "--size", SIDE, "--channels", 1]
    error = refused_command(capsys, "train-classifier", *words, "--out", tmp_path / "c.ckpt")
    assert "each class has one alone" in error
    file = recipe_file(tmp_path, data={"name": "image_folder", "root": str(root), "size": SIDE,
                       "channels": 1, "batch_size": 4}, train={"steps": 1})  # fmt: skip
    run("train", "--config", file, "--run-dir", tmp_path / "run")
    _, result = evaluated(tmp_path / "run", capsys)
    assert "nearest_share" not in result["generated"] and "nearest_distance" in result["generated"]
    assert result["sliced_wasserstein_images"] == 2 and result["test_images"] == 0


@pytest.mark.parametrize(
    ("accuracy", "counts", "says"),
    [
        (0.48, [26, 24], "right for 48.0 % of 50 test images, hardly better than chance"),
        (0.58, [26, 24], "most frequent class: 52.0 %"),  # by luck
        (0.90, [26, 24], None),
        (1.00, [9], "100.0 %"),  # one class alone
        (0.97, [970, 30], "hardly better"),
        (0.18, [100] * 10, "hardly better"),
        (0.25, [100] * 10, None),
        (0.9955, [1000] * 10, None),
    ],
)
def test_a_classifier_that_knows_nothing(accuracy, counts, says):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    images = np.zeros((len(labels), 1, 1, 1), np.uint8)
    classes = tuple(map(str, range(len(counts))))
    dataset = data.Dataset("x", images, labels, classes, "", {})
    doubt = classifier.doubt(accuracy, dataset)
    assert doubt is None if says is None else says in doubt


# --- classes that are not there -----------------------------------------------------------------


def labelled(labels, classes):
    labels = np.array(labels, np.int32)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return data.Dataset("own", images, labels, tuple(map(str, range(classes))), "", {})


def test_every_class_keeps_a_picture_to_train_on():
    order = streams.chosen(streams.Choice.SPLIT, 49)
    for place in range(49):  # of the only picture of class 1
        dataset = labelled([int(i == place) for i in range(49)], 2)
        train, test = data.split(dataset)
        assert len(test) == 9 and len(train) == 40 and train.class_shares.min() > 0
        both = np.concatenate([train.images, test.images]).ravel()
        assert sorted(both) == list(range(49))
        if place not in order[:9]:  # as it always was
            assert list(test.images.ravel()) == sorted(order[:9])
    train, test = data.split(labelled(range(7), 7))
    assert len(train) == 7 and len(test) == 0


@pytest.mark.parametrize("num", [2, 6, 7, 100, 1797])
def test_the_images_that_are_held_out_are_those_of_before(num):
    order = streams.chosen(streams.Choice.SPLIT, num)
    dataset = labelled([0] * num, 0)
    train, test = data.split(dataset)
    assert (test.images == dataset.images[np.sort(order[: -(-num // 6)])]).all()
    assert (train.images == dataset.images[np.sort(order[-(-num // 6) :])]).all()
    one, other = data.halves(dataset, train, test)
    assert len(one) == len(other) == num // 2


def test_a_class_that_is_not_there_does_not_count(rng):
    features = rng.normal(size=(60, 3)).astype(np.float32)
    shares = np.array([0.5, 0.0, 0.5])
    probabilities = np.full((60, 3), 0.1, np.float32)
    probabilities[np.arange(60), np.arange(60) % 3] = 0.8
    found = evaluator.measure(features, features, probabilities, shares)
    assert found["classes_seen"] == 2 and found["shares"] == pytest.approx([1 / 3] * 3)
    assert found["class_kl"] == pytest.approx(0)
    probabilities[:] = [0.1, 0.8, 0.1]
    found = evaluator.measure(features, features, probabilities, shares)
    assert found["classes_seen"] == 0 and "class_kl" not in found
    full = evaluator.measure(features, features, probabilities, np.array([0.4, 0.2, 0.4]))
    labels = np.full(60, 1)
    assert full["class_kl"] == metrics.class_kl(labels, 3, np.array([0.4, 0.2, 0.4]))
    assert full["classes_seen"] == metrics.modes(labels, 3) == 1


def test_what_a_metric_refuses_is_one_line(rng):
    features = rng.normal(size=(60, 3)).astype(np.float32)
    probabilities = np.full((60, 3), 1 / 3, np.float32)
    broken = features.copy()
    broken[7] = np.nan
    shares = np.full(3, 1 / 3)
    for one, other in ((features, broken), (broken, features), (features, features[:3])):
        says = refused(
            evaluator.EvaluationError, evaluator.measure, one, other, probabilities, shares
        )
        assert says.startswith("the images cannot be compared: ")
    images = np.full((64, 1, 28, 28), np.nan, np.float32)
    real = evaluator.RealPatches(digits(), digits(), num=8, seed=0)
    says = refused(evaluator.EvaluationError, real.compare, replay(images), seed=0)
    assert "NaN or infinity" in says


def test_few_or_no_real_images():
    one = labelled([0], 0)
    says = refused(
        evaluator.EvaluationError, evaluator.RealPatches, *data.halves(one, *data.split(one)),
        num=9, seed=0,
    )  # fmt: skip
    assert "expected 2 or more" in says
    two = labelled([0, 0], 0)
    real = evaluator.RealPatches(*data.halves(two, *data.split(two)), num=9, seed=0)
    assert real.num == 1 and np.isfinite(real.floor[SLICED.key])


def test_copies_are_searched_for_a_part_at_a_time(rng, monkeypatch):
    known = rng.integers(0, 256, (50, 1, 5, 4), np.uint8)
    wanted = data.to_float(rng.integers(0, 256, (9, 1, 5, 4), np.uint8))
    wanted[3] = data.to_float(known[41])
    whole = metrics.nearest(data.to_float(known).reshape(50, -1), wanted.reshape(9, -1))
    monkeypatch.setattr(evaluator, "PIXELS", 7 * 20)
    rows, distances = evaluator.nearest(known, wanted)
    assert (rows == whole[0]).all() and (distances == whole[1]).all()
    assert rows[3] == 41 and distances[3] == 0
