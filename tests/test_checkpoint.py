"""One .ckpt file: readable by plain MindSpore, whole or not at all, and refused in one line."""

import os
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, nn, ops

from ms_gan import build
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, Part
from ms_gan.runs import checkpoint, sampling
from ms_gan.runs.checkpoint import CheckpointError
from ms_gan.training import cells
from tests.conftest import ROOT

SHAPE = (1, 6, 6)
SMALL = Config("small", model=Part("gan", {"latent_dim": 5, "g_widths": [8, 7], "d_widths": [6]}))


def meta(config=SMALL, shape=SHAPE):
    return {
        "config": reader.to_dict(config),
        "image_shape": list(shape),
        "num_classes": 0,
        "step": 3,
    }


def pair(seed=0, config=SMALL):
    """The pair under its names `generator.…` and `discriminator.…`, every number random."""
    gan = cells.GAN(
        build.build_net(config, "generator", SHAPE, 0),
        build.build_net(config, "discriminator", SHAPE, 0),
    )
    randomise(gan, seed)
    return gan


def randomise(net, seed):
    rng = np.random.default_rng(seed)
    for p in net.get_parameters():
        if "variance" in p.name:
            numbers = rng.uniform(0.5, 1.5, p.shape)
        else:
            numbers = rng.standard_normal(p.shape) / np.sqrt(p.shape[-1] if p.ndim == 2 else 4)
        p.set_data(ms.Tensor(numbers.astype(np.float32)))


def values(net):
    return {p.name: p.asnumpy().copy() for p in net.get_parameters()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def refused(function, *args):
    with pytest.raises(CheckpointError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def saved(tmp_path):
    """A file of a whole pair, and the pair."""
    gan = pair()
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, gan.get_parameters(), meta())
    return path, gan


# --- what is right --------------------------------------------------------------------------------


def test_round_trip(saved):
    path, gan = saved
    arrays, info = checkpoint.load(path)
    assert same(arrays, values(gan))
    assert info == meta()
    assert os.listdir(path.parent) == [path.name]


def test_meta_data_keep_their_types(tmp_path):
    info = {"text": 'ä "x"\n', "list": [1, 2.5, None, True], "big": 2**60, "small": 1e-300}
    checkpoint.save(tmp_path / "a.ckpt", [Parameter(ms.Tensor([1.0]), name="w")], info)
    assert checkpoint.load(tmp_path / "a.ckpt")[1] == info


def test_integers_and_scalars_are_kept(tmp_path):
    entries = [
        Parameter(ms.Tensor(7, ms.int32), name="steps"),
        Parameter(ms.Tensor(0.25, ms.float32), name="power"),
    ]
    checkpoint.save(tmp_path / "a.ckpt", entries, {})
    arrays, _ = checkpoint.load(tmp_path / "a.ckpt")
    assert arrays["steps"].dtype == np.int32 and arrays["steps"] == 7
    assert arrays["power"].dtype == np.float32 and arrays["power"] == 0.25


def test_plain_mindspore_reads_it(saved):
    path, gan = saved
    entries = ms.load_checkpoint(str(path))
    other = pair(seed=1)
    assert not same(values(other), values(gan))
    missing, _ = ms.load_param_into_net(other, entries)
    assert missing == []
    assert same(values(other), values(gan))
    assert {name.split(".")[0] for name in values(other)} == {"generator", "discriminator"}


def test_restore(saved):
    path, gan = saved
    other = pair(seed=1)
    checkpoint.restore(other.get_parameters(), checkpoint.load(path)[0], path)
    assert same(values(other), values(gan))


def test_anyone_may_read_it(saved):
    assert stat.S_IMODE(saved[0].stat().st_mode) == 0o644


def test_save_replaces_an_older_file(saved):
    path, _ = saved
    other = pair(seed=1)
    checkpoint.save(path, other.get_parameters(), {"step": 4})
    arrays, info = checkpoint.load(path)
    assert same(arrays, values(other)) and info == {"step": 4}


# --- files that are none --------------------------------------------------------------------------


def record_ends(raw):
    """Offsets at which one protobuf record of the file ends: a cut there leaves a valid file."""
    ends, at = [], 0
    while at < len(raw):
        assert raw[at] == 0x0A  # field 1, length-delimited
        at, length, shift = at + 1, 0, 0
        while True:
            byte = raw[at]
            length |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                break
        at += length
        ends.append(at)
    return ends


def test_truncated_anywhere(saved):
    path, gan = saved
    raw = path.read_bytes()
    ends = record_ends(raw)
    assert ends[-1] == len(raw)
    lengths = {0, 1, 2, 17, 100, len(raw) // 3, len(raw) // 2, len(raw) - 100, len(raw) - 1}
    for length in sorted(lengths - set(ends)):
        path.write_bytes(raw[:length])
        assert refused(checkpoint.load, path).startswith(f"{path}: ")


def test_truncated_between_two_records(saved):
    """MindSpore reads such a file without complaint: it lacks parameters, which restore sees."""
    path, gan = saved
    raw = path.read_bytes()
    for length in record_ends(raw)[:-2]:
        path.write_bytes(raw[:length])
        before = values(gan)

        def load_and_restore():
            checkpoint.restore(gan.get_parameters(), checkpoint.load(path)[0], path)

        assert refused(load_and_restore).startswith(f"{path}: of another architecture: has no ")
        assert same(values(gan), before)


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes(tmp_path, seed):
    path = tmp_path / "a.ckpt"
    path.write_bytes(np.random.default_rng(seed).bytes(10 ** (seed + 1)))
    assert refused(checkpoint.load, path).startswith(f"{path}: not a whole MindSpore checkpoint")
    assert refused(build.load_generator, path).startswith(f"{path}: ")


def test_damaged_in_the_middle(saved):
    """Flipped bytes may hit a number, which nobody can see; but never another kind of error."""
    path, _ = saved
    raw = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(25):
        damaged = bytearray(raw)
        for at in rng.integers(len(raw), size=40):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            build.load_generator(path)
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.ckpt", b"", "not a whole MindSpore checkpoint"),
        ("a.ckpt", b"hello world\n" * 100, "not a whole MindSpore checkpoint"),
        ("a.ckpt", b"name: gan\n", "not a whole MindSpore checkpoint"),
        ("a.txt", b"hello", "not a checkpoint; expected a file that ends in .ckpt"),
        ("a.ckpt", None, "no such file"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, name, content, expected):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (checkpoint.load, build.load_generator):
        assert refused(function, path).startswith(f"{path}: {expected}")


def test_directories(tmp_path, saved):
    (tmp_path / "d.ckpt").mkdir()
    assert refused(checkpoint.load, tmp_path / "d.ckpt").startswith(f"{tmp_path / 'd.ckpt'}: ")
    below = saved[0] / "b.ckpt"
    assert refused(checkpoint.load, below).startswith(f"{below}: ")


# --- of another architecture ----------------------------------------------------------------------


def test_a_missing_name_changes_nothing(saved):
    path, gan = saved
    arrays, _ = checkpoint.load(path)
    other = pair(seed=1)
    before = values(other)
    last = list(arrays)[-1]
    del arrays[last]
    message = refused(checkpoint.restore, other.get_parameters(), arrays, path)
    assert message.startswith(f"{path}: of another architecture: has no '{last}' (1 of ")
    assert same(values(other), before)


def test_a_wrong_shape_changes_nothing(saved):
    path, gan = saved
    arrays, _ = checkpoint.load(path)
    other = pair(seed=1)
    before = values(other)
    last = list(arrays)[-1]
    arrays[last] = np.zeros((*arrays[last].shape, 1), np.float32)
    message = refused(checkpoint.restore, other.get_parameters(), arrays, path)
    assert message.startswith(f"{path}: of another architecture: '{last}' has shape ")
    assert same(values(other), before)


def test_more_than_is_needed_is_no_error(saved):
    path, gan = saved
    arrays, _ = checkpoint.load(path)
    other = pair(seed=1)
    generator = {k: v for k, v in values(gan).items() if k.startswith("generator.")}
    checkpoint.restore(other.generator.get_parameters(), arrays, path)
    assert same(values(other.generator), generator)


# --- writing --------------------------------------------------------------------------------------

LIMITED = """
import resource, signal, sys
import ms_gan
import numpy as np
import mindspore as ms
from ms_gan.runs import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
parameters = [ms.Parameter(ms.Tensor(np.ones((100, 100), np.float32)), name="w")]
try:
    checkpoint.save(sys.argv[1], parameters, {"step": 2})
except OSError as error:
    print(error)
"""


def test_full_disk(tmp_path):
    pytest.importorskip("resource")
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, [Parameter(ms.Tensor([1.0, 2.0]), name="w")], {"step": 1})
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1 and str(path) in done.stdout
    assert done.stderr == ""
    arrays, info = checkpoint.load(path)
    assert arrays["w"].tolist() == [1.0, 2.0] and info == {"step": 1}
    assert os.listdir(tmp_path) == ["a.ckpt"]


KILLED = """
import sys
import ms_gan
import numpy as np
import mindspore as ms
from ms_gan.runs import checkpoint
parameters = [ms.Parameter(ms.Tensor(np.ones((4000, 1000), np.float32)), name="w")]
print("ready", flush=True)
while True:
    checkpoint.save(sys.argv[1], parameters, {"step": 2})
"""


def test_killed_while_saving(tmp_path):
    """Whatever the kill hits, a whole file lies there."""
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, [Parameter(ms.Tensor([1.0, 2.0]), name="w")], {"step": 1})
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        while not list(tmp_path.glob(".a.*")) and process.poll() is None:
            pass
        process.kill()
    assert process.returncode == -signal.SIGKILL
    arrays, info = checkpoint.load(path)
    assert (info, arrays["w"].size) in (({"step": 1}, 2), ({"step": 2}, 4_000_000))


def test_a_folder_that_does_not_exist(tmp_path):
    parameters = [Parameter(ms.Tensor([1.0]), name="w")]
    with pytest.raises(OSError):
        checkpoint.save(tmp_path / "no" / "a.ckpt", parameters, {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        checkpoint.save(tmp_path / "file" / "a.ckpt", parameters, {})
    assert os.listdir(tmp_path) == ["file"]


# --- generators -----------------------------------------------------------------------------------


def test_a_generator_from_its_file_alone(tmp_path):
    gan = pair()
    path = tmp_path / "generator.ckpt"
    checkpoint.save(path, gan.generator.get_parameters(), meta())
    generator, latent_dim, info = build.load_generator(path)
    assert (latent_dim, info) == (5, meta())
    z = sampling.latents(1, 6, latent_dim)
    images = sampling.generate(generator, z)
    assert images.shape == (6, *SHAPE)
    np.testing.assert_array_equal(images, sampling.generate(gan.generator, z))


def test_the_average_is_preferred(tmp_path):
    gan, average = pair(), build.build_sampler(SMALL, SHAPE, 0)
    randomise(average, 5)
    path = tmp_path / "step_0000003.ckpt"
    checkpoint.save(path, [*gan.get_parameters(), *average.get_parameters()], meta())
    generator, _, _ = build.load_generator(path)
    z = sampling.latents(1, 4, 5)
    images = sampling.generate(generator, z)
    np.testing.assert_array_equal(images, sampling.generate(average.average, z))
    newest = sampling.generate(gan.generator, z)
    assert not np.allclose(images, newest)
    generator, _, _ = build.load_generator(path, averaged=False)
    np.testing.assert_array_equal(sampling.generate(generator, z), newest)


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": {}},
        {"config": {"name": "x", "model": "of_tomorrow"}},
        {"config": {"name": "x", "new_key": 1}},
        {"image_shape": None},
        {"num_classes": ()},
    ],
)
def test_meta_data_of_another_version(tmp_path, changes):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, pair().generator.get_parameters(), {**meta(), **changes})
    try:
        build.load_generator(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert list(changes) == ["num_classes"]


@pytest.mark.parametrize("info", [[], [1], "text", 3, {}, {"step": 1}])
def test_meta_data_of_another_program(tmp_path, info):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, pair().generator.get_parameters(), info)
    assert refused(build.load_generator, path).startswith(f"{path}: ")


def test_a_generator_of_another_architecture(tmp_path):
    path = tmp_path / "a.ckpt"
    other = Config("o", model=Part("gan", {"latent_dim": 5, "g_widths": [8, 7, 6]}))
    checkpoint.save(path, pair().generator.get_parameters(), meta(other))
    message = refused(build.load_generator, path)
    assert message.startswith(f"{path}: of another architecture: has no ")


# --- the tutorial's files -------------------------------------------------------------------------


class TutorialGenerator(nn.Cell):
    """As the MindSpore tutorial "GAN Image Generation" has it."""

    def __init__(self, latent_size, auto_prefix=True):
        super().__init__(auto_prefix=auto_prefix)
        self.model = nn.SequentialCell()
        self.model.append(nn.Dense(latent_size, 128))
        self.model.append(nn.ReLU())
        self.model.append(nn.Dense(128, 256))
        self.model.append(nn.BatchNorm1d(256))
        self.model.append(nn.ReLU())
        self.model.append(nn.Dense(256, 512))
        self.model.append(nn.BatchNorm1d(512))
        self.model.append(nn.ReLU())
        self.model.append(nn.Dense(512, 1024))
        self.model.append(nn.BatchNorm1d(1024))
        self.model.append(nn.ReLU())
        self.model.append(nn.Dense(1024, 28 * 28))
        self.model.append(nn.Tanh())

    def construct(self, x):
        img = self.model(x)
        return ops.reshape(img, (-1, 1, 28, 28))


class TutorialDiscriminator(nn.Cell):
    def __init__(self, auto_prefix=True):
        super().__init__(auto_prefix=auto_prefix)
        self.model = nn.SequentialCell()
        self.model.append(nn.Dense(28 * 28, 512))
        self.model.append(nn.LeakyReLU())
        self.model.append(nn.Dense(512, 256))
        self.model.append(nn.LeakyReLU())
        self.model.append(nn.Dense(256, 1))
        self.model.append(nn.Sigmoid())

    def construct(self, x):
        return self.model(ops.reshape(x, (-1, 28 * 28)))


def as_in_the_tutorial(net, name, path):
    net.update_parameters_name(name)
    optimizer = nn.Adam(net.trainable_params(), learning_rate=2e-4, beta1=0.5, beta2=0.999)
    optimizer.update_parameters_name(f"optim_{name[0]}")
    ms.save_checkpoint(net, str(path))


def test_the_tutorials_generator(tmp_path):
    net = TutorialGenerator(100)
    randomise(net, 2)
    path = tmp_path / "Generator199.ckpt"
    as_in_the_tutorial(net, "generator", path)
    names = set(ms.load_checkpoint(str(path)))
    assert "optim_ggeneratormodel.0.weight" in names  # what learners have on their disks
    assert "generatormodel.3.moving_mean" in names
    generator, latent_dim, info = build.load_generator(path)
    assert (latent_dim, info["image_shape"]) == (100, [1, 28, 28])
    z = sampling.latents(3, 7, 100)
    images = sampling.generate(generator, z)
    net.set_train(False)
    expected = net(ms.Tensor(z)).asnumpy()
    assert 0.1 < expected.std() < 0.9  # neither dead nor saturated
    np.testing.assert_allclose(images, expected, atol=1e-6)


def test_the_tutorials_discriminator_is_no_generator(tmp_path):
    path = tmp_path / "Discriminator199.ckpt"
    as_in_the_tutorial(TutorialDiscriminator(), "discriminator", path)
    message = refused(build.load_generator, path)
    assert message.startswith(f"{path}: not of ms_gan and not a Generator*.ckpt")


def test_names_of_another_program_are_not_the_tutorials():
    arrays = {"conv1.weight": np.zeros(1), "models.0.weight": np.zeros(1)}
    assert checkpoint.from_tutorial(arrays) == {}
    assert list(checkpoint.from_tutorial({"generator.model.0.weight": np.zeros(1)})) == [
        "generator.model.0.weight"
    ]
