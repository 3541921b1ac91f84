"""Everything global about the process: environment, device, mode, seeds. Imported before MindSpore.

`prepare()` runs when the package is imported; the other functions import MindSpore when called.
Environment variables that the user has set are never changed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from ms_gan.errors import UserError
from ms_gan.system import cuda, output, program, signals, workers

ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
FPMATH_VARIABLE = "ONEDNN_DEFAULT_FPMATH_MODE"
# Set beside what this package sets, so that a child process knows it is not the user's.
ISA_MARK, FPMATH_MARK = "MS_GAN_SET_ISA", "MS_GAN_SET_FPMATH"
X86 = ("x86_64", "amd64", "i386", "i686", "x86")
OLDEST, NEWEST = "2.7", "2.10"  # the versions of MindSpore that were tried: docs/versions.md
FULLY_CONNECTED = ("gan",)  # models without a convolution, which may use AVX-512


class DeviceError(UserError, RuntimeError):
    """A device that was asked for cannot be used."""


class NumpyError(UserError, ImportError):
    """A NumPy with which MindSpore cannot work."""


class MindSporeError(UserError, ImportError):
    """A MindSpore that is not here, or that cannot be loaded."""


class MatplotlibError(UserError, ImportError):
    """A matplotlib that is not here, or that cannot be loaded."""


def prepare() -> None:
    """Stop on a NumPy that MindSpore cannot use; set what must be set before `import mindspore`."""
    # The command line checks it itself: its answer is one line, and `doctor` goes on.
    if not signals.is_command():
        check_numpy()
    os.environ.setdefault("GLOG_v", "3")  # errors only: no INFO/WARNING lines from C++
    limit_instruction_set(convolutions=True)
    set_fpmath("strict")


def check_numpy() -> None:
    """Raise NumpyError where NumPy is missing or of another generation than MindSpore's."""
    remedy = "install one that fits: pip install 'numpy>=1.25,<2'"
    if python := program.ready_python():
        remedy = f"use the Python that is set up: {python}"
    try:
        import numpy

        version = numpy.__version__
    except (ImportError, AttributeError) as error:  # missing, or what a failed installation leaves
        raise NumpyError(f"NumPy cannot be imported ({first_line(error)}); {remedy}") from None
    if int(version.split(".")[0]) >= 2:
        raise NumpyError(
            f"NumPy {version} does not work with MindSpore 2.10, which is compiled "
            f"against NumPy 1.x; {remedy}"
        )


def check_installed() -> None:
    """Raise NumpyError or MindSporeError where this Python lacks what everything needs."""
    check_numpy()
    if importlib.util.find_spec("mindspore") is None:
        raise MindSporeError(f"MindSpore is not installed; {_remedy()}")
    check_version()


def check_version(version: str | None = None) -> None:
    """Raise MindSporeError where MindSpore is older than those with which this package was tried.

    Args:
        version: None: of the package that is installed; one that pip does not know passes.
    """
    if version is None:
        with suppress(metadata.PackageNotFoundError):
            version = metadata.version("mindspore")
    if version is not None and numbers(version) < numbers(OLDEST):
        raise MindSporeError(
            f"MindSpore {version} is too old; expected {OLDEST} to {NEWEST}, the newest is the one "
            "that was measured: pip install 'mindspore>=2.10,<2.11'"
        )


def numbers(version: str) -> tuple[int, int]:
    """Of '2.7.0rc1', (2, 7)."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _remedy() -> str:
    """What to do where MindSpore cannot be loaded."""
    if python := program.ready_python():
        return f"use the Python that is set up: {python}"
    return f"`{program.called('doctor')}` says what to do"


def import_mindspore(device: str = "CPU") -> Any:
    """The module, for the first time in this process: what can go wrong then is one line.

    Args:
        device: what :func:`set_device` will be asked for. A GPU is there only where its libraries
            were found before the import.

    Raises:
        MindSporeError: it is not installed or too old, or a library that it needs is missing or
            too old.
    """
    if "mindspore" not in sys.modules:
        check_version()
    try:
        if device in ("auto", "GPU") and "mindspore" not in sys.modules:
            with cuda.offered() as usable, quiet(usable):
                import mindspore
        import mindspore
        from mindspore import Parameter, Tensor, nn, ops  # noqa: F401 half removed, it lacks these
    except ModuleNotFoundError as error:
        if error.name == "mindspore":
            raise MindSporeError(f"MindSpore is not installed; {_remedy()}") from None
        raise MindSporeError(f"MindSpore cannot be loaded: {error}; {_remedy()}") from None
    except Exception as error:  # libraries of the system raise ImportError, RuntimeError, OSError …
        raise MindSporeError(
            f"MindSpore cannot be loaded: {first_line(error)}; {_remedy()}"
        ) from error
    return mindspore


@contextmanager
def quiet(really: bool = True) -> Iterator[None]:
    """Without what Python's loggers say: MindSpore logs a page about toolkits that it misses."""
    logging.disable(logging.ERROR if really else logging.NOTSET)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def import_matplotlib() -> Any:
    """The module, whatever backend MPLBACKEND names: this package draws into memory, with none.

    A notebook leaves its own backend there to the processes that it starts, where it may be
    missing, and the import would raise. Code of others in this process finds what it asked for.

    Raises:
        MatplotlibError: it is not installed, or cannot be loaded.
    """
    first = "matplotlib" not in sys.modules
    backend = os.environ.pop("MPLBACKEND", None)
    logging.disable(logging.WARNING)  # of a home that is not writable
    try:
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    except Exception as error:
        raise MatplotlibError(
            f"matplotlib cannot be loaded ({first_line(error)}); pip install matplotlib"
        ) from None
    finally:
        logging.disable(logging.NOTSET)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if first and backend is not None:
        with suppress(ValueError):  # it is not to be had here
            matplotlib.rcParams["backend"] = backend
    return matplotlib


def first_line(error: BaseException) -> str:
    """Of its text, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def limit_instruction_set(*, convolutions: bool, isa: str = "auto") -> None:
    """Choose oneDNN's instruction set; without effect after `import mindspore`.

    On AVX-512 CPUs the wheel's oneDNN falls back to a reference kernel for convolutions, a hundred
    times slower than its AVX2 one, while matrix products are 1.4 times faster with AVX-512.

    Args:
        convolutions: whether the nets have any.
        isa: 'auto': AVX2 for convolutions on AVX-512 CPUs; 'default': oneDNN's own choice; or the
            highest set that it may use, such as 'AVX2'. What the user's environment says wins.
    """
    if limit_is_the_users():
        return
    if isa == "auto":
        isa = "AVX2" if convolutions and has_avx512() else "default"
    _set("ONEDNN_MAX_CPU_ISA", None if isa == "default" else isa, ISA_MARK)


def limit_is_the_users() -> bool:
    """Whether oneDNN's limit was in the environment before this package came."""
    return _is_the_users(ISA_VARIABLES, ISA_MARK)


def set_fpmath(mode: str) -> None:
    """Choose how exactly oneDNN multiplies float32 on CPU; without effect after `import mindspore`.

    Args:
        mode: 'strict': in float32; 'bf16': it may round both factors to bfloat16, and sums in
            float32. CPUs that have no instructions for it go on in float32. What the user's
            environment says wins.
    """
    if not _is_the_users((FPMATH_VARIABLE,), FPMATH_MARK):
        _set(FPMATH_VARIABLE, "BF16" if mode == "bf16" else None, FPMATH_MARK)


def _is_the_users(names: tuple[str, ...], mark: str) -> bool:
    return os.environ.get(mark) != "1" and any(name in os.environ for name in names)


def _set(name: str, value: str | None, mark: str) -> None:
    """Set a variable, and its mark with it; None takes back what is marked."""
    if value is not None:
        os.environ[name] = value
        os.environ[mark] = "1"
    elif mark in os.environ:
        os.environ.pop(name, None)
        del os.environ[mark]


def has_avx512() -> bool:
    """Whether the CPU has AVX-512; a CPU of x86 that does not tell may have it."""
    flags = cpu_flags()
    return "avx512f" in flags if flags else platform.machine().lower() in X86


def cpu_flags() -> frozenset[str]:
    """The CPU's features as Linux names them; empty where nobody says."""
    return flags_of_linux() or flags_of_numpy()


def flags_of_linux() -> frozenset[str]:
    """Those of /proc/cpuinfo; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    wanted = (line for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(wanted, "").partition(":")[2].split())


def flags_of_numpy() -> frozenset[str]:
    """Those that NumPy asks the CPU for, on every system; empty where it does not tell."""
    with suppress(ImportError, AttributeError):
        from numpy.core._multiarray_umath import __cpu_features__ as found

        return frozenset(name.lower() for name, has in found.items() if has)
    return frozenset()


def set_device(requested: str = "auto", say: Callable[[str], None] | None = None) -> str:
    """Make MindSpore use a device, and find the other workers there; return its name.

    Args:
        requested: 'Ascend', 'GPU', 'CPU', or 'auto': the first of these that works.
        say: receives one line when 'auto' passes a device over.

    Raises:
        DeviceError: the requested device does not work here.
        WorkersError: the other workers did not come.
    """
    import mindspore as ms

    with quiet():
        return _first_that_works(ms, requested, say)


def _first_that_works(ms, requested: str, say: Callable[[str], None] | None) -> str:
    passed_over = {}
    for target in ("Ascend", "GPU", "CPU") if requested == "auto" else (requested,):
        if target == "GPU" and cuda.plugin_is_loaded():
            if line := cuda.translation(cuda.outlook()):
                (say or output.say)(line)
        # A GPU that failed may report it once more, to operators of the CPU that come after it.
        attempts = 4 if "GPU" in passed_over else 1
        if (why := _try(ms, target, attempts)) is not None:
            passed_over[target] = why
            continue
        if target == "GPU":
            cuda.translated(cuda.outlook())
        if passed_over and say:
            reasons = "; ".join(f"{other}: {why}" for other, why in passed_over.items())
            say(f"device: {target} (passed over {reasons})")
        return target
    reasons = "; ".join(f"{other}: {why}" for other, why in passed_over.items())
    way_out = "CPU tries no other" if requested == "auto" else "auto takes the first that works"
    raise DeviceError(f"runtime.device: {reasons}; runtime.device={way_out}")


def _try(ms, target: str, attempts: int) -> str | None:
    """Make MindSpore use a device; None where it works, else why it does not."""
    for attempt in range(attempts):
        try:
            if ms.get_context("device_target") != target:  # it can be set only once
                ms.set_device(target)
            workers.join()
            ms.ops.relu(ms.Tensor([1.0], ms.float32)).asnumpy()  # fails where only the name works
            return None
        except workers.WorkersError:
            raise
        except (RuntimeError, ValueError, OSError) as error:
            if attempt + 1 == attempts:
                return _why(target, str(error))
    return None


def _why(target: str, message: str) -> str:
    """Of a page of MindSpore about a device, the sentence that says what is wrong."""
    if target == "GPU" and (outlook := cuda.outlook()):
        if outlook.why:
            return outlook.obstacle()
        if plugin := re.search(r"libmindspore_gpu\.so\S* failed\. (.*)", message):
            return f"MindSpore's plugin cannot be loaded: {plugin[1]}"
        if not cuda.was_offered():
            return (
                "MindSpore was imported before the CUDA libraries could be loaded; "
                "ms_gan.system.runtime.import_mindspore('auto') first loads them"
            )
    lines = (line.strip() for line in message.splitlines())
    told = " ".join(line for line in lines if line.strip("-") and not line.startswith("- "))
    return told.split(". ")[0].partition(" mindspore/ccsrc")[0][:160].rstrip(".")


def set_mode(mode: str) -> None:
    """'graph' compiles whole Cells; 'pynative' runs them operator by operator, for debugging."""
    import mindspore as ms

    ms.set_context(mode={"graph": ms.GRAPH_MODE, "pynative": ms.PYNATIVE_MODE}[mode])


_native_layers = False


def set_layers(kind: str) -> None:
    """'fast' or 'native': which layers the nets that are built from now on consist of."""
    global _native_layers
    _native_layers = kind == "native"


def fast_layers() -> bool:
    """Whether layers are built from the kernels that are fast on CPU (ms_gan.models.layers)."""
    import mindspore as ms

    return not _native_layers and ms.get_context("device_target") == "CPU"


def set_seed(seed: int) -> None:
    """Seed what initialises the weights. Nothing else in the package uses global random state."""
    import mindspore as ms

    ms.set_seed(seed)
