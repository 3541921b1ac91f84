"""Config -> objects: the composition root, the only module that knows all registries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_gan import cells, checkpoint
from ms_gan import config as cfg
from ms_gan.config import Config, ConfigError
from ms_gan.losses import LOSSES
from ms_gan.models import MODELS
from ms_gan.optimizers import Adam
from ms_gan.registry import Registry
from ms_gan.runtime import set_seed
from ms_gan.state import TrainState

LOSS = Registry("loss", LOSSES)


def build_net(config: Config, role: str, image_shape: Sequence[int], num_classes: int) -> nn.Cell:
    """The 'generator' or the 'discriminator' of a recipe."""
    family = MODELS[config.model.name]
    shape = {"image_shape": tuple(image_shape), "num_classes": num_classes}
    MODELS.check(config.model, family.accepted, shape)
    return MODELS.call(config.model, getattr(family, role), **shape)


def build_sampler(config: Config, image_shape: Sequence[int], num_classes: int) -> cells.Average:
    """A generator in inference mode, its parameters named `average.…`."""
    average = cells.Average(build_net(config, "generator", image_shape, num_classes))
    average.set_train(False)
    for parameter in average.get_parameters():
        parameter.requires_grad = False
    return average


def latent_dim(config: Config) -> int:
    """The generator's option, or its default."""
    default = MODELS[config.model.name].accepted["latent_dim"].default
    return config.model.options.get("latent_dim", default)


def build_training(
    config: Config, image_shape: Sequence[int], num_classes: int, meta: dict[str, Any]
) -> TrainState:
    """Nets, losses, optimizers and the fused step of a recipe, before the first update.

    Raises:
        ConfigError: an unknown name or option.
    """
    set_seed(config.seed)
    loss = LOSS.build(config.loss)
    gan = cells.GAN(
        build_net(config, "generator", image_shape, num_classes),
        build_net(config, "discriminator", image_shape, num_classes),
    )
    container = build_sampler(config, image_shape, num_classes)
    generator, discriminator, sampler = gan.generator, gan.discriminator, container.average
    pairs = zip(sampler.get_parameters(), generator.get_parameters(), strict=True)
    for copy, trained in pairs:  # the average starts at the initial weights
        copy.set_data(ms.Tensor(trained.asnumpy()))
    o = config.optimizer
    optimizer_d = build_optimizer("optimizer_d", discriminator, o, o.lr_d)
    optimizer_g = build_optimizer("optimizer_g", generator, o, o.lr_g)
    averaged = config.train.ema_decay > 0
    step = cells.AdversarialStep(
        cells.TrainDiscriminatorCell(
            cells.DiscriminatorWithLossCell(discriminator, loss.discriminator), optimizer_d
        ),
        cells.TrainGeneratorCell(
            generator,
            cells.GeneratorWithLossCell(discriminator, loss.generator, loss.pairs),
            optimizer_g,
        ),
        cells.ExponentialMovingAverage(generator, sampler, config.train.ema_decay)
        if averaged
        else None,
        d_steps=config.train.d_steps,
        same_latents=config.train.same_latents,
    )
    gan.set_train()
    parameters = list(gan.get_parameters())
    for optimizer in (optimizer_d, optimizer_g):
        parameters += [p for p in optimizer.get_parameters() if p.name.startswith("optimizer_")]
    if averaged:
        parameters += list(sampler.get_parameters())
    return TrainState(
        step=0,
        update=step,
        parameters=parameters,
        generator=generator,
        sampler=sampler,
        averaged=averaged,
        latent_dim=latent_dim(config),
        meta={
            **meta,
            "config": cfg.to_dict(config),
            "image_shape": list(image_shape),
            "num_classes": num_classes,
        },
    )


def build_optimizer(name: str, net: nn.Cell, o: cfg.Optimizer, lr: float) -> Adam:
    parameters = net.trainable_params()
    optimizer = Adam(parameters, lr=lr, beta1=o.beta1, beta2=o.beta2, eps=o.eps)
    cells.name_optimizer_parameters(optimizer, name)
    return optimizer


def load_training(path: str | Path, state: TrainState) -> None:
    """Put a checkpoint of :func:`ms_gan.trainer.save_all` into the state."""
    arrays, meta = checkpoint.load(path)
    checkpoint.restore(state.parameters, arrays, path)
    if meta is None or "step" not in meta:
        raise checkpoint.CheckpointError(f"{path}: says no step; not a training checkpoint")
    state.step = meta["step"]


def load_generator(path: str | Path) -> tuple[nn.Cell, int, dict[str, Any]]:
    """A generator in inference mode from one .ckpt file alone: (cell, latent_dim, meta data).

    Takes the generator.ckpt of a run, a training checkpoint (its average where it has one), and
    the Generator*.ckpt of the MindSpore tutorial.
    """
    arrays, meta = checkpoint.load(path)
    if meta is None:
        arrays = checkpoint.from_tutorial(arrays)
        if not arrays:
            raise checkpoint.CheckpointError(
                f"{path}: not of ms_gan and not a Generator*.ckpt of the MindSpore tutorial"
            )
        meta = {"config": {"name": "tutorial"}, "image_shape": [1, 28, 28], "num_classes": 0}
    prefix = "average." if any(name.startswith("average.") for name in arrays) else "generator."
    renamed = {"average." + k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    try:
        config = cfg.from_dict(meta["config"])
        container = build_sampler(config, meta["image_shape"], meta["num_classes"])
    except (ConfigError, KeyError, TypeError) as error:
        raise checkpoint.CheckpointError(
            f"{path}: its recipe cannot be built here ({error}); it may come from a newer version"
        ) from error
    checkpoint.restore(container.get_parameters(), renamed, path)
    return container.average, latent_dim(config), meta


def summary(state: TrainState) -> str:
    """Trainable parameters of both nets, one line each."""
    counts = {"generator": 0, "discriminator": 0}
    for p in state.parameters:
        role = p.name.split(".")[0]
        if role in counts and p.requires_grad:
            counts[role] += p.size
    return "\n".join(f"{role}: {count:,} trainable parameters" for role, count in counts.items())
