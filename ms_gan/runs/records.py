"""The file of a MindSpore checkpoint: named arrays and texts, each a record of protobuf.

`mindspore.load_checkpoint` reads what is written here, and files of MindSpore are read here. Its
own reader allocates what a file declares (4 GiB for one of 40 bytes) and lets what is missing be
what memory held; here every declared size is compared with the file first. Its schema:

    Checkpoint {repeated Value value = 1}
    Value {string tag = 1; TensorProto tensor = 2}
    TensorProto {repeated int64 dims = 1; string tensor_type = 2; bytes tensor_content = 3}

MindSpore adds `crc_num` and the CRC-32 of all records in ten bytes. What is written here has a last
record more, `ms_gan.sha256`: the sha256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from ms_gan.system import memory

DIGEST = "ms_gan.sha256"
CRC = b"crc_num"
TAIL = len(CRC) + 10
TYPES = {  # MindSpore's names
    **{f"Int{8 * n}": np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{f"UInt{8 * n}": np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    **{f"Float{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
    "Bool": np.dtype("bool"),
}
NAMES = {dtype: name for name, dtype in TYPES.items()}
TEXT = "str"
VALUE, TAG, TENSOR, DIMS, TYPE, CONTENT = (  # field number and kind: 2 has a length, 0 is a number
    *(1 << 3 | 2, 1 << 3 | 2, 2 << 3 | 2),
    *(1 << 3 | 0, 2 << 3 | 2, 3 << 3 | 2),
)
LONGEST = 4096  # bytes of a name
MOST_DIMS = 32
PIECE = 1 << 20  # bytes that are read and hashed at once
LARGEST = 512 << 20  # bytes of an array in one record; protobuf ends at 2 GiB


class Malformed(ValueError):
    """Bytes that are not a whole checkpoint; the message says why, in a few words."""


# --- writing --------------------------------------------------------------------------------------


def write(path: str | Path, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Write a file with both, and checksums of its content.

    Raises:
        OSError: the file cannot be written.
    """
    sha, crc = hashlib.sha256(), 0
    with open(path, "wb") as file:

        def put(piece: bytes | memoryview) -> None:
            nonlocal crc
            file.write(piece)
            sha.update(piece)
            crc = zlib.crc32(piece, crc)

        for name, array in arrays.items():
            whole = np.ascontiguousarray(array)
            content = memoryview(whole.reshape(-1).view(np.uint8))
            for at in range(0, max(1, len(content)), LARGEST):
                piece = content[at : at + LARGEST]
                put(_head(name, array.shape, NAMES[whole.dtype.newbyteorder("<")], len(piece)))
                for start in range(0, len(piece), PIECE):
                    put(piece[start : start + PIECE])
        for name, text in texts.items():
            put(_text(name, text))
        put(_text(DIGEST, sha.hexdigest()))
        file.write(CRC + crc.to_bytes(10, "big"))


def _text(name: str, text: str) -> bytes:
    content = text.encode("utf-32-le")
    return _head(name, (0,), TEXT, len(content)) + content


def _head(name: str, dims: tuple[int, ...], kind: str, size: int) -> bytes:
    """A record up to its content of `size` bytes."""
    tensor = b"".join(bytes([DIMS]) + _varint(dim) for dim in dims)
    tensor += _field(TYPE, kind.encode()) + bytes([CONTENT]) + _varint(size)
    value = _field(TAG, name.encode())
    value += bytes([TENSOR]) + _varint(len(tensor) + size) + tensor
    return bytes([VALUE]) + _varint(len(value) + size) + value


def _field(key: int, content: bytes) -> bytes:
    return bytes([key]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


# --- reading --------------------------------------------------------------------------------------


class Source:
    """The bytes of a file in their order, and the checksums of those that were taken.

    Args:
        file: at its beginning.
        size: bytes of it that are records.
    """

    def __init__(self, file: IO[bytes], size: int):
        self.file, self.at, self.end = file, 0, size
        self.sha, self.crc = hashlib.sha256(), 0

    def take(self, size: int) -> bytes:
        """The next bytes, few of them."""
        piece = bytearray(self.check(size))
        self.fill(memoryview(piece))
        return bytes(piece)

    def check(self, size: int) -> int:
        """The same size, if so many bytes are left."""
        if size > self.end - self.at:
            raise Malformed(f"declares {size:,} bytes where {self.end - self.at:,} are left")
        return size

    def fill(self, target: memoryview) -> None:
        """The next bytes, as many as `target` has room for; there are so many."""
        for start in range(0, len(target), PIECE):
            piece = target[start : start + PIECE]
            done = 0
            while done < len(piece):
                got = self.file.readinto(piece[done:])
                if not got:
                    raise Malformed("became shorter while it was read")
                done += got
            self.sha.update(piece)
            self.crc = zlib.crc32(piece, self.crc)
        self.at += len(target)

    def varint(self) -> int:
        number = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise Malformed("a number that is too large")

    def length(self, key: int) -> int:
        """The length of the field that must come next."""
        if (found := self.varint()) != key:
            raise Malformed(f"an unknown field ({found})")
        return self.check(self.varint())

    def text(self) -> str:
        """A short text behind its length."""
        size = self.check(self.varint())
        if size > LONGEST:
            raise Malformed(f"a name of {size:,} bytes")
        return decoded(self.take(size), "utf-8")


def decoded(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        raise Malformed("a text that is none") from None


def read(path: str | Path) -> Iterator[tuple[str, np.ndarray | str]]:
    """(name, array or text) of every record; what was given is true once the end is reached.

    Never more is allocated than the file is long.

    Raises:
        Malformed: the file is not whole, or was changed: of files that have a checksum, any byte;
            of others, what holds them together.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise Malformed("it is empty")
        if why := memory.excess(size):
            raise Malformed(f"has {why}")
        file.seek(max(0, size - TAIL))
        tail = file.read()
        file.seek(0)
        has_crc = len(tail) == TAIL and tail.startswith(CRC)
        source = Source(file, size - TAIL if has_crc else size)
        names: set[str] = set()
        digest = None
        while source.at < source.end:
            if digest is not None:
                raise Malformed("more after its end")
            before = source.sha.copy()
            name, value = _value(source)
            if name in names:
                raise Malformed(f"has {name!r} twice")
            names.add(name)
            if name == DIGEST:
                digest = before.hexdigest()
                if value != digest:
                    raise Malformed("its content is not what was saved: the sha256 differs")
            else:
                yield name, value
        if has_crc and source.crc != int.from_bytes(tail[len(CRC) :], "big"):
            raise Malformed("the crc check is failed: it was damaged")


def _value(source: Source) -> tuple[str, np.ndarray | str]:
    """The next array or text; an array may lie in several records of the same head."""
    name, dims, kind, size = _open(source)
    if kind == TEXT:
        return name, decoded(source.take(size), "utf-32-le").rstrip("\0")
    if kind not in TYPES:
        raise Malformed(f"{name!r} is of type {kind[:20]!r}, which NumPy does not have")
    if dims == (0,) and size:  # so MindSpore may write a single number
        dims = ()
    whole = math.prod(dims) * TYPES[kind].itemsize
    if whole > source.end - source.at:
        raise Malformed(f"{name!r} of shape {list(dims)} is larger than the file")
    array = np.empty(dims, TYPES[kind])
    content, done = memoryview(array.reshape(-1).view(np.uint8)), 0
    while True:
        if size > whole - done or (size == 0 and whole > 0):
            raise Malformed(f"{name!r} of shape {list(dims)} has {done + size:,} bytes")
        source.fill(content[done : done + size])
        done += size
        if done == whole:
            return name, array
        *same, size = _open(source)
        if same != [name, dims, kind]:
            raise Malformed(f"{name!r} of shape {list(dims)} has {done:,} bytes")


def _open(source: Source) -> tuple[str, tuple[int, ...], str, int]:
    """The head of a record: name, dimensions, type, bytes of content."""
    end = source.length(VALUE) + source.at  # after the length, which moves on
    if (key := source.varint()) != TAG:
        raise Malformed(f"an unknown field ({key})")
    name = source.text()
    if not name.isprintable():  # it stands in messages of one line
        raise Malformed(f"the name {name[:20]!r}")
    if source.length(TENSOR) + source.at != end:
        raise Malformed(f"{name!r} does not fill its record")
    dims = []
    while (key := source.varint()) == DIMS:
        dims.append(source.varint())
        if len(dims) > MOST_DIMS:
            raise Malformed(f"{name!r} has too many dimensions")
    if key != TYPE:
        raise Malformed(f"an unknown field ({key})")
    kind = source.text()
    size = source.length(CONTENT)
    if size + source.at != end:
        raise Malformed(f"{name!r} does not fill its record")
    return name, tuple(dims), kind, size
