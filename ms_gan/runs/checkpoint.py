"""One .ckpt file: named parameters and, as a JSON string, what is needed to use them.

Plain `mindspore.load_checkpoint` reads the files. Writing is atomic, and a file is read back before
it takes the place of an older one; checksums tell damage (:mod:`ms_gan.runs.records`); nothing is
pickled.
"""

from __future__ import annotations

import errno
import json
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Parameter

from ms_gan.errors import UserError
from ms_gan.runs import records, shipped, signatures, tutorials
from ms_gan.system import files

META = "ms_gan"  # the entry that holds the JSON string


class CheckpointError(UserError, ValueError):
    """A file that is not the checkpoint that it should be."""


class NotFinite(CheckpointError):
    """Infinity or NaN among the values of a checkpoint."""


def save(path: str | Path, parameters: Iterable[Parameter], meta: Mapping[str, Any]) -> None:
    """Write parameters and meta data; the file appears whole or not at all.

    Raises:
        NotFinite: of a value; nothing is written.
        OSError: the disk is full or the folder not writable; an older file of that name is intact.
    """
    path = Path(path)
    arrays = {p.name: p.asnumpy() for p in parameters}
    if found := not_finite(arrays):
        raise NotFinite(f"{path}: not written: {found}")
    text = files.as_utf8(json.dumps(meta, ensure_ascii=False)).decode()
    with files.replacing(path) as temporary:
        records.write(temporary, arrays, {META: text})
        try:
            deque(records.read(temporary), maxlen=0)
        except records.Malformed as error:
            why = f"does not read back as it was written ({error})"
            raise OSError(errno.EIO, why, str(path)) from None


def load(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Read a .ckpt file: arrays by name, and the meta data (None where the file has none).

    A file that comes with the package is checked by its sha256.

    Raises:
        CheckpointError: there is no such file, or it is not a whole MindSpore checkpoint, or a
            shipped one that was changed.
    """
    path = Path(path)
    if wrong := shipped.damage(path):
        raise CheckpointError(wrong)
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; expected a .ckpt file")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a .ckpt file")
    if path.suffix != ".ckpt":
        found = signatures.what_is(path)
        raise CheckpointError(
            f"{path}: {f'is {found}; ' if found else 'not a checkpoint; '}"
            "expected a checkpoint of MindSpore, a file that ends in .ckpt"
        )
    try:
        entries = dict(records.read(path))
        arrays = {k: v for k, v in entries.items() if not isinstance(v, str)}
        meta = json.loads(entries[META]) if META in entries else None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, RecursionError) as error:  # records.Malformed, JSON that is none
        if found := signatures.what_is(path):
            raise CheckpointError(
                f"{path}: is {found}; expected a checkpoint of MindSpore"
            ) from error
        raise CheckpointError(
            f"{path}: not a whole MindSpore checkpoint ({error}); "
            "it may be truncated: use another one"
        ) from error
    if not arrays:
        raise CheckpointError(f"{path}: holds no parameters; use another checkpoint")
    return arrays, meta


def load_known(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The same of a checkpoint of this package or of a MindSpore tutorial, by the names here.

    Raises:
        CheckpointError: as :func:`load`, or it is of neither.
    """
    arrays, meta = load(path)
    if meta is not None:
        return arrays, meta
    known = tutorials.recognised(arrays)
    if known is None:
        some = ", ".join(list(arrays)[:3])
        raise CheckpointError(
            f"{path}: not of ms_gan and not of MindSpore's GAN tutorials: it holds {some}"
            f"{', …' if len(arrays) > 3 else ''} ({len(arrays)} arrays)"
        )
    return known


def restore(
    parameters: Iterable[Parameter], arrays: Mapping[str, np.ndarray], path: str | Path
) -> None:
    """Copy arrays into the parameters of the same names; all of them, or none and an error."""
    parameters = list(parameters)
    missing = [p.name for p in parameters if p.name not in arrays]
    if missing:
        raise CheckpointError(
            f"{path}: of another architecture: has no '{missing[0]}'"
            f" ({len(missing)} of {len(parameters)} names are missing)"
        )
    for p in parameters:
        if tuple(arrays[p.name].shape) != tuple(p.shape):
            raise CheckpointError(
                f"{path}: of another architecture: '{p.name}' has shape "
                f"{list(arrays[p.name].shape)}, expected {list(p.shape)}"
            )
    if found := not_finite({p.name: arrays[p.name] for p in parameters}):
        raise NotFinite(f"{path}: {found}")
    for p in parameters:
        p.set_data(ms.Tensor(arrays[p.name], p.dtype))


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """How many arrays hold infinity or NaN, and the first one's name; None: all are finite."""
    bad = [name for name, array in arrays.items() if not is_finite(array)]
    if not bad:
        return None
    return f"infinity or NaN in {len(bad)} of {len(arrays)} arrays ('{bad[0]}')"


def is_finite(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
