"""One .ckpt file: readable by plain MindSpore, whole or not at all, and refused in one line."""

import os
import signal
import stat
from functools import partial

import numpy as np
import pytest

import mindspore as ms
from mindspore import Parameter, nn, ops

from ms_gan import build
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, Part
from ms_gan.runs import checkpoint, sampling, tutorials
from ms_gan.runs.checkpoint import CheckpointError
from ms_gan.training import cells
from tests import tiny
from tests.tiny import python, randomise, values

SHAPE = (1, 6, 6)
SMALL = Config("small", model=Part("gan", {"latent_dim": 5, "g_widths": [8, 7], "d_widths": [6]}))


CHECKSUM = 17  # bytes at the end of a file
refused = partial(tiny.refused, CheckpointError)


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
    return randomise(gan, seed)


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


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


KINDS = ("frame", "name", "dims", "type", "numbers", "meta", "digest", "checksum")


def varint(raw, at):
    """The number that protobuf has written there, and where it ends."""
    number = shift = 0
    while True:
        byte = raw[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at


def anatomy(raw):
    """What the bytes of a file are: kind -> positions; and where each of its records ends."""
    kinds = {k: [] for k in KINDS}
    ends, name = [], b""

    def walk(at, end, fields):
        nonlocal name
        while at < end:
            key, payload = varint(raw, at)
            number, after = varint(raw, payload)
            if key & 7 == 0:  # a whole number
                kinds["frame"].append(at)
                kinds["dims"] += range(payload, after)
                at = after
                continue
            field, at = fields[key >> 3], after + number
            kinds["frame"] += range(payload - 1, after)  # key and length
            if isinstance(field, dict):
                walk(after, at, field)
            else:
                name = raw[after:at] if field == "name" else name
                if field == "numbers":
                    field = {b"ms_gan": "meta", b"ms_gan.sha256": "digest"}.get(name, field)
                kinds[field] += range(after, at)
            if fields is file:
                ends.append(at)

    file = {1: {1: "name", 2: {2: "type", 3: "numbers"}}}
    walk(0, len(raw) - CHECKSUM, file)
    kinds["checksum"] = [*range(len(raw) - CHECKSUM, len(raw))]
    assert sorted(at for positions in kinds.values() for at in positions) == [*range(len(raw))]
    return kinds, ends


def test_truncated_anywhere(saved):
    path, gan = saved
    raw = path.read_bytes()
    ends = anatomy(raw)[1]
    lengths = {0, 1, 2, 17, 100, len(raw) // 3, len(raw) // 2, len(raw) - 100}
    lengths |= set(range(ends[-1] + 1, len(raw)))  # in the checksum
    for length in sorted(lengths - set(ends)):
        path.write_bytes(raw[:length])
        assert refused(checkpoint.load, path).startswith(f"{path}: ")


def test_truncated_between_two_records(saved):
    """MindSpore reads such a file without complaint: it lacks parameters, which restore sees."""
    path, gan = saved
    raw = path.read_bytes()
    ends = anatomy(raw)[1]
    for length in ends[-2:]:  # checksums alone are gone: as files until 0.1
        path.write_bytes(raw[:length])
        assert same(checkpoint.load(path)[0], values(gan)) and checkpoint.load(path)[1] == meta()
    for length in ends[:-3]:
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
    assert refused(build.load_sampler, path).startswith(f"{path}: ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tail", [True, False])
def test_one_damaged_byte_is_refused(saved, kind, tail):
    """Also by the sha256 alone, where the last bytes, MindSpore's CRC-32, are gone."""
    path, _ = saved
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    kinds, ends = anatomy(raw)
    if not tail:
        raw = raw[: ends[-1]]
        if kind == "checksum":
            return
    positions = [at for at in kinds[kind] if tail or at < ends[-2] or kind == "digest"]
    for at in rng.choice(positions, 10, replace=False):
        damaged = bytearray(raw)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        for load in (checkpoint.load, build.load_sampler):
            assert refused(load, path).startswith(f"{path}: not a whole MindSpore checkpoint"), at


@pytest.mark.parametrize("kind", ["name", "type", "numbers", "meta"])
def test_one_damaged_byte_without_a_checksum(tmp_path, kind):
    """As files until 0.1: nobody can see a wrong number, everything else is refused or harmless."""
    path, generator = tmp_path / "a.ckpt", pair().generator
    checkpoint.save(path, generator.get_parameters(), meta())
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    kinds, ends = anatomy(raw)
    positions = [at for at in kinds[kind] if at < ends[-2]]
    whole, refusals, changed = [*values(generator).values()], 0, 0
    for at in rng.choice(positions, 20, replace=False):
        damaged = bytearray(raw[: ends[-2]])
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            found = [*values(build.load_sampler(path).net).values()]
        except CheckpointError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refusals += 1
        else:
            changed += sum(a.tobytes() != b.tobytes() for a, b in zip(found, whole, strict=True))
    if kind == "numbers":
        assert (refusals, changed) == (0, 20)
    elif kind == "meta":  # such as another seed, or another letter of a name
        assert refusals > 10 and changed == 0
    else:
        assert (refusals, changed) == (20, 0)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.ckpt", b"", "is an empty file; expected a checkpoint of MindSpore"),
        ("a.ckpt", b"hello world\n" * 100, "is a text that begins with 'hello world'"),
        ("a.ckpt", b"name: gan\n", "is a text that begins with 'name: gan'"),
        ("a.ckpt", b"\x01\x02\xff" * 50, "not a whole MindSpore checkpoint"),
        ("a.txt", b"hello", "is a text that begins with 'hello'; expected a checkpoint"),
        ("a.ckpt", None, "no such file"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, name, content, expected):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for function in (checkpoint.load, build.load_sampler):
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
    process = python("-c", LIMITED, path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert len(out.splitlines()) == 1 and str(path) in out
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
    with python("-c", KILLED, path) as process:
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
    sampler = build.load_sampler(path)
    assert (sampler.latent_dim, sampler.num_classes, sampler.image_shape) == (5, 0, SHAPE)
    assert sampler.meta == meta()
    images, labels = sampler.samples(1, 6)
    assert images.shape == (6, *SHAPE) and labels is None
    z = sampling.latents(1, 6, 5)
    np.testing.assert_array_equal(images, sampling.generate(gan.generator, z))


def test_the_average_is_preferred(tmp_path):
    gan = pair()
    average = cells.Average(build.frozen(build.build_net(SMALL, "generator", SHAPE, 0)))
    randomise(average, 5)
    path = tmp_path / "step_0000003.ckpt"
    checkpoint.save(path, [*gan.get_parameters(), *average.get_parameters()], meta())
    z = sampling.latents(1, 4, 5)
    images, _ = build.load_sampler(path).samples(1, 4)
    np.testing.assert_array_equal(images, sampling.generate(average.average, z))
    newest = sampling.generate(gan.generator, z)
    assert not np.allclose(images, newest)
    images, _ = build.load_sampler(path, averaged=False).samples(1, 4)
    np.testing.assert_array_equal(images, newest)


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
        build.load_sampler(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert list(changes) == ["num_classes"]


@pytest.mark.parametrize("info", [[], [1], "text", 3, {}, {"step": 1}])
def test_meta_data_of_another_program(tmp_path, info):
    path = tmp_path / "a.ckpt"
    checkpoint.save(path, pair().generator.get_parameters(), info)
    assert refused(build.load_sampler, path).startswith(f"{path}: ")


def test_a_generator_of_another_architecture(tmp_path):
    path = tmp_path / "a.ckpt"
    other = Config("o", model=Part("gan", {"latent_dim": 5, "g_widths": [8, 7, 6]}))
    checkpoint.save(path, pair().generator.get_parameters(), meta(other))
    message = refused(build.load_sampler, path)
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
    net = randomise(TutorialGenerator(100), 2, scale=0.15)
    path = tmp_path / "Generator199.ckpt"
    as_in_the_tutorial(net, "generator", path)
    names = set(ms.load_checkpoint(str(path)))
    assert "optim_ggeneratormodel.0.weight" in names  # what learners have on their disks
    assert "generatormodel.3.moving_mean" in names
    sampler = build.load_sampler(path)
    assert (sampler.latent_dim, sampler.image_shape) == (100, (1, 28, 28))
    images, _ = sampler.samples(3, 7)
    net.set_train(False)
    expected = net(ms.Tensor(sampling.latents(3, 7, 100))).asnumpy()
    assert 0.1 < expected.std() < 0.9  # neither dead nor saturated
    np.testing.assert_allclose(images, expected, atol=1e-6)


def test_the_tutorials_discriminator_is_no_generator(tmp_path):
    path = tmp_path / "Discriminator199.ckpt"
    as_in_the_tutorial(TutorialDiscriminator(), "discriminator", path)
    message = refused(build.load_sampler, path)
    assert message.startswith(f"{path}: holds no generator but a discriminator alone")


def test_names_of_another_program_are_not_the_tutorials():
    arrays = {"conv1.weight": np.zeros(1), "models.0.weight": np.zeros(1)}
    assert tutorials.recognised(arrays) is None
    known, meta = tutorials.recognised({"generator.model.0.weight": np.zeros(1)})
    assert list(known) == ["generator.model.0.weight"] and meta["image_shape"] == [1, 28, 28]
