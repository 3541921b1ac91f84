"""Decoded pictures on disk, so that a run that goes on does not decode them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from ms_gan.data.dataset import Dataset
from ms_gan.data.finding import Walk
from ms_gan.data.found import Found
from ms_gan.system import files
from ms_gan.system.files import cache_folder
from ms_gan.system.output import Say, shown

VERSION = 2  # of what is decoded and how: another one makes all that was kept useless
KEPT = 3  # of one folder of pictures, the newest
LARGE = 100e6  # bytes that a person is told of


def place(root: Path, found: Walk, options: dict[str, Any]) -> Path:
    """The file for what is below a folder now: name, size and time of every file, options."""
    where = os.fsencode(os.path.realpath(root))
    digest = hashlib.sha256(where)
    digest.update(json.dumps([VERSION, PIL.__version__, options], sort_keys=True).encode())
    for file in found.files:
        digest.update(os.fsencode("/".join(file.parts)) + b"\0%d %d\0" % (file.size, file.time))
    for parts in found.folders:
        digest.update(os.fsencode("/".join(parts)) + b"\0")
    folder = hashlib.sha256(where).hexdigest()[:16]
    return cache_folder() / "pictures" / f"{folder}-{digest.hexdigest()[:32]}.npz"


def read(path: Path, say: Say) -> tuple[Dataset, list[tuple[str, str]]] | None:
    """What :func:`write` wrote there; None where there is nothing, or nothing whole."""
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file, np.load(file) as held:  # a zip file: it has check sums
            images, labels = held["images"], held["labels"]
            about = json.loads(held["about"].tobytes())
        found = Found(**about.pop("found"))
        broken = about.pop("broken")
        about["classes"], about["names"] = tuple(about["classes"]), tuple(about["names"])
        dataset = Dataset(images=images, labels=labels, found=found, **about)
        if images.ndim != 4 or images.dtype != np.uint8 or labels.shape != (len(images),):
            raise ValueError("not a set of images")
    except Exception as error:  # zip, NumPy and JSON raise a dozen kinds for bytes not their own
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        say(f"data: {shown(path)} is damaged ({reason}); the pictures are read again")
        return None
    with suppress(OSError):
        os.utime(path)  # the newest ones are kept
    return dataset, broken


def write(path: Path, dataset: Dataset, broken: Sequence[tuple[str, str]], say: Say) -> None:
    """Keep a data set; a disk that is full or closed costs one line."""
    about = {
        item.name: getattr(dataset, item.name)
        for item in dataclasses.fields(dataset)
        if item.name not in ("images", "labels")
    }
    about |= {"found": dataclasses.asdict(dataset.found), "broken": broken}
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, images=dataset.images, labels=dataset.labels, about=text)
        _thin(path)
        if dataset.images.nbytes >= LARGE:
            say(f"data: kept decoded in {shown(path)} ({dataset.images.nbytes / 1e6:,.0f} MB)")
    except OSError as error:
        say(
            f"data: the decoded pictures cannot be kept in {shown(path.parent)} "
            f"({error.strerror or error}); the next start reads them again"
        )


def _thin(path: Path) -> None:
    """Remove all but the newest files of the same folder of pictures."""
    own = sorted(path.parent.glob(f"{path.name[:17]}*.npz"), key=lambda file: file.stat().st_mtime)
    for old in own[:-KEPT]:
        old.unlink(missing_ok=True)
