"""Files appear whole or not at all, whatever happens in between."""

import errno
import os
import signal

import pytest

from ms_gan.system import files
from tests.tiny import python


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.txt"
    files.write(path, "old é")
    assert path.read_text(encoding="utf-8") == "old é"
    files.write(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_old_file_is_there_until_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent and temporary.suffix == path.suffix
        assert temporary.name.startswith(".")  # a listing of *.txt does not see it
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_before_the_first_byte(tmp_path):
    with pytest.raises(ValueError, match="mine"), files.replacing(tmp_path / "a.txt"):
        raise ValueError("mine")
    assert os.listdir(tmp_path) == []


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "no" / "a.txt", tmp_path / "file" / "a.txt"):
        with pytest.raises(OSError) as caught:
            files.write(path, "x")
        assert caught.value.filename == str(path)
    assert (tmp_path / "file").read_text() == "x"


def test_killed_in_the_middle(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = """
import sys, time
from ms_gan.system import files
with files.replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    with python("-c", code, path) as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert not [p for p in tmp_path.glob("*.txt") if not p.name.startswith(".") and p != path]


FULL_DISK = """
import resource, signal, sys
from ms_gan.system import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write(sys.argv[1], b"n" * 5000)
except OSError as error:
    print(error.errno, error.filename)
files.write(sys.argv[2], b"small")
"""


def test_full_disk(tmp_path):
    pytest.importorskip("resource")
    path, other = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("old")
    with python("-c", FULL_DISK, path, other) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out.strip() == f"{errno.EFBIG} {path}"
    assert path.read_text() == "old" and other.read_text() == "small"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]
