"""Everything global about the process: environment, device, mode, seeds. Imported before MindSpore.

`prepare()` runs when the package is imported; the other functions import MindSpore when called.
Environment variables that the user has set are never changed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ms_gan.errors import UserError

ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
FPMATH_VARIABLE = "ONEDNN_DEFAULT_FPMATH_MODE"
# Set beside what this package sets, so that a child process knows it is not the user's.
ISA_MARK, FPMATH_MARK = "MS_GAN_SET_ISA", "MS_GAN_SET_FPMATH"
FULLY_CONNECTED = ("gan",)  # models without a convolution, which may use AVX-512


class DeviceError(UserError, RuntimeError):
    """A device that was asked for cannot be used."""


class NumpyError(UserError, ImportError):
    """A NumPy with which MindSpore cannot work."""


def prepare() -> None:
    """Stop on a NumPy that MindSpore cannot use; set what must be set before `import mindspore`."""
    # The command line (argv[0] is '-m' while python -m imports the package) checks it itself: its
    # answer is one line, and `doctor` goes on.
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    if program not in ("-m", "ms-gan"):
        check_numpy()
    os.environ.setdefault("GLOG_v", "3")  # errors only: no INFO/WARNING lines from C++
    limit_instruction_set(convolutions=True)
    set_fpmath("strict")


def check_numpy() -> None:
    """Raise NumpyError where NumPy is missing or of another generation than MindSpore's."""
    remedy = "install one that fits: pip install 'numpy>=1.25,<2'"
    try:
        import numpy

        version = numpy.__version__
    except (ImportError, AttributeError) as error:  # missing, or what a failed installation leaves
        reason = str(error).strip().split("\n")[0]
        raise NumpyError(f"NumPy cannot be imported ({reason}); {remedy}") from None
    if int(version.split(".")[0]) >= 2:
        raise NumpyError(
            f"NumPy {version} does not work with MindSpore 2.10, which is compiled "
            f"against NumPy 1.x; {remedy}"
        )


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
    return "avx512f" in cpu_flags()


def cpu_flags() -> frozenset[str]:
    """The CPU's features as Linux names them; empty where the system does not say (macOS)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    wanted = (line for line in lines if line.lower().startswith(("flags", "features")))
    return frozenset(next(wanted, "").partition(":")[2].split())


def set_device(requested: str = "auto", say: Callable[[str], None] | None = None) -> str:
    """Make MindSpore use a device; return its name.

    Args:
        requested: 'Ascend', 'GPU', 'CPU', or 'auto': the first of these that works.
        say: receives one line when 'auto' passes a device over.

    Raises:
        DeviceError: the requested device does not work here.
    """
    import mindspore as ms

    logging.disable(logging.ERROR)  # a probe that fails also logs a page about missing CUDA files
    try:
        return _first_that_works(ms, requested, say)
    finally:
        logging.disable(logging.NOTSET)


def _first_that_works(ms, requested: str, say: Callable[[str], None] | None) -> str:
    passed_over = []
    for target in ("Ascend", "GPU", "CPU") if requested == "auto" else (requested,):
        try:
            if ms.get_context("device_target") != target:  # it can be set only once
                ms.set_device(target)
            ms.ops.relu(ms.Tensor([1.0], ms.float32)).asnumpy()  # fails where only the name works
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())
            reason = reason.split(". ")[0][:160].rstrip(".")
            passed_over.append(f"{target}: {reason}")
            continue
        if passed_over and say:
            say(f"device: {target} (passed over {'; '.join(passed_over)})")
        return target
    raise DeviceError(
        f"runtime.device: {passed_over[0]}; runtime.device=auto takes the first that works"
    )


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
