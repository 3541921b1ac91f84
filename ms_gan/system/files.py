"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REFUSED = {  # by file systems that lack a call (vfat, cifs, FUSE …), not because it went wrong
    *(errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP),
    *(errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOTTY),
}
LONGEST = 40  # letters of a name that stay in that of its temporary file
unfinished: set[Path] = set()  # temporary files of this process
replaced: set[Path] = set()  # files that it found and wrote anew


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it when the block ends without an error.

    A reader, a kill or a full disk never leaves half a file, and an older file stays intact.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem[:LONGEST]}.{os.getpid()}{path.suffix}")
    unfinished.add(temporary)
    try:
        yield temporary
        with tolerated(), open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            replaced.add(path)
        os.replace(temporary, path)
    except OSError as error:  # a full disk names no file, others the temporary one
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        with suppress(OSError):  # there may be none: do not hide the error that says why
            temporary.unlink()
        unfinished.discard(temporary)


def write(path: str | Path, content: bytes | str) -> None:
    """Write a whole file or none; of text, what is no Unicode is escaped as by :func:`as_utf8`."""
    with replacing(path) as temporary:
        temporary.write_bytes(as_utf8(content) if isinstance(content, str) else content)


def as_utf8(text: str) -> bytes:
    r"""The text in UTF-8, surrogates (the name of a file in another encoding) as `\udce9`.

    JSON reads these as the same text again.
    """
    return text.encode("utf-8", "backslashreplace")


def trial(folder: Path, size: int = 0) -> None:
    """Write a file of `size` bytes, rename it and remove it: what a save will do, before work.

    Raises:
        OSError: what would refuse the save: rights, a name too long, no room, no renaming.
    """
    target = folder / ".trial.0.ckpt"  # a kill leaves what RunDir.prune sweeps up
    with replacing(target) as temporary, open(temporary, "wb") as file:
        file.write(b"trial")
        file.flush()
        if size and hasattr(os, "posix_fallocate"):
            with tolerated():
                os.posix_fallocate(file.fileno(), 0, size)
    target.unlink()


@contextmanager
def tolerated() -> Iterator[None]:
    """Go on where the file system does not have a call; what went wrong is raised."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise


def cache_folder() -> Path:
    """The folder of this package among the user's cached files; it may not be there yet."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if cache.startswith("~"):  # a service whose user has no home folder
        cache = tempfile.gettempdir()
    return Path(cache) / "ms_gan"
