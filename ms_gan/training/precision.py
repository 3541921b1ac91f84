"""Products of 16-bit numbers inside the nets; everything else stays float32.

Micikevicius et al. 2018, arXiv:1710.03740: weights are kept in float32 and rounded where they are
used (section 3.1), the loss is scaled so that small gradients survive float16 (3.2), and products
are summed in float32 (3.3). Losses, penalties, normalisation, averages and optimizers never see
anything but float32.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

DTYPES = {"float16": ms.float16, "bfloat16": ms.bfloat16}
# Backends whose kernels take 16-bit factors. Elsewhere the factors are rounded and multiplied in
# float32: the same numbers but for the order of sums, and nothing gained but the knowledge.
KERNELS = {"Ascend": ("float16", "bfloat16"), "GPU": ("float16",), "CPU": ()}
PRODUCTS = ("Conv2D", "Conv2DTranspose", "Conv2DBackpropInput", "MatMul")
FIRST, WINDOW = 2.0**13, 2000  # the scale at the start; after so many good updates it doubles


class Rounded(nn.Cell):
    """A product whose two factors are rounded to 16 bits, and its result, a float32, too.

    Args:
        product: the primitive.
        dtype: 'float16' or 'bfloat16'.
        native: whether the device multiplies such numbers.

    Inputs: two float32 tensors, then what else the primitive takes. Outputs: float32.
    """

    def __init__(self, product: ops.Primitive, dtype: str, native: bool):
        super().__init__(auto_prefix=False)
        self.product, self.dtype, self.native = product, DTYPES[dtype], native

    def construct(self, x, weight, *more):
        x, weight = x.astype(self.dtype), weight.astype(self.dtype)
        if not self.native:
            x, weight = x.astype(ms.float32), weight.astype(ms.float32)
        y = self.product(x, weight, *more)
        return y.astype(self.dtype).astype(ms.float32)


def is_native(dtype: str) -> bool:
    """Whether the device has kernels for such factors."""
    return dtype in KERNELS[ms.get_context("device_target")]


def lower(net: nn.Cell, dtype: str) -> None:
    """Let all layers of a net that have weights multiply in 16 bits; the weights stay float32."""
    for _, cell in net.cells_and_names():
        if not cell.trainable_params(recurse=False):
            continue
        for name, value in list(vars(cell).items()):
            if isinstance(value, ops.Primitive) and value.name in PRODUCTS:
                delattr(cell, name)
                setattr(cell, name, Rounded(value, dtype, is_native(dtype)))


class Unscaled(nn.Cell):
    """The loss is differentiated as it is, and every update counts.

    Inputs: gradients of what `up` gives, a tuple. Outputs: those of the loss, and whether all of
    them are finite.
    """

    def __init__(self):
        super().__init__(auto_prefix=False)

    def up(self, loss):
        """What is differentiated in the place of the loss."""
        return loss

    def down(self, loss):
        """The loss again."""
        return loss

    def construct(self, grads):
        return grads, True


class Scaled(Unscaled):
    """The loss is differentiated 2^k times as large, and what overflows is no update.

    The scale doubles after `window` good updates and is halved by one with a gradient that is not
    finite, down to 1 (arXiv:1710.03740, section 3.2).

    Args:
        name: begins the names of the parameters, which belong into checkpoints.
        first: the scale of the first update.
        window: good updates after which it doubles.

    Attributes:
        scale, good, skipped: Parameters float32 []: the scale, the good updates since it changed,
            and the updates left out so far.
    """

    def __init__(self, name: str, first: float = FIRST, window: int = WINDOW):
        super().__init__()
        self.scale = held(f"{name}.scale", first)
        self.good = held(f"{name}.good", 0.0)
        self.skipped = held(f"{name}.skipped", 0.0)
        self.window = window

    def up(self, loss):
        return loss * self.scale

    def down(self, loss):
        return loss / self.scale

    def construct(self, grads):
        scale, zero, unscaled = self.scale + 0.0, ms.Tensor(0.0, ms.float32), ()
        for grad in grads:
            zero = zero + (grad * 0.0).sum()  # NaN where one is infinite or NaN
            unscaled += (grad / scale,)
        finite = ops.equal(zero, 0.0)
        is_good = finite.astype(ms.float32)
        good = (self.good + 1.0) * is_good
        full = ops.equal(good, self.window).astype(ms.float32)
        changed = ops.maximum(scale * (0.5 + 0.5 * is_good) * (1.0 + full), 1.0)
        moved = (
            ops.assign(self.scale, ops.depend(changed, unscaled)),
            ops.assign(self.good, good * (1.0 - full)),
            ops.assign(self.skipped, self.skipped + 1.0 - is_good),
        )
        return unscaled, ops.depend(finite, moved)


class ScaledNetwork(nn.Cell):
    """A network whose first output, a loss, is scaled; inputs and other outputs are its own."""

    def __init__(self, network: nn.Cell, scaling: Unscaled):
        super().__init__(auto_prefix=False)
        self.network, self.scaling = network, scaling

    def construct(self, *inputs):
        loss, *rest = self.network(*inputs)
        return (self.scaling.up(loss), *rest)


def held(name: str, value: float) -> Parameter:
    return Parameter(Tensor(value, ms.float32), name=name, requires_grad=False)
