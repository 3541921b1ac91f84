"""The same update in PyTorch: the ordinary idiom, eager or compiled.

Nets, initial sizes, losses, penalties and Adam are those of the recipe; the data is one batch that
stays in memory. As PyTorch is best used: the generator runs once for both updates and is detached
for D's, D's weights get no gradient in G's update, Adam is fused. `--compile` puts torch.compile on
the generator and on both losses. It cannot differentiate a gradient that autograd took, so there
the penalty's inner gradient is written with torch.func.

    python -m benchmarks.pytorch mlp [--compile]
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import measure
from benchmarks.systems import SYSTEMS, System


class Reshape(nn.Module):
    """[N, ...] -> [N, *shape]"""

    def __init__(self, *shape: int):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


# --- nets ---------------------------------------------------------------------------------------


def mlp() -> tuple[nn.Module, nn.Module]:
    layers = [nn.Linear(100, 128), nn.ReLU()]
    for previous, width in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(previous, width), nn.BatchNorm1d(width), nn.ReLU()]
    generator = nn.Sequential(*layers, nn.Linear(1024, 784), nn.Tanh(), Reshape(1, 28, 28))
    discriminator = nn.Sequential(
        Reshape(784), nn.Linear(784, 512), nn.LeakyReLU(0.2),
        nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Linear(256, 1), Reshape(),
    )  # fmt: skip
    return generator, discriminator


def down(previous: int, width: int) -> nn.Module:
    return nn.Conv2d(previous, width, 4, 2, 1, bias=False)


def up(previous: int, width: int) -> nn.Module:
    return nn.ConvTranspose2d(previous, width, 4, 2, 1, bias=False)


def dcgan28() -> tuple[nn.Module, nn.Module]:
    generator = nn.Sequential(
        nn.Linear(100, 64 * 7 * 7, bias=False), Reshape(64, 7, 7), nn.BatchNorm2d(64), nn.ReLU(),
        up(64, 32), nn.BatchNorm2d(32), nn.ReLU(), up(32, 1), nn.Tanh(),
    )  # fmt: skip
    discriminator = nn.Sequential(
        down(1, 32), nn.LeakyReLU(0.2), down(32, 64), nn.BatchNorm2d(64), nn.LeakyReLU(0.2),
        Reshape(64 * 7 * 7), nn.Linear(64 * 7 * 7, 1), Reshape(),
    )  # fmt: skip
    return generator, discriminator


def dcgan64() -> tuple[nn.Module, nn.Module]:
    layers = [Reshape(100, 1, 1), nn.ConvTranspose2d(100, 512, 4, bias=False)]
    for width in (512, 256, 128):
        layers += [nn.BatchNorm2d(width), nn.ReLU(), up(width, width // 2)]
    generator = nn.Sequential(*layers, nn.BatchNorm2d(64), nn.ReLU(), up(64, 1), nn.Tanh())
    layers = [down(1, 64), nn.LeakyReLU(0.2)]
    for width in (64, 128, 256):
        layers += [down(width, 2 * width), nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
    discriminator = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, bias=False), Reshape())
    return generator, discriminator


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.mix = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=8)
        self.shrink = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(self, x):
        h = self.mix(F.leaky_relu(self.expand(x), 0.2))
        return x + self.shrink(F.leaky_relu(h, 0.2))


class Resample(nn.Module):
    """Half (or twice) the size with the filter [1, 2, 1] / 4 along both axes."""

    def __init__(self, channels: int, transposed: bool):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / (2.0 if transposed else 4.0)
        self.register_buffer("kernel", torch.outer(row, row).repeat(channels, 1, 1, 1))
        self.transposed = transposed

    def forward(self, x):
        options = {"stride": 2, "padding": 1, "groups": len(self.kernel)}
        if self.transposed:
            return F.conv_transpose2d(x, self.kernel, output_padding=1, **options)
        return F.conv2d(x, self.kernel, **options)


class R3GANGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(64, 7, 7))
        self.modulation = nn.Linear(64, 64, bias=False)
        self.model = nn.Sequential(
            Residual(64), nn.Conv2d(64, 32, 1, bias=False), Resample(32, transposed=True),
            Residual(32), up(32, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z):
        return self.model(self.modulation(z)[:, :, None, None] * self.basis)


class R3GANDiscriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.basis = nn.Parameter(torch.randn(64, 7, 7) / 7.0)
        self.model = nn.Sequential(
            down(1, 32), Residual(32), Resample(32, transposed=False),
            nn.Conv2d(32, 64, 1, bias=False), Residual(64),
        )  # fmt: skip
        self.head = nn.Linear(64, 1, bias=False)

    def forward(self, x):
        return self.head((self.model(x) * self.basis).sum((2, 3))).reshape(len(x))


def r3gan() -> tuple[nn.Module, nn.Module]:
    return R3GANGenerator(), R3GANDiscriminator()


NETS = {"mlp": mlp, "dcgan28": dcgan28, "r3gan": r3gan, "dcgan64": dcgan64}


# --- the update ---------------------------------------------------------------------------------


class Training:
    """Both nets with their optimizers; `update` is one adversarial update."""

    def __init__(self, name: str, compiled: bool = False):
        self.system: System = SYSTEMS[name]
        self.generator, self.discriminator = NETS[name]()
        adam = partial(
            torch.optim.Adam, lr=self.system.lr, betas=self.system.betas, eps=1e-8, fused=True
        )
        self.weights_d = list(self.discriminator.parameters())
        self.adam_d = adam(self.weights_d)
        self.adam_g = adam(self.generator.parameters())
        wrap = torch.compile if compiled else (lambda function: function)
        self.compiled = compiled
        self.forward = wrap(self.generator)
        self.loss_d, self.loss_g = wrap(self.loss_of_d), wrap(self.loss_of_g)

    def update(self, real, z):
        """One step: D, then G on the same images. Returns both losses."""
        fake = self.forward(z)
        self.discriminator.requires_grad_(True)
        self.adam_d.zero_grad()
        loss_d = self.loss_d(real, fake.detach())
        loss_d.backward(inputs=self.weights_d)  # and not those of the images
        self.adam_d.step()
        self.discriminator.requires_grad_(False)
        self.adam_g.zero_grad()
        loss_g = self.loss_g(real, fake)
        loss_g.backward()
        self.adam_g.step()
        return loss_d.detach(), loss_g.detach()

    def loss_of_d(self, real, fake):
        if self.system.penalty:
            (real, norm_real), (fake, norm_fake) = map(self.scores_and_norms, (real, fake))
            penalty = 0.5 * self.system.penalty * (norm_real.mean() + norm_fake.mean())
            return F.softplus(fake - real).mean() + penalty
        real, fake = self.discriminator(real), self.discriminator(fake)
        target = self.system.real_target
        loss = target * F.softplus(-real).mean() + F.softplus(fake).mean()
        return loss if target == 1.0 else loss + (1.0 - target) * F.softplus(real).mean()

    def scores_and_norms(self, images):
        """Scores, and the squared norm of each image's gradient, from one forward pass."""
        if self.compiled:
            gradient, scores = torch.func.grad(self.summed, has_aux=True)(images)
        else:
            images = images.clone().requires_grad_(True)
            total, scores = self.summed(images)
            (gradient,) = torch.autograd.grad(total, images, create_graph=True)
        return scores, gradient.square().sum((1, 2, 3))

    def summed(self, images):
        scores = self.discriminator(images)
        return scores.sum(), scores

    def loss_of_g(self, real, fake):
        fake = self.discriminator(fake)
        if self.system.penalty:
            return F.softplus(self.discriminator(real) - fake).mean()
        return F.softplus(-fake).mean()


def main() -> None:
    options = measure.parser(__doc__.splitlines()[0])
    options.add_argument("--compile", action="store_true", help="with torch.compile")
    arguments = options.parse_args()
    imported = measure.since_start()
    if arguments.device == "GPU":
        torch.set_default_device("cuda")
    training = Training(arguments.system, arguments.compile)
    system = training.system
    real = torch.rand(system.batch, 1, system.size, system.size) * 2.0 - 1.0
    z = torch.randn(system.batch, system.latent_dim)
    training.update(real, z)
    first = measure.since_start()
    times = measure.milliseconds(
        lambda: training.update(real, z), lambda losses: losses[0].item(), arguments.budget
    )
    measure.report(
        step_ms=times,
        first_step_s=first - imported,
        peak_mib=measure.peak_mib(),
        threads=f"{measure.threads()}, {torch.get_num_threads()} of them computing",
        instruction_set=f"{torch.backends.cpu.get_cpu_capability()}, "
        f"{measure.instruction_set(arguments.device)}",
        versions={"torch": torch.__version__},
    )


if __name__ == "__main__":
    main()
