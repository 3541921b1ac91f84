"""What MindSpore declares of a primitive: in its documentation, and by what a plugin registers."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import mindspore

from ms_gan.portability.registrations import described, registered

ROOT = Path(mindspore.__file__).parent
PLUGINS = ROOT / "lib" / "plugin"
# Where the classes of primitives stand; the first that has the name counts.
CLASSES = (
    "mindspore.ops.operations", "mindspore.ops.auto_generate",
    "mindspore.ops.operations._grad_ops", "mindspore.ops.operations._inner_ops",
)  # fmt: skip
PLATFORMS = re.compile(r"Supported Platforms:\s*\n\s*(.+)")
REFERENCE = re.compile(r"Refer to :func:`([\w.]+)`")


@dataclass(frozen=True)
class Backend:
    """A device that MindSpore has kernels for.

    Args:
        sources: how its kernels are called -> the primitives that have one.
        as_cpu: primitives without a kernel are replaced by others as on CPU.
    """

    name: str
    sources: dict[str, Callable[[], set[str]]] = field(default_factory=dict)
    as_cpu: bool = True

    def kernel(self, primitive: str) -> str | None:
        """Which kind of kernel is registered for it; None: none."""
        return next((k for k, names in self.sources.items() if primitive in names()), None)


@cache
def documented(primitive: str) -> frozenset[str]:
    """The devices under "Supported Platforms" of a primitive, or of the function that it names."""
    for module in CLASSES:
        found = getattr(importlib.import_module(module), primitive, None)
        if found is not None:
            break
    text = getattr(found, "__doc__", None) or ""
    platforms, reference = PLATFORMS.search(text), REFERENCE.search(text)
    if platforms is None and reference is not None:
        found = mindspore
        for part in reference.group(1).removeprefix("mindspore.").split("."):
            found = getattr(found, part, None)
        platforms = PLATFORMS.search(getattr(found, "__doc__", None) or "")
    return frozenset(re.findall(r"``(\w+)``", platforms.group(1))) if platforms else frozenset()


@cache
def of_cpu() -> set[str]:
    return set().union(*registered(PLUGINS / "libmindspore_ops_cpu.so"))


@cache
def of_gpu() -> set[str]:
    """Of its two factories: kernels that choose among types themselves, and those that do not."""
    return set().union(*registered(sorted(PLUGINS.glob("libmindspore_gpu.so.*"))[-1]))


@cache
def of_aclnn() -> set[str]:
    """Kernels that call CANN's aclnn functions, the larger factory."""
    return registered(PLUGINS / "libmindspore_ops_ascend.so")[0]


@cache
def of_acl() -> set[str]:
    """Primitives that run as an operator of CANN: those whose operator has an adapter, and those
    for which it is described how the operator is called."""
    adapters = described(PLUGINS / "ascend" / "libmindspore_ascend_res_manager.so", "ACos")
    calls = described(PLUGINS / "libmindspore_ops_ascend.so", "Conv2DBackpropFilter")
    return adapters | calls


@cache
def of_ai_cpu() -> set[str]:
    """Operators for the CPU of the Ascend chip, which Python code registers."""
    files = (ROOT / "ops" / "_op_impl" / "aicpu").glob("*.py")
    found = (re.findall(r'AiCPURegOp\("(\w+)"\)', file.read_text("utf-8")) for file in files)
    return set().union(*found)


BACKENDS = (
    Backend("CPU", {"kernel": of_cpu}),
    Backend("GPU", {"kernel": of_gpu}),
    Backend("Ascend", {"aclnn": of_aclnn, "ACL": of_acl, "AI CPU": of_ai_cpu}, as_cpu=False),
)
