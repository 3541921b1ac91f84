"""The commands as a person runs them: real processes, real signals, real faults."""

import json
import signal
import time

import numpy as np
import pytest
import yaml

from ms_gan import build, cli, session
from tests.tiny import (
    RECIPE,
    assert_same_bits,
    copy_run,
    newest,
    python,
    recipe_file,
    run,
    start,
)


@pytest.fixture
def recipe(tmp_path):
    """A recipe file that trains in a second."""
    return recipe_file(tmp_path)


def wait_for(process, happened):
    """Look until it has happened or the process has ended; return whether it is still at work."""
    while not happened() and process.poll() is None:
        time.sleep(0.005)
    return process.poll() is None


def kill(process):
    process.kill()
    process.communicate()


def size_of(path):
    return path.stat().st_size if path.is_file() else 0


# --- training -----------------------------------------------------------------------------------


def test_run_directory_is_complete(trained):
    from PIL import Image

    from ms_gan.recipe import reader

    assert sorted(p.name for p in trained.iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "curves.png", "generator.ckpt", "log.jsonl",
        "manifest.json", "progress.gif", "real.png", "report.html", "samples",
    ]  # fmt: skip
    config = session.resolved(reader.from_dict(RECIPE))
    assert yaml.safe_load((trained / "config.yaml").read_text()) == reader.to_dict(config)
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6, 8, 10, 12]
    assert {"loss_d", "loss_g", "d_real", "d_fake", "images_per_second"} <= rows[-1].keys()
    assert all(0 <= row["d_real"] <= 1 and np.isfinite(row["loss_g"]) for row in rows)
    assert [p.name for p in sorted((trained / "samples").iterdir())] == [
        "0000000.png", "0000004.png", "0000008.png", "0000012.png",
    ]  # fmt: skip
    assert len(list((trained / "checkpoints").iterdir())) == 2
    with Image.open(trained / "progress.gif") as gif:
        assert gif.n_frames == 4
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["data"]["name"] == "digits" and manifest["data"]["images"] == 1797
    (first,) = manifest["sessions"]
    assert first["device"] == "CPU" and first["versions"]["numpy"] == np.__version__
    assert "--config" in first["command"]


def test_training_longer_continues_bitwise(trained, recipe, tmp_path, capsys):
    """2N steps = N steps, another process, N steps: weights, averages and both optimizers."""
    folder = tmp_path / "run"
    half = ["train", "--config", recipe, "--run-dir", folder]
    assert run(*half, "train.steps=6")[0] == 0
    words = ["train", "seed=0", *map(str, half[1:]), "every.keep=2"]  # overrides anywhere
    assert cli.main(words) == 0
    assert "continuing at step 6 of 12" in capsys.readouterr().out
    assert_same_bits(newest(folder), newest(trained))
    logs = [(f / "log.jsonl").read_text().splitlines() for f in (folder, trained)]
    left, right = ({json.loads(x)["step"]: json.loads(x)["loss_d"] for x in log} for log in logs)
    assert left == right


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_the_same_command_continues(number, recipe, tmp_path, capsys):
    words = ["train", "--config", str(recipe), "--run-dir", str(tmp_path / "run"),
             "train.steps=3000", "every.save=0", "every.log=1", "every.sample=0"]  # fmt: skip
    process = start(*words)
    log = tmp_path / "run" / "log.jsonl"
    assert wait_for(process, lambda: size_of(log) > 0), process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in err
    assert "everything is saved" in out
    command = out.splitlines()[-1]
    assert command.startswith("to continue: ") and str(recipe) in command
    steps = len(log.read_text().splitlines())
    assert 0 < steps < 3000
    # the rest: shortened, so that the test stays short
    longer = [w if w != "train.steps=3000" else f"train.steps={steps + 5}" for w in words]
    assert cli.main(longer) == 0
    assert "continuing at step" in capsys.readouterr().out
    assert cli.main([w if w != words[4] else str(tmp_path / "whole") for w in longer]) == 0
    assert_same_bits(newest(tmp_path / "run"), newest(tmp_path / "whole"))


def test_kills_at_any_moment_lose_nothing(recipe, tmp_path, capsys):
    """SIGKILL again and again; the same command goes on and ends where no kill would have."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    words = ["train", "--config", str(recipe), "train.steps=300", "every.save=20",
             "every.sample=100"]  # fmt: skip

    def logged():
        return size_of(killed / "log.jsonl")

    def saved():
        return max((int(p.stem[5:]) for p in killed.glob("checkpoints/step_*.ckpt")), default=0)

    def half_files():
        return set(killed.rglob(".*.ckpt"))

    moments = {
        "the run is opened": lambda: (killed / "config.yaml").is_file(),
        "the first steps are done": lambda: logged() > lines,
        "a later file is being written": lambda: saved() >= first + 60 and half_files() - left,
    }
    hits = []  # kills in the middle of training
    for moment, happened in moments.items():
        lines, first, left = logged(), saved(), half_files()
        process = start(*words, "--run-dir", killed)
        at_work = wait_for(process, happened)
        kill(process)
        if at_work and process.returncode == -signal.SIGKILL and logged() > lines:
            hits.append(moment)
    assert "the first steps are done" in hits, hits
    for folder, said in ((killed, f"continuing at step {saved()} of 300"), (whole, "complete")):
        assert cli.main([*words, "--run-dir", str(folder)]) == 0
        assert said in capsys.readouterr().out
    assert_same_bits(newest(killed), newest(whole))
    names = [
        sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()) for f in (killed, whole)
    ]
    assert names[0] == names[1]
    for name in ("progress.gif", "samples/0000300.png"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_kill_after_the_last_checkpoint_loses_nothing(trained, recipe, tmp_path):
    """What follows the last checkpoint is done again by the same command, byte for byte."""
    folder = copy_run(trained, tmp_path / "run")
    names = ("generator.ckpt", "progress.gif", "curves.png")
    for name in names:
        (folder / name).unlink()
    leftover = folder / ".curves.png.123.png"
    leftover.touch()
    assert cli.main(["train", "--config", str(recipe), "--run-dir", str(folder)]) == 0
    for name in names:
        assert (folder / name).read_bytes() == (trained / name).read_bytes(), name
    assert not leftover.exists()


def test_broken_newest_checkpoint_is_passed_over(trained, recipe, tmp_path, capsys):
    folder = copy_run(trained, tmp_path / "run")
    broken = folder / "checkpoints" / "step_0000012.ckpt"
    broken.write_bytes(broken.read_bytes()[:1000])
    assert cli.main(["train", "--config", str(recipe), "--run-dir", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "passed over a broken checkpoint" in out and "continuing at step 8 of 12" in out
    assert_same_bits(newest(folder), newest(trained))


def test_two_at_once(recipe, tmp_path, capsys):
    words = ["train", "--config", recipe, "--run-dir", tmp_path / "run", "train.steps=100000"]
    first = start(*words)
    try:
        assert wait_for(first, (tmp_path / "run" / "log.jsonl").is_file)
        one_line(capsys, words, "another process")
    finally:
        kill(first)


def test_finished_run_says_so(trained, recipe, capsys):
    before = {p: p.stat().st_mtime_ns for p in trained.rglob("*.ckpt")}
    assert cli.main(["train", "--config", str(recipe), "--run-dir", str(trained)]) == 0
    out = capsys.readouterr().out
    assert "complete at step 12" in out and f"generate {trained}/generator.ckpt" in out
    assert before == {p: p.stat().st_mtime_ns for p in trained.rglob("*.ckpt")}


def test_what_receives_pictures_is_not_sent_to_generate(tmp_path, capsys):
    words = [
        "data.name=digits", "data.batch_size=16", "train.steps=1", "every.evaluate=0",
        "model.g_width=4", "--run-dir", str(tmp_path / "run"),
    ]  # fmt: skip
    assert cli.main(["train", "--config", "inpainting_fashion", *words]) == 0
    out = capsys.readouterr().out
    assert f"apply {tmp_path}/run/generator.ckpt PICTURE" in out and "generate" not in out


def test_disk_full_keeps_the_older_checkpoint(trained, recipe, tmp_path):
    """A file size limit stands in for the full disk, which is noticed before training goes on."""
    folder = copy_run(trained, tmp_path / "run", step=8)
    before = newest(folder)
    words = ["train", "--config", str(recipe), "--run-dir", str(folder)]
    code = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from ms_gan import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000))
sys.exit(cli.main({words!r}))
"""
    process = python("-c", code)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert err.count("\n") == 1 and "no room for a checkpoint" in err
    assert_same_bits(newest(folder), before)
    assert not list(folder.rglob(".*.ckpt"))


# --- generating ---------------------------------------------------------------------------------


def test_generate_needs_one_file_alone(trained, tmp_path):
    """Another process, another folder, no data set, no YAML, no home."""
    alone = tmp_path / "some where" / "copied.ckpt"
    alone.parent.mkdir()
    alone.write_bytes((trained / "generator.ckpt").read_bytes())
    code, out, err = run(
        "generate", "copied.ckpt", "--num", 10, "--format", "npy", "--out", "o u t",
        cwd=alone.parent, MS_GAN_DATA=str(tmp_path / "missing"), HOME=str(tmp_path / "nobody"),
    )  # fmt: skip
    assert code == 0, err
    images = np.load(alone.parent / "o u t" / "samples.npy")
    assert images.shape == (10, 1, 28, 28) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and images.std() > 0.01


def generate(path, out, *words):
    assert cli.main(["generate", str(path), "--out", str(out), *map(str, words)]) == 0
    return out


def test_samples_depend_on_the_seed_alone(trained, tmp_path):
    def images(num, seed):
        out = generate(trained, tmp_path, "--format", "npy", "--num", num, "--seed", seed)
        return np.load(out / "samples.npy")

    many, few, other = images(100, 3), images(7, 3), images(7, 4)
    assert (many[:7] == few).all()
    assert not np.allclose(few, other)


def test_formats(trained, tmp_path):
    import imageio.v3 as iio
    from PIL import Image

    assert iio.imread(generate(trained, tmp_path, "--num", 6) / "grid.png").shape == (118, 176)
    singles = generate(trained, tmp_path / "png", "--format", "png", "--num", 3)
    assert [iio.imread(p).shape for p in sorted(singles.iterdir())] == [(28, 28)] * 3
    with Image.open(generate(trained, tmp_path, "--format", "gif") / "interpolation.gif") as gif:
        assert gif.n_frames > 20 and gif.info["loop"] == 0


def test_conditional_grid_and_labels(recipe, tmp_path):
    """A block of the grid for each digit; --label gives that class alone, from the same latents."""
    import imageio.v3 as iio

    run_dir = tmp_path / "run"
    words = ["train", "--config", str(recipe), "--run-dir", str(run_dir), "model.conditional=true"]
    assert cli.main(words) == 0
    assert iio.imread(run_dir / "samples" / "0000012.png").shape == (10 * 58 + 2, 8 * 58 + 2)

    def images(*words):
        out = generate(run_dir, tmp_path / "out", "--format", "npy", "--num", 20, *words)
        return np.load(out / "samples.npy")

    every, seven = images(), images("--label", 7)
    sampled, labels = build.load_sampler(run_dir / "generator.ckpt").samples(1, 20)
    assert (every == sampled).all()  # what the command shows is what Python gets
    same = (every == seven).all(axis=(1, 2, 3))  # the latents are, so those of class 7 are
    assert (same == (labels == 7)).all() and same.sum() == 2
    out = generate(run_dir, tmp_path / "out", "--num", 20)
    assert iio.imread(out / "grid.png").shape == (316, 240)  # a block for each class, about square


def test_every_checkpoint_of_a_run_generates_the_same(trained, tmp_path):
    """generator.ckpt, the folder and the training checkpoint of the last step show one net."""
    results = [
        np.load(generate(path, tmp_path / str(i), "--format", "npy") / "samples.npy")
        for i, path in enumerate(
            (trained / "generator.ckpt", trained, trained / "checkpoints" / "step_0000012.ckpt")
        )
    ]
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


# --- bad input ----------------------------------------------------------------------------------


def one_line(capsys, words, *expected):
    """The command fails with one line on stderr that has every expected text."""
    code = cli.main([str(w) for w in words])
    captured = capsys.readouterr()
    assert code == 2, captured
    assert captured.err.count("\n") == 1 and captured.err.startswith("ms-gan: "), captured.err
    for text in expected:
        assert text in captured.err, captured.err


BAD_RECIPES = {
    "unknown key": (["train.step=5"], "train.step: unknown key; did you mean 'steps'?"),
    "unknown section": (["trian.steps=5"], "trian: unknown key; did you mean 'train'?"),
    "wrong type": (["train.steps=2.5"], "train.steps: expected int, got 2.5"),
    "text for a number": (["optimizer.lr_g=fast"], "optimizer.lr_g: expected float, got 'fast'"),
    "negative": (["train.steps=-3"], "train.steps: expected at least 1, got -3"),
    "no model": (["model.name=dcgn"], "no model called 'dcgn'"),
    "no option": (["model.latent_dimm=4"], "did you mean 'latent_dim'?"),
    "no loss": (["loss=hinges"], "no loss called 'hinges'", "did you mean 'hinge'?"),
    "no regularizer": (["regularizer=r3"], "no regularizer called 'r3'"),
    "no augmentation": (["augment=diff_augmant"], "augment.name", "did you mean 'diff_augment'?"),
    "wrong device": (["runtime.device=TPU"], "runtime.device: expected one of"),
    "absent device": (["runtime.device=Ascend"], "runtime.device: Ascend"),
    "batch too large": (["data.batch_size=4000"], "batch_size 4000", "1 to 1797"),
    "pack": (["train.pack=3"], "train.pack: 3 does not divide data.batch_size, 64"),
    "not an override": (["train.steps"], "expected key.path=value"),
    "no data set": (["data.name=mnits"], "data.name: no data called", "did you mean 'mnist'?"),
    "no option of the data": (["data.sise=8"], "data.sise: 'digits' has no such option", "'size'?"),
    "data without a folder": (["data.root=x"], "data.root: 'digits' has no such option"),
    "optimizer without it": (["optimizer.decay=0.5"], "optimizer.decay: 'adam' has no such"),
    "image channels": (["data.channels=2"], "digits: channels 2", "1 (grey) or 3 (colour)"),
    "no data folder": (["data.name=mnist", "data.root=/nowhere"], "/nowhere: no such folder"),
    "penalty in pynative": (["regularizer=r1", "runtime.mode=pynative"], "runtime.mode=graph"),
    "penalty and BatchNorm": (["model=dcgan28", "regularizer=r1"], "BatchNorm", "d_norm=none"),
    "image size": (["model=dcgan"], "28", "64x64"),
    "pack and labels": (["model.conditional=true", "train.pack=2"], "train.pack", "conditional"),
    "smoothing": (["loss={name: non_saturating, real_target: 2.0}"], "real_target"),
    "ramp": (["optimizer.lr_g={start: 1.0, end: 0.1}"], "optimizer.lr_g: a ramp: give either"),
}


@pytest.mark.parametrize("case", BAD_RECIPES)
def test_bad_recipe_is_one_line_and_leaves_nothing(case, recipe, tmp_path, capsys):
    overrides, *expected = BAD_RECIPES[case]
    run_dir = tmp_path / "run"
    words = ["train", "--config", recipe, "--run-dir", run_dir, *overrides]
    one_line(capsys, words, *expected)
    assert not run_dir.exists()


def test_bad_places(recipe, trained, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("x")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    train = ["train", "--config", recipe]
    one_line(capsys, ["train", "--config", tmp_path / "none.yaml"], "none.yaml: no such recipe")
    one_line(capsys, [*train, "--run-dir", file], "is a file")
    one_line(capsys, [*train, "--run-dir", file / "below"], "cannot be written")
    one_line(capsys, [*train, "--run-dir", other], "not of a run")
    one_line(capsys, [*train, "--run-dir", trained, "seed=5"], "another recipe", "seed: 0 -> 5")
    one_line(capsys, ["generate", trained, "--out", file / "below"], "cannot be written", "--out")
    one_line(capsys, ["generate", trained, "--label", 3], "--label", "unconditional")


def test_bad_checkpoints(trained, tmp_path, capsys):
    def file(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    whole = (trained / "generator.ckpt").read_bytes()
    one_line(capsys, ["generate", tmp_path / "none.ckpt"], "none.ckpt: no such file")
    one_line(capsys, ["generate", file("text.ckpt", b"hello")], "text.ckpt: ")
    one_line(capsys, ["generate", file("empty.ckpt", b"")], "empty.ckpt: ")
    one_line(capsys, ["generate", file("cut.ckpt", whole[: len(whole) // 2])], "cut.ckpt: ")
    one_line(capsys, ["generate", file("picture.png", whole)], "picture.png: not a checkpoint")
    one_line(capsys, ["generate", tmp_path], "holds no run")


def test_bad_images(recipe, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    train = ["train", "--config", recipe, "--run-dir", tmp_path / "run"]
    train += ["data.name=image_folder", f"data.root={pictures}", "data.size=28"]
    one_line(capsys, train, "pictures: no pictures")
    (pictures / "broken.png").write_bytes(b"\x89PNG not really")
    one_line(capsys, train, "broken.png: unreadable picture")
    assert not (tmp_path / "run").exists()


def test_own_pictures(recipe, tmp_path, rng):
    """A folder of colour pictures of any size trains, and its checkpoint makes colour images."""
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(70):
        shape = (20 + i % 7, 30, 3)
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(pictures / f"{i}.png")
    words = ["train", "--config", str(recipe), "--run-dir", str(tmp_path / "run")]
    words += ["data.name=image_folder", f"data.root={pictures}", "data.size=16", "train.steps=4"]
    assert cli.main(words) == 0
    out = generate(tmp_path / "run", tmp_path / "out", "--format", "npy", "--num", 2)
    assert np.load(out / "samples.npy").shape == (2, 3, 16, 16)


def test_usage_errors_are_short():
    code, _, err = run("generate", "x.ckpt", "--num", "0")
    assert code == 2 and "expected at least 1" in err and "Traceback" not in err
    assert err.count("\n") == 1
    code, _, err = run("train", "--stepss", "5")
    assert code == 2 and "--stepss" in err and err.count("\n") == 1
    code, out, _ = run("--version")
    assert code == 0 and out.startswith("ms_gan ")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"], ["trian"]])
def test_what_needs_no_numbers_answers_at_once(words):
    """Neither MindSpore nor what takes as long as everything else together is imported."""
    code = (
        "import sys; sys.argv = ['ms-gan', *sys.argv[1:]]\n"
        "from ms_gan.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'mindspore', 'numpy', 'scipy', 'PIL', 'imageio', 'matplotlib', 'sklearn',"
        " 'jinja2', 'onnx', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)), 'ms_gan.data' in sys.modules, file=sys.stderr)\n"
    )
    process = python("-c", code, *words)
    _, err = process.communicate(timeout=60)
    assert err.splitlines()[-1] == "[] False"
