"""CPU kernels of MindSpore 2.10 beside the same mathematics from others, on [128, 1024] float32."""

import time

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops

ms.set_context(mode=ms.GRAPH_MODE)
rng = np.random.default_rng(0)
x, dy = (Tensor(rng.normal(size=(128, 1024)).astype(np.float32)) for _ in "xy")
row = Tensor(rng.normal(size=1024).astype(np.float32))
mean = Tensor(np.full((1, 128), 1 / 128, np.float32))


class Rows(nn.Cell):
    """A function of x, twenty times over, so that the launch of the graph does not count."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.native, self.bias_add = nn.LeakyReLU(0.2), ops.BiasAdd()

    def construct(self, x):
        for _ in range(20):
            if self.kind == "x + row":
                x = x + row
            elif self.kind == "BiasAdd(x, row)":
                x = self.bias_add(x, row)
            elif self.kind == "x.mean(0)":
                x = self.bias_add(x, x.mean(0))
            elif self.kind == "ones/N @ x":
                x = self.bias_add(x, ops.matmul(mean, x).reshape((-1,)))
            elif self.kind == "nn.LeakyReLU":
                x = self.native(x)
            else:
                x = x * ops.stop_gradient(ops.clamp(x * 1e30, 0.2, 1.0))
        return x


class Gradient(nn.Cell):
    """Forward and back."""

    def __init__(self, function):
        super().__init__()
        self.gradient = ops.grad(function)

    def construct(self, x):
        return self.gradient(x)


KINDS = ("x + row", "BiasAdd(x, row)", "x.mean(0)", "ones/N @ x", "nn.LeakyReLU", "x * slopes")
cells = {kind: Rows(kind) for kind in KINDS}
for kind in KINDS[4:]:
    cells[f"gradient of {kind}"] = Gradient(Rows(kind))
times = {kind: [] for kind in cells}
for turn in range(32):
    for kind, cell in cells.items():
        start = time.perf_counter()
        cell(x).asnumpy()
        if turn > 1:
            times[kind].append((time.perf_counter() - start) / 20)
for kind in cells:
    print(f"{kind:<28}{1e6 * np.median(times[kind]):8.0f} us")
