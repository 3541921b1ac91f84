"""The floor: the arithmetic of an update, and how fast this machine multiplies matrices.

Counted are the multiplications and additions of the linear layers (dense, convolution, transposed
convolution), 2 for each weight at each position. Activations, BatchNorm, losses and optimizers are
not counted, taps of a convolution that fall on its padding are.

    python -m benchmarks.floor --library mindspore
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from benchmarks import measure
from benchmarks.systems import Layer, System

SIDE = 2048  # of the matrices


def products(layers: Iterable[Layer]) -> int:
    """Floating-point operations of one image through the layers, forward.

    The gradient of the inputs costs as much again, and so does that of the weights.
    """
    return sum(2 * layer.weights * layer.positions for layer in layers)


def update_operations(system: System) -> int:
    """Operations that a full update needs: D on a real and a generated batch, then G.

    Without a penalty, for each image:

    * G forward once, shared by both updates;
    * D's update, on the real and on the generated image: forward, gradients of the weights, and of
      the inputs of all layers but the first;
    * G's update: D forward, gradients of all its inputs; G's weights and its inputs but the first.

    The relativistic loss of G adds D forward on the real image. R1 + R2 adds, on the real and on
    the generated image:

    * the gradient of the score with respect to the image: the inputs of all layers (the forward
      pass is that of the loss);
    * its derivative: for each layer a product like its forward pass (but for the last, whose output
      gradient is the constant 1) and one for the weights. LeakyReLU has no curvature, so nothing
      goes back through the forward pass a second time.
    """
    g, d = system.generator, system.discriminator
    weights_g, weights_d = ([layer for layer in net if layer.trained] for net in (g, d))
    one_image = products(d) + products(weights_d) + products(d[1:])
    if system.penalty:
        one_image += products(d) + products(d[:-1]) + products(weights_d)
    generator = products(d) + products(d) + products(weights_g) + products(g[1:])
    if system.penalty:
        generator += products(d)
    return system.batch * (products(g) + 2 * one_image + generator)


def mindspore_product(device: str):
    """(run, wait) of the matrix product in MindSpore, on all the instructions it can use."""
    import numpy as np

    import mindspore as ms
    from mindspore import nn, ops

    class Product(nn.Cell):
        def __init__(self):
            super().__init__()
            self.product = ops.MatMul()

        def construct(self, a, b):
            return self.product(a, b)

    ms.set_context(mode=ms.GRAPH_MODE)
    ms.set_device(device)
    product = Product()
    a, b = (ms.Tensor(x) for x in np.random.default_rng(0).random((2, SIDE, SIDE), np.float32))
    return (lambda: product(a, b)), (lambda output: output.asnumpy())


def torch_product(device: str):
    """(run, wait) of the same in PyTorch."""
    import torch

    a, b = torch.rand(2, SIDE, SIDE, device="cuda" if device == "GPU" else "cpu")
    return (lambda: a @ b), (lambda output: output[0, 0].item())


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--library", choices=("mindspore", "torch"), default="mindspore")
    arguments = measure.with_options(options).parse_args()
    product = mindspore_product if arguments.library == "mindspore" else torch_product
    run, wait = product(arguments.device)
    times = measure.milliseconds(run, wait, arguments.budget)
    # The best, not the median: this is what the machine can do.
    measure.report(gflops=2 * SIDE**3 / min(times) / 1e6, step_ms=times)


if __name__ == "__main__":
    main()
