"""The primitives of a compiled graph, as MindSpore writes them down while it compiles."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_gan.errors import UserError

# Names of compiler passes behind which the graph is dumped: all of it costs half a minute a step.
BEFORE, AFTER = "validate", "after_kernel_select"
PASSES = "MS_DEV_DUMP_IR_PASSES"
# `  %3(CNode_7) = PrimFunc_MatMul(%1, …)`; what is called in comments has no number in front.
NODE = re.compile(r"^ +%\d+\([^)]*\) = (?:PrimFunc_)?([A-Za-z_]\w*)(?:\[[^(]*)?\(", re.M)
# What is no computation: the order of side effects, tuples, reading a parameter.
STRUCTURE = {"Depend", "Load", "MakeTuple", "TupleGetItem", "UpdateState"}
# What a backend may refuse or answer differently although it has all kernels: name -> how it shows.
TYPES = r"^ +: \(.*"  # the line of types and shapes behind each node
GROUPED = "a grouped convolution that is not depthwise"  # nn.Conv2d: not supported on Ascend
TRAPS = {
    "float64": re.compile(TYPES + r"\[Float64\]", re.M),
    "a shape that is not known": re.compile(TYPES + r"[(,] ?-\d", re.M),
    "branches or loops on values": re.compile(r"^# Total subgraphs: (?!1$)", re.M),
    "random numbers": re.compile(
        r"^ +%\d+\([^)]*\) = (?:PrimFunc_)?\w*"
        r"(?:Random|Normal|Uniform|Dropout|Bernoulli|Multinomial|Poisson|Randperm|Rand\w*Ext)\w*\(",
        re.M,
    ),
    GROUPED: re.compile(r"out_channel: I64\((\d+)\)[^\n]*\bgroup: I64\((?!1\)|\1\))\d"),
}


class PortabilityError(UserError, RuntimeError):
    """MindSpore does not say here what was asked."""


@dataclass(frozen=True)
class Compiled:
    """One graph, on the way to a backend.

    Args:
        primitives: behind the frontend, where no kernel was chosen yet: the same for every backend
            as far as Python code and the frontend do not ask for the device.
        kernels: behind the choice of kernels for the CPU, where primitives that have none there
            were replaced by others.
        traps: which of TRAPS it holds.
    """

    primitives: frozenset[str]
    kernels: frozenset[str]
    traps: tuple[str, ...] = ()

    @property
    def expanded(self) -> frozenset[str]:
        """Primitives that the compiler replaced."""
        return self.primitives - self.kernels


def compiled(cell: nn.Cell, *inputs: Any) -> Compiled:
    """Compile a cell for these inputs, and read what became of it.

    Raises:
        PortabilityError: MindSpore wrote no graph.
    """
    before = os.environ.get(PASSES)
    with tempfile.TemporaryDirectory(prefix="ms_gan_graphs_") as folder:
        os.environ[PASSES] = f"{BEFORE},{AFTER}"
        ms.set_context(save_graphs=1, save_graphs_path=folder)
        try:
            cell.compile(*inputs)
        finally:
            ms.set_context(save_graphs=0, save_graphs_path=".")
            os.environ.pop(PASSES)
            if before is not None:
                os.environ[PASSES] = before
        before_kernels, after = written(Path(folder), BEFORE), written(Path(folder), AFTER)
    return Compiled(named(before_kernels), named(after), trapped(before_kernels))


def together(graphs: Sequence[Compiled]) -> Compiled:
    """What several graphs need, as if they were one."""
    return Compiled(
        frozenset().union(*(graph.primitives for graph in graphs)),
        frozenset().union(*(graph.kernels for graph in graphs)),
        tuple(dict.fromkeys(trap for graph in graphs for trap in graph.traps)),
    )


def written(folder: Path, name: str) -> str:
    """What MindSpore wrote down behind one of its passes."""
    files = sorted(folder.glob(f"*_{name}_*.ir"))
    if not files:
        raise PortabilityError(
            f"MindSpore {ms.__version__} wrote no graph behind its pass '{name}'; "
            "expected 2.10 in graph mode on CPU, and a cell that was not compiled before"
        )
    return "\n".join(file.read_text(errors="replace") for file in files)


def named(text: str) -> frozenset[str]:
    """The primitives of graphs that were written down."""
    return frozenset(NODE.findall(text)) - STRUCTURE


def trapped(text: str) -> tuple[str, ...]:
    """Which of TRAPS stand in graphs that were written down."""
    return tuple(name for name, pattern in TRAPS.items() if pattern.search(text))
