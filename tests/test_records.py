"""The bytes of a checkpoint: as MindSpore writes them, and every lie in them is noticed."""

import os

import numpy as np
import pytest

import mindspore as ms

from ms_gan.runs import records
from tests.test_checkpoint import anatomy

RNG = np.random.default_rng(0)
ARRAYS = {
    **{f"w.{dtype}": RNG.normal(0, 50, (3, 4)).astype(dtype) for dtype in records.NAMES},
    "number": np.float32(0.25).reshape(()),
    "one": np.ones(1, np.int32),
    "zeros": np.zeros((2, 1, 1, 2), np.float32),
}
TEXTS = {"ms_gan": '{"name": "ä 猫"}'}


@pytest.fixture
def path(tmp_path):
    records.write(tmp_path / "a.ckpt", ARRAYS, TEXTS)
    return tmp_path / "a.ckpt"


def assert_all_there(found):
    assert list(found) == [*ARRAYS, *TEXTS]
    for name, array in ARRAYS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name
    assert found["ms_gan"] == TEXTS["ms_gan"]


def refused(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(records.Malformed) as caught:
        list(records.read(path))
    return str(caught.value)


# --- MindSpore's files ----------------------------------------------------------------------------


def test_the_bytes_are_those_of_mindspore(path, tmp_path):
    """But for the digest behind them."""
    entries = [
        {"name": name, "data": ms.Parameter(ms.Tensor(array), name=name)}
        for name, array in ARRAYS.items()
    ]
    theirs = tmp_path / "b.ckpt"
    ms.save_checkpoint(entries, str(theirs), append_dict=TEXTS, crc_check=True)
    ours, expected = path.read_bytes(), theirs.read_bytes()[: -records.TAIL]
    assert ours.startswith(expected)
    assert ours[len(expected) :].startswith(records._text(records.DIGEST, "0" * 64)[:30])
    assert_all_there(dict(records.read(path)))
    assert_all_there(dict(records.read(theirs)))
    loaded = ms.load_checkpoint(str(path), crc_check=True)
    for name, array in ARRAYS.items():
        assert loaded[name].asnumpy().tobytes() == array.tobytes(), name
    assert loaded["ms_gan"] == TEXTS["ms_gan"]


def test_an_array_in_several_records(path, monkeypatch):
    """As MindSpore writes those of more than 512 MiB."""
    whole = len(anatomy(path.read_bytes())[1])
    monkeypatch.setattr(records, "LARGEST", 16)
    records.write(path, ARRAYS, TEXTS)
    raw = path.read_bytes()
    ends = anatomy(raw)[1]
    assert len(ends) > whole + 10
    assert_all_there(dict(records.read(path)))
    loaded = ms.load_checkpoint(str(path), crc_check=True)
    assert loaded["w.float64"].asnumpy().tobytes() == ARRAYS["w.float64"].tobytes()
    for start, end in zip([0, *ends], ends, strict=False):  # one of them is gone, no checksums
        if start < ends[-3]:
            path.write_bytes((raw[:start] + raw[end:])[: -(len(raw) - ends[-2])])
            found = set()
            try:
                found = set(dict(records.read(path)))
            except records.Malformed:
                continue
            assert len(found) == len(ARRAYS) + len(TEXTS) - 1  # an array of one record


def test_what_was_exchanged_within_the_file(path):
    """Two arrays of one shape in each other's place, and the CRC-32 that MindSpore would write."""
    raw = path.read_bytes()
    a, b = (ARRAYS[f"w.{n}"].tobytes() for n in ("int64", "uint64"))
    changed = raw.replace(a, b"#" * len(a)).replace(b, a).replace(b"#" * len(a), b)
    assert changed != raw and "the sha256 differs" in refused(path, changed)
    assert "the sha256 differs" in refused(path, changed[: -records.TAIL])


# --- lies -----------------------------------------------------------------------------------------


def record(name=b"w", dims=(2,), kind=b"Float32", content=b"\0" * 8, declared=None):
    """A record of protobuf; `declared` bytes of content, whatever they are."""
    size = len(content) if declared is None else declared
    tensor = b"".join(b"\x08" + records._varint(dim % 2**64) for dim in dims)
    tensor += records._field(records.TYPE, kind) + b"\x1a" + records._varint(size)
    value = records._field(records.TAG, name)
    value += b"\x12" + records._varint(len(tensor) + size) + tensor
    return b"\x0a" + records._varint(len(value) + size) + value + content


LIES = {
    "a huge shape": (record(dims=(2**31, 2**31)), "is larger than the file"),
    "a shape that overflows": (record(dims=(2**33, 2**33, 4)), "is larger than the file"),
    "a negative size": (record(dims=(-2,)), "a number that is too large"),
    "a shape below its bytes": (record(dims=(1,)), "of shape [1] has 8 bytes"),
    "a shape above its bytes": (record(dims=(3,)) + record(b"x", (8,), content=b"\0" * 32),
                                "of shape [3] has 8 bytes"),
    "no bytes": (record(content=b"") + record(b"x"), "of shape [2] has 0 bytes"),
    "bytes that are not there": (record(declared=2**40), "where"),
    "dimensions without end": (record(dims=(1,) * 100), "too many dimensions"),
    "a type of nobody": (record(kind=b"Float31"), "is of type 'Float31'"),
    "a type without NumPy": (record(kind=b"BFloat16", content=b"\0" * 4), "of type 'BFloat16'"),
    "a long name": (record(name=b"w" * 5000), "a name of 5,000 bytes"),
    "no UTF-8": (record(name=b"\xff\xfe"), "a text that is none"),
    "no UTF-32": (record(kind=b"str", dims=(0,), content=b"\xff" * 8), "a text that is none"),
    "one name twice": (record() + record(b"v") + record(), "has 'w' twice"),
    "a number without end": (b"\x0a" + b"\xff" * 12, "a number that is too large"),
    "another field": (b"\x12\x00", "an unknown field (18)"),
    "a hash table": (b"\x0a\x05\x0a\x01w\x1a\x00", "an unknown field (26)"),
    "nothing": (b"", "it is empty"),
    "a foreign digest": (record() + records._text(records.DIGEST, "0" * 64), "the sha256 differs"),
    "more behind the digest": (None, "more after its end"),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie, path):
    content, said = LIES[lie]
    if content is None:
        content = path.read_bytes()[: -records.TAIL] + record(b"more")
    assert said in refused(path, content)


def test_a_file_that_is_larger_than_the_memory(path, monkeypatch):
    """Of holes: nothing of it is read, nothing allocated."""
    os.truncate(path, 2**43)
    assert "of this machine's memory" in refused(path)


def test_a_file_that_shrinks_while_it_is_read(path):
    with open(path, "rb") as file:
        source = records.Source(file, path.stat().st_size + 10)
        with pytest.raises(records.Malformed, match="became shorter"):
            source.take(path.stat().st_size + 5)
