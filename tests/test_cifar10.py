"""CIFAR-10 in every way in which people have it, and what is no CIFAR-10."""

import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ms_gan import data
from ms_gan.data import DataError, cifar10
from tests import tiny

CLASSES = cifar10.CLASSES


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty working folder and cache, no environment variable."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MS_GAN_DATA", raising=False)


def some(num, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (num, 3, 32, 32), np.uint8)
    return images, rng.permutation(np.arange(num) % 10)


SETS = {"train": some(50, 0), "test": some(20, 1)}


def parts():
    """(name of the batch, images, labels)"""
    images, labels = SETS["train"]
    for i in range(5):
        rows = slice(10 * i, 10 * i + 10)
        yield f"data_batch_{i + 1}", images[rows], labels[rows]
    yield "test_batch", *SETS["test"]


def write_python(folder, protocol=2, keys=str.encode):
    folder.mkdir(parents=True)
    for name, images, labels in parts():
        batch = {"batch_label": name, "labels": labels.tolist(), "data": images.reshape(-1, 3072)}
        batch = {keys(key): value for key, value in batch.items()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    (folder / "batches.meta").write_bytes(b"not read")


def write_binary(folder):
    folder.mkdir(parents=True)
    for name, images, labels in parts():
        rows = np.concatenate([labels.astype(np.uint8)[:, None], images.reshape(-1, 3072)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


def write_pictures(folder, ending="png"):
    """In an order of files that is not that of SETS; returns nothing."""
    for split, (images, labels) in SETS.items():
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / split / CLASSES[label] / f"{i:04d}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    (folder / "README.md").write_text("a text")


def pack(folder, archive, mode, prefix=""):
    with tarfile.open(archive, f"w:{mode}") as target:
        for path in sorted(folder.rglob("*"), reverse=True):
            target.add(path, f"{prefix}{path.relative_to(folder)}", recursive=False)


def assert_whole(root, order="batches", **options):
    """Both splits are SETS, by batches in their order, by pictures class after class."""
    for split, (images, labels) in SETS.items():
        found = data.load("cifar10", root=root, split=split, **options)
        rows = (
            np.arange(len(labels))
            if order == "batches"
            else np.lexsort((range(len(labels)), labels))
        )
        assert found.name == "cifar10" and found.classes == CLASSES and found.names == ()
        assert found.images.dtype == np.uint8 and found.labels.dtype == np.int32
        np.testing.assert_array_equal(found.images, images[rows])
        np.testing.assert_array_equal(found.labels, labels[rows])
    return found


def refused(root, *words, **options):
    line = tiny.refused(DataError, data.load, "cifar10", root=root, **options)
    assert line.count("; ") >= 2 and "expected" in line, line
    for word in words:
        assert str(word) in line, line
    return line


# ---- every form --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("keys", [str, str.encode])
def test_batches_for_python(tmp_path, protocol, keys):
    write_python(tmp_path / "cifar-10-batches-py", protocol, keys)
    found = assert_whole(tmp_path)
    assert str(tmp_path / "cifar-10-batches-py") in found.source and set(found.md5) == {
        "test_batch"
    }
    assert_whole(tmp_path / "cifar-10-batches-py")


def test_batches_that_python_2_wrote(tmp_path):
    """Texts of Python 2 are bytes for Python 3; opcodes by hand."""
    pixels = np.arange(3072, dtype=np.uint8).reshape(1, -1)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I1\nI3072\nt"
        b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nT"
        + (3072).to_bytes(4, "little")
        + pixels.tobytes()
        + b"tb"
    )
    content = b"(dS'data'\n" + array + b"sS'labels'\n(lI7\nas."
    images, labels = cifar10.of_pickle("x", content)
    np.testing.assert_array_equal(images.ravel(), pixels.ravel())
    assert labels.tolist() == [7]


def test_batches_for_c(tmp_path):
    write_binary(tmp_path / "data" / "cifar-10-batches-bin")
    assert_whole(tmp_path / "data")


@pytest.mark.parametrize("ending", ["png", "bmp"])
def test_pictures_in_folders(tmp_path, ending):
    write_pictures(tmp_path / "CIFAR-10" / "images" / "..", ending)
    assert_whole(tmp_path, "pictures")
    found = assert_whole(tmp_path / "CIFAR-10", "pictures")
    assert found.found.classes == dict.fromkeys(CLASSES, 2)


@pytest.mark.parametrize("mode, ending", [("", "tar"), ("gz", "tar.gz"), ("xz", "tar.xz")])
@pytest.mark.parametrize("prefix", ["", "./", "cifar10/", "a/b/"])
def test_pictures_in_an_archive_are_those_of_the_folder(tmp_path, mode, ending, prefix):
    write_pictures(tmp_path / "cifar10")
    folder = data.load("cifar10", root=tmp_path)
    (tmp_path / "packed" / "cifar10").mkdir(parents=True)
    pack(tmp_path / "cifar10", tmp_path / "packed" / "cifar10" / f"cifar10.{ending}", mode, prefix)
    found = assert_whole(tmp_path / "packed", "pictures")
    assert f"cifar10.{ending} in {tmp_path / 'packed' / 'cifar10'}" in found.source
    archive = data.load("cifar10", root=tmp_path / "packed")
    assert archive.found.sizes == "32x32 pixels"
    if not prefix:
        assert archive.md5 == folder.md5


def test_an_archive_is_decoded_once(tmp_path):
    write_pictures(tmp_path / "cifar10")
    pack(tmp_path / "cifar10", tmp_path / "cifar-10.tgz", "gz")
    shutil.rmtree(tmp_path / "cifar10")
    said = []
    first, again = (data.load("cifar10", root=tmp_path, say=said.append) for _ in range(2))
    assert sum("reading" in line for line in said) == 1 and "decoded before" in said[-1]
    assert np.array_equal(first.images, again.images) and first.md5 == again.md5
    assert first.source == again.source and first.described() == again.described()
    images, labels = SETS["train"]
    SETS["train"] = images[::-1], labels[::-1]
    try:
        write_pictures(tmp_path / "other")
        pack(tmp_path / "other", tmp_path / "cifar-10.tgz", "gz")
        assert_whole(tmp_path, "pictures")  # a changed archive is noticed
    finally:
        SETS["train"] = images, labels


def test_batches_in_an_archive(tmp_path):
    write_python(tmp_path / "a")
    pack(tmp_path / "a", tmp_path / "cifar-10-python.tar.gz", "gz", "cifar-10-batches-py/")
    assert_whole(tmp_path / "cifar-10-python.tar.gz")  # the file itself
    found = assert_whole(tmp_path)
    assert found.source == f"test batches of cifar-10-python.tar.gz in {tmp_path}"
    write_binary(tmp_path / "b")
    pack(tmp_path / "b", tmp_path / "own.tar.xz", "xz")
    assert_whole(tmp_path / "own.tar.xz")


def test_size_and_channels(tmp_path):
    write_python(tmp_path / "cifar10")
    grey = data.load("cifar10", root=tmp_path, size=[16, 24], channels=1)
    assert grey.images.shape == (50, 1, 16, 24)
    train, test = data.splits("cifar10", root=tmp_path)
    assert (len(train), len(test)) == (50, 20)


# ---- where it is -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cifar10", "CIFAR-10", "cifar_10", "cifar-10-batches-py"])
def test_it_is_found_where_mnist_is(tmp_path, monkeypatch, name):
    places = {"env": tmp_path / "env", "data": Path("data"), "cache": tmp_path / "cache" / "ms_gan"}
    for place in places.values():
        write_python(place / name)
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env"))
    assert str(tmp_path / "env") in data.load("cifar10").source
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env" / name))
    assert str(tmp_path / "env") in data.load("cifar10").source
    monkeypatch.delenv("MS_GAN_DATA")
    assert data.load("cifar10").source.endswith(f"in {places['data'] / name}")
    shutil.rmtree("data")
    assert str(places["cache"]) in data.load("cifar10").source


def test_what_is_not_there_is_said(tmp_path, monkeypatch):
    line = refused(None, tmp_path / "cache" / "ms_gan" / "cifar10", "not downloaded")
    assert "cifar-10-batches-py" in line and "MS_GAN_DATA" in line
    refused(tmp_path / "none", "no such folder")
    write_python(tmp_path / "data" / "cifar-100-python")
    refused(tmp_path / "data", "no CIFAR-10")
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "data"))
    refused(None, tmp_path / "data" / "cifar10")


# ---- what is no CIFAR-10 -----------------------------------------------------------------------


class Calls:
    """A pickle that would run a command."""

    def __init__(self, function, *words):
        self.call = function, words

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function, words, named", [
    (os.system, ("touch ran",), "system"), (eval, ("open('ran', 'w')",), "eval"),
    (np.load, ("x.npy",), "load"), (open, ("ran", "w"), "open"),
])  # fmt: skip
def test_a_pickle_that_calls_something_is_refused(tmp_path, function, words, named):
    write_python(tmp_path / "cifar10")
    content = pickle.dumps({"data": Calls(function, *words), "labels": [0]}, protocol=2)
    (tmp_path / "cifar10" / "data_batch_2").write_bytes(content)
    line = refused(tmp_path, tmp_path / "cifar10" / "data_batch_2", "asks for", named)
    assert not Path("ran").exists() and "arrays and texts" in line


def test_a_codec_that_unpacks_is_refused():
    import _codecs

    content = pickle.dumps({"data": Calls(_codecs.encode, "x", "rot13"), "labels": [0]}, protocol=2)
    assert "the codec rot13" in tiny.refused(DataError, cifar10.of_pickle, "x", content)


def batch(**changes):
    images, labels = SETS["test"]
    held = {b"data": images.reshape(-1, 3072), b"labels": labels.tolist(), **changes}
    return pickle.dumps({k if isinstance(k, bytes) else k.encode(): v for k, v in held.items()})


@pytest.mark.parametrize("content, words", [
    (b"", "no whole pickle"), (b"<html>404</html>", "no whole pickle"),
    (batch()[:-100], "no whole pickle"), (pickle.dumps([1, 2]), "no batch"),
    (batch(data=np.zeros((20, 3071), np.uint8)), "no batch"),
    (batch(data=np.zeros((19, 3072), np.uint8)), "no batch"),
    (batch(data=np.zeros((20, 3072))), "no batch"), (batch(data=None), "no batch"),
    (batch(labels=[[1], [1, 2]]), "no batch"), (batch(labels=["cat"] * 20), "no batch"),
    (batch(labels=[10] * 20), "labels 10 to 10"), (batch(labels=[-1] * 20), "labels -1"),
    (batch(labels=[], data=np.zeros((0, 3072), np.uint8)), "no batch"),
])  # fmt: skip
def test_a_damaged_batch_is_one_line(tmp_path, content, words):
    write_python(tmp_path / "cifar10")
    (tmp_path / "cifar10" / "data_batch_4").write_bytes(content)
    assert refused(tmp_path, words).startswith(f"{tmp_path / 'cifar10' / 'data_batch_4'}: ")


def test_batches_that_are_missing_or_cut(tmp_path):
    write_binary(tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(tmp_path, path, f"{len(whole) - 1:,} bytes", "a multiple of 3,073")
    path.write_bytes(b"\x0b" + whole[1:])
    refused(tmp_path, path, "to 11")
    path.unlink()
    refused(tmp_path, "without data_batch_3.bin")
    (tmp_path / "cifar10" / "test_batch.bin").unlink()
    refused(tmp_path, "without test_batch.bin", split="test")


def test_archives_that_are_damaged_or_hold_something_else(tmp_path):
    write_pictures(tmp_path / "p")
    pack(tmp_path / "p", tmp_path / "cifar10.tar.gz", "gz")
    content = (tmp_path / "cifar10.tar.gz").read_bytes()
    for damaged in (content[: len(content) // 2], b"no archive", b""):
        (tmp_path / "cifar10.tar.gz").write_bytes(damaged)
        refused(tmp_path, tmp_path / "cifar10.tar.gz", "a damaged archive")
    for ending in ("txt", "png"):  # nothing, then pictures of no class
        (tmp_path / "q").mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "q" / f"a.{ending}", format="PNG")
        pack(tmp_path / "q", tmp_path / "cifar10.tar.gz", "gz")
        refused(
            tmp_path,
            tmp_path / "cifar10.tar.gz",
            {"txt": "no CIFAR-10", "png": "0 classes"}[ending],
        )


def test_pictures_of_other_classes_or_sizes(tmp_path):
    write_pictures(tmp_path / "cifar10")
    for split in ("train", "test"):
        (tmp_path / "cifar10" / split / "cat").rename(tmp_path / "cifar10" / split / "kitten")
    refused(tmp_path, tmp_path / "cifar10", "10 classes, without cat", "airplane, automobile")
    for split in ("train", "test"):
        (tmp_path / "cifar10" / split / "kitten").rename(tmp_path / "cifar10" / split / "cat")
    Image.new("RGB", (40, 32)).save(tmp_path / "cifar10" / "train" / "cat" / "x.png")
    refused(tmp_path, "32x32 to 40x32", "image_folder")


# ---- the real set ------------------------------------------------------------------------------


def test_the_real_test_images():
    root = tiny.real("cifar10")
    test = data.load("cifar10", root=root, split="test")
    assert test.images.shape == (10000, 3, 32, 32)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    planes, frogs = (test.images[test.labels == CLASSES.index(n)] for n in ("airplane", "frog"))
    assert planes[:, 2].mean() > planes[:, 0].mean()  # the sky is blue
    assert frogs[:, 2].mean() < frogs[:, 0].mean()
