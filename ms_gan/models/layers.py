"""Blocks that the architectures share, and the one place where layers differ from MindSpore's own."""

from __future__ import annotations

from mindspore import nn, ops


class LeakyReLU(nn.Cell):
    """max(x, slope * x), from two fast kernels: nn.LeakyReLU's CPU kernel is several times slower.

    Equal to nn.LeakyReLU(slope) but for rounding; the gradient at 0 is `slope`.
    """

    def __init__(self, slope: float = 0.2):
        super().__init__()
        self.slope = slope

    def construct(self, x):
        return self.slope * x + (1.0 - self.slope) * ops.relu(x)


def flatten(x):
    """[N, ...] -> [N, features]"""
    return x.reshape((x.shape[0], -1))


def batch_norm_1d(features: int) -> nn.Cell:
    """BatchNorm over [N, features]; moving statistics keep 0.9 of the past (the tutorial's values)."""
    return nn.BatchNorm1d(features, eps=1e-5, momentum=0.9)
