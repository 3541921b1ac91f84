"""Config -> objects: the composition root, the only module that knows all tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mindspore import nn

from ms_gan.models import MODELS, Family
from ms_gan.objectives.augmentations import AUGMENTATIONS
from ms_gan.objectives.inputs import INPUTS, Input
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.losses import LOSSES
from ms_gan.objectives.numbers import Numbers
from ms_gan.objectives.penalties import CONSTRAINTS, REGULARIZERS
from ms_gan.objectives.terms import TERMS
from ms_gan.recipe import reader
from ms_gan.recipe.registry import Registry, options_of
from ms_gan.recipe.schema import Config, ConfigError, Part, Ramp
from ms_gan.runs import checkpoint
from ms_gan.runs.sampling import Ready, Sampler
from ms_gan.runs.translating import Translator
from ms_gan.runs.weights import Weights
from ms_gan.system.runtime import set_layers, set_seed
from ms_gan.training import cells
from ms_gan.training.feed import Rows
from ms_gan.training.history import History
from ms_gan.training.optimizers import OPTIMIZERS
from ms_gan.training.schedules import RampSchedule, Weight
from ms_gan.training.state import TrainState

INPUT = Registry("input", INPUTS)
LOSS = Registry("loss", LOSSES, weight=1.0)
TERM = Registry("terms", TERMS)
AUGMENT = Registry("augment", AUGMENTATIONS)
REGULARIZER = Registry("regularizer", REGULARIZERS)
OPTIMIZER = Registry("optimizer", OPTIMIZERS)
TABLES = (MODELS, INPUT, LOSS, TERM, REGULARIZER, AUGMENT, OPTIMIZER)


def checked(config: Config) -> Config:
    """The recipe, the names and options of its parts checked before anything is built or compared.

    Raises:
        ConfigError: an unknown name or option, or a value of another type.
    """
    shape = ("image_shape", "input_shape", "num_classes")
    augment, regularizer = config.augment, config.regularizer
    return dataclasses.replace(
        config,
        model=MODELS.checked(config.model, shape),
        input=INPUT.checked(config.input),
        loss=LOSS.checked(config.loss),
        terms={name: TERM.checked(part) for name, part in config.terms.items()},
        regularizer=regularizer and REGULARIZER.checked(regularizer),
        augment=augment and AUGMENT.checked(augment, shape),
    )


def build_net(config: Config, role: str, image_shape: Sequence[int], num_classes: int) -> nn.Cell:
    """The 'generator' or the 'discriminator' of a recipe."""
    family = MODELS[config.model.name]
    shape = {
        "image_shape": tuple(image_shape),
        "num_classes": num_classes,
        "input_shape": build_input(config, image_shape).shape,
    }
    MODELS.check(config.model, MODELS.accepted(config.model.name), shape)
    return MODELS.call(config.model, getattr(family, role), **shape)


def build_input(config: Config, image_shape: Sequence[int], latent_dim: int = 0) -> Input:
    """What the generator of a recipe receives.

    Args:
        latent_dim: of the generator, for inputs that want to know it.

    Raises:
        ConfigError: the architecture receives something else.
    """
    wanted = getattr(MODELS[config.model.name].generator, "receives", "latents")
    given = INPUT.build(config.input, image_shape=tuple(image_shape), latent_dim=latent_dim)
    if kind_of(given, config) != wanted:
        raise ConfigError(
            f"input.name: '{config.model.name}' receives {wanted}, not {config.input.name}; use "
            f"input={wanted}"
        )
    return given


def kind_of(given: Input, config: Config) -> str:
    """The name of an input; 'latents' where it gives vectors such as these."""
    return "latents" if given.shape is None else config.input.name


def build_training(
    config: Config, image_shape: Sequence[int], num_classes: int, meta: Mapping[str, Any]
) -> TrainState:
    """Nets, losses, optimizers and the fused step of a recipe, before the first update.

    Args:
        meta: goes into every checkpoint.

    Raises:
        ConfigError: an unknown name or option, or parts that do not go together.
    """
    set_seed(config.seed)
    set_layers(config.runtime.layers)
    channels, height, width = image_shape
    gan = cells.GAN(
        build_net(config, "generator", image_shape, num_classes),
        build_net(
            config, "discriminator", (config.train.pack * channels, height, width), num_classes
        ),
    )
    average = cells.Average(frozen(build_net(config, "generator", image_shape, num_classes)))
    cells.copy_parameters(gan.generator, average)  # the average starts at the initial weights
    generator = gan.generator
    optimizer_d = build_optimizer(config, "optimizer_d", gan.discriminator, config.optimizer.lr_d)
    optimizer_g = build_optimizer(config, "optimizer_g", generator, config.optimizer.lr_g)
    averaged = config.train.ema_decay > 0

    given = build_input(config, image_shape, generator.latent_dim)
    numbers = Numbers()  # the regularizer's come first: see Feed.at
    of_regularizer = numbers.allot(announced(config.regularizer))
    judge = build_judge(config, gan.discriminator, image_shape, numbers)
    loss_part, loss_weight = LOSS.split(config.loss)
    loss = LOSS.build(loss_part)
    penalty, constraint = build_regularizer(config, judge, optimizer_d, of_regularizer)
    loss_g = cells.GeneratorWithLossCell(
        judge, loss, build_weight(loss_weight, optimizer_g),
        build_terms(config, given, optimizer_g, numbers),
    )  # fmt: skip
    of_input = numbers.allot(given.numbers)
    train = config.train
    if not given.latents and not train.same_latents:
        raise ConfigError("train.same_latents: false is for latents; the generator receives images")
    history, of_history = None, None
    if train.history:
        history = History(image_shape, train.history)
        of_history = numbers.allot(history.numbers)
    rows = Rows(
        config.data.batch_size, train.d_steps, train.same_latents,
        latents=generator.latent_dim if given.latents else 0, numbers=tuple(numbers.widths),
        labelled=generator.num_classes > 0,
    )  # fmt: skip
    update = cells.AdversarialStep(
        rows,
        cells.TrainDiscriminatorCell(
            cells.DiscriminatorWithLossCell(judge, loss, penalty), optimizer_d, constraint
        ),
        cells.TrainGeneratorCell(generator, loss_g, optimizer_g),
        given=given,
        columns=of_input,
        history=history,
        of_history=of_history,
        average=cells.ExponentialMovingAverage(
            generator, average, train.ema_decay, optimizer_g.global_step
        )
        if averaged
        else None,
        share_forward=config.runtime.share_forward,
    )
    update.set_train()
    parameters = list(gan.get_parameters())
    for optimizer in (optimizer_d, optimizer_g):
        parameters += [p for p in optimizer.get_parameters() if p.name.startswith("optimizer_")]
    if averaged:
        parameters += list(average.get_parameters())
    if history is not None:
        parameters += list(history.get_parameters())
    return TrainState(
        step=0,
        update=update,
        rows=rows,
        parameters=parameters,
        generator=generator,
        sampler=ready(
            average.average,
            tuple(image_shape),
            {
                **meta,
                "config": reader.to_dict(config),
                "image_shape": list(image_shape),
                "num_classes": num_classes,
            },
            given,
        ),
        averaged=averaged,
        terms=tuple(config.terms),
    )


def ready(
    net: nn.Cell, image_shape: tuple[int, int, int], meta: Mapping[str, Any], given: Input
) -> Ready:
    """A trained generator with all that is needed to use it."""
    if given.shape is None:
        return Sampler(net, image_shape, meta)
    return Translator(net, image_shape, meta, given)


def frozen(net: nn.Cell) -> nn.Cell:
    """The net in inference mode, its parameters not to be trained."""
    net.set_train(False)
    for parameter in net.get_parameters():
        parameter.requires_grad = False
    return net


def announced(part: Part | None) -> int:
    """Random numbers of an image that a regularizer wants."""
    return 0 if part is None else getattr(REGULARIZER[part.name], "numbers", 0)


def build_judge(
    config: Config, discriminator: nn.Cell, image_shape: Sequence[int], numbers: Numbers
) -> Judge:
    """What all losses, penalties and terms ask for scores."""
    augment, columns = None, None
    if config.augment is not None:
        augment = AUGMENT.build(config.augment, image_shape=tuple(image_shape))
        columns = numbers.allot(augment.numbers)
    try:
        return Judge(
            discriminator, augment=augment, columns=columns, pack=config.train.pack,
            join=config.runtime.join_batches,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"train.pack: {error}") from None


def build_regularizer(
    config: Config, judge: Judge, optimizer: nn.Optimizer, columns: nn.Cell
) -> tuple[cells.Added | None, nn.Cell | None]:
    """The penalty that is added to D's loss, and the constraint on its weights; or None."""
    if config.regularizer is None:
        return None, None
    part, weight = REGULARIZER.split(config.regularizer)
    if part.name in CONSTRAINTS:
        return None, REGULARIZER.build(part, judge)
    if config.runtime.mode != "graph":  # before MindSpore is in that mode
        raise ConfigError(
            f"regularizer: '{part.name}' needs runtime.mode=graph; PyNative mode computes the "
            "gradient of a gradient wrongly"
        )
    penalty = REGULARIZER.build(part, judge)
    return cells.Added(penalty, build_weight(weight, optimizer), columns), None


def build_terms(
    config: Config, given: Input, optimizer: nn.Optimizer, numbers: Numbers
) -> list[cells.Added]:
    """What is added to G's loss, in the order of the recipe."""
    terms = []
    for part in config.terms.values():
        part, weight = TERM.split(part)
        kind = TERM[part.name]
        if kind.input not in (None, kind_of(given, config)):
            raise ConfigError(
                f"terms.{part.name}: is for input={kind.input}; the input is {config.input.name}"
            )
        term = TERM.build(part)
        terms.append(
            cells.Added(term, build_weight(weight, optimizer), numbers.allot(term.numbers))
        )
    return terms


def build_weight(weight: float | Ramp, optimizer: nn.Optimizer) -> Weight:
    """A number or a ramp of a recipe as a factor in the graph, in steps of the optimizer."""
    return Weight(build_schedule(weight), optimizer.global_step)


def build_schedule(value: float | Ramp) -> float | RampSchedule:
    return RampSchedule(**dataclasses.asdict(value)) if isinstance(value, Ramp) else value


def build_optimizer(config: Config, name: str, net: nn.Cell, lr: float | Ramp) -> nn.Optimizer:
    """The optimizer of one net, its own parameters named `name.…`."""
    part = OPTIMIZER.resolve(config.optimizer, given=("lr",))
    optimizer = OPTIMIZER.call(
        part, OPTIMIZER[part.name], net.trainable_params(), lr=build_schedule(lr)
    )
    cells.name_optimizer_parameters(optimizer, name)
    return optimizer


def load_training(path: str | Path, state: TrainState) -> None:
    """Put a checkpoint of :func:`ms_gan.training.trainer.save_all` into the state.

    Learning rates stay those of the recipe, which may have been changed since.

    Raises:
        CheckpointError: it is not of this recipe, or holds values that are not finite.
    """
    arrays, meta = checkpoint.load(path)
    own = [p for p in state.parameters if not p.name.endswith(".learning_rate")]
    checkpoint.restore(own, arrays, path)
    if meta is None or "step" not in meta:
        raise checkpoint.CheckpointError(f"{path}: says no step; not a training checkpoint")
    state.step = meta["step"]


def load_weights(weights: Weights, state: TrainState, config: Config) -> list[str]:
    """Let a new run start from weights; say what was taken, and what differs although it fits.

    Raises:
        CheckpointError: what does not fit is listed; nothing was changed.
    """
    shape = state.sampler.image_shape
    lines = [weights.put(state.parameters, shape, pack=config.train.pack)]
    roles = [role for role in Family._fields if weights.has(role)]
    found = [differences_of_model(weights.metas[role], config, role) for role in roles]
    differs = list(dict.fromkeys(sum(found, [])))
    made = weights.meta.get("image_shape")
    if made and list(made[1:]) != list(shape[1:]):
        differs.append(f"images: {made} -> {list(shape)}")
    if differs:
        lines.append(
            f"they fit, but what they were trained with differs ({'; '.join(differs)}): they will "
            "make other images than they did"
        )
    before, now = weights.meta.get("classes"), state.sampler.meta.get("classes")
    if state.sampler.num_classes and before and list(before) != list(now):
        pairs = ", ".join(f"{a} -> {b}" for a, b in zip(before[:3], now[:3], strict=False))
        lines.append(f"their classes become those of this data set, label by label: {pairs}, …")
    return lines


def differences_of_model(meta: Mapping[str, Any], config: Config, role: str) -> list[str]:
    """`model.option: before -> now` of a net whose weights were trained elsewhere."""
    try:
        before = reader.from_dict(meta["config"]).model
    except (KeyError, ConfigError):
        return []  # it does not say, or is of a newer version
    if before.name != config.model.name:
        return [f"model.name: {before.name} -> {config.model.name}"]
    old, new = all_options(before, role), all_options(config.model, role)
    return [f"model.{key}: {old[key]} -> {new[key]}" for key in old if old[key] != new[key]]


def all_options(part: Part, role: str) -> dict[str, Any]:
    """The options of one net of an architecture, those at their defaults too."""
    accepted = options_of(getattr(MODELS[part.name], role))
    defaults = {name: option.default for name, option in accepted.items()}
    options = {k: v for k, v in (defaults | part.options).items() if k in defaults}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}


def load_sampler(
    path: str | Path, *, averaged: bool = True, size: tuple[int, int] | None = None
) -> Ready:
    """A generator that is ready to use, from one .ckpt file alone: a :class:`Sampler`, or a
    :class:`Translator` where it receives pictures.

    Takes the generator.ckpt of a run, a training checkpoint, and the generators of MindSpore's two
    GAN tutorials (:mod:`ms_gan.runs.tutorials`).

    Args:
        averaged: of a training checkpoint that has one, take the moving average of the weights.
        size: (H, W) of the pictures that it makes, for nets whose weights fit every size; None:
            that of its training.

    Raises:
        CheckpointError: the file is none of these, or its recipe cannot be built.
    """
    arrays, meta = checkpoint.load_known(path)
    try:
        tree, shape, num_classes = meta["config"], meta["image_shape"], meta["num_classes"]
    except (KeyError, TypeError) as error:
        raise checkpoint.CheckpointError(
            f"{path}: does not say {error}; not a generator or training checkpoint of ms_gan"
        ) from None
    if not any(name.startswith("generator.") for name in arrays):
        raise checkpoint.CheckpointError(f"{path}: holds no generator but a discriminator alone")
    try:
        shape = tuple(shape) if size is None else (shape[0], *size)
        config = reader.from_dict(tree)
        net = build_net(config, "generator", shape, num_classes)
        given = build_input(config, shape)
    except (ConfigError, TypeError) as error:  # a shape may be anything, too
        raise checkpoint.CheckpointError(
            f"{path}: its recipe cannot be built here ({error}); it may come from a newer version"
        ) from error
    averaged = averaged and any(name.startswith("average.") for name in arrays)
    prefix = "average." if averaged else "generator."
    own = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    checkpoint.restore(frozen(net).get_parameters(), own, path)
    return ready(net, shape, meta, given)


def summary(state: TrainState) -> str:
    """Trainable parameters of both nets, one line each."""
    counts = {"generator": 0, "discriminator": 0}
    for p in state.parameters:
        role = p.name.split(".")[0]
        if role in counts and p.requires_grad:
            counts[role] += p.size
    return "\n".join(f"{role}: {count:,} trainable parameters" for role, count in counts.items())
