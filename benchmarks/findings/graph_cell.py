"""One training step three ways: PyNative, a ms.jit function, a Cell in GRAPH_MODE."""

import sys
import time

import numpy as np

import mindspore as ms
from mindspore import nn, ops

way = sys.argv[1] if len(sys.argv) > 1 else "cell"  # pynative, jit or cell
ms.set_context(mode=ms.GRAPH_MODE if way == "cell" else ms.PYNATIVE_MODE)
widths = (784, 512, 512, 512, 512, 1)
layers = [
    part for a, b in zip(widths, widths[1:], strict=False) for part in (nn.Dense(a, b), nn.ReLU())
]
net = nn.SequentialCell(layers)
optimizer = nn.Adam(net.trainable_params())


def loss_of(x):
    return ops.square(net(x) - 1.0).mean()


grad = ms.value_and_grad(loss_of, None, optimizer.parameters)


def step(x):
    loss, grads = grad(x)
    optimizer(grads)
    return loss


class Loss(nn.Cell):
    def construct(self, x):
        return loss_of(x)


run = {
    "pynative": lambda: step,
    "jit": lambda: ms.jit(step),
    "cell": lambda: nn.TrainOneStepCell(Loss(), optimizer),
}[way]()
x = ms.Tensor(np.random.default_rng(0).normal(size=(128, 784)).astype(np.float32))
times = []
for _ in range(60):
    start = time.perf_counter()
    run(x).asnumpy()
    times.append(time.perf_counter() - start)
print(f"{way}: {1e3 * np.median(times[10:]):.2f} ms a step")
