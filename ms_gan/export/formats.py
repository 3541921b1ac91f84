"""FORMATS: a net as a file of another program, and what that program computes with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn

from ms_gan.export import graph, operators, packages
from ms_gan.export.operators import Translation, Value
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port, Subject
from ms_gan.system import files
from ms_gan.system.runtime import first_line

OPSET, IR_VERSION = 17, 8  # of ONNX: what programs of 2022 and later read
BATCHES = (1, 3, 64)  # numbers of rows with which a file is compared

Run = Callable[[tuple[np.ndarray, ...]], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Format:
    """How a net becomes a file, and how the file is run.

    Args:
        content: what the file holds.
        runner: the content -> a function from the inputs to the outputs, of the program that the
            file is for.
    """

    content: Callable[[Subject], bytes]
    runner: Callable[[bytes, Subject], Run]


def write(subject: Subject, name: str, path: Path) -> float:
    """Export a net to a file, once that is known to say the same as the net.

    Returns the largest difference of any number, over BATCHES.

    Raises:
        ExportError: a package is missing, the format lacks something, or the outputs differ by more
            than the subject tolerates. Then nothing is written; an older file stays intact.
        OSError: the file cannot be written.
    """
    content, difference = made(subject, name, path)
    files.write(path, content)
    return difference


def made(subject: Subject, name: str, path: Path) -> tuple[bytes, float]:
    """What :func:`write` writes, and the largest difference.

    Args:
        path: what an error calls the file.
    """
    packages.check(name)
    form = FORMATS[name]
    content = form.content(subject)
    difference = compare(subject, form.runner(content, subject))
    if not difference <= subject.tolerance:  # NaN is not
        raise ExportError(
            f"{path}: not written: what it computes differs from the net by {difference:.2g}; "
            f"expected at most {subject.tolerance:g}; the export is at fault: please report it"
        )
    return content, difference


def compare(subject: Subject, run: Run) -> float:
    """The largest difference between what a file and the package make of the same inputs."""
    largest = 0.0
    for rows in BATCHES:
        inputs = subject.examples(rows)
        found, expected = run(inputs), subject.expected(*inputs)
        for port, ours, theirs in zip(subject.outputs, expected, found, strict=True):
            if theirs.shape != (rows, *port.shape):
                raise ExportError(
                    f"{port.name}: the file makes {list(theirs.shape)} of {rows} rows; "
                    f"expected {[rows, *port.shape]}"
                )
            largest = max(largest, float(np.abs(ours - theirs).max(initial=0.0)))
            if not np.isfinite(theirs).all():
                return float("nan")
    return largest


# --- MindIR ---------------------------------------------------------------------------------------


def mindir_content(subject: Subject) -> bytes:
    return graph.mindir(subject.net, subject.inputs, None, subject.metadata())


def mindir_runner(content: bytes, subject: Subject) -> Run:
    with tempfile.TemporaryDirectory(prefix="ms_gan_export_") as folder:
        file = Path(folder) / "net.mindir"
        file.write_bytes(content)
        cell = nn.GraphCell(ms.load(str(file)))

    def run(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        outputs = cell(*map(Tensor, inputs))
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        return tuple(part.asnumpy() for part in parts)

    return run


# --- ONNX -----------------------------------------------------------------------------------------


def onnx_content(subject: Subject) -> bytes:
    import onnx

    read = graph.read(subject.net, subject.inputs)
    translation, results = operators.translate(read, subject.inputs)
    for port, value in zip(subject.outputs, results, strict=True):
        translation.nodes.append(("Identity", [value], Value(port.name), {}))
    helper = onnx.helper
    inner = helper.make_graph(
        onnx_nodes(translation),
        subject.about.get("kind", "net"),
        [onnx_port(port) for port in subject.inputs],
        [onnx_port(port) for port in subject.outputs],
        [onnx.numpy_helper.from_array(a, n) for n, a in translation.initializers.items()],
    )
    model = helper.make_model(
        inner, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="ms_gan", producer_version=subject.metadata()["ms_gan"],
    )  # fmt: skip
    helper.set_model_props(model, subject.metadata())
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # onnx raises several kinds
        raise ExportError(
            f"--format onnx: the graph is not one of ONNX: {first_line(error)}; "
            "take --format mindir"
        ) from error
    return model.SerializeToString()


def onnx_nodes(translation: Translation) -> list[Any]:
    import onnx

    nodes = []
    for operator, inputs, output, attributes in translation.nodes:
        if operator == "Cast":
            attributes = {"to": onnx_type(attributes["to"])}
        nodes.append(onnx.helper.make_node(operator, inputs, [output], output, **attributes))
    return nodes


def onnx_type(dtype: str) -> int:
    import onnx

    return onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def onnx_port(port: Port) -> Any:
    """An input or output with any number N of rows."""
    import onnx

    return onnx.helper.make_tensor_value_info(port.name, onnx_type(port.dtype), ["N", *port.shape])


def onnx_runner(content: bytes, subject: Subject) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [port.name for port in subject.inputs]

    def run(inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return tuple(session.run(None, dict(zip(names, inputs, strict=True))))

    return run


FORMATS = {
    "onnx": Format(onnx_content, onnx_runner),
    "mindir": Format(mindir_content, mindir_runner),
}
