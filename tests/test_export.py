"""Exported files: they say the same as the net, they say what they are, and nothing half written.

ONNX files are made and run where onnx and onnxruntime are installed: `pip install -e .[export]`.
"""

import importlib.util
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from mindspore import Tensor, nn, ops

from ms_gan import build, cli
from ms_gan.evaluation import classifier
from ms_gan.export import formats, graph, operators, packages, subject
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port, Subject
from ms_gan.recipe import reader
from ms_gan.runs import shipped
from ms_gan.runs.sampling import BATCH, Sampler
from ms_gan.version import __version__
from tests.tiny import ROOT, randomise, refused, refused_command

INSTALLED = all(importlib.util.find_spec(name) for name in packages.PACKAGES["onnx"])
needs_onnx = pytest.mark.skipif(
    not INSTALLED,
    reason="ONNX NOT TESTED: pip install onnx onnxruntime 'numpy>=1.25,<2' (extra [export])",
)
FORMATS = [pytest.param("onnx", marks=needs_onnx), "mindir"]
TINY = {"latent_dim": 8}
NETS = {  # every architecture, with and without BatchNorm, labels, colour, rectangles
    "gan": ({"name": "gan", "g_widths": [16, 24]}, (1, 6, 7), 0),
    "gan of classes": (
        {"name": "gan", "g_widths": [16, 24], "conditional": True, "g_activation": "leaky_relu",
         "output": "sigmoid"},
        (3, 6, 7), 3,
    ),
    "gan without norm": ({"name": "gan", "g_widths": [16], "g_norm": "none"}, (1, 6, 7), 0),
    "deep_mlp_conv": ({"name": "deep_mlp_conv", "g_widths": [16, 12]}, (1, 28, 30), 0),
    "dcgan": ({"name": "dcgan", "g_width": 4}, (3, 32, 40), 0),
    "dcgan of the tutorial": (
        {"name": "dcgan", "g_width": 4, "g_norm": "none", "output": "unit_tanh"}, (3, 64, 64), 0
    ),
    "dcgan28": ({"name": "dcgan28", "g_width": 4}, (1, 28, 28), 0),
    "dcgan28 of classes": ({"name": "dcgan28", "g_width": 4, "conditional": True}, (3, 8, 12), 4),
    "r3gan": ({"name": "r3gan", "g_width": 8}, (1, 28, 28), 0),
    "r3gan of classes": (
        {"name": "r3gan", "g_width": 8, "blocks": 2, "conditional": True}, (3, 8, 12), 4
    ),
    "progan of classes": (
        {"name": "progan", "levels": [3, 3], "g_widths": [6, 4], "conditional": True}, (3, 8, 12), 4
    ),
    "stylegan": ({"name": "stylegan", "style_dim": 8, "g_widths": [6, 4]}, (1, 8, 12), 0),
    "stylegan of classes": (
        {"name": "stylegan", "style_dim": 8, "g_widths": [6, 4], "conditional": True}, (3, 8, 12), 4
    ),
}  # fmt: skip


def sampler(name):
    """A generator of NETS with random weights, as `load_sampler` returns one."""
    model, shape, num_classes = NETS[name]
    config = reader.from_dict({"name": "tiny", "model": {**TINY, **model}})
    net = randomise(build.build_net(config, "generator", shape, num_classes), 0, 0.3)
    for p in net.get_parameters():
        if p.name.startswith("mapping."):  # is scaled by 0.01 when it is used
            p.set_data(500.0 * p)
    meta = {"config": reader.to_dict(config), "step": 7, "data": "digits"}
    return Sampler(build.frozen(net), shape, meta)


def known_of(form, content):
    """What a file says of itself."""
    if form == "mindir":
        return dict(graph.parsed(content).user_info)
    import onnx

    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", NETS)
def test_a_generator(name, form, tmp_path):
    """Batches of 1, 3, 64 and more, beside the images of the package; what the file says."""
    source = sampler(name)
    exported, path = subject.of_sampler(source), tmp_path / f"x.{form}"
    assert formats.write(exported, form, path) <= exported.tolerance
    content = path.read_bytes()
    run = formats.FORMATS[form].runner(content, exported)
    seen = {}
    for rows in (1, 3, BATCH, BATCH + 6):
        expected, labels = source.samples(3, rows)
        z = exported_latents(source, rows)
        (images,) = run((z,) if labels is None else (z, labels))
        assert images.shape == (rows, *source.image_shape) and images.dtype == np.float32
        assert -1 <= images.min() and images.max() <= 1
        np.testing.assert_allclose(images, expected, atol=exported.tolerance)
        seen[rows] = images
    np.testing.assert_allclose(seen[3], seen[BATCH][:3], atol=1e-5)
    assert seen[BATCH].std(axis=0).max() > 0.01
    said = known_of(form, content)
    assert said["ms_gan"] == __version__ and said["kind"] == "generator"
    assert (said["recipe"], said["model"]) == ("tiny", NETS[name][0]["name"])
    texts = ("step", "latent_dim", "image_shape", "range", "num_classes")
    assert [json.loads(said[key]) for key in texts] == [
        7, 8, list(source.image_shape), [-1, 1], source.num_classes
    ]  # fmt: skip
    if source.num_classes:
        assert json.loads(said["classes"]) == list(source.classes)


PAIRED = {"name": "image_folder", "root": "a", "pair": {"name": "image_folder", "root": "b"}}
FROM_PICTURES = {  # recipe, shape of the data: instance normalisation turns the batch into channels
    "cyclegan": (
        {"model": {"name": "cyclegan", "g_width": 4, "blocks": 1}, "data": PAIRED, "input": "both"},
        (6, 8, 12),
    ),
    "pix2pix": (
        {"model": {"name": "pix2pix", "g_width": 4, "depth": 3}, "data": PAIRED, "input": "first"},
        (6, 8, 16),
    ),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", FROM_PICTURES)
def test_a_generator_that_receives_pictures(name, form, tmp_path):
    sections, shape = FROM_PICTURES[name]
    config = reader.from_dict({"name": "tiny", **sections})
    net = build.frozen(randomise(build.build_net(config, "generator", shape, 0), 0, 0.2))
    meta = {"config": reader.to_dict(config), "step": 7, "data": "pairs"}
    exported = subject.of_generator(build.ready(net, shape, meta, build.build_input(config, shape)))
    assert formats.write(exported, form, tmp_path / f"x.{form}") <= exported.tolerance
    run = formats.FORMATS[form].runner((tmp_path / f"x.{form}").read_bytes(), exported)
    given = exported.examples(5)
    (images,) = run(given)
    np.testing.assert_allclose(images, exported.expected(*given)[0], atol=exported.tolerance)
    assert images.std(axis=0).max() > 0.01


def exported_latents(source, rows):
    from ms_gan.runs import sampling

    return sampling.latents(3, rows, source.latent_dim)


@pytest.mark.parametrize("form", FORMATS)
def test_labels_are_obeyed(form, tmp_path):
    source = sampler("gan of classes")
    exported = subject.of_sampler(source)
    assert [(p.name, p.shape, p.dtype) for p in exported.inputs] == [
        ("z", (8,), "float32"), ("labels", (), "int32")
    ]  # fmt: skip
    run = formats.FORMATS[form].runner(formats.FORMATS[form].content(exported), exported)
    z = np.repeat(exported_latents(source, 1), 3, axis=0)
    (images,) = run((z, np.array([0, 1, 0], np.int32)))
    assert np.abs(images[0] - images[1]).max() > 0.01
    np.testing.assert_allclose(images[0], images[2], atol=1e-6)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 14)])
def test_a_classifier(shape, form, tmp_path):
    net = classifier.Classifier(image_shape=shape, num_classes=5)
    randomise(net, 1, 0.1).set_train(False)
    path = tmp_path / "c.ckpt"
    classifier.save(path, net, {"data": "shapes", "classes": list("abcde"), "accuracy": 0.5})
    exported = subject.of_classifier(*classifier.load(path))
    out = tmp_path / f"c.{form}"
    assert formats.write(exported, form, out) <= 1e-4
    run = formats.FORMATS[form].runner(out.read_bytes(), exported)
    images = np.random.default_rng(0).uniform(-1, 1, (3, *shape)).astype(np.float32)
    scores, features = run((images,))
    expected_features, probabilities = classifier.predict(net, images)
    np.testing.assert_allclose(features, expected_features, atol=1e-4)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), probabilities, atol=1e-4)
    said = known_of(form, out.read_bytes())
    assert said["kind"] == "classifier" and json.loads(said["classes"]) == list("abcde")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("what", [*shipped.GENERATORS, "classifier"])
def test_what_is_shipped(what, form, tmp_path, monkeypatch, capsys):
    """By the command, into the current folder, whose name has a letter that MindSpore refuses."""
    folder = tmp_path / "é x"
    folder.mkdir()
    monkeypatch.chdir(folder)
    words = ["--classifier", "mnist"] if what == "classifier" else ["--pretrained", what]
    assert cli.main(["export", *words, "--format", form, "--device", "CPU"]) == 0
    files = {**shipped.GENERATORS, "classifier": shipped.CLASSIFIERS["mnist"]}
    (written,) = folder.iterdir()
    assert written.name == files[what].replace(".ckpt", f".{form}")
    out = capsys.readouterr().out
    assert f"-> {written.name}" in out and "on 1, 3 and 64 rows" in out
    assert float(re.search(r"difference (\S+),", out).group(1)) <= 1e-4


def test_a_run_is_exported_beside_its_checkpoint(trained, tmp_path, capsys):
    """A run folder by its generator, any checkpoint by itself; an older file is named."""
    from tests.tiny import copy_run

    run = copy_run(trained, tmp_path / "run")
    words = ["export", str(run), "--format", "mindir", "--device", "CPU"]
    assert cli.main(words) == 0 and (run / "generator.mindir").is_file()
    assert "tiny after 12 steps" in capsys.readouterr().out
    assert cli.main(words) == 0
    assert "in place of one that was there" in capsys.readouterr().out
    assert not list(run.glob(".*.mindir"))


# --- what cannot be done --------------------------------------------------------------------------


def test_wrong_words(tmp_path, monkeypatch, capsys):
    def said(*words):
        return refused_command(capsys, "export", "--device", "CPU", *words)

    monkeypatch.setattr(packages, "PACKAGES", {**packages.PACKAGES, "onnx": ()})
    assert "ends in .onnx" in said("--out", tmp_path / "x.mindir")
    assert "ends in .mindir" in said("--format", "mindir", "--out", tmp_path / "x.onnx")
    assert "not a folder that can be written" in said("--out", tmp_path / "no" / "x.onnx")
    assert "give one" in said("--classifier", "mnist", "--pretrained", "mnist")
    assert "did you mean 'mnist'" in said("--classifier", "mnsit")
    assert "no such file" in said("--format", "mindir", tmp_path / "no.ckpt")
    generator = shipped.ASSETS / shipped.GENERATORS["mnist"]
    out = ("--format", "mindir", "--out", tmp_path / "x.mindir")
    assert "not a classifier" in said("--classifier", generator, *out)
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint(tmp_path, capsys):
    whole = (shipped.ASSETS / shipped.GENERATORS["mnist"]).read_bytes()
    path = tmp_path / "half.ckpt"
    path.write_bytes(whole[: len(whole) // 2])
    message = refused_command(capsys, "export", path, "--format", "mindir", "--device", "CPU")
    assert "not a whole MindSpore checkpoint" in message
    assert [file.name for file in tmp_path.iterdir()] == ["half.ckpt"]


def test_a_package_is_missing(tmp_path, monkeypatch, capsys):
    """One line with the command that installs it, before anything is loaded or made."""
    monkeypatch.setattr(packages, "PACKAGES", {"onnx": ("no_such_package",), "mindir": ()})
    message = refused_command(capsys, "export", "--out", tmp_path / "x.onnx")
    assert "not installed: no_such_package; " in message
    assert f"{sys.executable} -m pip install no_such_package 'numpy>=1.25,<2'" in message
    refused(ExportError, formats.write, subject.of_sampler(sampler("gan")), "onnx", tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [1.1e-4, np.nan])
def test_a_file_that_says_something_else_is_not_written(wrong, tmp_path, monkeypatch):
    exported, path = subject.of_sampler(sampler("gan")), tmp_path / "x.mindir"
    path.write_bytes(b"older")

    def runner(content, exported):
        return lambda inputs: tuple(part + wrong for part in exported.expected(*inputs))

    broken = formats.Format(formats.mindir_content, runner)
    monkeypatch.setitem(formats.FORMATS, "mindir", broken)
    message = refused(ExportError, formats.write, exported, "mindir", path)
    assert "not written" in message and "expected at most 0.0001" in message
    assert path.read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


# --- any net --------------------------------------------------------------------------------------


class Apply(nn.Cell):
    """A function of tensors as a net."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def construct(self, *inputs):
        return self.function(*inputs)


def arithmetic(x):
    return (2 - x) / 3 + 2 * x - x * x / (x * x + 1) + ops.AddN()((x, -x, 0.5 * x)) + x**2


def functions(x):
    y = ops.exp(-ops.abs(x)) + ops.log(ops.square(x) + 1) + ops.sqrt(x * x + 1)
    return y + ops.rsqrt(x * x + 1) + 1 / (x * x + 1) + ops.RealDiv()(x, 1 + x * x)


def activations(x):
    y = ops.relu(x) + ops.tanh(x) + ops.sigmoid(x) + ops.silu(x) + ops.softplus(x)
    return y + ops.leaky_relu(x, 0.3) + ops.clamp(x, -0.5, 0.25) + ops.minimum(x, 0.1 * x)


def sums(x):
    y = ops.ReduceSum(True)(x, 1) + x.sum(axis=(1, 2, 3), keepdims=True)
    return y + x.mean(axis=(2, 3), keep_dims=True)


def normalised(x):
    """As instance normalisation is written where MindSpore's has no kernel."""
    mean = x.mean(axis=(2, 3), keep_dims=True)
    return (x - mean) * ops.rsqrt(ops.square(x - mean).mean(axis=(2, 3), keep_dims=True) + 1e-5)


def products(x):
    y = ops.matmul(x, x.swapaxes(2, 3))
    return ops.dense(y, ops.ones((5, 4))).transpose(0, 2, 3, 1).reshape((x.shape[0], -1))


def choices(x):
    y = ops.select(x < -0.5, 2 * x, ops.select(x > 0.5, -x, x)) + x.astype("int32")
    return ops.select(x < y, x * x, ops.select(x > 2 * y, y, x))


def padded(x):
    y = ops.pad(ops.pad(x, (1, 2, 2, 1), mode="reflect"), (0, 1, 2, 3), mode="constant", value=0.5)
    return ops.pad(y, (2, 1, 1, 2), mode="replicate")


def slopes(x):
    """Two constants of one name in MindSpore's graph."""
    return ops.maximum(x, 0.2 * x) + ops.maximum(x, 0.1 * x) + ops.maximum(x, 0.7 * x)


def pieces(x):
    """Some places of an axis, one of them, and an axis several times."""
    y = ops.tile(x[:, 1], (1, 2, 1)).expand_dims(3)  # [N, 8, 4, 1]
    return y[:, 1:7:2, :, 0] + x[:, 0, 1:] * x[:, 1, :3] - x[:, -1, -3:]


FUNCTIONS = [
    arithmetic, functions, activations, sums, normalised, products, choices, padded, slopes, pieces,
]  # fmt: skip


def as_subject(net, *shapes):
    """A net that is exported as it is, of inputs that are normal numbers."""
    net.set_train(False)
    inputs = tuple(Port(f"x{i}", shape) for i, shape in enumerate(shapes))
    rng = np.random.default_rng(0)

    def examples(rows):
        return tuple(rng.normal(size=(rows, *p.shape)).astype(np.float32) for p in inputs)

    def expected(*given):
        return (net(*map(Tensor, given)).asnumpy(),)

    shape = expected(*examples(2))[0].shape[1:]
    return Subject(net, inputs, (Port("y", shape),), examples, expected, {"kind": "net"})


@needs_onnx
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_primitives(function, tmp_path):
    exported = as_subject(Apply(function), (2, 4, 4))
    assert formats.write(exported, "onnx", tmp_path / "x.onnx") < 2e-5


@needs_onnx
def test_every_row_of_the_table_is_tested():
    """By the functions above, by an architecture or by the classifier."""
    nets = [(Apply(function), (Port("x", (2, 4, 4)),)) for function in FUNCTIONS]
    exported = [subject.of_sampler(sampler(name)) for name in NETS]
    net = classifier.Classifier(image_shape=(1, 8, 8), num_classes=2).set_train(False)
    nets += [(e.net, e.inputs) for e in [*exported, subject.of_classifier(net, {})]]
    used = {node.primitive for net, inputs in nets for node in graph.read(net, inputs).nodes}
    assert set(operators.OPERATORS) - used == set()


class TwoInputs(nn.Cell):
    """An image and numbers, as a net that changes pictures may take them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, pad_mode="same", stride=2, has_bias=True)
        self.back = nn.Conv2dTranspose(2, 1, 3, stride=2, pad_mode="same")
        self.dense = nn.Dense(3, 2)

    def construct(self, picture, numbers):
        scale = self.dense(numbers).reshape((numbers.shape[0], -1, 1, 1))
        return ops.tanh(self.back(ops.relu(self.conv(picture)) * scale))


@pytest.mark.parametrize("form", FORMATS)
def test_other_inputs_are_data(form, tmp_path):
    """A net that takes no latents needs its names and shapes, and no other code."""
    exported = as_subject(randomise(TwoInputs(), 0), (1, 6, 8), (3,))
    assert formats.write(exported, form, tmp_path / f"x.{form}") <= 1e-4


def unknown(x):
    return ops.erf(x)


def mixing(x):
    """Rows of the batch become channels."""
    return ops.relu(x.reshape((1, -1, 4, 4))).reshape((x.shape[0], -1))


def branching(x):
    while x.sum() < 10:
        x = x + 1
    return x


@needs_onnx
@pytest.mark.parametrize(
    "function, words",
    [
        (unknown, "the primitive Erf has no operator"),
        (mixing, "moves the axis of the batch"),
        (branching, "branches or loops"),
    ],
    ids=["unknown", "mixing", "branching"],
)
def test_what_has_no_onnx(function, words, tmp_path):
    net = Apply(function)
    exported = Subject(net, (Port("x", (2, 4, 4)),), (Port("y", (32,)),), None, None, {"kind": "x"})
    message = refused(ExportError, formats.write, exported, "onnx", tmp_path / "x.onnx")
    assert words in message and "--format mindir" in message
    assert not list(tmp_path.iterdir())


def test_what_mindspore_does_not_export(tmp_path):
    """A conditional generator without its labels; the next export is as before."""
    source = sampler("gan of classes")
    whole = subject.of_sampler(source)
    broken = Subject(whole.net, whole.inputs[:1], whole.outputs, None, None, {})
    message = refused(ExportError, formats.write, broken, "mindir", tmp_path / "x.mindir")
    assert "MindSpore cannot export" in message and "labels: missing" in message
    assert not list(tmp_path.iterdir())
    assert formats.write(whole, "mindir", tmp_path / "x.mindir") <= 1e-4


@needs_onnx
def test_a_net_in_training_mode_is_refused(tmp_path):
    exported = subject.of_sampler(sampler("gan"))
    exported.net.set_train(True)
    message = refused(ExportError, formats.write, exported, "onnx", tmp_path / "x.onnx")
    assert "training mode" in message


@needs_onnx
def test_weights_keep_their_names():
    import onnx

    source = sampler("r3gan")
    model = onnx.load_from_string(formats.onnx_content(subject.of_sampler(source)))
    names = {tensor.name for tensor in model.graph.initializer}
    assert {p.name for p in source.net.get_parameters()} <= names


# --- the page -------------------------------------------------------------------------------------


@needs_onnx
def test_the_example_draws_digits_without_mindspore(tmp_path, monkeypatch, capsys):
    """The Python block of docs/export.md, in a process that cannot import MindSpore."""
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"^```python\n(.*?)^```$", page, re.S | re.M)
    assert len(body.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "--pretrained", "mnist", "--device", "CPU"]) == 0
    blocked = "import sys; sys.modules['mindspore'] = sys.modules['ms_gan'] = None\n"
    subprocess.run([sys.executable, "-c", blocked + body], check=True, cwd=tmp_path)
    import PIL.Image

    (picture,) = tmp_path.glob("*.png")
    pixels = np.asarray(PIL.Image.open(picture))
    assert pixels.shape == (280, 280) and pixels.std() > 50
    images = pixels.reshape(10, 28, 10, 28).swapaxes(1, 2).reshape(100, 1, 28, 28)
    net, _ = classifier.load(shipped.ASSETS / shipped.CLASSIFIERS["mnist"])
    found = classifier.predict(net, images)[1].argmax(axis=1)
    assert np.mean(found == np.arange(100) // 10) > 0.9  # a row for each digit
