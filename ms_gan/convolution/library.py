"""convolution.cpp as a library: compiled once on this machine, tried, and kept in the user's cache.

What lies in the cache has passed its trial (:mod:`ms_gan.convolution.trial`) here: a file appears
there only behind it. Another source, MindSpore, Python or CPU is another file.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from ms_gan.errors import UserError
from ms_gan.system import files, runtime
from ms_gan.system.output import Say
from ms_gan.system.program import ROOT

SOURCE = Path(__file__).with_name("convolution.cpp")
HEADER = Path("oneapi", "dnnl", "dnnl.hpp")
LIBRARIES = ("libdnnl.so.3", "libmindspore_core.so", "libmindspore_ops_cpu.so")  # of MindSpore
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
COMPILERS = ("c++", "g++", "clang++")
SECONDS = 180  # for the compiler, and for the trial


class Unavailable(UserError):
    """Why convolutions cannot be oneDNN's here, and what to do about it."""


class Missing(Unavailable):
    """What is missing for compiling it, or why this machine is of another kind: no fault."""


def ready() -> Path | None:
    """The library, if this machine has compiled and tried it."""
    with suppress(Unavailable, OSError):
        path = place()
        if path.is_file():
            check_private(path.parent)
            check_private(path)
            return path
    return None


def obtained(say: Say) -> Path:
    """The library; where it is not ready, it is compiled and tried, which takes seconds, once.

    Raises:
        Unavailable: something that this needs is missing, or it does not work here.
    """
    if path := ready():
        return path
    path = place()
    compiler, headers = tools()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        check_private(path.parent)
        with alone(path.parent):
            if not path.is_file():  # another process was here meanwhile
                say("convolutions: compiling oneDNN's operators, once on this machine")
                with files.replacing(path) as temporary:
                    compile_into(temporary, compiler, headers)
                    temporary.chmod(0o700)  # whatever the umask is
                    attempt(temporary)
    except OSError as error:
        raise Unavailable(f"{path.parent}: {error.strerror or error}") from None
    check_private(path)
    return path


def place() -> Path:
    """Where the library lies or will lie.

    Raises:
        Missing: this machine is of another kind, or has no MindSpore.
        Unavailable: the place has a name that MindSpore cannot read.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Missing("this is not Linux on x86-64")
    seen = (mindspore_version(), sys.version, *sorted(runtime.cpu_flags()))
    digest = hashlib.sha256(SOURCE.read_bytes() + "\n".join([*FLAGS, *seen]).encode()).hexdigest()
    path = files.cache_folder() / "convolution" / f"{digest[:32]}.so"
    if ":" in str(path):  # MindSpore writes `file:function`
        raise Unavailable(f"{path.parent}: has a colon in its name; set XDG_CACHE_HOME")
    return path


def mindspore_version() -> str:
    try:
        return metadata.version("mindspore")
    except metadata.PackageNotFoundError:
        raise Missing("MindSpore is not installed as a package") from None


def tools() -> tuple[str, Path]:
    """The compiler and the folder of oneDNN's headers.

    Raises:
        Missing: one of them is not here.
    """
    names = (os.environ.get("CXX") or "", *COMPILERS)
    compiler = next(filter(None, (shutil.which(name) for name in names if name)), None)
    if compiler is None:
        raise Missing("there is no C++ compiler (Debian: apt-get install g++)")
    given = [os.environ.get(name, "") for name in ("CPATH", "CPLUS_INCLUDE_PATH")]
    folders = [f"{sys.prefix}/include", *os.pathsep.join(given).split(os.pathsep)]
    for folder in map(Path, filter(None, [*folders, "/usr/local/include", "/usr/include"])):
        if (folder / HEADER).is_file():
            return compiler, folder
    raise Missing("there are no headers of oneDNN 3 (pip install --no-deps onednn-devel, 0.2 MB)")


def compile_into(target: Path, compiler: str, headers: Path) -> None:
    found = importlib.util.find_spec("mindspore")
    if found is None or not found.submodule_search_locations:
        raise Unavailable("MindSpore is not installed")
    libraries = Path(found.submodule_search_locations[0]) / "lib"
    command = [
        compiler, *FLAGS, f"-I{headers}",
        str(SOURCE), "-o", str(target), f"-L{libraries}", f"-L{libraries / 'plugin'}",
        *(f"-l:{name}" for name in LIBRARIES),
        # What this MindSpore lacks is an error here and when it is loaded, not in the first step.
        "-Wl,-z,defs", "-Wl,-z,now",
    ]  # fmt: skip
    lines = failure(command)
    if lines is not None:
        errors = [line for line in lines if "error" in line or "undefined" in line]
        raise Unavailable(f"{compiler} cannot compile it: {(errors or lines)[0][:200]}")


def attempt(library: Path) -> None:
    """Let processes of their own convolve with it, exactly and rounding, which may crash."""
    for fpmath in ("strict", "bf16"):
        lines = failure([sys.executable, "-m", "ms_gan.convolution", str(library), fpmath])
        if lines is not None:
            raise Unavailable(f"it does not work here ({fpmath}): {lines[-1][:200]}")


def failure(command: list[str]) -> list[str] | None:
    """None where the command succeeds, else what it says on stderr, at least one line."""
    # A worker of several must not look for the others; the trial says itself how it multiplies.
    left_out = ("MS_ROLE", "MS_SCHED", runtime.FPMATH_VARIABLE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SECONDS,
            env={**environment, "PYTHONPATH": path, "LC_ALL": "C"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"no end within {SECONDS} s"]
    if done.returncode < 0:
        return [f"it was ended by {signal.Signals(-done.returncode).name}"]
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines or [f"exit code {done.returncode}"]


def check_private(path: Path) -> None:
    """Raise Unavailable where somebody else could have put code there for us to run."""
    found = path.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise Unavailable(
            f"{path}: others may write there, and what is there is executed; "
            "delete it, or set XDG_CACHE_HOME to a folder of your own"
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While no other process compiles; where the file system has no locks, both do, in turn."""
    with open(folder / "lock", "a") as file:
        with files.tolerated():
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
