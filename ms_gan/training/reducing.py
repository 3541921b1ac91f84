"""Gradients averaged over the workers that train together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mindspore import Parameter, nn, ops

from ms_gan.system import workers


class MeanOverWorkers(nn.Cell):
    """The mean of every worker's gradients, as one all-reduce of all of them.

    One message instead of one for each weight: GANs have many small weights, and the order of the
    messages, which must be the same on every worker, is that of the updates.

    Args:
        weights: of the net, in the order of the gradients.

    Inputs and outputs: their gradients, a tuple.
    """

    def __init__(self, weights: Iterable[Parameter]):
        super().__init__(auto_prefix=False)
        self.shapes = [tuple(weight.shape) for weight in weights]
        self.sizes = [int(np.prod(shape)) for shape in self.shapes]
        self.share = 1.0 / workers.size()
        self.sum = ops.AllReduce()

    def construct(self, grads):
        flat = ()
        for grad in grads:
            flat += (grad.reshape(-1),)
        mean = self.sum(ops.concat(flat)) * self.share
        parts, start = (), 0
        for i in range(len(self.sizes)):
            end = start + self.sizes[i]
            parts += (mean[start:end].reshape(self.shapes[i]),)
            start = end
        return parts


def reducer(weights: Iterable[Parameter]) -> nn.Cell:
    """What a one-step cell does with its gradients: nothing where one worker trains alone."""
    return MeanOverWorkers(weights) if workers.size() > 1 else nn.Identity()
