"""The convolutions of which nets are built: MindSpore's layers, with the kernels of this process.

Parameters, their names and their initial values are those of MindSpore's layers; where
:func:`ms_gan.convolution.choice.for_device` gives none, so are the graphs.
"""

from __future__ import annotations

from pathlib import Path

from mindspore import nn, ops

from ms_gan.convolution import choice
from ms_gan.convolution.operators import Geometry, operators, room


class Conv2d(nn.Conv2d):
    """nn.Conv2d, its arguments included; float32 [N, C, H, W]."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        library = choice.for_device()
        self.by_onednn = library is not None
        if self.by_onednn:
            found = operators(library, geometry_of(self))
            self.convolve, self.numbers = found.forward, found.numbers

    def construct(self, x):
        if not self.by_onednn:
            return super().construct(x)
        y = self.convolve(x, self.weight, self.numbers)
        return self.bias_add(y, self.bias) if self.has_bias else y


class Conv2dTranspose(nn.Conv2dTranspose):
    """nn.Conv2dTranspose, its arguments included; float32 [N, C, H, W]."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        if library := choice.for_device():
            # It is called as the primitive is: with y, the weights and the shape of the result.
            del self.conv2d_transpose
            self.conv2d_transpose = TransposedConvolution(library, geometry_of(self))


def by_onednn(net: nn.Cell) -> bool:
    """Whether some convolution of a net is one of oneDNN's operators, which live in this process
    alone: no other program can run a graph with them."""
    kinds = (Convolution, TransposedConvolution)
    cells = [cell for _, cell in net.cells_and_names()]
    return any(isinstance(cell, kinds) or getattr(cell, "by_onednn", False) for cell in cells)


def geometry_of(layer: nn.Cell) -> Geometry:
    return Geometry.of(
        layer.kernel_size, layer.stride, layer.dilation, layer.pad_mode, layer.padding, layer.group
    )


def convolution(
    width: int, kernel: int, *, stride: int = 1, padding: int | tuple[int, ...] = 0, groups: int = 1
) -> ops.Conv2D | Convolution:
    """What convolves x [N, C, H, W] with weights [width, C / groups, kernel, kernel], called with
    both.

    Args:
        padding: zeros at each edge, or (top, bottom, left, right).
    """
    if library := choice.for_device():
        return Convolution(library, Geometry.of(kernel, stride, 1, "pad", padding, groups))
    return ops.Conv2D(
        width, kernel, mode=1, pad_mode="pad", pad=padding, stride=stride, group=groups
    )


def transposed_convolution(
    width: int, kernel: int, *, stride: int = 1, padding: int | tuple[int, ...] = 0, groups: int = 1
) -> ops.Conv2DTranspose | TransposedConvolution:
    """The transpose of :func:`convolution`: called with y [N, width, H', W'], weights
    [width, C / groups, kernel, kernel] and the shape (N, C, H, W) of what it makes."""
    if library := choice.for_device():
        geometry = Geometry.of(kernel, stride, 1, "pad", padding, groups)
        return TransposedConvolution(library, geometry)
    return ops.Conv2DTranspose(
        width, kernel, mode=1, pad_mode="pad", pad=padding, stride=stride, group=groups
    )


class Convolution(nn.Cell):
    """See :func:`convolution`."""

    def __init__(self, library: Path, geometry: Geometry):
        super().__init__()
        found = operators(library, geometry)
        self.convolve, self.numbers = found.forward, found.numbers

    def construct(self, x, weights):
        return self.convolve(x, weights, self.numbers)


class TransposedConvolution(nn.Cell):
    """See :func:`transposed_convolution`."""

    def __init__(self, library: Path, geometry: Geometry):
        super().__init__()
        found = operators(library, geometry)
        self.convolve, self.numbers = found.images, found.numbers

    def construct(self, y, weights, shape):
        return self.convolve(y, weights, self.numbers, room(shape[2], shape[3]))
