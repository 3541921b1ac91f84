"""One .ckpt file: named parameters and, as a JSON string, what is needed to use them.

Plain `mindspore.load_checkpoint` reads the files. Writing is atomic, a checksum tells damage;
nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Parameter

from ms_gan.errors import UserError
from ms_gan.runs import shipped, signatures, tutorials
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
    parameters = list(parameters)
    if found := not_finite({p.name: p.asnumpy() for p in parameters}):
        raise NotFinite(f"{path}: not written: {found}")
    entries = [{"name": p.name, "data": p} for p in parameters]
    text = files.as_utf8(json.dumps(meta, ensure_ascii=False)).decode()
    with files.replacing(path) as temporary:
        try:
            with _unlogged():
                ms.save_checkpoint(
                    entries, str(temporary), append_dict={META: text}, crc_check=True
                )
        except OSError:  # of its last act, chmod, on vfat, cifs …: then the file is whole
            if temporary.with_suffix(".tmp").exists() or not temporary.exists():
                raise
        except (RuntimeError, ValueError) as error:  # MindSpore hides the OSError of a full disk
            raise OSError(f"{path}: cannot be written: {_first_line(error)}") from error
        finally:
            with suppress(OSError):
                temporary.with_suffix(".tmp").unlink()  # what MindSpore leaves behind
        with files.tolerated():
            os.chmod(temporary, 0o644)  # MindSpore's 0400 is disliked by copies and network disks


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
        with _unlogged():  # of files without a checksum, those until 0.1, MindSpore says so
            entries = ms.load_checkpoint(str(path), crc_check=True)
        arrays = {k: v.asnumpy() for k, v in entries.items() if isinstance(v, Parameter)}
        # As bytes, which are decoded strictly: damage makes characters that there are none of.
        meta = json.loads(entries[META].encode()) if META in entries else None
    except Exception as error:  # protobuf, MindSpore and NumPy raise a dozen kinds for bad bytes
        if found := signatures.what_is(path):
            raise CheckpointError(
                f"{path}: is {found}; expected a checkpoint of MindSpore"
            ) from error
        # MindSpore wraps a wrong checksum into a guess about permissions.
        reason = error.__cause__ if isinstance(error.__cause__, ValueError) else error
        raise CheckpointError(
            f"{path}: not a whole MindSpore checkpoint ({_first_line(reason)}); "
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


@contextmanager
def _unlogged() -> Iterator[None]:
    """An error is raised; MindSpore's log line says the same."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__
