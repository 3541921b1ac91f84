"""What the benchmark trains, as numbers: four systems, their layers that cost time; more recipes.

Imports nothing of the project, so that the ways it is compared with run as they are: `import
ms_gan` sets the instruction set of oneDNN, for PyTorch too. tests/test_benchmark.py holds the
numbers against the recipes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """A linear layer: forward, every weight is multiplied at every position of an image."""

    weights: int
    positions: int = 1
    trained: bool = True  # False: a constant filter, which has no gradient


def dense(features: int, width: int) -> Layer:
    return Layer(features * width)


def conv(previous: int, width: int, kernel: int, size: int, *, group: int = 1, trained=True):
    """`size`: height and width of the output, for a transposed convolution of the input."""
    return Layer(previous // group * width * kernel**2, size**2, trained)


def residual(width: int, size: int) -> tuple[Layer, ...]:
    """R3GAN's block: 1x1 to twice the channels, 3x3 in 8 groups, 1x1 back."""
    return (
        conv(width, 2 * width, 1, size),
        conv(2 * width, 2 * width, 3, size, group=8),
        conv(2 * width, width, 1, size),
    )


def resample(channels: int, size: int) -> Layer:
    """A constant 3x3 filter for each channel; `size` is that of the smaller image."""
    return conv(channels, channels, 3, size, group=channels, trained=False)


@dataclass(frozen=True)
class System:
    """One recipe as every way trains it: without a moving average, D's batch of one step each."""

    title: str
    recipe: str  # of configs/
    overrides: tuple[str, ...]  # what makes all ways do the same arithmetic
    batch: int
    size: int  # height and width of the grey images
    latent_dim: int
    generator: tuple[Layer, ...]
    discriminator: tuple[Layer, ...]
    real_target: float = 1.0
    penalty: float = 0.0  # weight of R1 + R2; above 0 the loss is relativistic
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    tutorial: bool = True  # whether the MindSpore tutorial's way can train it


SYSTEMS = {
    "mlp": System(
        title="tutorial MLP",
        recipe="gan_mnist",
        overrides=(),
        batch=128,
        size=28,
        latent_dim=100,
        generator=(
            dense(100, 128), dense(128, 256), dense(256, 512), dense(512, 1024), dense(1024, 784),
        ),
        discriminator=(dense(784, 512), dense(512, 256), dense(256, 1)),
    ),
    "dcgan28": System(
        title="dcgan28",
        recipe="dcgan28_mnist",
        overrides=("train.ema_decay=0",),
        batch=128,
        size=28,
        latent_dim=100,
        generator=(dense(100, 64 * 7 * 7), conv(64, 32, 4, 7), conv(32, 1, 4, 14)),
        discriminator=(conv(1, 32, 4, 14), conv(32, 64, 4, 7), dense(64 * 7 * 7, 1)),
    ),
    "r3gan": System(
        title="r3gan_mnist",
        recipe="r3gan_mnist",
        overrides=("train.ema_decay=0",),
        batch=64,
        size=28,
        latent_dim=64,
        generator=(
            dense(64, 64), *residual(64, 7), conv(64, 32, 1, 7), resample(32, 7),
            *residual(32, 14), conv(32, 1, 4, 14),
        ),
        discriminator=(
            conv(1, 32, 4, 14), *residual(32, 14), resample(32, 7), conv(32, 64, 1, 7),
            *residual(64, 7), dense(64, 1),
        ),
        penalty=10.0,
        lr=5e-4,
        betas=(0.0, 0.99),
        tutorial=False,
    ),
    "dcgan64": System(
        title="DCGAN 64x64",
        recipe="dcgan_mnist",
        overrides=("data.batch_size=64",),
        batch=64,
        size=64,
        latent_dim=100,
        generator=(
            conv(100, 512, 4, 1), conv(512, 256, 4, 4), conv(256, 128, 4, 8), conv(128, 64, 4, 16),
            conv(64, 1, 4, 32),
        ),
        discriminator=(
            conv(1, 64, 4, 32), conv(64, 128, 4, 16), conv(128, 256, 4, 8), conv(256, 512, 4, 4),
            conv(512, 1, 4, 1),
        ),
        real_target=0.9,
    ),
}  # fmt: skip

# Recipes that no other way of the benchmark trains, and the channels of their images (both of a
# pair), which the data would say.
CHANNELS = {
    "default": 1,
    "stacked_mnist": 3,
    "srgan_x2": 1,
    "inpainting_fashion": 1,
    "pix2pix_emoji": 6,
    "cyclegan_sprites": 6,
    "progan_fashion": 1,
    "stylegan_sprites": 3,
}
