"""D and G updated on the same latents: the generator's forward pass twice, or once with its vjp."""

import sys
import time

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops

ms.set_context(mode=ms.GRAPH_MODE)
shared = "twice" not in sys.argv


def mlp(*widths):
    pairs = zip(widths, widths[1:], strict=False)
    return nn.SequentialCell([part for a, b in pairs for part in (nn.Dense(a, b), nn.ReLU())][:-1])


class Step(nn.Cell):
    def __init__(self):
        super().__init__()
        self.g, self.d = mlp(100, 256, 512, 1024, 784), mlp(784, 512, 256, 1)
        self.g.update_parameters_name("g.")
        self.d.update_parameters_name("d.")
        self.wg, self.wd = (ms.ParameterTuple(net.trainable_params()) for net in (self.g, self.d))
        self.sgd_g, self.sgd_d = nn.SGD(self.wg, 1e-3), nn.SGD(self.wd, 1e-3)
        self.grad_d = ms.value_and_grad(self.loss_d, None, self.wd)
        self.grad_images = ms.value_and_grad(self.loss_g, 0)

    def loss_d(self, real, fake):
        return (ops.softplus(-self.d(real)) + ops.softplus(self.d(fake))).mean()

    def loss_g(self, fake):
        return ops.softplus(-self.d(fake)).mean()

    def construct(self, real, z):
        fake, pull_back = ms.vjp(self.g, z, weights=self.wg)
        loss_d, grads = self.grad_d(real, ops.stop_gradient(fake))
        loss_d = ops.depend(loss_d, self.sgd_d(grads))
        if shared:
            fake = ops.depend(fake, loss_d)  # the G loss must see the new D
        else:
            fake, pull_back = ms.vjp(self.g, ops.depend(z, loss_d), weights=self.wg)
        loss_g, images = self.grad_images(fake)
        return loss_d, ops.depend(loss_g, self.sgd_g(pull_back(images)[1]))


rng = np.random.default_rng(0)
real, z = (Tensor(rng.normal(size=(128, n)).astype(np.float32)) for n in (784, 100))
step, times = Step(), []
for _ in range(60):
    start = time.perf_counter()
    step(real, z)[1].asnumpy()
    times.append(time.perf_counter() - start)
print(f"forward {'once' if shared else 'twice'}: {1e3 * np.median(times[10:]):.2f} ms a step")
