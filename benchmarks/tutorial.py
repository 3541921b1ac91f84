"""The MindSpore tutorial's own way: PyNative mode, value_and_grad, Python in the pipeline.

After "GAN for Image Generation" of the MindSpore documentation, with the DCGANs written in the same
style. MindSpore's defaults throughout: nothing of this project is imported, nothing limits the
instruction set. The images are random bytes in memory, which costs less than the tutorial's
MnistDataset behind a GeneratorDataset.

    python -m benchmarks.tutorial mlp
"""

from __future__ import annotations

import time

import numpy as np

from benchmarks import measure
from benchmarks.systems import SYSTEMS, System

BEFORE = time.perf_counter()
import mindspore as ms  # noqa: E402
import mindspore.dataset as ds  # noqa: E402
from mindspore import nn, ops  # noqa: E402
from mindspore.common.initializer import Normal  # noqa: E402

IMPORTED = time.perf_counter() - BEFORE
LONG = 10.0  # seconds of a first step that stands for all: PyNative mode compiles nothing
IMAGES = 8192  # random ones: enough for every step that is measured


class Net(nn.Cell):
    """Layers in a row, between two shapes of one sample."""

    def __init__(self, layers, before, after):
        super().__init__()
        self.model = nn.SequentialCell(layers)
        self.before, self.after = before, after

    def construct(self, x):
        x = self.model(ops.reshape(x, (x.shape[0], *self.before)))
        return ops.reshape(x, (x.shape[0], *self.after))


def mlp() -> tuple[nn.Cell, nn.Cell]:
    layers = [nn.Dense(100, 128), nn.ReLU()]
    for previous, width in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Dense(previous, width), nn.BatchNorm1d(width), nn.ReLU()]
    generator = Net([*layers, nn.Dense(1024, 784), nn.Tanh()], (100,), (1, 28, 28))
    layers = [nn.Dense(784, 512), nn.LeakyReLU(0.2), nn.Dense(512, 256), nn.LeakyReLU(0.2)]
    return generator, Net([*layers, nn.Dense(256, 1), nn.Sigmoid()], (784,), (1,))


def conv(layer, previous, width, stride=2, padding=1):
    return layer(
        previous, width, 4, stride, pad_mode="pad", padding=padding, weight_init=Normal(0.02)
    )


def down(previous, width, *options):
    return conv(nn.Conv2d, previous, width, *options)


def up(previous, width, *options):
    return conv(nn.Conv2dTranspose, previous, width, *options)


def dcgan28() -> tuple[nn.Cell, nn.Cell]:
    start = Net([nn.Dense(100, 64 * 7 * 7, has_bias=False)], (100,), (64, 7, 7))
    layers = [start, nn.BatchNorm2d(64), nn.ReLU(), up(64, 32), nn.BatchNorm2d(32), nn.ReLU()]
    generator = Net([*layers, up(32, 1), nn.Tanh()], (100,), (1, 28, 28))
    layers = [down(1, 32), nn.LeakyReLU(0.2), down(32, 64), nn.BatchNorm2d(64), nn.LeakyReLU(0.2)]
    layers += [nn.Flatten(), nn.Dense(64 * 7 * 7, 1), nn.Sigmoid()]
    return generator, Net(layers, (1, 28, 28), (1,))


def dcgan64() -> tuple[nn.Cell, nn.Cell]:
    layers = [up(100, 512, 1, 0)]
    for width in (512, 256, 128):
        layers += [nn.BatchNorm2d(width), nn.ReLU(), up(width, width // 2)]
    layers += [nn.BatchNorm2d(64), nn.ReLU(), up(64, 1), nn.Tanh()]
    generator = Net(layers, (100, 1, 1), (1, 64, 64))
    layers = [down(1, 64), nn.LeakyReLU(0.2)]
    for width in (64, 128, 256):
        layers += [down(width, 2 * width), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
    return generator, Net([*layers, down(512, 1, 1, 0), nn.Sigmoid()], (1, 64, 64), (1,))


NETS = {"mlp": mlp, "dcgan28": dcgan28, "dcgan64": dcgan64}


def pipeline(system: System):
    """Batches (image uint8 -> float32 [N, H, W, 1], latent_code [N, 100]) as the tutorial makes."""
    images = np.random.default_rng(0).integers(
        0, 256, (IMAGES, system.size, system.size, 1), np.uint8
    )
    labels = np.zeros(IMAGES, np.int32)
    dataset = ds.GeneratorDataset(
        list(zip(images, labels, strict=True)), ["image", "label"], shuffle=True,
        python_multiprocessing=False,
    )  # fmt: skip
    dataset = dataset.map(
        lambda image: (
            image.astype("float32"),
            np.random.normal(size=system.latent_dim).astype("float32"),
        ),
        ["image"],
        ["image", "latent_code"],
    )
    return dataset.project(["image", "latent_code"]).batch(system.batch, True)


class Training:
    """The tutorial's functions and its step."""

    def __init__(self, name: str):
        system = SYSTEMS[name]
        generator, discriminator = NETS[name]()
        generator.update_parameters_name("generator")
        discriminator.update_parameters_name("discriminator")
        generator.set_train()
        discriminator.set_train()
        loss = nn.BCELoss(reduction="mean")
        targets = ops.full((system.batch, 1), system.real_target, dtype=ms.float32)
        ones = ops.ones((system.batch, 1), ms.float32)
        zeros = ops.zeros((system.batch, 1), ms.float32)

        def generator_forward(real, z):
            return loss(discriminator(generator(z)), ones)

        def discriminator_forward(real, z):
            real_loss = loss(discriminator(real), targets)
            return real_loss + loss(discriminator(generator(z)), zeros)

        adam = {"learning_rate": system.lr, "beta1": system.betas[0], "beta2": system.betas[1]}
        self.optimizer_g = nn.Adam(generator.trainable_params(), **adam)
        self.optimizer_d = nn.Adam(discriminator.trainable_params(), **adam)
        self.optimizer_g.update_parameters_name("optim_g")
        self.optimizer_d.update_parameters_name("optim_d")
        self.grad_g = ms.value_and_grad(generator_forward, None, generator.trainable_params())
        self.grad_d = ms.value_and_grad(
            discriminator_forward, None, discriminator.trainable_params()
        )

    def update(self, real, z):
        loss_d, grads = self.grad_d(real, z)
        self.optimizer_d(grads)
        loss_g, grads = self.grad_g(real, z)
        self.optimizer_g(grads)
        return loss_d, loss_g


def main() -> None:
    options = measure.parser(__doc__.splitlines()[0])
    arguments = options.parse_args()
    system = SYSTEMS[arguments.system]
    if not system.tutorial:
        options.error(f"{arguments.system}: the tutorial has no such training")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_device(arguments.device)
    training = Training(arguments.system)
    batches = endless(pipeline(system))

    def step_with_data():
        image, z = next(batches)
        image = (image - 127.5) / 127.5  # [0, 255] -> [-1, 1]
        return training.update(image.transpose(0, 3, 1, 2), z)

    def wait(losses):
        losses[1].asnumpy()

    start = time.perf_counter()
    wait(step_with_data())
    first = measure.since_start() - IMPORTED
    seconds = time.perf_counter() - start
    if seconds >= LONG:
        times = [1e3 * seconds]
    else:
        times = measure.milliseconds(step_with_data, wait, arguments.budget)
    measure.report(
        step_ms=times,
        data_ms=measure.milliseconds(
            lambda: next(batches), lambda batch: None, min(1.0, arguments.budget)
        ),
        first_step_s=first,
        import_s=IMPORTED,
        peak_mib=measure.peak_mib(),
        threads=measure.threads(),
        instruction_set=measure.instruction_set(arguments.device),
        versions={"mindspore": ms.__version__},
    )


def endless(dataset):
    """Batch after batch, epoch after epoch."""
    while True:
        yield from dataset.create_tuple_iterator()


if __name__ == "__main__":
    main()
