"""Real files, real local servers and real faults; the mirrors are data, nothing is mocked."""

import gzip
import hashlib
import io
import os
import socket
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ms_gan import data
from ms_gan.data import (
    Batches,
    DataError,
    Dataset,
    find_idx,
    load,
    read_idx,
    search,
    to_float,
)
from ms_gan.data import digits as embedded
from ms_gan.data.dataset import fit
from ms_gan.data.known import IDX_SETS
from ms_gan.errors import UserError
from ms_gan.recipe.schema import ConfigError
from tests import tiny

REAL = Path(os.environ.get("MS_GAN_DATA") or tiny.ROOT.parent / "shared" / "data")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty working folder and cache, no environment variable, no proxy."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("MS_GAN_DATA", raising=False)


def idx(array):
    shape = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def some_images(n=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), np.uint8)


def write_pair(folder, *, stem="train", joint="-", gz=False, n=20, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    pack, ending = (gzip.compress, ".gz") if gz else (bytes, "")
    for what, array in (("images", some_images(n, seed)), ("labels", np.arange(n) % 10)):
        path = folder / f"{stem}-{what}{joint}idx{array.ndim}-ubyte{ending}"
        path.write_bytes(pack(idx(array)))


CONTENT_MD5 = {  # of what `write_pair` writes by default
    "train-images-idx3-ubyte": hashlib.md5(idx(some_images())).hexdigest(),
    "train-labels-idx1-ubyte": hashlib.md5(idx(np.arange(20) % 10)).hexdigest(),
}


def refused(call, *words):
    """The one line of the DataError that `call` raises; it must hold every one of `words`."""
    line = tiny.refused(DataError, call)
    assert line.count("; ") >= 2 and "expected" in line, line
    for word in words:
        assert str(word) in line, line
    return line


def test_an_error_of_data_is_one_of_the_users_and_of_a_value():
    assert issubclass(DataError, UserError) and issubclass(DataError, ValueError)


# ---- read_idx ----------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [some_images(), np.arange(7, dtype=np.uint8)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_read_idx_tells_gzip_by_content(tmp_path, array, pack):
    for name in ("file", "file.gz"):
        (tmp_path / name).write_bytes(pack(idx(array)))
        read = read_idx(tmp_path / name)
        assert read.dtype == np.uint8 and read.flags.writeable
        np.testing.assert_array_equal(read, array)


WHOLE = idx(some_images())
PACKED = gzip.compress(WHOLE, mtime=0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["it is empty", "magic number"]),
        (b"<html>404</html>", ["it begins with 3c68746d", "00000801 or 00000803"]),
        (b"\0\0\x0d\x03" + WHOLE[4:], ["00000d03"]),  # IDX, but of floats
        (WHOLE[:-5], ["truncated", len(WHOLE) - 5, len(WHOLE)]),
        (WHOLE[:9], ["truncated", "9 bytes"]),
        (b"\0\0\x08\x03" + b"\xff" * 12, ["truncated", str(16 + (2**32 - 1) ** 3)]),
        (WHOLE + b"\n", ["trailing", len(WHOLE) + 1]),
        (PACKED[:-20], ["damaged gzip"]),
        (PACKED[:50] + b"\0\0\0\0" + PACKED[54:], ["damaged gzip"]),
        (PACKED + b"garbage", ["damaged gzip"]),
        (gzip.compress(WHOLE[:-5], mtime=0), ["truncated"]),
        (gzip.compress(b"", mtime=0), ["it is empty"]),
    ],
)
def test_read_idx_errors(tmp_path, content, words):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    assert refused(lambda: read_idx(path), *words).startswith(f"{path}: ")


def test_read_idx_missing_file_folder_and_wrong_dimensions(tmp_path):
    refused(lambda: read_idx(tmp_path / "none"), tmp_path / "none", "No such file")
    refused(lambda: read_idx(tmp_path), tmp_path, "directory")
    (tmp_path / "labels").write_bytes(idx(np.arange(4)))
    refused(lambda: read_idx(tmp_path / "labels", ndim=3), "with 00000801", "number 00000803")


# ---- find_idx ----------------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize(
    "layout",
    [".", "train", "raw", "mnist", "MNIST", "MNIST_Data", "MNIST_Data/train", "mnist_data/train"]
    + ["MNIST/raw", "mnist/raw", "mnist/train"],
)
def test_find_idx_layouts(tmp_path, layout, gz):
    root = tmp_path / "root"
    write_pair(root / layout, gz=gz)
    images, labels = find_idx(root, "train")
    assert images.parent == labels.parent == root / layout
    assert "images" in images.name and "labels" in labels.name
    assert find_idx(root, "test") is None
    own = (root / layout).resolve()
    assert find_idx(own, "train") is not None  # the innermost folder as root


@pytest.mark.parametrize(
    ("split", "stem"), [("train", "train"), ("test", "t10k"), ("test", "test")]
)
@pytest.mark.parametrize("joint", ["-", "."])
def test_find_idx_stems(tmp_path, split, stem, joint):
    write_pair(tmp_path / split, stem=stem, joint=joint, gz=True)
    images, labels = find_idx(tmp_path, split)
    assert images.name == f"{stem}-images{joint}idx3-ubyte.gz"
    assert labels.name == f"{stem}-labels{joint}idx1-ubyte.gz"


SPELLINGS = {
    "mnist": ["MNIST", "MNIST_Data", "mnist", "Mnist"],
    "fashion_mnist": ["FashionMNIST", "fashion_mnist", "fashion-mnist", "Fashion-MNIST", "fashion"],
    "kmnist": ["KMNIST", "kmnist", "Kuzushiji-MNIST"],
    "usps": ["USPS", "usps", "usps_data"],
}


@pytest.mark.parametrize("place", ["", "raw"])
def test_find_idx_takes_the_set_that_was_asked_for(tmp_path, place):
    for spellings in zip(*(SPELLINGS[name][:3] for name in SPELLINGS), strict=True):
        root = tmp_path / "-".join(spellings)
        for folder in spellings:
            write_pair(root / folder / place)
        for name, folder in zip(SPELLINGS, spellings, strict=True):
            images, _ = find_idx(root, "train", name=name)
            assert images.parent == root / folder / place


@pytest.mark.parametrize(("name", "folder"), [(n, f) for n, fs in SPELLINGS.items() for f in fs])
def test_find_idx_spellings(tmp_path, name, folder):
    write_pair(tmp_path / folder / "raw")
    assert find_idx(tmp_path, "train", name=name)
    for other in SPELLINGS.keys() - {name}:
        assert find_idx(tmp_path, "train", name=other) is None
        assert find_idx(tmp_path / folder, "train", name=other) is None
        assert find_idx(tmp_path / folder / "raw", "train", name=other) is None


def test_find_idx_prefers_raw_needs_both_and_bears_no_folder(tmp_path):
    write_pair(tmp_path, gz=True)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(WHOLE)
    images, labels = find_idx(tmp_path, "train")
    assert (images.name, labels.name) == ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz")
    labels.unlink()
    assert find_idx(tmp_path, "train") is None
    assert find_idx(tmp_path / "none", "train") is None


# ---- load: where the files are -----------------------------------------------------------------


def test_load_from_root(tmp_path):
    write_pair(tmp_path / "mnist", gz=True)
    found = load("mnist", root=tmp_path)
    assert found.name == "mnist" and len(found) == 20 and found.num_classes == 10
    assert found.images.dtype == np.uint8 and found.image_shape == (1, 28, 28)
    np.testing.assert_array_equal(found.images[:, 0], some_images())
    assert found.labels.dtype == np.int32 and found.labels.tolist() == [*range(10)] * 2
    assert found.md5 == CONTENT_MD5
    assert str(tmp_path / "mnist") in found.source


@pytest.mark.parametrize(("split", "stem"), [("train", "train"), ("test", "test")])
def test_md5_is_that_of_the_content_however_it_is_stored(tmp_path, split, stem):
    for folder, options in (("raw", {}), ("dots", {"joint": "."}), ("packed", {"gz": True})):
        write_pair(tmp_path / folder, stem=stem, **options)
    write_pair(tmp_path / "repacked", stem=stem, gz=True)
    for path in (tmp_path / "repacked").iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=7))
    own = {"train": "train", "test": "t10k"}[split]
    wanted = {name.replace("train", own): md5 for name, md5 in CONTENT_MD5.items()}
    for folder in ("raw", "dots", "packed", "repacked"):
        assert load("mnist", root=tmp_path / folder, split=split).md5 == wanted
    write_pair(tmp_path / "other", stem=stem, seed=1)
    assert load("mnist", root=tmp_path / "other", split=split).md5 != wanted


def test_load_searches_environment_then_data_then_cache(tmp_path, monkeypatch):
    places = [tmp_path / "env", Path("data"), tmp_path / "cache" / "ms_gan"]
    for seed, place in enumerate(places, start=1):
        write_pair(place / "mnist", seed=seed)
    write_pair(tmp_path / "root", seed=9)

    def seed_of(**options):
        images = load("mnist", **options).images[:, 0]
        return next(s for s in (1, 2, 3, 9) if (images == some_images(seed=s)).all())

    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env"))
    assert seed_of(root=tmp_path / "root") == 9
    assert seed_of() == 1
    monkeypatch.delenv("MS_GAN_DATA")
    assert seed_of() == 2
    Path("data").rename("elsewhere")
    assert seed_of() == 3


def test_unnamed_files_beside_the_program_are_mnist_only(tmp_path, monkeypatch):
    nowhere = replace(IDX_SETS["kmnist"], mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(IDX_SETS, "kmnist", nowhere)
    write_pair(Path("data"))
    write_pair(tmp_path / "env")
    for folder in ("", tmp_path / "env"):
        monkeypatch.setenv("MS_GAN_DATA", str(folder))  # empty: as if unset
        assert len(load("mnist")) == 20
        refused(lambda: load("kmnist"), "cannot download kmnist")
    assert load("kmnist", root="data").name == "kmnist"


def test_a_parent_folder_holds_all_sets(tmp_path, monkeypatch):
    names = {"mnist": "mnist", "fashion_mnist": "fashion-mnist", "usps": "usps", "kmnist": "kmnist"}
    for seed, folder in enumerate(names.values()):
        write_pair(tmp_path / "env" / folder, gz=True, seed=seed)
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env"))
    for seed, name in enumerate(names):
        np.testing.assert_array_equal(load(name).images[:, 0], some_images(seed=seed))
    write_pair(tmp_path / "env", seed=9)  # beside them: nobody's
    np.testing.assert_array_equal(load("mnist").images[:, 0], some_images(seed=0))


def test_usps_is_found_and_never_downloaded(tmp_path):
    line = refused(lambda: load("usps"), tmp_path / "cache" / "ms_gan" / "usps", "Hull 1994")
    assert "train-images-idx3-ubyte.gz" in line and "MS_GAN_DATA" in line
    assert not (tmp_path / "cache").exists()
    refused(lambda: load("usps", fallback="digits"), "not downloaded")
    write_pair(Path("data"))  # may be MNIST
    refused(lambda: load("usps"), "not downloaded")
    write_pair(Path("data") / "mnist")
    refused(lambda: load("usps", root="data/mnist"), "named after mnist", "look in the usual")
    write_pair(Path("data") / "usps", seed=3)
    np.testing.assert_array_equal(load("usps").images[:, 0], some_images(seed=3))
    refused(lambda: load("mnist", root="data/usps"), "named after usps")
    assert data.DATASETS["usps"].has_test and data.DATASETS["usps"].like is None


def test_what_debian_has_installed_is_found_last(tmp_path, monkeypatch):
    """Its .gz have another md5 than those of the mirrors, and the same content."""
    nowhere = replace(IDX_SETS["fashion_mnist"], mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(IDX_SETS, "fashion_mnist", nowhere)
    monkeypatch.setattr(search, "SYSTEM", tmp_path / "system")
    write_pair(tmp_path / "system" / "fashion-mnist", gz=True, seed=1)
    write_pair(tmp_path / "system", seed=5)  # not taken for MNIST: nobody has put them there
    assert search.find_files("mnist", "train", None, tmp_path) is None
    assert str(tmp_path / "system" / "fashion-mnist") in load("fashion_mnist").source
    (tmp_path / "env").mkdir()
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env"))
    assert str(tmp_path / "system") in load("fashion_mnist").source
    write_pair(tmp_path / "env" / "fashion-mnist", seed=2)
    np.testing.assert_array_equal(load("fashion_mnist").images[:, 0], some_images(seed=2))
    monkeypatch.delenv("MS_GAN_DATA")
    write_pair(Path("data") / "FashionMNIST", seed=3)
    np.testing.assert_array_equal(load("fashion_mnist").images[:, 0], some_images(seed=3))


def test_load_names_missing_folders_and_files(tmp_path, monkeypatch):
    refused(lambda: load("mnist", root=tmp_path / "none", fallback="digits"), tmp_path / "none")
    (tmp_path / "empty").mkdir()
    words = [tmp_path / "empty", "train-images-idx3-ubyte", "train-labels", ".gz", "raw/"]
    refused(lambda: load("mnist", root=tmp_path / "empty", fallback="digits"), *words)
    refused(lambda: load("mnist", root=tmp_path / "empty", split="test"), "t10k-images-idx3-ubyte")
    write_pair(tmp_path / "MNIST")
    refused(lambda: load("kmnist", root=tmp_path / "MNIST"), tmp_path, "named after mnist")
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "gone"))
    refused(lambda: load("mnist", fallback="digits"), tmp_path / "gone", "MS_GAN_DATA")


def test_load_damaged_or_unequal_files_are_errors_even_with_a_fallback(tmp_path, monkeypatch):
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path))
    write_pair(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    good = labels.read_bytes()

    labels.write_bytes(good[:-1])
    refused(lambda: load("mnist", fallback="digits"), labels, "truncated")
    labels.write_bytes(idx(np.arange(9)))
    refused(lambda: load("mnist", fallback="digits"), images, "20 images but 9 labels")
    labels.write_bytes(idx(np.arange(20)))
    refused(lambda: load("mnist", fallback="digits"), labels, "label 19", "0 to 9")
    labels.write_bytes(WHOLE)
    refused(lambda: load("mnist", fallback="digits"), labels, "00000803", "00000801")
    images.write_bytes(idx(np.zeros((0, 28, 28))))
    labels.write_bytes(idx(np.zeros(0)))
    refused(lambda: load("mnist", fallback="digits"), images, "0 images")


WRONG_OPTIONS = [
    *(({"size": x}, "size: expected int") for x in (2.5, "28", True)),
    *(({"channels": x}, f"channels: expected int, got {x!r}") for x in (1.0, "3", [3])),
    ({"colours": 3}, "colours: "),
]


def test_load_unknown_name_and_bad_options():
    refused(lambda: load("mnits"), "mnits", "fashion_mnist", "image_folder", "mean 'mnist'?")
    refused(lambda: load("quux"), "quux", "digits")
    for size in (0, -1):
        refused(lambda size=size: load("digits", size=size), "size", repr(size))
    for channels in (0, 2, 4):
        refused(lambda channels=channels: load("digits", channels=channels), "channels")
    for name in data.DATASETS:  # before any file is looked at
        for options, said in WRONG_OPTIONS:
            assert tiny.refused(ConfigError, load, name, **options).startswith(f"data.{said}")
    assert "did you mean 'size'?" in tiny.refused(ConfigError, load, "digits", sizes=28)
    assert "has no such option" in tiny.refused(ConfigError, load, "digits", root="x")
    refused(lambda: load("mnist", fallback="mnist"), "fallback 'mnist'")
    refused(lambda: load("mnist", split="validation"), "split 'validation'", "train", "test")


def test_load_size_and_channels(tmp_path):
    write_pair(tmp_path)
    grey = load("mnist", root=tmp_path, size=32)
    assert grey.image_shape == (1, 32, 32) and grey.images.dtype == np.uint8
    row = Image.fromarray(some_images()[3]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey.images[3, 0], np.asarray(row))
    colour = load("mnist", root=tmp_path, channels=3)
    assert colour.image_shape == (3, 28, 28)
    for channel in range(3):
        np.testing.assert_array_equal(colour.images[:, channel], some_images())


def colours(n=6, size=20, seed=1):
    """Random colour pictures, uint8 [N, 3, size, size]: no channel is like another one."""
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), np.uint8)
    return Dataset("colours", images, np.zeros(n, np.int32), (), "here", {})


def pillow(image, mode="RGB"):
    return Image.fromarray(image.transpose(1, 2, 0)).convert(mode)


def test_grey_from_colour_is_what_pillow_calls_grey():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    every = np.stack([np.stack([ramp, ramp.T, np.full_like(ramp, blue)]) for blue in range(256)])
    for whole in (colours(), replace(colours(), images=every)):
        grey = fit(whole, None, 1)
        assert grey.images.dtype == np.uint8
        for image, given in zip(grey.images, whole.images, strict=True):
            np.testing.assert_array_equal(image[0], np.asarray(pillow(given, "L")))
    assert len(grey) == 256 and grey.source == whole.source


@pytest.mark.parametrize("size", [7, 33])
def test_colour_pictures_keep_their_colours_at_another_size(size):
    whole = colours()
    small, grey = fit(whole, size, 3), fit(whole, size, 1)
    assert small.image_shape == (3, size, size) and grey.image_shape == (1, size, size)
    for image, shade, given in zip(small.images, grey.images, whole.images, strict=True):
        expected = pillow(given).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))
        expected = pillow(given, "L").resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(shade[0], np.asarray(expected))
    assert fit(whole, None, None).images is whole.images


# ---- load: downloading -------------------------------------------------------------------------


class Mirror(ThreadingHTTPServer):
    """Serves `files` on 127.0.0.1 in one of the ways in which real mirrors behave."""

    def __init__(self, files, manner="right"):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.manner, self.seen = files, manner, []
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        mirror, name = self.server, self.path.strip("/")
        start = self.headers["Range"]
        mirror.seen.append((name, start))
        if mirror.manner == "missing":
            return self.send_error(404)
        content = mirror.files[name]
        if mirror.manner == "wrong":
            content = content[::-1]
        first = 0
        if start and mirror.manner != "no range":
            first = int(start.removeprefix("bytes=").removesuffix("-"))
            if first >= len(content):
                return self.send_error(416)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        cut = mirror.manner == "cut" or (mirror.manner == "cut once" and len(mirror.seen) == 1)
        half = len(content) // 2
        self.wfile.write(content[first : max(first, half)])
        if mirror.manner == "slow":
            time.sleep(0.5)
        if not cut:
            self.wfile.write(content[max(first, half) :])

    def log_message(self, *words):
        pass


FILES = {
    "train-images-idx3-ubyte.gz": PACKED,
    "train-labels-idx1-ubyte.gz": gzip.compress(idx(np.arange(20) % 10), mtime=0),
}
IMAGES = "train-images-idx3-ubyte.gz"
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in FILES.items()}


@pytest.fixture
def mirrors(monkeypatch):
    """Puts mirrors of the given manners into the table, in this order; returns them."""
    started = []

    def start(*manners):
        started.extend(Mirror(FILES, manner) for manner in manners)
        row = replace(IDX_SETS["mnist"], mirrors=tuple(m.url for m in started), md5=MD5)
        monkeypatch.setitem(IDX_SETS, "mnist", row)
        return started

    yield start
    for mirror in started:
        mirror.shutdown()
        mirror.server_close()


def cached(tmp_path):
    return tmp_path / "cache" / "ms_gan" / "mnist"


def assert_whole(folder, loaded):
    np.testing.assert_array_equal(loaded.images[:, 0], some_images())
    assert loaded.md5 == CONTENT_MD5
    assert {p.name for p in folder.iterdir()} == {*FILES, ".lock"}


@pytest.mark.parametrize(
    "manners", [["right"], ["missing", "right"], ["wrong", "right"], ["wrong", "missing", "right"]]
)
def test_download_takes_the_first_mirror_that_is_right(tmp_path, mirrors, manners):
    mirrors(*manners)
    said, steps = [], []
    loaded = load("mnist", say=said.append, progress=lambda *step: steps.append(step))
    assert_whole(cached(tmp_path), loaded)
    assert said == [f"mnist: downloading to {cached(tmp_path)}"]
    for name, content in FILES.items():
        assert (name, len(content), len(content)) in steps


def test_download_is_made_once(tmp_path, mirrors):
    (mirror,) = mirrors("right")
    load("mnist")
    load("mnist")
    assert mirror.seen == [(name, None) for name in FILES]


def test_download_goes_to_the_folder_of_the_environment(tmp_path, mirrors, monkeypatch):
    mirrors("right")
    (tmp_path / "env").mkdir()
    monkeypatch.setenv("MS_GAN_DATA", str(tmp_path / "env"))
    assert_whole(tmp_path / "env" / "mnist", load("mnist"))
    assert not cached(tmp_path).exists()


def test_root_never_downloads(tmp_path, mirrors):
    (mirror,) = mirrors("right")
    refused(lambda: load("mnist", root=tmp_path), tmp_path)
    assert mirror.seen == []


def test_cut_connection_is_resumed_by_the_next_mirror(tmp_path, mirrors):
    cut, right = mirrors("cut once", "right")
    assert_whole(cached(tmp_path), load("mnist"))
    assert cut.seen[0] == (IMAGES, None)
    assert right.seen == [(IMAGES, f"bytes={len(PACKED) // 2}-")]


def test_cut_connection_is_resumed_by_the_next_run(tmp_path, mirrors):
    (mirror,) = mirrors("cut once")
    refused(lambda: load("mnist"), cached(tmp_path), f"cut off after {len(PACKED) // 2}")
    half = cached(tmp_path) / f"{IMAGES}.part"
    assert half.read_bytes() == PACKED[: len(PACKED) // 2]
    assert not (cached(tmp_path) / IMAGES).exists()
    assert_whole(cached(tmp_path), load("mnist"))
    assert mirror.seen[1] == (IMAGES, f"bytes={len(PACKED) // 2}-")


@pytest.mark.parametrize(
    ("part", "manner", "requests"),
    [
        (PACKED[:1000], "right", 1),
        (PACKED[:1000], "no range", 1),  # the server sends all of it: start over
        (PACKED, "right", 1),  # whole already: 416
        (PACKED + b"more", "right", 2),
        (b"\0" * 1000, "right", 2),  # a bad half: only the md5 tells
    ],
)
def test_leftover_half_files(tmp_path, mirrors, part, manner, requests):
    (mirror,) = mirrors(manner)
    cached(tmp_path).mkdir(parents=True)
    (cached(tmp_path) / f"{IMAGES}.part").write_bytes(part)
    assert_whole(cached(tmp_path), load("mnist"))
    asked = [span for name, span in mirror.seen if name == IMAGES]
    assert asked == [f"bytes={len(part)}-", None][:requests]


def test_wrong_bytes_leave_nothing_behind(tmp_path, mirrors):
    mirrors("wrong", "missing")
    refused(lambda: load("mnist"), cached(tmp_path), "wrong md5", "404")
    assert not cached(tmp_path).exists()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_refused_connections_lead_to_the_fallback_at_once(tmp_path, monkeypatch):
    nowhere = tuple(f"http://127.0.0.1:{closed_port()}/" for _ in range(2))
    monkeypatch.setitem(IDX_SETS, "mnist", replace(IDX_SETS["mnist"], mirrors=nowhere))
    said, start = [], time.perf_counter()
    loaded = load("mnist", fallback="digits", size=32, channels=3, say=said.append)
    assert time.perf_counter() - start < 5
    assert loaded.name == "digits" and loaded.images.shape == (1797, 3, 32, 32)
    notice = said[-1]
    assert len(said) == 2 and len(notice.splitlines()) == 1
    for word in ("refused", nowhere[1][7:-1], "1,797 embedded digits", cached(tmp_path)):
        assert str(word) in notice
    refused(lambda: load("mnist"), cached(tmp_path), "refused", "MS_GAN_DATA", "'digits'")
    assert load("mnist", fallback="digits").image_shape == (1, 28, 28)  # and without `say`


def test_unwritable_cache_leads_to_the_fallback(tmp_path, mirrors):
    mirrors("right")
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert load("mnist", fallback="digits").name == "digits"
    refused(lambda: load("mnist"), tmp_path / "cache", "cannot write")


PROCESS = """
import sys
from dataclasses import replace
from ms_gan import data
from ms_gan.data.known import IDX_SETS
IDX_SETS["mnist"] = replace(IDX_SETS["mnist"], mirrors=(sys.argv[1],), md5=eval(sys.argv[2]))
print(len(data.load("mnist")))
"""


def test_processes_at_once_download_once(tmp_path, mirrors):
    (mirror,) = mirrors("slow")
    processes = [tiny.python("-c", PROCESS, mirror.url, repr(MD5)) for _ in range(3)]
    assert [p.communicate(timeout=30)[0].strip() for p in processes] == ["20"] * 3
    assert sorted(mirror.seen) == sorted((name, None) for name in FILES)
    assert {p.name for p in cached(tmp_path).iterdir()} == {*FILES, ".lock"}


def test_table_has_four_files_each_and_mirrors_that_end_in_a_slash():
    for name in ("mnist", "fashion_mnist", "kmnist"):
        known = IDX_SETS[name]
        assert len(known.md5) == 4 and all(len(digest) == 32 for digest in known.md5.values())
        assert len(known.classes) == 10 and all(m.endswith("/") for m in known.mirrors)
        assert data.DATASETS[name].has_test and data.DATASETS[name].like is None
    assert len(IDX_SETS["mnist"].mirrors) == 2


def test_import_is_light():
    code = "import sys, ms_gan.data; assert not {'mindspore', 'sklearn'} & set(sys.modules)"
    assert tiny.python("-c", code).communicate()[1] == ""


# ---- digits and real MNIST ---------------------------------------------------------------------


def test_digits_look_like_mnist():
    digits = load("digits")
    assert digits.images.shape == (1797, 1, 28, 28) and digits.images.dtype == np.uint8
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    border = digits.images.copy()
    border[:, :, 4:24, 4:24] = 0
    assert border.max() == 0
    assert digits.images.min() == 0 and (digits.images.max(axis=(1, 2, 3)) == 255).mean() > 0.9
    assert 28 < digits.images.mean() < 45  # MNIST: 33.3
    assert 0.72 < (digits.images == 0).mean() < 0.84  # MNIST: 0.81
    assert digits.md5 == {"digits": hashlib.md5(digits.images.tobytes()).hexdigest()}
    assert digits.md5 == load("digits", split="test").md5


def test_digits_are_those_of_scikit_learn(monkeypatch):
    """Read from its file, and by its function where that file is elsewhere."""
    from sklearn.datasets import load_digits

    pixels, labels = embedded.held_by_sklearn()
    theirs = load_digits(return_X_y=True)
    np.testing.assert_array_equal(pixels, theirs[0])
    np.testing.assert_array_equal(labels, theirs[1])
    with monkeypatch.context() as without:
        without.setattr(embedded.Path, "is_file", lambda path: False)
        np.testing.assert_array_equal(embedded.held_by_sklearn()[0], pixels)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert "pip install scikit-learn" in tiny.refused(DataError, data.load, "digits")


def test_digits_mean_shapes_are_those_of_their_labels():
    digits = load("digits")
    means = np.stack([digits.images[digits.labels == n, 0].mean(axis=0) for n in range(10)])
    rows = digits.images[:, 0].astype(float)
    nearest = ((rows[:, None] - means) ** 2).sum(axis=(2, 3)).argmin(axis=1)
    assert (nearest == digits.labels).mean() > 0.85


@pytest.mark.parametrize(
    ("split", "n", "first", "counts", "total"),
    [
        ("train", 60000, [5, 0, 4, 1, 9],
         [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 27525),
        ("test", 10000, [7, 2, 1, 0, 4],
         [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 18454),
    ],
)  # fmt: skip
def test_real_mnist(split, n, first, counts, total):
    if find_idx(REAL, split) is None:
        pytest.skip(f"REAL MNIST NOT TESTED: no files in {REAL}; set MS_GAN_DATA to their folder")
    start = time.perf_counter()
    mnist = load("mnist", root=REAL, split=split)
    assert time.perf_counter() - start < 3
    assert mnist.images.shape == (n, 1, 28, 28)
    assert mnist.labels[:5].tolist() == first and np.bincount(mnist.labels).tolist() == counts
    assert int(mnist.images[0].sum()) == total
    content = {"train": "6bbc9ace898e44ae57da46a324031adb",
               "test": "2646ac647ad5339dbf082846283269ea"}  # fmt: skip
    stem = {"train": "train", "test": "t10k"}[split]
    assert mnist.md5[f"{stem}-images-idx3-ubyte"] == content[split]
    assert hashlib.md5(idx(mnist.images[:, 0])).hexdigest() == content[split]


def test_real_usps_and_fashion_mnist():
    root = tiny.real("usps").parent
    train, test = data.splits("usps", root=root)
    assert train.images.shape == (7291, 1, 16, 16) and test.images.shape == (2007, 1, 16, 16)
    assert train.num_classes == 10 and (np.bincount(train.labels) > 500).all()
    tiny.real("fashion-mnist")
    train, test = data.splits("fashion_mnist", root=root)
    for part, num in ((train, 6000), (test, 1000)):
        assert np.bincount(part.labels).tolist() == [num] * 10
    assert train.md5 != data.load("mnist", root=root).md5


# ---- image folders -----------------------------------------------------------------------------


def save(path, colour=(255, 0, 0), size=(80, 60), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_image_folder_flat(tmp_path):
    root = tmp_path / "p"
    save(root / "b.JPG", (0, 255, 0), quality=95)
    save(root / "a.png", (255, 0, 0))
    save(root / "sub" / "c.bmp", (0, 0, 255))
    save(root / ".hidden" / "d.png", (9, 9, 9))
    (root / "._a.png").write_bytes(b"left by a Mac")
    (root / "notes.txt").write_text("no picture")
    found = load("image_folder", root=root)
    assert found.images.shape == (3, 3, 64, 64) and found.images.dtype == np.uint8
    assert found.images.mean(axis=(2, 3)).argmax(axis=1).tolist() == [0, 1, 2]  # sorted by name
    assert found.labels.tolist() == [0, 0, 0] and found.labels.dtype == np.int32
    assert found.classes == () and found.num_classes == 0
    assert list(found.md5) == ["pictures"]
    grey = load("image_folder", root=root, size=16, channels=1)
    assert grey.images.shape == (3, 1, 16, 16) and grey.images[0].max() == 76  # 0.299 red


def test_image_folder_classes(tmp_path):
    save(tmp_path / "p" / "dog" / "deep" / "1.png")
    save(tmp_path / "p" / "cat" / "2.png")
    found = load("image_folder", root=tmp_path / "p")
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 1]
    before = found.md5
    (tmp_path / "p").rename(tmp_path / "q")
    assert load("image_folder", root=tmp_path / "q").md5 == before  # not of the folder's own name
    (tmp_path / "q").rename(tmp_path / "p")
    (tmp_path / "p" / "cat" / "2.png").rename(tmp_path / "p" / "cat" / "3.png")
    assert load("image_folder", root=tmp_path / "p").md5 != before
    save(tmp_path / "p" / "loose.png")
    assert load("image_folder", root=tmp_path / "p").classes == ()
    assert load("image_folder", root=tmp_path / "p" / "dog").classes == ()  # one folder: no class


def test_image_folder_crops_the_centre_and_turns_upright(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the centre square
    wide[:, :10, 0] = 255
    (tmp_path / "p").mkdir()
    Image.fromarray(wide).save(tmp_path / "p" / "1.png")
    assert load("image_folder", root=tmp_path / "p", size=10).images.min() == 200

    upper = np.zeros((20, 20, 3), np.uint8)
    upper[:10] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(upper).save(tmp_path / "p" / "1.png", exif=exif)
    image = load("image_folder", root=tmp_path / "p", size=20).images[0]
    assert image[:, :10].max() == 0 and image[:, 10:].min() == 255


def test_image_folder_modes(tmp_path):
    root = tmp_path / "p"
    save(root / "a.png", (200, 100, 50, 0), mode="RGBA")  # clear: black
    save(root / "b.png", (200, 100, 50, 255), mode="RGBA")
    save(root / "c.png", 51400, mode="I;16")  # 200 * 257
    save(root / "d.png", (200, 0), mode="LA")
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(root / "e.png")
    palette.save(root / "f.png", transparency=1)
    save(root / "g.jpg", (0, 0, 0, 0), mode="CMYK")
    means = load("image_folder", root=root, size=8).images.mean(axis=(2, 3)).round().tolist()
    assert means[:4] == [[0, 0, 0], [200, 100, 50], [200, 200, 200], [0, 0, 0]]
    assert means[4:6] == [[10, 20, 30], [0, 0, 0]]
    assert min(means[6]) > 250


def test_image_folder_errors(tmp_path):
    refused(lambda: load("image_folder"), "image_folder", "root")
    refused(lambda: load("image_folder", root=tmp_path / "none"), tmp_path / "none")
    refused(lambda: load("image_folder", root=tmp_path), tmp_path, ".png", ".jpg")
    good = io.BytesIO()
    Image.fromarray(some_images(1)[0]).save(good, "PNG")
    for content in (b"", b"not a picture", good.getvalue()[:300]):
        (tmp_path / "bad.png").write_bytes(content)
        line = refused(lambda: load("image_folder", root=tmp_path), tmp_path / "bad.png")
        assert line.startswith(f"{tmp_path / 'bad.png'}: unreadable picture")


# ---- batches -----------------------------------------------------------------------------------


def numbered(n=23):
    """A data set whose image k holds only the value k, and whose label k is k."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 1, 2, 2)).copy()
    return Dataset("numbered", images, np.arange(n, dtype=np.int32), (), "test", {})


def test_to_float():
    x = to_float(np.array([0, 51, 255], np.uint8))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, [-1, -0.6, 1], atol=1e-6)
    assert x[0] == -1 and x[2] == 1


@pytest.mark.parametrize("sampling", ["shuffle", "random"])
def test_batches_are_a_pure_function_of_seed_and_index(sampling):
    batches = Batches(numbered(), 5, seed=3, sampling=sampling)
    assert batches.steps_per_epoch == 4
    forward = [batches.at(i) for i in range(12)]
    for i in (11, 0, 7, 7, 3):  # any order, and a fresh object as after a resume
        for source in (batches, Batches(numbered(), 5, seed=3, sampling=sampling)):
            for again, before in zip(source.at(i), forward[i], strict=True):
                np.testing.assert_array_equal(again, before)
    x, labels = forward[0]
    assert x.dtype == np.float32 and x.shape == (5, 1, 2, 2) and labels.dtype == np.int32
    np.testing.assert_allclose(x[:, 0, 0, 0], labels / 127.5 - 1, atol=1e-6)  # rows stay together
    other = Batches(numbered(), 5, seed=4, sampling=sampling)
    assert any((other.at(i)[1] != forward[i][1]).any() for i in range(12))


def test_shuffled_epochs_are_different_permutations():
    batches = Batches(numbered(), 5, seed=0)
    epochs = []
    for epoch in range(3):
        rows = np.concatenate([batches.at(4 * epoch + step)[1] for step in range(4)])
        assert len(set(rows.tolist())) == 20  # nothing twice; the partial batch of 3 is dropped
        epochs.append(rows.tolist())
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[2])
    whole = Batches(numbered(20), 20, seed=0)
    assert sorted(whole.at(7)[1].tolist()) == list(range(20))


def test_random_batches_are_drawn_uniformly_with_replacement():
    batches = Batches(numbered(10), 10, seed=0, sampling="random")
    rows = np.stack([batches.at(i)[1] for i in range(1000)])
    assert max(len(set(batch.tolist())) for batch in rows[:5]) < 10
    counts = np.bincount(rows.ravel(), minlength=10)
    assert abs(counts - 1000).max() < 5 * 30  # 5 standard deviations


def test_batches_errors():
    refused(lambda: Batches(numbered(), 24, seed=0), "numbered", "batch_size 24", "1 to 23")
    refused(lambda: Batches(numbered(), 0, seed=0), "numbered", "batch_size 0")
    refused(lambda: Batches(numbered(), 5, seed=-1), "numbered", "seed -1")
    refused(lambda: Batches(numbered(), 5, seed=0, sampling="both"), "sampling 'both'", "shuffle")
    refused(lambda: Batches(numbered(), 5, seed=0).at(-1), "numbered", "batch -1")
