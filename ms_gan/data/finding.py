"""Which files below a folder are pictures; what else lies there is named with the reason."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ms_gan.system.output import shown

Parts = tuple[str, ...]  # of a path below the root

# What systems and servers leave beside pictures, in lower case.
SYSTEM = frozenset({
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r",
    ".ds_store", ".picasa.ini", ".thumbnails", ".trashes", ".spotlight-v100", ".fseventsd",
    "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "lost+found",
    "system volume information",
})  # fmt: skip
# These begin like TIFF, of which Pillow would take the small preview.
RAW = (".nef", ".nrw", ".dng", ".cr2", ".arw", ".sr2", ".srf", ".pef", ".srw", ".orf", ".rw2",
       ".raf", ".3fr", ".erf", ".kdc", ".dcr", ".iiq")  # fmt: skip
# Opened by Pillow without an image in them, or (EPS) by a program of its own.
NO_PIXELS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
UNKNOWN = "of a kind that Pillow does not read"


@dataclass(frozen=True)
class File:
    """A file below the root."""

    parts: Parts
    size: int  # bytes
    time: int  # of its last change, nanoseconds


@dataclass
class Walk:
    """All that lies below a folder: files and folders by their path, the rest with the reason."""

    files: list[File] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    unlisted: list[tuple[Parts, str]] = field(default_factory=list)


def walk(root: Path) -> Walk:
    """All files below a folder, links followed; a folder is entered once, however it is reached.

    Links to folders are followed last, so that a folder has its own name where it has one.
    """
    found, seen = Walk(), set()
    folders: deque[Parts] = deque([()])
    links: deque[Parts] = deque()
    while folders or links:
        parts = folders.popleft() if folders else links.popleft()
        path = root.joinpath(*parts)
        try:
            real = os.path.realpath(path)
            if real in seen:
                found.left_out.append((named(parts), "linked to a folder that is read already"))
                continue
            seen.add(real)
            with os.scandir(path) as entries:
                children = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            found.unlisted.append((parts, f"cannot be listed: {error.strerror}"))
            continue
        if parts:
            found.folders.append(parts)
        for entry in children:
            _sort(entry, (*parts, entry.name), found, folders, links)
    found.files.sort(key=lambda file: file.parts)
    return found


def _sort(
    entry: os.DirEntry, parts: Parts, found: Walk, folders: deque[Parts], links: deque[Parts]
) -> None:
    """Put one entry of a folder where it belongs."""
    try:
        if entry.name.lower() in SYSTEM:
            found.left_out.append((named(parts), "of the system"))
        elif entry.name.startswith("."):
            found.left_out.append((named(parts), "hidden"))
        elif entry.is_dir():
            (links if entry.is_symlink() else folders).append(parts)
        elif entry.is_file():
            status = entry.stat()
            found.files.append(File(parts, status.st_size, status.st_mtime_ns))
        elif entry.is_symlink():
            found.left_out.append((named(parts), "linked to nothing"))
        else:
            found.left_out.append((named(parts), "neither file nor folder"))
    except OSError:  # a link to itself, or into a folder that is closed
        found.left_out.append((named(parts), "linked to nothing"))


def named(parts: Parts) -> str:
    """A path below the root, for people."""
    return shown("/".join(parts))


def formats(name: str = "") -> list[str]:
    """Pillow's names of what a file of that name may be. TGA has no signature but its ending."""
    Image.init()
    weak = () if Image.registered_extensions().get(ending(name)) == "TGA" else ("TGA",)
    return [format for format in Image.ID if format not in (*NO_PIXELS, *weak)]


def ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def has_picture_ending(name: str) -> bool:
    """Whether a file of that name claims to be a picture that Pillow reads."""
    Image.init()
    return Image.registered_extensions().get(ending(name)) in {"MPO", *formats(name)}


def why_no_picture(root: Path, file: File) -> str | None:
    """Why a file is none of the pictures; None: it is one, by its ending or by its content.

    What claims to be a picture counts as one even where it cannot be read, and so does what cannot
    be opened: they are not left out in silence.
    """
    name = file.parts[-1]
    if ending(name) in RAW:
        return "camera raw"
    if has_picture_ending(name):
        return None
    if file.size == 0:
        return "empty"
    try:
        with open(root.joinpath(*file.parts), "rb") as content:
            try:
                Image.open(content, formats=formats(name)).close()
                return None
            except Image.DecompressionBombError:
                return None
            except Exception:  # whatever a plugin does with bytes that are not its own
                content.seek(0)
                return "text" if _is_text(content.read(1024)) else UNKNOWN
    except OSError:
        return None


def _is_text(head: bytes) -> bool:
    """Whether it begins like text in UTF-8; the cut may go through a letter."""
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
