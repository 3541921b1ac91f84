"""Whose CUDA MindSpore will use, if any, and how the plugin gets it: :func:`offered`.

MindSpore's wheel holds a GPU plugin, but no CUDA. The plugin is loaded by `import mindspore`, and
then only; it wants the libraries of `cuda_packages` and an environment variable CUDA_HOME, below
which it asks `bin/nvcc --version` which CUDA it has. :func:`offered` is the context around that
import which provides both from packages of pip, and takes CUDA_HOME back after it. An installation
of CUDA 11 that is the user's own is left alone. Where there is no driver, nothing happens at all.

Nothing here downloads anything. What is missing is said by `Outlook.why` and `Outlook.remedy`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ms_gan.system import nvidia
from ms_gan.system.cuda_packages import PACKAGES, SIZE, Installed, install, installed, version
from ms_gan.system.files import cache_folder
from ms_gan.system.nvidia import Card, Driver, dotted, variable

PLUGIN = "lib/plugin/libmindspore_gpu.so.11.6"  # in the folder of mindspore
HOME = "CUDA_HOME"
FITTING = ("11.6", "11.7", "11.8")  # for which MindSpore 2.10 takes that plugin
OLDEST_DRIVER = 11_000  # as cuDriverGetVersion says it: all 11.x work with a driver for 11.0
# MindSpore's kernels are machine code from the first to the second of these compute capabilities;
# for newer cards the driver translates them from PTX.
OLDEST, NEWEST = (6, 0), (8, 9)


# --- a CUDA of the user's -------------------------------------------------------------------------


def version_below(home: str) -> str | None:
    """What `bin/nvcc` below CUDA_HOME says of itself: '11.8'; None where there is none."""
    try:
        done = subprocess.run(
            [Path(home) / "bin" / "nvcc", "--version"],
            capture_output=True, text=True, errors="replace", timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"release (\d+\.\d+)", done.stdout)
    return match and match[1]


def version_of_the_system() -> str | None:
    """Of the CUDA 11 whose libraries the loader finds by itself, if it finds all of them."""
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep), "/usr/local/cuda/lib64"]
    names = [name for package in PACKAGES for name in package.files]
    known = None
    runtime = ""
    for name in names:
        path = next(
            (p for f in folders if f and (p := os.path.join(f, name)) and os.path.isfile(p)), None
        )
        if path is None:
            known = loaders_list() if known is None else known
            path = known.get(name)
        if path is None:
            return None
        runtime = runtime or os.path.realpath(path)  # the first is libcudart
    match = re.search(r"\.so\.(\d+\.\d+)\.\d", runtime)  # libcudart.so.11.8.89
    return match[1] if match and match[1] in FITTING else None


def loaders_list() -> dict[str, str]:
    """name -> path of the libraries that the loader of the system has listed."""
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    try:
        done = subprocess.run(
            [ldconfig, "-p"], capture_output=True, text=True, errors="replace", timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = re.findall(r"^\s*(\S+) \(.*\) => (.+)$", done.stdout, re.M)
    return {name: path for name, path in reversed(rows) if os.path.exists(path)}


# --- what follows ---------------------------------------------------------------------------------

USERS, SYSTEM, PIP = "CUDA_HOME", "the system", "pip"


@dataclass(frozen=True)
class Outlook:
    """What MindSpore can expect of the GPU here: whose CUDA it will use, or why it cannot.

    `why` and `remedy` are one line together.
    """

    driver: Driver
    source: str | None = None
    cuda: str | None = None
    packages: tuple[Installed, ...] = ()
    why: str = ""
    remedy: str = ""

    @property
    def card(self) -> Card | None:
        return self.driver.card

    def obstacle(self) -> str:
        return f"{self.why}: {self.remedy}" if self.remedy else self.why


def look() -> Outlook | None:
    """What there is; None where there is no driver. Loads nothing but the driver."""
    here = nvidia.driver()
    if here is None:
        return None
    if why := unfit(here):
        return Outlook(here, why=why)
    card = here.card.name
    if given := os.environ.get(HOME):
        number = version_below(given)
        if number in FITTING:
            return Outlook(here, USERS, number)
        holds = f"CUDA {number}" if number else "no bin/nvcc that tells its version"
        return Outlook(
            here, USERS, number, why=f"{HOME}={given} holds {holds}, and MindSpore 2.10 needs "
            f"CUDA {FITTING[0]} to {FITTING[-1]} on {card}",
            remedy=f"unset {HOME}; where CUDA 11 is missing then, the next start says what adds it",
        )  # fmt: skip
    if number := version_of_the_system():
        return Outlook(here, SYSTEM, number)
    packages = tuple(installed())
    if lacking := [package for package in packages if not package.fits]:
        named = f"{len(lacking)} packages that are not installed"
        if len(lacking) < len(PACKAGES) or any(package.version for package in lacking):
            named = f"what is not installed: {', '.join(p.described() for p in lacking)}"
        why = f"{card} needs {named} ({SIZE} in all)"
        damaged = [p.package for p in lacking if p.version == p.package.version]
        remedy = install(damaged if len(damaged) == len(lacking) else ())
        return Outlook(here, packages=packages, why=why, remedy=remedy)
    return Outlook(here, PIP, FITTING[0], packages)  # 11.6: the plugin's own


def unfit(here: Driver) -> str:
    """Why neither CUDA nor MindSpore can use what the driver shows; '' where they can."""
    if here.card is None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        of = f", CUDA_VISIBLE_DEVICES={visible}" if visible is not None else ""
        return f"the driver shows no card ({here.fault}{of})"
    if 0 < here.cuda < OLDEST_DRIVER:
        return f"{here.described()} is too old; install one for CUDA 11 or newer"
    if here.card.capability < OLDEST:
        return f"{here.card.described()}, is older than MindSpore's kernels, {dotted(OLDEST)}"
    spec = importlib.util.find_spec("mindspore")
    places = (spec and spec.submodule_search_locations) or ()
    if not any((Path(place) / PLUGIN).is_file() for place in places):
        return f"this MindSpore has no GPU plugin ({PLUGIN})"
    return ""


_offered: Outlook | None = None


def outlook() -> Outlook | None:
    """That with which MindSpore was imported; of a process that did not offer it, a new one."""
    return _offered or look()


def was_offered() -> bool:
    """Whether MindSpore was imported within :func:`offered` in this process."""
    return _offered is not None


@contextmanager
def offered() -> Iterator[bool]:
    """Around `import mindspore`: what the plugin needs is there. Gives whether it is.

    CUDA_HOME is what it was afterwards: MindSpore reads it at import and never again.
    """
    global _offered
    with ExitStack() as stack:
        found = look()
        if found is None:
            yield False
            return
        if not found.why and found.source != USERS:
            try:
                stack.enter_context(home(found.cuda))
            except OSError as error:
                remedy = "set TMPDIR to a folder where programs may be run"
                found = replace(found, why=str(error), remedy=remedy)
        if not found.why and found.source == PIP:
            try:
                load(found.packages)
            except OSError as error:
                why = f"a CUDA library cannot be loaded ({error})"
                found = replace(found, why=why, remedy=install(PACKAGES))
        _offered = found
        yield not found.why


def plugin_is_loaded() -> bool:
    """Whether MindSpore's GPU plugin is in this process, so that a GPU will be tried."""
    with suppress(OSError):
        return Path(PLUGIN).name in Path("/proc/self/maps").read_text(errors="replace")
    return False


def load(packages: tuple[Installed, ...]) -> None:
    """Load all libraries, so that their names are known when the plugin asks for them.

    Raises:
        OSError: one cannot be loaded; it says which and why.
    """
    for package in packages:
        for file in package.files or ():
            ctypes.CDLL(str(file), mode=ctypes.RTLD_GLOBAL)


@contextmanager
def home(number: str) -> Iterator[Path]:
    """A CUDA_HOME of this process alone whose `bin/nvcc` says that it is of that version.

    The folder has a name of its own and is the user's only, so other processes and users do not
    meet it; it goes again.

    Raises:
        OSError: there is no place where a program may be written and run.
    """
    folder = None
    try:
        for place in (tempfile.gettempdir(), cache_folder()):
            with suppress(OSError):
                os.makedirs(place, exist_ok=True)
                folder = Path(tempfile.mkdtemp(prefix="ms_gan-cuda-", dir=place))
                nvcc = folder / "bin" / "nvcc"
                nvcc.parent.mkdir()
                nvcc.write_text(
                    f'#!/bin/sh\necho "Cuda compilation tools, release {number}, V{number}.0"\n'
                )
                nvcc.chmod(0o700)
                if os.access(nvcc, os.X_OK):  # not where the file system runs no programs
                    break
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                folder = None
        if folder is None:
            raise OSError(f"no program may be run in {tempfile.gettempdir()} or {cache_folder()}")
        with variable(HOME, str(folder)):
            yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


# --- the first start on a new card ----------------------------------------------------------------


def translation(here: Outlook | None) -> str:
    """What is to be said before the first operator, where it will take minutes; '' elsewhere."""
    if here is None or here.why or here.card is None or here.card.capability <= NEWEST:
        return ""
    never_kept = os.environ.get("CUDA_CACHE_DISABLE", "0") not in ("", "0")
    if not never_kept and mark(here).is_file() and kernels_folder().is_dir():
        return ""
    often = f"once; later starts find them in {kernels_folder()}"
    if never_kept:
        often = f"at every start, since CUDA_CACHE_DISABLE={os.environ['CUDA_CACHE_DISABLE']}"
    return (
        f"GPU: {here.card.described()}, is newer than MindSpore's kernels, {dotted(NEWEST)}: "
        f"the driver translates them now. This can take minutes, {often}"
    )


def translated(here: Outlook | None) -> None:
    """Remember that the kernels of this card were translated."""
    if here is not None and here.card is not None and here.card.capability > NEWEST:
        with suppress(OSError):
            mark(here).parent.mkdir(parents=True, exist_ok=True)
            mark(here).touch()


def mark(here: Outlook) -> Path:
    """A file that is there once the kernels were translated for this card by this driver."""
    parts = (
        dotted(here.card.capability),
        nvidia.release() or str(here.driver.cuda),
        version("mindspore") or "?",
    )
    return cache_folder() / f"gpu_kernels-{'-'.join(parts)}"


def kernels_folder() -> Path:
    """Where the driver keeps kernels that it has translated."""
    return Path(os.environ.get("CUDA_CACHE_PATH") or os.path.expanduser("~/.nv/ComputeCache"))
