"""Weights that come with the package: which there are, and whether they are whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
GENERATORS = {  # name -> file in ASSETS, the best first; README.md there is the model card
    "mnist": "mnist_generator.ckpt",
    "mnist-unconditional": "mnist_unconditional_generator.ckpt",
    "mnist-tutorial": "mnist_tutorial_generator.ckpt",
}
TRANSLATORS = {  # the same of those that receive pictures
    "sr-x2": "sr_x2_generator.ckpt",
    "inpainting": "inpainting_generator.ckpt",
}
CLASSIFIERS = {"mnist": "mnist_classifier.ckpt"}  # data set -> file in ASSETS


def checksums() -> dict[str, str]:
    """File -> sha256, as listed in SHA256SUMS."""
    lines = (ASSETS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def owns(path: str | Path) -> bool:
    """Whether it lies where the shipped files lie."""
    return Path(path).resolve().parent == ASSETS


def damage(path: str | Path) -> str | None:
    """What is wrong with a shipped file, in one line; None if nothing is, or it is not of ours."""
    path = Path(path)
    if not owns(path):
        return None
    restore = "restore it with git checkout or install the package again"
    if not path.is_file():
        return f"{path}: no such file; {restore}"
    listed = checksums().get(path.name, "none")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != listed:
        return f"{path}: damaged: its sha256 is {found[:12]}…, expected {listed[:12]}…; {restore}"
    return None
