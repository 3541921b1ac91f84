"""Files of strangers: whatever they hold, one line; never more memory than the file is long."""

import gzip
import io
import json
import os
import resource
import tarfile
import tracemalloc
from functools import partial

import numpy as np
import pytest

from ms_gan.data import cifar10, download
from ms_gan.data.dataset import DataError
from ms_gan.data.idx import read_idx
from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError
from ms_gan.runs import checkpoint, records
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import memory
from tests import fuzzing, tiny
from tests.test_data import idx, some_images
from tests.test_records import ARRAYS, TEXTS

hypothesis = pytest.importorskip("hypothesis", reason="pip install -r requirements-tests.txt")
st = hypothesis.strategies
LONG = int(os.environ.get("MS_GAN_EXAMPLES", "0"))  # examples of each property; 0: the usual ones


def given(examples, *strategies):
    """The property holds for so many examples, the same ones at every run."""

    def decorated(test):
        settings = hypothesis.settings(
            max_examples=LONG or examples, derandomize=not LONG, database=None, deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )  # fmt: skip
        return settings(hypothesis.given(*strategies)(test))

    return decorated


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def damaged(raw):
    """What can happen to bytes: some changed, put in, taken out, cut, said twice."""
    at = st.integers(0, len(raw) - 1)
    return st.one_of(
        st.builds(lambda i, b: raw[:i] + bytes([b]) + raw[i + 1 :], at, st.integers(0, 255)),
        st.builds(lambda i, b: raw[:i] + b + raw[i:], at, st.binary(min_size=1, max_size=12)),
        st.builds(lambda i, j: raw[: min(i, j)] + raw[max(i, j) :], at, at),
        st.builds(lambda i, j, k: raw[:i] + raw[min(j, k) : max(j, k)] + raw[i:], at, at, at),
        st.binary(max_size=200),
    )


PLAIN_IDX = idx(some_images(4))


def checkpoint_bytes(folder):
    path = folder / "whole.ckpt"
    records.write(path, ARRAYS, TEXTS)
    return path.read_bytes()


# --- readers --------------------------------------------------------------------------------------


def test_no_damage_of_a_checkpoint_goes_unnoticed(folder):
    raw, path = checkpoint_bytes(folder), folder / "a.ckpt"
    ends = len(raw) - records.TAIL

    @given(200, damaged(raw))
    def holds(content):
        path.write_bytes(content)
        try:
            arrays, _ = checkpoint.load(path)
        except checkpoint.CheckpointError as error:
            assert "\n" not in str(error) and str(error).startswith(f"{path}: ")
            return
        # Only what takes off the checksums and nothing else is read, as files of before had none.
        assert content in (raw, raw[:ends]) or records.DIGEST.encode() not in content
        assert set(arrays) <= set(ARRAYS)

    holds()


def test_a_checkpoint_without_checksums_is_read_or_refused(folder):
    raw, path = checkpoint_bytes(folder), folder / "b.ckpt"
    raw = raw[: raw.index(records._text(records.DIGEST, "")[4:16]) - 4]

    @given(200, damaged(raw))
    def holds(content):
        path.write_bytes(content)
        tracemalloc.start()
        try:
            checkpoint.load(path)
        except checkpoint.CheckpointError as error:
            assert "\n" not in str(error)
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 3_000_000 + 4 * len(content)

    holds()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files(packed, folder):
    raw = gzip.compress(PLAIN_IDX, mtime=0) if packed else PLAIN_IDX
    path = folder / "images"

    @given(300, damaged(raw))
    def holds(content):
        path.write_bytes(content)
        try:
            found = read_idx(path)
        except DataError as error:
            assert "\n" not in str(error)
        else:
            assert found.dtype == np.uint8 and found.nbytes <= 1032 * len(content)

    holds()


def test_recipes(folder):
    path = folder / "recipe.yaml"
    raw = (tiny.ROOT / "configs" / "default.yaml").read_bytes()
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
    keys = st.sampled_from(["name", "model", "data", "train", "loss", "terms", "seed", "steps"])
    trees = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )

    @given(100, st.one_of(damaged(raw), trees.map(lambda tree: json.dumps(tree).encode())))
    def holds(content):
        path.write_bytes(content)
        try:
            reader.load(path)
        except ConfigError as error:
            assert "\n" not in str(error)

    holds()


def test_manifests_and_logs(folder):
    run = RunDir(folder / "run")
    run.path.mkdir()
    raw = json.dumps({"data": {"md5": {"a": "b"}}, "sessions": [{"step": 3}], "drawn": 4}).encode()

    @given(200, damaged(raw))
    def holds(content):
        run.manifest_file.write_bytes(content)
        run.log_file.write_bytes(content)
        assert isinstance(run.manifest, dict)
        assert all(type(row["step"]) is int for row in run.read_log())

    holds()


@pytest.mark.parametrize("what", fuzzing.FOUND)
def test_what_fuzzing_found_is_refused_with_little_memory(what, tmp_path):
    reader, content = fuzzing.FOUND[what]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fuzzing.held(reader, content, tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("reader", fuzzing.READERS)
def test_the_files_that_fuzzing_begins_with(reader, tmp_path):
    """Some are taken; what is cut is taken or refused in one line."""
    seeds = fuzzing.READERS[reader][1]()
    taken = [fuzzing.held(reader, seed, tmp_path) for seed in seeds]
    assert any(taken) or reader == "archive"  # of two pictures, which are not all of CIFAR-10
    for seed in seeds:
        fuzzing.held(reader, seed[: len(seed) * 2 // 3], tmp_path)


# --- bombs ----------------------------------------------------------------------------------------


def peak(function, *arguments):
    """Bytes that Python allocated at most while it refused."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            function(*arguments)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def test_a_gzip_file_that_unpacks_to_much(folder):
    """50 MB of zeros behind the header of four pictures: read as far as the header goes."""
    path = folder / "bomb.gz"
    path.write_bytes(gzip.compress(PLAIN_IDX + bytes(50_000_000)))
    used, said = peak(read_idx, path)
    assert "trailing bytes" in said and used < 5_000_000
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\x7f\xff\xff\xff" * 3 + bytes(50_000_000)))
    used, said = peak(read_idx, path)
    assert "more than the" in said and "of this machine's memory" in said and used < 5_000_000


def test_a_file_of_holes(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(PLAIN_IDX)
    os.truncate(path, 2**43)
    assert "of this machine's memory" in tiny.refused(DataError, read_idx, path)
    assert memory.installed() > 2**30


def test_aliases_of_aliases(folder):
    """Billions of values in some hundred bytes."""
    lines = ["  k0: &k0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 10):
        lines.append(f"  k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]")
    path = folder / "laughs.yaml"
    path.write_text("model:\n  name: gan\n" + "\n".join(lines) + "\n")
    used, said = peak(reader.load, path)
    assert "holds more than 100,000 values, aliases written out" in said and used < 30_000_000
    path.write_text("model: &a {name: gan, again: *a}\n")
    assert "\n" not in tiny.refused(ConfigError, reader.load, path)


def test_an_archive_with_a_huge_member(folder):
    path = folder / "cifar10.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("train/cat/1.png")
        member.size = 100_000_000
        archive.addfile(member, io.BytesIO(bytes(member.size)))
    used, said = peak(partial(cifar10.load, root=str(path)))
    assert "1.png has 100,000,000 bytes" in said and used < 5_000_000


@pytest.mark.parametrize("declared", [True, False])
def test_a_download_without_end(declared, folder, monkeypatch):
    class Reply(io.BytesIO):
        status, headers = 200, {"Content-Length": "1" + "0" * 15 if declared else None}

        def read(self, size=-1):
            return bytes(size)

    monkeypatch.setattr(download, "LARGEST", 10_000_000)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *a, **o: Reply())
    part = folder / "a.part"
    with pytest.raises(OSError, match="declares|sends more than"):
        download._receive("http://localhost/", part, None)
    assert not part.exists() or part.stat().st_size == 0


def test_pictures_of_too_many_pixels(folder):
    """A PNG of 60,000 x 60,000 in some hundred bytes."""
    import struct
    import zlib

    from ms_gan.data.decoding import Look, Unreadable, decode

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(999)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match="more than 178,956,970 pixels"):
        decode(bomb, Look(8, 8, 3), name="a.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
