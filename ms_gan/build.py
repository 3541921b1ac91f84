"""Config -> objects: the composition root, the only module that knows all registries."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mindspore import nn

from ms_gan.models import MODELS
from ms_gan.objectives.augmentations import AUGMENTATIONS, Augmented
from ms_gan.objectives.losses import LOSSES, Loss
from ms_gan.objectives.penalties import REGULARIZERS, SpectralNorm
from ms_gan.recipe import config as cfg
from ms_gan.recipe.config import Config, ConfigError, Part
from ms_gan.recipe.registry import Registry
from ms_gan.runs import checkpoint
from ms_gan.system.runtime import set_layers, set_seed
from ms_gan.training import cells
from ms_gan.training.optimizers import Adam
from ms_gan.training.schedules import Ramp
from ms_gan.training.state import TrainState

LOSS = Registry("loss", LOSSES)
AUGMENT = Registry("augment", AUGMENTATIONS)
REGULARIZER = Registry("regularizer", REGULARIZERS)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NO_SECOND_DERIVATIVE = (  # measured: docs/design.md
    "GroupNorm", "InstanceNorm2d", "GELU", "ELU", "AvgPool2d", "MaxPool2d", "ReflectionPad2d",
)  # fmt: skip


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
        ConfigError: an unknown name or option, or parts that do not go together.
    """
    set_seed(config.seed)
    set_layers(config.runtime.layers)
    pack = config.train.pack
    channels, height, width = image_shape
    gan = cells.GAN(
        build_net(config, "generator", image_shape, num_classes),
        build_net(config, "discriminator", (pack * channels, height, width), num_classes),
    )
    average = build_sampler(config, image_shape, num_classes)
    cells.copy_parameters(gan.generator, average)  # the average starts at the initial weights
    generator, discriminator = gan.generator, gan.discriminator
    optimizer_d = build_optimizer(config, "optimizer_d", discriminator, config.optimizer.lr_d)
    optimizer_g = build_optimizer(config, "optimizer_g", generator, config.optimizer.lr_g)
    averaged = config.train.ema_decay > 0
    judge, loss = build_judge(config, discriminator), LOSS.build(config.loss)
    draws = 0
    if config.augment is not None:
        augment = AUGMENT.build(config.augment, image_shape=tuple(image_shape))
        judge, draws = Augmented(judge, augment), augment.numbers
    train_d, uniform = build_train_d(config, judge, loss, optimizer_d)
    loss_g = cells.GeneratorWithLossCell(judge, loss.generator, loss.pairs)
    update = cells.AdversarialStep(
        train_d,
        cells.TrainGeneratorCell(generator, loss_g, optimizer_g),
        cells.ExponentialMovingAverage(
            generator, average, config.train.ema_decay, optimizer_g.global_step
        )
        if averaged
        else None,
        d_steps=config.train.d_steps,
        same_latents=config.train.same_latents,
        share_forward=config.runtime.share_forward,
    )
    update.set_train()
    parameters = list(gan.get_parameters())
    for optimizer in (optimizer_d, optimizer_g):
        parameters += [p for p in optimizer.get_parameters() if p.name.startswith("optimizer_")]
    if averaged:
        parameters += list(average.get_parameters())
    return TrainState(
        step=0,
        update=update,
        parameters=parameters,
        generator=generator,
        sampler=average.average,
        averaged=averaged,
        num_classes=generator.num_classes,
        uniform=uniform,
        draws=draws,
        latent_dim=latent_dim(config),
        meta={
            **meta,
            "config": cfg.to_dict(config),
            "image_shape": list(image_shape),
            "num_classes": num_classes,
        },
    )


def build_judge(config: Config, discriminator: nn.Cell) -> nn.Cell:
    """What both losses ask for scores: the discriminator, packed where the recipe says so."""
    if config.train.pack == 1:
        return discriminator
    if discriminator.num_classes:
        raise ConfigError("train.pack: a conditional discriminator judges one image at a time")
    return cells.Packed(discriminator, config.train.pack)


def build_ramp(ramp: cfg.Ramp) -> Ramp:
    """The Cell of a recipe's ramp."""
    return Ramp(**dataclasses.asdict(ramp))


def build_optimizer(config: Config, name: str, net: nn.Cell, lr: float | cfg.Ramp) -> nn.Optimizer:
    """The optimizer of one net, its own parameters named `name.…`."""
    o = config.optimizer
    if isinstance(lr, cfg.Ramp):
        lr = build_ramp(lr)
    if o.name == "adam":
        optimizer = Adam(net.trainable_params(), lr=lr, beta1=o.beta1, beta2=o.beta2, eps=o.eps)
    else:
        optimizer = nn.RMSProp(
            net.trainable_params(), learning_rate=lr, decay=o.decay, momentum=0.0, epsilon=o.eps
        )
    cells.name_optimizer_parameters(optimizer, name)
    return optimizer


def build_train_d(
    config: Config, judge: nn.Cell, loss: Loss, optimizer: nn.Optimizer
) -> tuple[cells.TrainDiscriminatorCell, bool]:
    """The discriminator's one-step cell, and whether it wants random numbers from the host."""
    part = config.regularizer
    joined = config.runtime.join_batches and judges_alone(judge)
    if part is None:
        return _train_d(judge, loss, optimizer, joined=joined), False
    if part.name == "weight_clipping":
        clipping = REGULARIZER.build(part, judge.trainable_params())
        return _train_d(judge, loss, optimizer, constraint=clipping, joined=joined), False
    check_penalty(config, judge)
    weight = part.options.get("weight")
    ramp = None
    if isinstance(weight, cfg.Ramp):
        ramp = build_ramp(weight)
        part = Part(part.name, {**part.options, "weight": 1.0})
    regularizer = REGULARIZER.build(part, judge)
    regularizer.joined = joined and regularizer.joins
    step = _train_d(
        judge, loss, optimizer, regularizer=regularizer, weight=ramp, joined=regularizer.joined
    )
    return step, regularizer.needs_uniform


def _train_d(judge, loss, optimizer, *, joined, regularizer=None, weight=None, constraint=None):
    network = cells.DiscriminatorWithLossCell(
        judge, loss.discriminator, regularizer, weight, optimizer.global_step, joined
    )
    return cells.TrainDiscriminatorCell(network, optimizer, constraint)


def judges_alone(discriminator: nn.Cell) -> bool:
    """Whether one pass over two batches gives the scores and the state of two passes."""
    mixing = (*BATCH_NORMS, SpectralNorm)  # spectral normalisation iterates once a pass
    return not any(isinstance(cell, mixing) for _, cell in discriminator.cells_and_names())


def check_penalty(config: Config, discriminator: nn.Cell) -> None:
    """Refuse penalties where their gradient would be meaningless, wrong or missing."""
    name = config.regularizer.name
    if config.runtime.mode != "graph":
        raise ConfigError(
            f"regularizer: '{name}' needs runtime.mode=graph; PyNative mode computes the gradient "
            "of a gradient wrongly"
        )
    for _, cell in discriminator.cells_and_names():
        if isinstance(cell, BATCH_NORMS):
            raise ConfigError(
                f"regularizer: '{name}' does not go with BatchNorm in the discriminator, which "
                "mixes the images of a batch; use model.d_norm=none"
            )
        if type(cell).__name__ in NO_SECOND_DERIVATIVE:
            raise ConfigError(
                f"regularizer: '{name}' needs a second derivative, which MindSpore 2.10 lacks for "
                f"nn.{type(cell).__name__} in the discriminator; build it from other layers"
            )


def load_training(path: str | Path, state: TrainState) -> None:
    """Put a checkpoint of :func:`ms_gan.training.trainer.save_all` into the state."""
    arrays, meta = checkpoint.load(path)
    checkpoint.restore(state.parameters, arrays, path)
    if meta is None or "step" not in meta:
        raise checkpoint.CheckpointError(f"{path}: says no step; not a training checkpoint")
    state.step = meta["step"]


def load_generator(
    path: str | Path, *, averaged: bool = True
) -> tuple[nn.Cell, int, dict[str, Any]]:
    """A generator in inference mode from one .ckpt file alone: (cell, latent_dim, meta data).

    Takes the generator.ckpt of a run, a training checkpoint, and the Generator*.ckpt of the
    MindSpore tutorial.

    Args:
        averaged: of a training checkpoint that has one, take the moving average of the weights.
    """
    arrays, meta = checkpoint.load(path)
    if meta is None:
        arrays = checkpoint.from_tutorial(arrays)
        if not arrays:
            raise checkpoint.CheckpointError(
                f"{path}: not of ms_gan and not a Generator*.ckpt of the MindSpore tutorial"
            )
        meta = {"config": {"name": "tutorial"}, "image_shape": [1, 28, 28], "num_classes": 0}
    averaged = averaged and any(name.startswith("average.") for name in arrays)
    prefix = "average." if averaged else "generator."
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
