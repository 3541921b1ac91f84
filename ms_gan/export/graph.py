"""The graph of a net, primitive by primitive, as MindSpore's own MindIR holds it.

MindSpore compiles the net and writes MindIR, a protobuf; what stands in it is read back here as
plain nodes with names, numbers and arrays.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.convolution.layers import by_onednn
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port
from ms_gan.system.runtime import first_line

ROWS = 7  # for which a graph is read; no other number would do better


@dataclass(frozen=True)
class Node:
    """One primitive: what it is called, what it takes, what it makes.

    Args:
        inputs: names of values of the graph.
        shapes: of its outputs, for ROWS rows.
    """

    primitive: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    shapes: tuple[tuple[int, ...], ...]


@dataclass
class Graph:
    """The nodes in the order in which they are computed.

    Args:
        inputs: names of what is given.
        output: name of what is returned, a tensor or a tuple of tensors.
        constants: name -> number, tuple, text or array.
        parameters: name -> (the parameter's name in the net, its values).
    """

    inputs: list[str]
    output: str
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)


def mindir(net: nn.Cell, inputs: Sequence[Port], rows: int | None, user_info: dict) -> bytes:
    """A net as MindSpore exports it.

    Args:
        rows: for how many rows it is compiled; None: for any number.
        user_info: texts by name, which the file carries.

    Raises:
        ExportError: it is in training mode or built with oneDNN's operators, or MindSpore does not
            export it.
    """
    if net.training:
        raise ExportError("the net is in training mode; call net.set_train(False) before")
    if by_onednn(net):
        raise ExportError(
            "the net was built with oneDNN's operators, which no other program has; build it in a "
            "process without them, as `ms-gan export` does"
        )
    given = [
        Tensor(shape=(None, *port.shape), dtype=getattr(ms, port.dtype))
        if rows is None
        else Tensor(port.zeros(rows))
        for port in inputs
    ]

    def describe(model: Any) -> None:
        model.user_info.update(user_info)

    with tempfile.TemporaryDirectory(prefix="ms_gan_export_") as folder:
        file = Path(folder) / "net.mindir"
        syntax = ms.get_context("jit_syntax_level")
        try:
            ms.export(net, *given, file_name=str(file), file_format="MINDIR", custom_func=describe)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ExportError(
                f"MindSpore cannot export this net for "
                f"{'any number of' if rows is None else rows} rows: {first_line(error)}"
            ) from error
        finally:
            ms.set_context(jit_syntax_level=syntax)  # which an export that failed leaves changed
        return file.read_bytes()


def read(net: nn.Cell, inputs: Sequence[Port]) -> Graph:
    """The graph of a net for ROWS rows of its inputs.

    Raises:
        ExportError: MindSpore does not export it, or it is not one straight graph.
    """
    model = parsed(mindir(net, inputs, ROWS, {}))
    if model.functions:
        raise ExportError(
            "--format onnx: the net has branches or loops that depend on its values; "
            "take --format mindir"
        )
    primitives = {f"REF::{p.name}": p for p in model.primitives}
    inner = model.graph
    graph = Graph([value.name for value in inner.input], inner.output[0].name)
    prefix = f"{inner.name}:"
    for parameter in inner.parameter:
        name = parameter.name.removeprefix(prefix)
        graph.parameters[parameter.name] = name, _array(parameter)
    for node in inner.node:
        attributes = {a.name: a for a in node.attribute}
        if node.op_type == "Constant":
            graph.constants[node.output[0]] = _value(attributes["value"])
            continue
        primitive = primitives[node.op_type]
        graph.nodes.append(
            Node(
                primitive.op_type,
                tuple(node.input),
                node.output[0],
                {a.name: _value(a) for a in primitive.attribute},
                tuple(tuple(t.dims) for t in _tensors(attributes["shape"])),
            )
        )
    return graph


def parsed(content: bytes) -> Any:
    """The protobuf of a MindIR file."""
    from mindspore.train.mind_ir_pb2 import ModelProto

    model = ModelProto()
    model.ParseFromString(content)
    return model


def _array(tensor: Any) -> np.ndarray:
    """The values of a TensorProto."""
    kinds = type(tensor).DataType
    dtypes = {
        kinds.FLOAT: np.float32, kinds.INT32: np.int32, kinds.INT64: np.int64, kinds.BOOL: np.bool_,
        kinds.DOUBLE: np.float64, kinds.FLOAT16: np.float16,
    }  # fmt: skip
    flat = np.frombuffer(tensor.raw_data, dtypes[tensor.data_type])
    return flat.reshape(tuple(tensor.dims)).copy()


def _value(attribute: Any) -> Any:
    """A number, text, array or tuple of an AttributeProto; None for what is none of these."""
    kinds = type(attribute).AttributeType
    kind = attribute.type
    if kind in (kinds.TUPLE, kinds.LIST):
        return tuple(_value(value) for value in attribute.values)
    if kind == kinds.TENSORS and len(attribute.tensors) == 1 and attribute.tensors[0].raw_data:
        return _array(attribute.tensors[0])
    if kind == kinds.BOOL:
        return bool(_number(attribute.i, attribute.ints))
    if kind in (kinds.INT32, kinds.INT64):
        return _number(attribute.i, attribute.ints)
    if kind == kinds.FLOAT:
        return _number(attribute.f, attribute.floats)
    if kind == kinds.DOUBLE:
        return _number(attribute.d, attribute.doubles)
    if kind == kinds.STRING:
        return (attribute.s or b"".join(attribute.strings)).decode()
    return None


def _number(single: Any, several: Sequence[Any]) -> Any:
    """What stands in a tuple stands in the list, alone."""
    return several[0] if len(several) else single


def _tensors(attribute: Any) -> list[Any]:
    """The tensors of a shape, of one output or of a tuple of them."""
    found = list(attribute.tensors)
    for value in attribute.values:
        found += _tensors(value)
    return found
