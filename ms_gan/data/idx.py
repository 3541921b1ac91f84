"""IDX files, the format of MNIST: read one, read a pair as a data set."""

import gzip
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np

from ms_gan.data.dataset import Dataset, data_error, md5_of, read_bytes
from ms_gan.data.known import IDX_SETS, file_names
from ms_gan.system import memory

_AGAIN = "copy or download it again"
LONGEST_HEAD = 4 + 4 * 255  # bytes


def read_idx(path: str | os.PathLike, *, ndim: int | None = None) -> np.ndarray:
    """Read an IDX file of bytes, raw or gzipped (told by its content, not its name).

    Args:
        path: the file.
        ndim: number of dimensions it must have; None: 1 (labels) or 3 (images).

    Returns:
        uint8 [N] or [N, H, W].

    Raises:
        DataError: unreadable, empty, not IDX, truncated, too long or a damaged gzip stream.
    """
    return _parsed(path, _unpacked(path), ndim)


def _unpacked(path: str | os.PathLike) -> bytes:
    content = read_bytes(Path(path))
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            head = file.read(LONGEST_HEAD)
            size = _declared(head)
            if why := memory.excess(size):
                raise data_error(path, f"its header says {why}", "an IDX file", _AGAIN)
            return head + file.read(max(0, size - len(head)) + 1)  # one more tells a longer one
    except (OSError, EOFError, zlib.error) as error:
        raise data_error(path, f"damaged gzip file ({error})", "a whole one", _AGAIN) from None


def _declared(content: bytes) -> int:
    """The length that the header of an IDX file of bytes gives it; that of the header if none."""
    if content[:3] != b"\0\0\x08" or not content[3:4]:
        return 4
    start, shape = _head(content)
    return start + (math.prod(shape) if shape else 0)


def _head(content: bytes) -> tuple[int, list[int]]:
    """How long the header is, and the shape that it declares."""
    start = 4 + 4 * content[3]
    return start, [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]


def _parsed(path: str | os.PathLike, content: bytes, ndim: int | None) -> np.ndarray:
    magics = {1: b"\0\0\x08\x01", 3: b"\0\0\x08\x03"}
    expected = [magic for n, magic in magics.items() if ndim in (None, n)]
    if content[:4] not in expected:
        found = f"it begins with {content[:4].hex()}" if content else "it is empty"
        magic = f"magic number {' or '.join(magic.hex() for magic in expected)}"
        raise data_error(path, f"not the IDX file looked for, {found}", magic, _AGAIN)
    (start, shape), size = _head(content), _declared(content)
    if len(content) != size:
        wrong = "truncated" if len(content) < size else "trailing bytes"
        raise data_error(path, f"{wrong}, {len(content)} bytes", f"{size} by its header", _AGAIN)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def read_pair(name: str, split: str, images: Path, labels: Path) -> Dataset:
    """The data set `name` in an image and a label file that belong together."""
    classes, contents = IDX_SETS[name].classes, (_unpacked(images), _unpacked(labels))
    x, y = _parsed(images, contents[0], 3), _parsed(labels, contents[1], 1)
    if len(x) != len(y) or not x.size:
        wrong = f"{len(x)} images but {len(y)} labels in {labels.name}"
        raise data_error(images, wrong, "as many, at least one", "take both from one source")
    if y.max() >= len(classes):
        wanted = f"0 to {len(classes) - 1} in {name}"
        raise data_error(labels, f"label {y.max()}", wanted, "use the files of this data set")
    md5 = dict(zip(file_names(split), map(md5_of, contents), strict=True))
    source = f"{split} files in {images.parent}"
    return Dataset(name, x[:, None], y.astype(np.int32), classes, source, md5)
