"""Which convolutions this process uses, decided before MindSpore is imported.

MindSpore's own are fast on AVX-512 CPUs only while oneDNN is limited to AVX2, oneDNN's operators
only without that limit, and the limit holds for the process. So all of a process are of one kind.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ms_gan.convolution import library
from ms_gan.convolution.library import Unavailable
from ms_gan.system import runtime
from ms_gan.system.output import Say

NATIVE, ONEDNN = "native", "onednn"
NAMES = {NATIVE: "MindSpore's own kernels", ONEDNN: "oneDNN's operators"}

_library: Path | None = None


def use(path: Path | None) -> None:
    """A compiled library for what is built from now on; None: MindSpore's own kernels."""
    global _library
    _library = path


def library_in_use() -> Path | None:
    """What :func:`use` was told."""
    return _library


def lost() -> Path | None:
    """The same where the file is not there any more: MindSpore reads it for every graph."""
    return None if _library is None or _library.is_file() else _library


def for_device() -> Path | None:
    """The same where MindSpore's device is the CPU; None elsewhere."""
    import mindspore as ms

    return _library if ms.get_context("device_target") == "CPU" else None


def name() -> str:
    """'native' or 'onednn', as :func:`for_device` says."""
    return NATIVE if for_device() is None else ONEDNN


def chosen(wanted: str, *, began: str | None, isa: str, say: Say) -> Path | None:
    """What :func:`use` shall be told; compiled where it is not ready.

    Args:
        wanted: 'native'; 'onednn'; or 'auto': oneDNN's operators where they are faster and can be
            had, but a run goes on with those that it began with.
        began: which ones a run used that goes on; None: it is new.
        isa: `runtime.onednn_isa` of the recipe.
        say: receives one line where a run goes on by others than before, or where something is
            wrong with oneDNN's operators.

    Raises:
        Unavailable: 'onednn' cannot be had here.
    """
    path = None
    if wanted == ONEDNN:
        try:
            path = library.obtained(say)
        except Unavailable as error:
            raise Unavailable(
                f"runtime.convolutions: onednn cannot be used: {error}; "
                "runtime.convolutions=auto takes MindSpore's own kernels instead"
            ) from None
    elif wanted == "auto" and (began == ONEDNN or began is None and pays(isa)):
        path = _tried(quiet=began is None, say=say)
    now = NATIVE if path is None else ONEDNN
    if began not in (None, now):
        say(
            f"convolutions: from here on by {NAMES[now]}, so far by {NAMES[began]}: "
            "the same but for rounding"
        )
    if path is None and _library is not None and "mindspore" in sys.modules:
        say(
            f"convolutions: this process began with {NAMES[ONEDNN]}, so AVX-512 is on, with which "
            f"{NAMES[NATIVE]} are very slow; start another process"
        )
    return path


def _tried(*, quiet: bool, say: Say) -> Path | None:
    """The library, or None and a line that says why; no line where `quiet` and nothing is wrong but
    that the tools are missing."""
    try:
        return library.obtained(say)
    except library.Missing as error:
        why = None if quiet else error
    except Unavailable as error:
        why = error
    if why is not None:
        say(f"convolutions: by {NAMES[NATIVE]}; {NAMES[ONEDNN]} cannot be used: {why}")
    return None


def pays(isa: str = "auto") -> bool:
    """Whether oneDNN's operators are the faster ones: on CPUs with AVX-512, unless that is limited.

    Args:
        isa: `runtime.onednn_isa`.
    """
    if "mindspore" in sys.modules:  # whose limit cannot be changed any more
        return _library is not None
    limited = runtime.limit_is_the_users() or isa not in ("auto", "default")
    return not limited and runtime.has_avx512()
