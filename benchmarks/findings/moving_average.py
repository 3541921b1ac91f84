"""A moving average of the weights of 100-256-512-1024-784, which an update moves, two ways."""

import time

import numpy as np

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

ms.set_context(mode=ms.GRAPH_MODE)
SHAPES = ((256, 100), (512, 256), (1024, 512), (784, 1024))
RATE = 0.001


class Step(nn.Cell):
    """The weights grow; average += RATE * (weights - average)."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        zeros = [Tensor(np.zeros(shape, np.float32)) for shape in SHAPES]
        self.weights = ms.ParameterTuple([Parameter(w, f"w{i}") for i, w in enumerate(zeros)])
        self.average = ms.ParameterTuple([Parameter(w, f"a{i}") for i, w in enumerate(zeros)])
        self.descend = ops.ApplyGradientDescent()
        self.proximal = ops.ApplyProximalGradientDescent()

    def construct(self, one):
        done = ()
        for i in range(len(SHAPES)):
            grown = ops.assign_add(self.weights[i], ops.ones(SHAPES[i], ms.float32))
            weight = ops.depend(self.weights[i], grown)
            if self.way == "difference":
                done += (self.descend(self.average[i], RATE, self.average[i] - weight),)
            elif self.way == "proximal":  # (average - a * weight) / (1 + a * l2)
                done += (self.proximal(self.average[i], RATE / (RATE - 1), 0.0, -1.0, weight),)
        return ops.depend(one, done)


WAYS = ("no average", "difference", "proximal")
steps, times = {way: Step(way) for way in WAYS}, {way: [] for way in WAYS}
for turn in range(120):
    for way, step in steps.items():
        start = time.perf_counter()
        step(Tensor(1.0, ms.float32)).asnumpy()
        if turn >= 20:
            times[way].append(time.perf_counter() - start)
for way in WAYS:
    value = float(steps[way].average[0].asnumpy()[0, 0])
    print(f"{way:<12}{1e3 * np.median(times[way]):6.2f} ms, average {value:.6f}")
