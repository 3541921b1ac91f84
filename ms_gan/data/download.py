"""Downloads that try mirrors in turn, resume, check a digest and never leave half a file."""

import contextlib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ms_gan.data.known import IDX_SETS, file_names
from ms_gan.system.output import Say

try:
    import fcntl
except ImportError:  # Windows: downloads of several processes at once are not serialised
    fcntl = None

Progress = Callable[[str, int, int], None]

LARGEST = 1 << 30  # bytes of a file; those of the table have a hundredth of that
TIMEOUT = 10.0  # seconds without a byte before a mirror is given up


class DownloadError(Exception):
    """No mirror delivered; the text says why, mirror by mirror."""


def download(
    name: str, split: str, home: Path, say: Say | None, progress: Progress | None
) -> tuple[Path, Path]:
    """Bring the image and the label file of a split into `home`/`name`, whole and checked."""
    known, folder = IDX_SETS[name], home / name
    if say is not None:
        say(f"{name}: downloading to {folder}")
    images, labels = (folder / f"{file}.gz" for file in file_names(split))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock"):
            for file in (images, labels):
                if not file.exists():  # else another process was faster
                    fetch(file, known.mirrors, known.md5[file.name], progress)
    except OSError as error:
        raise DownloadError(f"cannot write: {error.strerror}") from None
    except DownloadError:
        if [path.name for path in folder.iterdir()] == [".lock"]:  # leave nothing behind
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
        raise
    return images, labels


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time, so that a half file has one writer; freed by the system on a crash."""
    with path.open("a") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(
    target: Path,
    mirrors: Sequence[str],
    digest: str,
    progress: Progress | None,
    *,
    kind: str = "md5",
) -> None:
    """Bring one file to its place, whole and checked: from the first mirror that delivers it; the
    next one, or the next call, resumes what one left unfinished.

    Args:
        mirrors: URLs of folders, each ends with a slash.
        digest: of the file, as `kind` makes it.

    Raises:
        DownloadError: no mirror delivered.
    """
    part = target.with_name(target.name + ".part")
    reasons = []
    for mirror in mirrors:
        try:
            _fetch_from(mirror + target.name, part, digest, kind, progress)
        except (OSError, http.client.HTTPException) as error:
            plain = type(error) is urllib.error.URLError  # its own text only wraps the reason's
            reasons.append(f"{urlsplit(mirror).netloc}: {error.reason if plain else error}")
        else:
            os.replace(part, target)  # atomic: a file under its own name is always whole
            return
    raise DownloadError(" ".join(", ".join(reasons).splitlines()))


def _fetch_from(url: str, part: Path, digest: str, kind: str, progress: Progress | None) -> None:
    resumed = part.exists()
    _receive(url, part, progress)
    if hashlib.new(kind, part.read_bytes(), usedforsecurity=False).hexdigest() != digest:
        part.unlink()
        if not resumed:
            raise OSError(f"wrong {kind}")
        # The old half may be to blame, not this mirror.
        _fetch_from(url, part, digest, kind, progress)


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Bring `part` to its full length, from where it ends if the server can."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:  # nothing after `done`: it was whole already
            return
        raise
    with reply:
        if reply.status != 206:
            done = 0
        total = done + int(reply.headers["Content-Length"] or -done)  # 0: unknown
        if total > LARGEST:
            raise OSError(f"declares {total:,} bytes")
        with part.open("ab" if done else "wb") as file:
            while block := reply.read(1 << 16):
                done += file.write(block)
                if done > LARGEST:
                    file.truncate(0)
                    raise OSError(f"sends more than {LARGEST:,} bytes")
                if progress is not None:
                    progress(part.stem, done, total)
    if done < total:
        raise OSError(f"cut off after {done} of {total} bytes")
