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
from ms_gan.runs import shipped
from ms_gan.system import files

META = "ms_gan"  # the entry that holds the JSON string
TUTORIAL_PREFIXES = ("optim_ggenerator", "generator")  # what its update_parameters_name left


class CheckpointError(UserError, ValueError):
    """A file that is not the checkpoint that it should be."""


def save(path: str | Path, parameters: Iterable[Parameter], meta: Mapping[str, Any]) -> None:
    """Write parameters and meta data; the file appears whole or not at all.

    Raises:
        OSError: the disk is full or the folder not writable; an older file of that name is intact.
    """
    path = Path(path)
    entries = [{"name": p.name, "data": p} for p in parameters]
    text = json.dumps(meta, ensure_ascii=False)
    with files.replacing(path) as temporary:
        try:
            with _unlogged():
                ms.save_checkpoint(
                    entries, str(temporary), append_dict={META: text}, crc_check=True
                )
        except (RuntimeError, ValueError) as error:  # MindSpore hides the OSError of a full disk
            raise OSError(f"{path}: cannot be written: {_first_line(error)}") from error
        finally:
            with suppress(OSError):
                temporary.with_suffix(".tmp").unlink()  # what MindSpore leaves behind
        os.chmod(temporary, 0o644)  # MindSpore leaves 0400, which copies and network disks dislike


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
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a .ckpt file")
    if path.suffix != ".ckpt":
        raise CheckpointError(f"{path}: not a checkpoint; expected a file that ends in .ckpt")
    try:
        with _unlogged():  # of files without a checksum, those until 0.1, MindSpore says so
            entries = ms.load_checkpoint(str(path), crc_check=True)
        arrays = {k: v.asnumpy() for k, v in entries.items() if isinstance(v, Parameter)}
        # As bytes, which are decoded strictly: damage makes characters that there are none of.
        meta = json.loads(entries[META].encode()) if META in entries else None
    except Exception as error:  # protobuf, MindSpore and NumPy raise a dozen kinds for bad bytes
        # MindSpore wraps a wrong checksum into a guess about permissions.
        reason = error.__cause__ if isinstance(error.__cause__, ValueError) else error
        raise CheckpointError(
            f"{path}: not a whole MindSpore checkpoint ({_first_line(reason)}); "
            "it may be truncated: use another one"
        ) from error
    if not arrays:
        raise CheckpointError(f"{path}: holds no parameters; use another checkpoint")
    return arrays, meta


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
    for p in parameters:
        p.set_data(ms.Tensor(arrays[p.name], p.dtype))


def from_tutorial(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of the MindSpore tutorial's Generator*.ckpt -> names of this package.

    `optim_ggeneratormodel.0.weight` and `generatormodel.3.moving_mean` -> `generator.model.…`;
    an empty dict when the arrays are not of that kind.
    """
    renamed = {}
    for name, array in arrays.items():
        for prefix in TUTORIAL_PREFIXES:
            if name.startswith(f"{prefix}model.") or name.startswith(f"{prefix}.model."):
                renamed["generator." + name[len(prefix) :].lstrip(".")] = array
                break
        else:
            if name.startswith("model."):
                renamed["generator." + name] = array
    return renamed


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
