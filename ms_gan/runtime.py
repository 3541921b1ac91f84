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

NUMPY_MESSAGE = (
    "ms_gan: NumPy {found} does not work with MindSpore 2.10, which is compiled against NumPy 1.x; "
    "install a matching one: pip install 'numpy>=1.25,<2'"
)
ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
FULLY_CONNECTED = ("gan",)  # models without a convolution, which may use AVX-512


class DeviceError(UserError, RuntimeError):
    """A device that was asked for cannot be used."""


def prepare() -> None:
    """Stop on a NumPy that MindSpore cannot use; set what must be set before `import mindspore`."""
    import numpy

    if int(numpy.__version__.split(".")[0]) >= 2:
        message = NUMPY_MESSAGE.format(found=numpy.__version__)
        # At the command line (argv[0] is '-m' while python -m imports the package) one line is
        # enough; a library must raise something that its importer can catch.
        program = os.path.basename(sys.argv[0]) if sys.argv else ""
        raise SystemExit(message) if program in ("-m", "ms-gan") else ImportError(message)
    os.environ.setdefault("GLOG_v", "3")  # errors only: no INFO/WARNING lines from C++
    limit_instruction_set(convolutions=True)


def limit_instruction_set(*, convolutions: bool) -> None:
    """Choose oneDNN's instruction set on AVX-512 CPUs; without effect after `import mindspore`.

    The wheel's oneDNN falls back to a reference kernel for convolutions there, a hundred times
    slower than its AVX2 one, while matrix products are 1.4 times faster with AVX-512.
    """
    ours = os.environ.get("MS_GAN_SET_ISA") == "1"
    if any(name in os.environ for name in ISA_VARIABLES) and not ours:
        return
    if convolutions and has_avx512():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        os.environ["MS_GAN_SET_ISA"] = "1"  # so that a child process knows it is not the user's
    elif ours:
        del os.environ["ONEDNN_MAX_CPU_ISA"], os.environ["MS_GAN_SET_ISA"]


def has_avx512() -> bool:
    """Whether this machine says that it has AVX-512; False where it says nothing (macOS)."""
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return False


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
