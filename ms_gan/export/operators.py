"""OPERATORS: primitive of MindSpore -> its operators of ONNX. One function and one row for each.

Written for inference: what only training needs (the statistics of a batch, dropout) is not here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ms_gan.export.graph import ROWS, Graph, Node
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port

DTYPES = {30: "bool", 34: "int32", 35: "int64", 42: "float16", 43: "float32"}  # numbers in Cast


class Value(str):
    """The name of a value in the ONNX graph."""


Operand = Value | np.ndarray | int | float | bool | str | tuple | None


class Translation:
    """A graph of ONNX that grows with each node of MindSpore's.

    Attributes:
        nodes: (operator, inputs, output, attributes) in order.
        initializers: name -> array: weights under their names in the net, and constants.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[str, list[str], str, dict[str, Any]]] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}  # of values, for ROWS rows
        self.names: dict[int, str] = {}  # id of an array -> its name in the net

    def add(self, operator: str, *operands: Operand, **attributes: Any) -> Value:
        """One more node; arrays and numbers among the operands become initializers."""
        output = Value(f"{operator.lower()}_{len(self.nodes)}")
        inputs = [self.named(operand) for operand in operands]
        self.nodes.append((operator, inputs, output, attributes))
        return output

    def named(self, operand: Operand) -> str:
        """The name under which a value, an array or a number is found in the graph."""
        if isinstance(operand, Value):
            return operand
        if isinstance(operand, float):  # as MindSpore takes it beside a float32 tensor
            operand = np.float32(operand)
        array = np.asarray(operand)
        name = self.names.get(id(operand))
        if name is None:
            name = f"constant_{len(self.initializers)}"
        self.initializers.setdefault(name, array)
        return name

    def rank(self, operand: Operand) -> int:
        return len(self.shape(operand))

    def shape(self, operand: Operand) -> tuple[int, ...]:
        if isinstance(operand, Value):
            return self.shapes[operand]
        return np.shape(operand)


def translate(graph: Graph, inputs: Sequence[Port]) -> tuple[Translation, list[Value]]:
    """The nodes of ONNX that compute the same, and the values that are returned.

    Args:
        inputs: what the graph was read for.

    Raises:
        ExportError: a primitive that has no row in OPERATORS, or one used in a way that it lacks.
    """
    translation = Translation()
    known: dict[str, Any] = dict(graph.constants)
    for name, (own, array) in graph.parameters.items():
        known[name] = array
        translation.names[id(array)] = own
    for name, port in zip(graph.inputs, inputs, strict=True):
        known[name] = Value(port.name)
        translation.shapes[known[name]] = (ROWS, *port.shape)
    for node in graph.nodes:
        operands = [known.get(name) for name in node.inputs]
        if node.primitive in SILENT:
            known[node.output] = SILENT[node.primitive](operands)
            continue
        function = OPERATORS.get(node.primitive)
        if function is None:
            raise ExportError(
                f"--format onnx: the primitive {node.primitive} has no operator of ONNX here; "
                "take --format mindir, or add a row to ms_gan/export/operators.py"
            )
        try:
            value = function(translation, node, *operands)
        except (TypeError, AttributeError, KeyError, IndexError) as error:
            raise ExportError(
                f"--format onnx: the primitive {node.primitive} is used in a way that "
                f"ms_gan/export/operators.py does not know ({error}); take --format mindir"
            ) from error
        known[node.output] = value
        parts = value if isinstance(value, tuple) else (value,)
        for part, shape in zip(parts, node.shapes, strict=False):
            translation.shapes[part] = shape
    result = known[graph.output]
    return translation, list(result) if isinstance(result, tuple) else [result]


# What computes nothing: reading a weight, tuples, the order of side effects.
SILENT: dict[str, Callable[[list[Any]], Any]] = {
    "Load": lambda operands: operands[0],
    "Depend": lambda operands: operands[0],
    "MakeTuple": tuple,
    "TupleGetItem": lambda operands: operands[0][operands[1]],
    "UpdateState": lambda operands: None,
    "StopGradient": lambda operands: operands[0],
}


def same(operator: str) -> Callable[..., Value]:
    """A primitive that takes the same operands as the operator, in the same order."""

    def function(t: Translation, node: Node, *operands: Operand) -> Value:
        return t.add(operator, *map(plain, operands))

    return function


def plain(operand: Operand) -> Operand:
    """A whole number beside a float32 tensor, as in `2 * x`."""
    return float(operand) if type(operand) is int else operand


def mat_mul(t, node, a, b, transpose_a=False, transpose_b=False):
    return t.add("MatMul", turned(t, a, transpose_a), turned(t, b, transpose_b))


def dense(t, node, x, weight, bias=None):
    product = t.add("MatMul", x, turned(t, weight, True))
    return product if bias is None else t.add("Add", product, bias)


def turned(t: Translation, matrix: Operand, swap: bool) -> Operand:
    """The last two axes swapped, if `swap`; of a weight, here and not while it runs."""
    if not swap:
        return matrix
    if isinstance(matrix, Value):
        rank = t.rank(matrix)
        return t.add("Transpose", matrix, perm=[*range(rank - 2), rank - 1, rank - 2])
    result = np.ascontiguousarray(np.swapaxes(matrix, -1, -2))
    t.names[id(result)] = t.names.get(id(matrix), "matrix")
    return result


def bias_add(t, node, x, bias, *_):
    """The bias [C] belongs to axis 1, and is broadcast along the others."""
    rank = len(node.shapes[0])
    if rank > 2:
        wide = bias.reshape(-1, *[1] * (rank - 2))
        t.names[id(wide)] = t.names.get(id(bias), "bias")
        bias = wide
    return t.add("Add", x, bias)


def reshape(t, node, x, shape):
    """The first length, N or a multiple of it, follows the input: ONNX copies it (0) or completes
    it (-1)."""
    if shape[0] % ROWS == 0:
        if t.shape(x)[0] % ROWS:
            raise ExportError(
                f"--format onnx: a Reshape of {list(t.shape(x))} to {list(shape)} moves the axis "
                "of the batch, so that the file would take one batch size only; "
                "take --format mindir"
            )
        shape = (0 if shape[0] == t.shape(x)[0] else -1, *shape[1:])
    return t.add("Reshape", x, np.array(shape, np.int64))


def concat(t, node, parts, axis):
    return t.add("Concat", *parts, axis=axis)


def transpose(t, node, x, order):
    return t.add("Transpose", x, perm=list(order))


def one_hot(t, node, labels, depth, on, off, axis):
    index = t.add("Cast", labels, to="int64")
    values = np.stack([np.asarray(off).reshape(()), np.asarray(on).reshape(())])
    return t.add("OneHot", index, np.int64(depth), values, axis=axis)


def cast(t, node, x, dtype):
    if dtype not in DTYPES:
        raise ExportError(f"--format onnx: Cast to MindSpore's type {dtype} is not known here")
    return t.add("Cast", x, to=DTYPES[dtype])


def clamp(t, node, x, low, high):
    return t.add("Clip", x, *(np.float32(bound) for bound in (low, high)))


def batch_norm(t, node, x, gamma, beta, mean, variance, is_training, epsilon, *_):
    if is_training:
        raise ExportError("--format onnx: BatchNorm is in training mode; call net.set_train(False)")
    y = t.add("BatchNormalization", x, gamma, beta, mean, variance, epsilon=float(epsilon))
    return (y,)


def rsqrt(t, node, x):
    return t.add("Reciprocal", t.add("Sqrt", x))


def square(t, node, x):
    return t.add("Mul", x, x)


def silu(t, node, x):
    return t.add("Mul", x, t.add("Sigmoid", x))


def add_n(t, node, parts):
    return t.add("Sum", *parts)


def mat_mul_ext(t, node, a, b):
    return t.add("MatMul", a, b)


def select(t, node, condition, x, y):
    return t.add("Where", condition, *map(plain, (x, y)))


def pad(t, node, x, around, value=None):
    """MindSpore names both sides of an axis together, the last axis first."""
    mode = {"circular": "wrap"}.get(node.attributes["mode"], node.attributes["mode"])
    lengths, rank = [int(length) for length in np.ravel(around)], t.rank(x)
    missing = [0] * (rank - len(lengths) // 2)
    before = [*missing, *lengths[-2::-2]]
    after = [*missing, *lengths[::-2]]
    values = [np.float32(value)] if mode == "constant" and value is not None else []
    return t.add("Pad", x, np.array(before + after, np.int64), *values, mode=mode)


def reduced(operator: str) -> Callable[..., Value]:
    """A sum or mean: (x, axes, keep the axes, …)."""

    def function(t, node, x, axes=None, keep=False, *_):
        axes = () if axes is None else (axes,) if isinstance(axes, int) else axes
        axes = tuple(axes) or tuple(range(t.rank(x)))
        if operator == "ReduceSum":  # from opset 13 on its axes are an input
            return t.add(operator, x, np.array(axes, np.int64), keepdims=int(keep))
        return t.add(operator, x, axes=list(axes), keepdims=int(keep))

    return function


def pads(node: Node) -> list[int]:
    """(top, bottom, left, right) as ONNX wants it: top, left, bottom, right."""
    top, bottom, left, right = node.attributes["pad_list"]
    return [top, left, bottom, right]


def tile(t, node, x, times):
    if ROWS in times:
        raise ExportError("--format onnx: Tile along the axis of the batch is not known here")
    return t.add("Tile", x, np.array(times, np.int64))


def expand_dims(t, node, x, axis):
    return t.add("Unsqueeze", x, np.array([axis], np.int64))


def strided_slice(t, node, x, begin, end, step, from_first, to_last, dots, new, single):
    """`x[:, 1:5:2, 3]`: bit i of a mask says it of axis i; `single` axes are taken away."""
    axes = [i for i in range(len(begin)) if not (from_first & to_last) >> i & 1]
    if dots or new or 0 in axes or min(step) < 1:
        raise ExportError("--format onnx: a StridedSlice such as this one is not known here")
    taken = [i for i in axes if single >> i & 1]
    long = t.shape(x)
    starts = [0 if from_first >> i & 1 else begin[i] % long[i] for i in axes]
    ends = [
        start + 1 if i in taken else long[i] if to_last >> i & 1 else end[i]
        for i, start in zip(axes, starts, strict=True)
    ]
    steps = [step[i] for i in axes]
    x = t.add("Slice", x, *(np.array(part, np.int64) for part in (starts, ends, axes, steps)))
    return t.add("Squeeze", x, np.array(taken, np.int64)) if taken else x


def sides(value: int | Sequence[int]) -> list[int]:
    """Of a kernel: one number where both are equal."""
    return [value, value] if isinstance(value, int) else list(value)


def conv(t, node, x, weight):
    a = node.attributes
    return t.add(
        "Conv", x, weight, kernel_shape=sides(a["kernel_size"]), strides=list(a["stride"][-2:]),
        dilations=list(a["dilation"][-2:]), group=a["group"], pads=pads(node),
    )  # fmt: skip


def conv_transpose(t, node, x, weight, size):
    """MindSpore says the size of the output; ONNX wants what is missing to it at the far edges."""
    a = node.attributes
    strides, dilations, around = a["stride"][-2:], a["dilation"][-2:], a["pad_list"]
    missing = []
    for axis, (kernel, stride, dilation) in enumerate(
        zip(sides(a["kernel_size"]), strides, dilations, strict=True)
    ):
        whole = stride * (t.shape(x)[2 + axis] - 1) + dilation * (kernel - 1) + 1
        missing.append(size[2 + axis] - whole + around[2 * axis] + around[2 * axis + 1])
    return t.add(
        "ConvTranspose", x, weight, kernel_shape=sides(a["kernel_size"]), strides=list(strides),
        dilations=list(dilations), group=a["group"], pads=pads(node), output_padding=missing,
    )  # fmt: skip


def max_pool(t, node, x):
    a = node.attributes
    same_size = a["pad_mode"].upper() == "SAME"
    return t.add(
        "MaxPool", x, kernel_shape=list(a["kernel_size"][-2:]), strides=list(a["strides"][-2:]),
        auto_pad="SAME_UPPER" if same_size else "VALID",
    )  # fmt: skip


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": same("Abs"),
    "Add": same("Add"),
    "AddN": add_n,
    "BatchNorm": batch_norm,
    "BiasAdd": bias_add,
    "Cast": cast,
    "ClampScalar": clamp,
    "Concat": concat,
    "Conv2D": conv,
    "Conv2DTranspose": conv_transpose,
    "Dense": dense,
    "Div": same("Div"),
    "Divs": same("Div"),
    "Exp": same("Exp"),
    "ExpandDims": expand_dims,
    "Greater": same("Greater"),
    "Less": same("Less"),
    "LessScalar": same("Less"),
    "Log": same("Log"),
    "MatMul": mat_mul,
    "MatMulExt": mat_mul_ext,
    "MaxPool": max_pool,
    "Maximum": same("Max"),
    "Minimum": same("Min"),
    "Mul": same("Mul"),
    "Muls": same("Mul"),
    "Neg": same("Neg"),
    "OneHot": one_hot,
    "PadV3": pad,
    "Pow": same("Pow"),
    "ReLU": same("Relu"),
    "RealDiv": same("Div"),
    "Reciprocal": same("Reciprocal"),
    "ReduceMean": reduced("ReduceMean"),
    "ReduceSum": reduced("ReduceSum"),
    "Reshape": reshape,
    "Rsqrt": rsqrt,
    "Select": select,
    "SiLU": silu,
    "Sigmoid": same("Sigmoid"),
    "Softplus": same("Softplus"),
    "Sqrt": same("Sqrt"),
    "Square": square,
    "StridedSlice": strided_slice,
    "Sub": same("Sub"),
    "SumExt": reduced("ReduceSum"),
    "Tanh": same("Tanh"),
    "Tile": tile,
    "Transpose": transpose,
}
