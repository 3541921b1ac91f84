"""MODELS: name -> the pair of an architecture. One file and one row for each."""

from __future__ import annotations

from typing import NamedTuple

from mindspore import nn

from ms_gan.models import (
    cyclegan,
    dcgan,
    dcgan28,
    deep_mlp_conv,
    gan,
    inpainting,
    pix2pix,
    progan,
    r3gan,
    srgan,
    stylegan,
)
from ms_gan.recipe.registry import Options, Registry, options_of


class Family(NamedTuple):
    """A generator class and a discriminator class that belong together."""

    generator: type[nn.Cell]
    discriminator: type[nn.Cell]


class Models(Registry):
    """The options of a pair are those of both constructors."""

    def accepted(self, name: str) -> Options:
        family = self[name]
        return {**options_of(family.discriminator), **options_of(family.generator)}


MODELS = Models(
    "model",
    {
        "gan": Family(gan.Generator, gan.Discriminator),
        "deep_mlp_conv": Family(deep_mlp_conv.Generator, deep_mlp_conv.Discriminator),
        "dcgan": Family(dcgan.Generator, dcgan.Discriminator),
        "dcgan28": Family(dcgan28.Generator, dcgan28.Discriminator),
        "r3gan": Family(r3gan.Generator, r3gan.Discriminator),
        "progan": Family(progan.Generator, progan.Discriminator),
        "stylegan": Family(stylegan.Generator, stylegan.Discriminator),
        "srgan": Family(srgan.Generator, srgan.Discriminator),
        "inpainting": Family(inpainting.Generator, inpainting.Discriminator),
        "pix2pix": Family(pix2pix.Generator, pix2pix.Discriminator),
        "cyclegan": Family(cyclegan.Generator, cyclegan.Discriminator),
    },
)
