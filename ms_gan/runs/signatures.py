"""What a file is that should have been a checkpoint: by its first bytes, never by its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

HEAD = 4096  # bytes that are looked at
TORCH_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")  # 0x1950a86a20f9469cfc6c as a pickle


def starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(beginnings)


def text_starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(beginnings)


def is_safetensors(head: bytes) -> bool:
    """The length of a JSON header in eight bytes, and then that header."""
    return head[8:10] == b'{"' and 2 <= int.from_bytes(head[:8], "little") < 100 * 2**20


def is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5"


# What is asked of the first bytes, in this order -> what the file is, and what to do with it.
KINDS: tuple[tuple[Callable[[bytes], bool], str], ...] = (
    (lambda head: not head, "an empty file"),
    (
        starts(b"version https://git-lfs"),
        "a Git LFS pointer, not the file itself; `git lfs pull` fetches that",
    ),
    (text_starts(b"<!doctype html", b"<html", b"<head"), "a web page (HTML); download it again"),
    (text_starts(b"<?xml"), "an XML text, such as the error of a server; download it again"),
    (
        lambda head: head.startswith(b"PK\3\4") and b"data.pkl" in head,
        "a PyTorch file (a zip with data.pkl)",
    ),
    (
        lambda head: head.startswith(b"PK\3\4") and b".npy" in head,
        "a NumPy archive (.npz)",
    ),
    (starts(b"PK\3\4"), "a zip archive; unpack it"),
    (lambda head: is_pickle(head) and TORCH_MAGIC in head, "an old PyTorch file (a pickle)"),
    (lambda head: is_pickle(head) and b"torch" in head, "a PyTorch file (a pickle)"),
    (is_pickle, "a Python pickle"),
    (is_safetensors, "a safetensors file"),
    (starts(b"\x89HDF\r\n"), "an HDF5 file, as Keras writes"),
    (starts(b"\x93NUMPY"), "a NumPy array (.npy)"),
    (starts(b"GGUF"), "a GGUF file"),
    (text_starts(b"model_checkpoint_path"), "the list of checkpoints of TensorFlow"),
    (lambda head: head[:1] == b"\x08" and re.search(rb"pytorch|onnx", head[:64]), "an ONNX model"),
    (lambda head: head[257:262] == b"ustar", "a tar archive; unpack it"),
    (
        starts(b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd"),
        "a compressed file; unpack it",
    ),
    (starts(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF"), "a picture or a film"),
    (starts(b"%PDF"), "a PDF"),
)  # fmt: skip


def what_is(path: Path) -> str | None:
    """In a few words, with what to do; None where the bytes say nothing."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    for asked, kind in KINDS:
        if asked(head):
            return kind
    if not re.search(rb"[^\t\r\n\x20-\x7e]", head):
        return f"a text that begins with {head[:30].decode('ascii').split(chr(10))[0]!r}"
    return None
