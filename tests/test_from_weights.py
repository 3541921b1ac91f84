"""A new run starts from weights that are there already; what a file is that is no checkpoint."""

import io
import json
import pickle
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

import mindspore as ms
from mindspore import nn

from ms_gan import build, cli, session
from ms_gan.recipe import reader
from ms_gan.runs import checkpoint, sampling, shipped, signatures, weights
from ms_gan.runs.checkpoint import CheckpointError
from ms_gan.runs.run_dir import RunDir, RunError
from tests.tiny import refused, refused_command, values

BASE = {
    "name": "small",
    "data": {"name": "digits", "size": 8, "batch_size": 8},
    "model": {"name": "gan", "latent_dim": 4, "g_widths": [8, 9], "d_widths": [8]},
    "train": {"steps": 2, "ema_decay": 0.9},
    "every": {"log": 1, "sample": 0, "save": 1},
    "runtime": {"device": "CPU"},
}


def recipe(**sections):
    return reader.from_dict({**BASE, **sections})


def started(folder, source=(), **sections):
    """(the session, what it said) of a run that starts from weights."""
    lines = []
    return session.start(recipe(**sections), folder, weights=source, say=lines.append), lines


def nets(arrays):
    """Without optimizers, as a dict of its own."""
    return {k: v for k, v in arrays.items() if not k.startswith("optimizer")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run of two steps with an average."""
    folder = tmp_path_factory.mktemp("source") / "run"
    run, _ = started(folder)
    assert run.train()
    return folder


# --- what is taken --------------------------------------------------------------------------------


def test_a_training_checkpoint_gives_both_nets_and_the_average(source, tmp_path):
    newest = source / "checkpoints" / "step_0000002.ckpt"
    arrays, _ = checkpoint.load(newest)
    for given in (source, newest):
        run, lines = started(tmp_path / "run", given)
        mine = values(run.state)
        for name, array in nets(arrays).items():
            np.testing.assert_array_equal(mine[name], array)
        assert run.state.step == 0
        assert mine["optimizer_g.global_step"] == 0 != arrays["optimizer_g.global_step"]
        assert not mine["optimizer_d.moment1.discriminator.model.0.weight"].any()
        (line,) = [line for line in lines if line.startswith("from ")]
        assert str(newest) in line and "small after 2 steps" in line
        assert "generator, discriminator, average" in line and "optimizers start anew" in line
        assert not (tmp_path / "run").exists()


def test_a_generator_alone_lets_d_start_anew(source, tmp_path):
    plain, _ = started(tmp_path / "a")
    run, lines = started(tmp_path / "b", source / "generator.ckpt")
    shown, _ = checkpoint.load(source / "generator.ckpt")
    mine, fresh = values(run.state), values(plain.state)
    for name, array in shown.items():
        np.testing.assert_array_equal(mine[name], array)
        np.testing.assert_array_equal(mine[name.replace("generator", "average", 1)], array)
    for name in (name for name in mine if name.startswith("discriminator")):
        np.testing.assert_array_equal(mine[name], fresh[name])
    assert any("no discriminator is in it: D starts anew" in line for line in lines)


def test_a_run_without_an_average_says_what_it_leaves_out(source, tmp_path):
    run, lines = started(tmp_path / "run", source, train={"steps": 2})
    arrays, _ = checkpoint.load(source / "checkpoints" / "step_0000002.ckpt")
    name = "generator.model.0.weight"
    np.testing.assert_array_equal(values(run.state)[name], arrays[name])
    assert any("its average is left out" in line for line in lines)


@pytest.mark.parametrize("name", shipped.GENERATORS)
def test_shipped_weights_by_name(name, tmp_path):
    arrays, meta = checkpoint.load(shipped.ASSETS / shipped.GENERATORS[name])
    data = {"name": "digits", "size": 28, "batch_size": 8}
    model = meta["config"]["model"]
    run, lines = started(tmp_path / "run", name, data=data, model=model)
    mine = values(run.state)
    assert all((mine[k] == v).all() for k, v in arrays.items())
    assert any("D starts anew" in line for line in lines)


def test_everything_but_the_nets_may_differ(source, tmp_path):
    """Other images, batch, rate, loss: one command, which later continues without --from."""
    config = tmp_path / "small.yaml"
    config.write_text(reader.dump(recipe()))
    words = [
        "train", "--config", config, "--run-dir", tmp_path / "run", "data.batch_size=16",
        "optimizer.lr_d=1e-5", "loss=hinge", "data.name=image_folder", "data.channels=1",
        f"data.root={pictures(tmp_path)}",
    ]  # fmt: skip
    assert cli.main([*map(str, words), "--from", str(source)]) == 0
    manifest = RunDir(tmp_path / "run").manifest
    (origin,) = manifest["from"]
    assert origin["given"] == str(source) and origin["step"] == 2 and origin["recipe"] == "small"
    assert origin["file"].endswith("step_0000002.ckpt") and len(origin["sha256"]) == 64
    _, meta = checkpoint.load(tmp_path / "run" / "generator.ckpt")
    assert meta["from"] == manifest["from"]
    assert cli.main([*map(str, words), "train.steps=3"]) == 0
    assert RunDir(tmp_path / "run").manifest["from"] == manifest["from"]
    assert [s["step"] for s in RunDir(tmp_path / "run").manifest["sessions"]] == [0, 2]


def pictures(folder):
    from PIL import Image

    (folder / "pictures").mkdir()
    for i in range(20):
        Image.new("L", (8, 8), 12 * i).save(folder / "pictures" / f"{i}.png")
    return folder / "pictures"


# --- a run that is there already ------------------------------------------------------------------


def test_another_origin_is_refused(source, tmp_path):
    run, _ = started(tmp_path / "run", source)
    with run.run.open(run.config):
        run.run.write_manifest(run.manifest())
    newest = source / "checkpoints" / "step_0000002.ckpt"
    shutil.copy(newest, tmp_path / "run" / "checkpoints")
    shutil.copy(newest, tmp_path / "moved.ckpt")
    for same in (source, tmp_path / "moved.ckpt"):  # the same place, the same bytes elsewhere
        assert not [line for line in started(tmp_path / "run", same)[1] if "from " in line]
    message = refused(RunError, started, tmp_path / "run", source / "generator.ckpt")
    assert "was started from " in message and "step_0000002.ckpt" in message
    message = refused(RunError, started, source, source)
    assert "was not started from weights" in message


def test_a_run_that_was_killed_before_it_saved_starts_from_them_again(source, tmp_path):
    copied = tmp_path / "copied.ckpt"
    shutil.copy(source / "generator.ckpt", copied)
    folder = tmp_path / "run"
    run, _ = started(folder, copied)
    with run.run.open(run.config):
        run.run.write_manifest(run.manifest())
    again, lines = started(folder)
    name = "generator.model.0.weight"
    np.testing.assert_array_equal(values(again.state)[name], values(run.state)[name])
    assert any(line.startswith("from ") for line in lines)
    shutil.copy(source / "checkpoints" / "step_0000002.ckpt", copied)
    assert "not what this run was started from" in refused(CheckpointError, started, folder)
    copied.unlink()
    assert "no such file" in refused(CheckpointError, started, folder)


def test_a_manifest_that_was_edited_is_no_traceback(source, tmp_path):
    shutil.copytree(source, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    changed = [{"step": "x"}, {"step": 1, "changed": {"a": 1}}, 3]
    run.write_manifest({**run.manifest, "from": [{"file": 3}, "x"], "changes": changed})
    edited, _ = started(tmp_path / "run")
    assert "changes" not in edited.manifest()


# --- what does not fit ----------------------------------------------------------------------------


def test_what_does_not_fit_is_listed_and_nothing_is_written(source, tmp_path):
    model = {**BASE["model"], "g_widths": [8, 9, 3]}
    message = refused(CheckpointError, started, tmp_path / "run", source, model=model)
    for part in (
        "step_0000002.ckpt: does not fit this recipe: ",
        "generator.model.5.weight is [64, 9], expected [3, 9]",
        "generator.model.6.gamma is missing",
        "; these weights are of 'model={name: gan, latent_dim: 4, g_widths: [8, 9]",
        "images [1, 8, 8]",
    ):
        assert part in message, part
    assert re.search(
        r", and \d+ more; ", refused(CheckpointError, started, tmp_path / "run", "mnist")
    )
    assert not (tmp_path / "run").exists()
    before = values(started(tmp_path / "run")[0].state)
    bigger, _ = started(tmp_path / "run", data={**BASE["data"], "size": 9})
    read = weights.read([source])
    old = values(bigger.state)
    refused(CheckpointError, read.put, bigger.state.parameters, (1, 9, 9))
    assert all((values(bigger.state)[k] == v).all() for k, v in old.items())
    assert before.keys() == old.keys()


def test_a_part_of_a_discriminator_is_refused(source, tmp_path):
    arrays, meta = checkpoint.load(source / "checkpoints" / "step_0000002.ckpt")
    arrays = {k: v for k, v in nets(arrays).items() if k != "discriminator.model.0.bias"}
    arrays["discriminator.extra"] = np.zeros(3, np.float32)
    save(tmp_path / "part.ckpt", arrays, meta)
    message = refused(CheckpointError, started, tmp_path / "run", tmp_path / "part.ckpt")
    assert "discriminator.model.0.bias is missing" in message
    assert "discriminator.extra [3] has no place" in message


def test_values_that_are_not_finite_are_refused(source, tmp_path):
    arrays, meta = checkpoint.load(source / "generator.ckpt")
    arrays["generator.model.0.bias"] = arrays["generator.model.0.bias"] * np.nan
    path = tmp_path / "bad.ckpt"
    entries = [{"name": k, "data": ms.Tensor(v)} for k, v in arrays.items()]
    ms.save_checkpoint(entries, str(path), append_dict={checkpoint.META: json.dumps(meta)})
    assert "infinity or NaN in 1 of" in refused(CheckpointError, started, tmp_path / "run", path)
    assert "infinity or NaN in 1 of" in refused(CheckpointError, build.load_sampler, path)


def test_a_function_that_differs_is_said(source, tmp_path):
    model = {**BASE["model"], "output": "sigmoid", "g_activation": "leaky_relu"}
    _, lines = started(tmp_path / "run", source, model=model)
    (line,) = [line for line in lines if "they fit, but" in line]
    assert "model.output: tanh -> sigmoid" in line
    assert "model.g_activation: relu -> leaky_relu" in line
    _, lines = started(tmp_path / "run", source)
    assert not [line for line in lines if "they fit, but" in line]


def test_other_classes_are_said(tmp_path):
    """Label 3 was a digit and is another class from now on."""
    model = {**BASE["model"], "conditional": True}
    run, _ = started(tmp_path / "a", model=model)
    path, meta = tmp_path / "a.ckpt", run.state.meta
    letters = {**meta, "classes": list("abcdefghij")}
    for own, lines in ((meta, 0), (letters, 1)):
        checkpoint.save(path, run.state.parameters, own)
        _, said = started(tmp_path / "b", path, model=model)
        found = [line for line in said if "label by label: a -> 0, b -> 1, c -> 2" in line]
        assert len(found) == lines


@pytest.mark.parametrize(
    ("given", "said"),
    [("nothing", "no such file; expected a .ckpt file, a run folder or one of mnist, "),
     ("empty", "a folder without a checkpoint that can be used"),
     ("twice", "holds a generator, as "),
     ("discriminator", "holds a discriminator alone; expected a generator"),
     ("classifier", "holds no net of a GAN")],
)  # fmt: skip
def test_sources_that_are_none(given, said, source, tmp_path):
    (tmp_path / "empty").mkdir()
    arrays, meta = checkpoint.load(source / "checkpoints" / "step_0000002.ckpt")
    only = {k: v for k, v in arrays.items() if k.startswith("discriminator")}
    save(tmp_path / "d.ckpt", only, meta)
    sources = {
        "twice": [source, source / "generator.ckpt"],
        "discriminator": tmp_path / "d.ckpt",
        "classifier": shipped.ASSETS / shipped.CLASSIFIERS["mnist"],
    }
    message = refused(
        CheckpointError, started, tmp_path / "run", sources.get(given, tmp_path / given)
    )
    assert said in message


def test_two_files_that_together_hold_both_nets(source, tmp_path):
    arrays, meta = checkpoint.load(source / "checkpoints" / "step_0000002.ckpt")
    for net in ("generator", "discriminator"):
        own = {k: v for k, v in arrays.items() if k.startswith(f"{net}.")}
        save(tmp_path / f"{net}.ckpt", own, meta)
    run, lines = started(
        tmp_path / "run", [tmp_path / f"{n}.ckpt" for n in ("generator", "discriminator")]
    )
    mine = values(run.state)
    assert all((mine[k] == v).all() for k, v in nets(arrays).items() if not k.startswith("average"))
    assert not any("anew: D" in line for line in lines)


def test_a_broken_newest_checkpoint_is_passed_over(source, tmp_path):
    shutil.copytree(source, tmp_path / "copy")
    newest = tmp_path / "copy" / "checkpoints" / "step_0000002.ckpt"
    newest.write_bytes(newest.read_bytes()[:500])
    lines = []
    assert weights.find(tmp_path / "copy", lines.append).name == "step_0000001.ckpt"
    assert len(lines) == 1 and "step_0000002.ckpt" in lines[0]


def save(path, arrays, meta):
    checkpoint.save(path, [ms.Parameter(ms.Tensor(v), name=k) for k, v in arrays.items()], meta)


# --- from grey to colour --------------------------------------------------------------------------

SMALL = {
    "gan": ({"name": "gan", "latent_dim": 4, "g_widths": [8], "d_widths": [8]}, 8),
    "dcgan": ({"name": "dcgan", "latent_dim": 4, "g_width": 2, "d_width": 2}, 32),
}


@pytest.mark.parametrize("name", SMALL)
def test_grey_weights_make_the_same_images_in_colour(name, tmp_path, rng):
    model, size = SMALL[name]
    data = {"name": "digits", "size": size, "batch_size": 8}
    grey, _ = started(tmp_path / "grey", model=model, data=data)
    path = tmp_path / "grey.ckpt"
    checkpoint.save(path, grey.state.parameters, grey.state.meta)
    run, lines = started(tmp_path / "run", path, model=model, data={**data, "channels": 3})
    assert any("the weights of its one channel are spread over three" in line for line in lines)
    one, _ = grey.sampler.samples(1, 3)
    three, _ = run.sampler.samples(1, 3)
    np.testing.assert_allclose(three, one.repeat(3, axis=1), atol=2e-5)
    images = rng.uniform(-1, 1, (4, 1, size, size)).astype(np.float32)
    scores = [
        discriminator(part.state)(ms.Tensor(images.repeat(channels, axis=1))).asnumpy()
        for part, channels in ((grey, 1), (run, 3))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


def discriminator(state):
    """The net of a state, in inference mode."""
    net = state.update.train_d.network.judge.discriminator
    net.set_train(False)
    return net


def test_packed_discriminators_and_colour_to_grey_are_refused(source, tmp_path):
    train = {"steps": 2, "ema_decay": 0.9, "pack": 2}
    message = refused(CheckpointError, started, tmp_path / "run", source, train=train)
    assert "discriminator.model.0.weight is [8, 64], expected [8, 128]" in message


# --- the tutorials' files -------------------------------------------------------------------------


class TutorialNet(nn.Cell):
    """One of the four nets of the tutorials: their layers under the name that they give them."""

    def __init__(self, attribute, layers):
        super().__init__()
        setattr(self, attribute, nn.SequentialCell(layers))
        self.attribute = attribute

    def construct(self, x):
        return getattr(self, self.attribute)(x)


def dcgan_nets(width=4, latents=6):
    """The generator and the discriminator (without its sigmoid) of the DCGAN tutorial."""
    up = {"pad_mode": "pad", "padding": 1}
    widths = [8 * width, 4 * width, 2 * width, width]
    layers = [nn.Conv2dTranspose(latents, widths[0], 4, 1, "valid")]
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [nn.BatchNorm2d(a), nn.ReLU(), nn.Conv2dTranspose(a, b, 4, 2, **up)]
    layers += [
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2dTranspose(width, 3, 4, 2, **up),
        nn.Tanh(),
    ]
    judge = [nn.Conv2d(3, width, 4, 2, **up), nn.LeakyReLU(0.2)]
    for a in widths[:0:-1]:
        judge += [nn.Conv2d(a, 2 * a, 4, 2, **up), nn.BatchNorm2d(2 * a), nn.LeakyReLU(0.2)]
    judge.append(nn.Conv2d(8 * width, 1, 4, 1, "valid"))
    return TutorialNet("generator", layers), TutorialNet("discriminator", judge)


@pytest.fixture(params=["", "optim_{}."])
def tutorial(request, tmp_path):
    """(generator, its file, discriminator, its file), names as both versions of it leave them."""
    rng = np.random.default_rng(3)
    found = []
    for net in dcgan_nets():
        for p in net.get_parameters():
            numbers = rng.normal(0, 0.2, p.shape) + (0.6 if "gamma" in p.name else 0)
            numbers = np.abs(numbers) + 0.5 if "variance" in p.name else numbers
            p.set_data(ms.Tensor(numbers.astype(np.float32)))
        prefix = request.param.format(net.attribute[0])
        entries = [
            {"name": prefix * p.requires_grad + p.name, "data": p} for p in net.get_parameters()
        ]
        path = tmp_path / f"{net.attribute}.ckpt"
        ms.save_checkpoint(entries, str(path))
        net.set_train(False)
        found += [net, path]
    return found


def test_the_generator_of_the_dcgan_tutorial(tutorial):
    net, path, _, _ = tutorial
    sampler = build.load_sampler(path)
    assert (sampler.latent_dim, sampler.image_shape) == (6, (3, 64, 64))
    images, _ = sampler.samples(2, 5)
    z = sampling.latents(2, 5, 6).reshape(5, 6, 1, 1)
    theirs = np.clip(net(ms.Tensor(z)).asnumpy(), 0, 1)  # what the tutorial shows
    assert 0.05 < theirs.std() and (theirs == 0).any()
    np.testing.assert_allclose((images + 1) / 2, theirs, atol=1e-5)


def test_generate_says_what_it_is(tutorial, tmp_path, capsys):
    assert cli.main(["generate", str(tutorial[1]), "--num", "4", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Generating Cartoon Head Portrait via DCGAN: it was trained on images in [0, 1]" in said


def test_a_run_starts_from_both_files_of_the_dcgan_tutorial(tutorial, tmp_path, rng):
    net, path, judge, other = tutorial
    model = {"name": "dcgan", "latent_dim": 6, "g_width": 4, "d_width": 4, "output": "unit_tanh"}
    data = {"name": "digits", "size": 64, "channels": 3, "batch_size": 4}
    run, lines = started(tmp_path / "run", [path, other], model=model, data=data)
    assert not any("they fit, but" in line for line in lines)
    images = rng.uniform(0, 1, (3, 3, 64, 64)).astype(np.float32)
    ours = discriminator(run.state)(ms.Tensor(2 * images - 1)).asnumpy()
    np.testing.assert_allclose(
        ours, judge(ms.Tensor(images)).asnumpy().ravel(), rtol=1e-4, atol=1e-4
    )
    del model["output"]
    _, lines = started(tmp_path / "run", path, model=model, data=data)
    assert any("model.output: unit_tanh -> tanh" in line for line in lines)


def test_the_mlp_tutorials_discriminator_goes_with_its_generator(tmp_path):
    data, model = {"name": "digits", "size": 28, "batch_size": 8}, {"name": "gan"}
    run, _ = started(tmp_path / "run", data=data, model=model)
    for net, name in (("generator", "Generator9"), ("discriminator", "Discriminator9")):
        entries = [
            {"name": p.name.replace(f"{net}.", f"optim_{net[0]}{net}", 1), "data": p}
            for p in run.state.parameters
            if p.name.startswith(f"{net}.")
        ]
        ms.save_checkpoint(entries, str(tmp_path / f"{name}.ckpt"))
    files = [tmp_path / "Generator9.ckpt", tmp_path / "Discriminator9.ckpt"]
    other, lines = started(tmp_path / "b", files, data=data, model=model, seed=5)
    mine, theirs = values(other.state), values(run.state)
    for name in (name for name in mine if name.startswith(("generator.", "discriminator."))):
        np.testing.assert_array_equal(mine[name], theirs[name])
    message = refused(CheckpointError, build.load_sampler, files[1])
    assert message.endswith("holds no generator but a discriminator alone")


# --- files that are no checkpoints ----------------------------------------------------------------


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"0")
    return content.getvalue()


def tarred():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return content.getvalue()


FILES = {
    "an empty file": b"",
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 9\n",
    "a web page (HTML)": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "an XML text": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a PyTorch file (a zip": zipped("archive/data.pkl", "archive/data/0"),
    "a NumPy archive": zipped("weight.npy"),
    "a zip archive": zipped("readme.txt"),
    "an old PyTorch file": pickle.dumps(0x1950A86A20F9469CFC6C, 2),
    "a PyTorch file (a pickle)": pickle.dumps({"torch._utils": 1}, 4),
    "a Python pickle": pickle.dumps({"weight": [1.0]}),
    "a safetensors file": (16).to_bytes(8, "little") + b'{"w":{"dtype":1}}' + b"\0" * 8,
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + b"\0" * 20,
    "a GGUF file": b"GGUF\3\0\0\0",
    "an ONNX model": b"\x08\x08\x12\x07pytorch\x1a\x05",
    "a tar archive": tarred(),
    "a compressed file": b"\x1f\x8b\x08\0\0",
    "a picture or a film": b"\x89PNG\r\n\x1a\n",
    "the list of checkpoints of TensorFlow": b'model_checkpoint_path: "model.ckpt-100"\n',
    "a text that begins with 'hello'": b"hello\nworld\n",
}


@pytest.mark.parametrize("ending", ["ckpt", "pth"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(kind, ending, tmp_path):
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(FILES[kind])
    message = refused(CheckpointError, checkpoint.load, path)
    assert (
        message.startswith(f"{path}: is {kind}") and "expected a checkpoint of MindSpore" in message
    )


def test_every_command_says_it(tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    path.write_bytes(FILES["a PyTorch file (a zip"])
    assert "is a PyTorch file" in refused_command(capsys, "generate", path)
    words = ["train", "--config", "gan_mnist", "--run-dir", tmp_path / "run", "data.name=digits"]
    assert "is a PyTorch file" in refused_command(capsys, *words, "--from", path)
    assert not (tmp_path / "run").exists()


def test_real_checkpoints_are_none_of_these(source, tmp_path):
    path = source / "generator.ckpt"
    assert signatures.what_is(path) is None
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(path.read_bytes()[:-50])
    assert "may be truncated" in refused(CheckpointError, checkpoint.load, cut)
    assert "is a folder" in refused(CheckpointError, checkpoint.load, tmp_path)


def test_weights_of_another_program_are_named(tmp_path):
    path = tmp_path / "resnet.ckpt"
    ms.save_checkpoint(
        [{"name": "conv1.weight", "data": ms.Tensor(np.zeros(2, np.float32))}], str(path)
    )
    message = refused(CheckpointError, build.load_sampler, path)
    assert "not of ms_gan and not of MindSpore's GAN tutorials: it holds conv1.weight" in message
