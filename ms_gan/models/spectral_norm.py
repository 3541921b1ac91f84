"""Spectral normalisation, a layer of discriminators."""

import numpy as np

from mindspore import Parameter, Tensor, nn, ops

NORM_EPSILON = 1e-12  # inside the square root of a norm: at 0 the root has an infinite slope


class SpectralNorm(nn.Cell):
    """A linear layer with its weight divided by an estimate of the weight's largest singular value.

    Miyato et al. 2018, arXiv:1802.05957, Eq. 8 and Algorithm 1. Each call in training mode runs one
    power iteration and keeps its left vector `u`; in evaluation mode `u` stays. The weight is a
    matrix of one row per output channel. The output is scaled rather than the weight: the same
    number, and the layer's own forward serves every kind of layer on every device.
    Call `set_train(...)` on the outermost Cell before its first run: a new Cell is in phase "train"
    while `training` is False, and a graph compiled in that state is reused after `set_train()`.

    Args:
        layer: `nn.Dense` without activation, `nn.Conv2d` or `nn.Conv2dTranspose`. Its parameters
            are called `layer.weight` and `layer.bias`; `u` is added, float32 `[1, out_channels]`,
            not trainable, saved with the network.

    Inputs:
        x: what the layer takes; returns what the layer returns.
    """

    joins = False  # it iterates once a pass: one pass over two batches is not two passes

    def __init__(self, layer: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        if not isinstance(layer, nn.Dense | nn.Conv2d | nn.Conv2dTranspose):
            raise ValueError(
                f"SpectralNorm: got {type(layer).__name__}; "
                "expected nn.Dense, nn.Conv2d or nn.Conv2dTranspose"
            )
        if getattr(layer, "activation", None) is not None:
            raise ValueError("SpectralNorm: the layer has an activation; apply it after this cell")
        self.layer = layer
        self.has_bias = bool(layer.has_bias)
        # Conv2dTranspose stores [in, out, k, k], the others [out, in, ...].
        self.swap = isinstance(layer, nn.Conv2dTranspose)
        self.bias_shape = (1, -1) if isinstance(layer, nn.Dense) else (1, -1, 1, 1)
        rows = layer.weight.shape[1 if self.swap else 0]
        # Not from the global seed: replicas of a data-parallel run must start alike.
        start = np.random.default_rng(rows).standard_normal((1, rows))
        start = (start / np.linalg.norm(start)).astype(np.float32)
        self.u = Parameter(Tensor(start), name="u", requires_grad=False)

    def _matrix(self) -> Tensor:
        weight = self.layer.weight
        if self.swap:
            weight = weight.swapaxes(0, 1)
        return weight.reshape((weight.shape[0], -1))  # [out, in * k * k]

    def sigma(self) -> Tensor:
        """Estimate of the largest singular value; scalar, differentiable in the weight."""
        matrix = self._matrix()
        constant = ops.stop_gradient(matrix)
        u = self.u.value()
        if self.training:
            u = _unit(ops.matmul(_unit(ops.matmul(u, constant)), constant.T))
            u = ops.depend(u, ops.assign(self.u, u))
        u = ops.stop_gradient(u)  # [1, out]
        v = _unit(ops.matmul(u, constant))  # [1, in * k * k]
        return (ops.matmul(u, matrix) * v).sum()

    def construct(self, x):
        inverse = 1.0 / self.sigma()
        out = inverse * self.layer(x)
        if self.has_bias:  # scaled with the rest above: bring it back to its own size
            out = out + (1.0 - inverse) * self.layer.bias.reshape(self.bias_shape)
        return out


def _unit(row: Tensor) -> Tensor:
    """`[1, n] -> [1, n]` of length one."""
    return row / ops.sqrt(row.square().sum() + NORM_EPSILON)


def spectral(layer: nn.Cell, norm: str) -> nn.Cell:
    """The layer, normalised if the option `norm` is 'spectral'."""
    return SpectralNorm(layer) if norm == "spectral" else layer
