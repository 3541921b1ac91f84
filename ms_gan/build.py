"""Config -> objects: the composition root, the only module that knows all tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindspore import Parameter, nn

from ms_gan.models import MODELS, Family
from ms_gan.objectives.augmentations import AUGMENTATIONS
from ms_gan.objectives.inputs import INPUTS, Input
from ms_gan.objectives.judge import Judge
from ms_gan.objectives.losses import LOSSES, Loss
from ms_gan.objectives.numbers import Columns, Numbers
from ms_gan.objectives.penalties import CONSTRAINTS, REGULARIZERS
from ms_gan.objectives.terms import TERMS, Term
from ms_gan.recipe import reader
from ms_gan.recipe.registry import Registry, options_of
from ms_gan.recipe.schema import Config, ConfigError, Part, Ramp
from ms_gan.runs import checkpoint
from ms_gan.runs.sampling import Ready, Sampler
from ms_gan.runs.styles import StyleSampler
from ms_gan.runs.translating import Translator
from ms_gan.runs.weights import Weights
from ms_gan.system import workers
from ms_gan.system.runtime import set_layers, set_seed
from ms_gan.training import cells
from ms_gan.training.feed import Rows
from ms_gan.training.history import History
from ms_gan.training.levels import AtLevel, Clock, OnClock, Share, View
from ms_gan.training.optimizers import OPTIMIZERS
from ms_gan.training.precision import Scaled, lower
from ms_gan.training.schedules import RampSchedule, Weight
from ms_gan.training.state import TrainState
from ms_gan.training.updates import Updates, sets_of

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
    """Nets, losses, optimizers and the fused steps of a recipe, before the first update.

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
    if config.runtime.amp:
        lower(gan, config.runtime.amp)
    parts = build_parts(config, image_shape, gan, average)
    generator, train = gan.generator, config.train
    growth = getattr(generator, "growth", None)
    if growth is None:
        levels = [build_level(config, parts)]
    else:
        levels = [build_level(config, parts, level) for level in range(growth.levels)]
    intervals = lazy(config, parts)
    updates = Updates(
        [
            {active: build_step(config, parts, level, active) for active in sets_of(intervals)}
            for level in levels
        ],
        intervals,
        growth,
    )
    parameters = list(gan.get_parameters())
    for optimizer in (o for level in levels for o in (level.optimizer_d, level.optimizer_g)):
        parameters += [p for p in optimizer.get_parameters() if p.name.startswith("optimizer_")]
    if train.ema_decay > 0:
        parameters += list(average.get_parameters())
    known = {id(p) for p in gan.get_parameters()}
    for kept in (parts.history, parts.clock, *parts.scaling, *parts.direct.values()):
        own = [] if kept is None else kept.get_parameters()
        parameters += [p for p in own if id(p) not in known]
    state = TrainState(
        step=0,
        updates=updates,
        rows=parts.rows,
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
            parts.given,
        ),
        averaged=train.ema_decay > 0,
        terms=(*(name for name in config.terms if name not in parts.direct), *parts.direct),
        skipped=[scaling.skipped for scaling in parts.scaling if scaling is not None],
    )
    if config.train.steps is not None:
        state.settle(config.train.steps)
    return state


@dataclasses.dataclass(frozen=True)
class Parts:
    """What all steps of a run share."""

    gan: cells.GAN
    average: cells.Average
    given: Input
    loss: Loss
    rows: Rows
    augment: nn.Cell | None
    history: nn.Cell | None
    clock: Clock | None  # of nets that grow
    columns: Mapping[str, Columns]  # which random numbers the parts get
    direct: Mapping[str, Term]  # terms that are functions of the generator's weights
    scaling: tuple[Scaled | None, Scaled | None]  # of the losses of D and G


def build_parts(
    config: Config, image_shape: Sequence[int], gan: cells.GAN, average: cells.Average
) -> Parts:
    """What all steps of a run share; random numbers are allotted once."""
    generator, train = gan.generator, config.train
    given = build_input(config, image_shape, generator.latent_dim)
    if not given.latents and not train.same_latents:
        raise ConfigError("train.same_latents: false is for latents; the generator receives images")
    augment = None
    if config.augment is not None:
        augment = AUGMENT.build(config.augment, image_shape=tuple(image_shape))
    history = History(image_shape, train.history) if train.history else None
    numbers = Numbers()
    columns = {"regularizer": numbers.allot(announced(config.regularizer))}  # first: see Feed.at
    if augment is not None:
        columns["augment"] = numbers.allot(augment.numbers)
    direct = {
        name: TERM.build(part, generator, image_shape)
        for name, part in config.terms.items()
        if TERM[part.name].of_weights
    }
    for name, part in config.terms.items():
        term = direct.get(name, TERM[part.name])
        columns[f"terms.{name}"] = numbers.allot(term.numbers)
    columns["input"] = numbers.allot(given.numbers)
    if history is not None:
        columns["history"] = numbers.allot(history.numbers)
    latents = getattr(generator, "latent_width", generator.latent_dim) if given.latents else 0
    rows = Rows(
        config.data.batch_size // workers.size(), train.d_steps, train.same_latents,
        latents=latents, numbers=tuple(numbers.widths), labelled=generator.num_classes > 0,
    )  # fmt: skip
    clock = Clock() if hasattr(generator, "growth") else None
    loss = LOSS.build(LOSS.split(config.loss)[0])
    scaling = (None, None)
    if config.runtime.amp == "float16":  # bfloat16 has the range of float32
        scaling = Scaled("scaling_d"), Scaled("scaling_g")
    return Parts(gan, average, given, loss, rows, augment, history, clock, columns, direct, scaling)


@dataclasses.dataclass(frozen=True)
class Level:
    """Both nets at one of their levels, or as they are, and who moves their weights.

    `steps_d` and `steps_g` count the updates in which ramps are meant; `source` and `target` are
    what the average follows and what it consists of.
    """

    generator: nn.Cell
    discriminator: nn.Cell
    optimizer_d: nn.Optimizer
    optimizer_g: nn.Optimizer
    steps_d: Parameter
    steps_g: Parameter
    source: Sequence[Parameter]
    target: Sequence[Parameter]
    view: nn.Cell | None = None


def build_level(config: Config, parts: Parts, level: int | None = None) -> Level:
    """The nets of a run at a level, with optimizers of their own; None: nets that do not grow."""
    generator, discriminator = parts.gan.generator, parts.gan.discriminator
    average = parts.average.average
    lr_d, lr_g = config.optimizer.lr_d, config.optimizer.lr_g
    if level is None:
        optimizer_d = build_optimizer(
            config, "optimizer_d", discriminator.trainable_params(), build_schedule(lr_d)
        )
        optimizer_g = build_optimizer(
            config, "optimizer_g", generator.trainable_params(), build_schedule(lr_g)
        )
        return Level(
            generator, discriminator, optimizer_d, optimizer_g,
            optimizer_d.global_step, optimizer_g.global_step,
            list(generator.get_parameters()), list(average.get_parameters()),
        )  # fmt: skip
    growth, steps = generator.growth, parts.clock.steps
    share = Share(growth.starts[level], growth.fading[level], steps)
    source = generator.weights_at(level)
    target = {p.name.partition(".")[2]: p for p in average.get_parameters()}
    return Level(
        AtLevel(generator, level, share),
        AtLevel(discriminator, level, share),
        build_optimizer(
            config, f"optimizer_d.{level}", discriminator.weights_at(level), on(steps, lr_d)
        ),
        build_optimizer(config, f"optimizer_g.{level}", source, on(steps, lr_g)),
        steps,
        steps,
        source,
        [target[p.name.partition(".")[2]] for p in source],
        View(discriminator, level, share),
    )


def build_step(
    config: Config, parts: Parts, level: Level, active: tuple[bool, ...]
) -> cells.AdversarialStep:
    """One fused step.

    Args:
        active: which lazy parts are in it, in the order of :func:`lazy`.
    """
    train, columns = config.train, parts.columns
    penalised, *with_terms = active
    judge = build_judge(config, parts, level.discriminator)
    penalty, constraint = build_regularizer(config, judge, level.steps_d, columns["regularizer"])
    loss_g = cells.GeneratorWithLossCell(
        judge, parts.loss, build_weight(LOSS.split(config.loss)[1], level.steps_g),
        build_terms(config, parts, level.steps_g),
    )  # fmt: skip
    direct = build_direct(config, parts, level.steps_g)
    average = None
    if train.ema_decay > 0:
        average = cells.ExponentialMovingAverage(
            level.source, level.target, train.ema_decay, level.steps_g
        )
    step = cells.AdversarialStep(
        parts.rows,
        cells.TrainDiscriminatorCell(
            cells.DiscriminatorWithLossCell(judge, parts.loss, penalty if penalised else None),
            level.optimizer_d,
            constraint,
            parts.scaling[0],
        ),
        cells.TrainGeneratorCell(
            level.generator,
            loss_g,
            level.optimizer_g,
            list(zip(direct, with_terms, strict=True)),
            parts.scaling[1],
        ),
        given=parts.given,
        columns=columns["input"],
        history=parts.history,
        of_history=columns.get("history"),
        average=average,
        view=level.view,
        clock=parts.clock,
        share_forward=config.runtime.share_forward,
    )
    step.set_train()
    return step


def ready(
    net: nn.Cell, image_shape: tuple[int, int, int], meta: Mapping[str, Any], given: Input
) -> Ready:
    """A trained generator with all that is needed to use it."""
    if given.shape is None:
        kind = StyleSampler if hasattr(net, "synthesis") else Sampler
        return kind(net, image_shape, meta)
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


def build_judge(config: Config, parts: Parts, discriminator: nn.Cell) -> Judge:
    """What all losses, penalties and terms ask for scores."""
    try:
        return Judge(
            discriminator, augment=parts.augment, columns=parts.columns.get("augment"),
            pack=config.train.pack, join=config.runtime.join_batches,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"train.pack: {error}") from None


def build_regularizer(
    config: Config, judge: Judge, steps: Parameter, columns: nn.Cell
) -> tuple[cells.Added | None, nn.Cell | None]:
    """The penalty that is added to D's loss, and the constraint on its weights; or None."""
    if config.regularizer is None:
        return None, None
    part, every = REGULARIZER.interval(config.regularizer)
    part, weight = REGULARIZER.split(part)
    if part.name in CONSTRAINTS:
        return None, REGULARIZER.build(part, judge)
    if config.runtime.mode != "graph":  # before MindSpore is in that mode
        raise ConfigError(
            f"regularizer: '{part.name}' needs runtime.mode=graph; PyNative mode computes the "
            "gradient of a gradient wrongly"
        )
    penalty = REGULARIZER.build(part, judge)
    return cells.Added(penalty, build_weight(weight, steps, times=every), columns), None


def lazy(config: Config, parts: Parts) -> tuple[int, ...]:
    """In every how many updates the penalty counts, and each term of the generator's weights.

    Raises:
        ConfigError: the penalty may not be left out of any.
    """
    every = 1 if config.regularizer is None else REGULARIZER.interval(config.regularizer)[1]
    if every > 1 and parts.loss.pairs:
        raise ConfigError(
            f"regularizer.every: expected 1 with loss={config.loss.name}, got {every}: this loss "
            "has a stable equilibrium only under a penalty of every update (arXiv:2501.05441)"
        )
    return every, *(TERM.interval(config.terms[name])[1] for name in parts.direct)


def build_terms(config: Config, parts: Parts, steps: Parameter) -> list[cells.Added]:
    """What is added to G's loss as a function of images, in the order of the recipe."""
    terms = []
    for name, part in config.terms.items():
        kind = TERM[part.name]
        if kind.input not in (None, kind_of(parts.given, config)):
            raise ConfigError(
                f"terms.{part.name}: is for input={kind.input}; the input is {config.input.name}"
            )
        if name not in parts.direct:
            part, weight = TERM.split(part)
            columns = parts.columns[f"terms.{name}"]
            terms.append(cells.Added(TERM.build(part), build_weight(weight, steps), columns))
    return terms


def build_direct(config: Config, parts: Parts, steps: Parameter) -> list[cells.Added]:
    """What is added to G's loss as a function of its weights, in the order of the recipe."""
    added = []
    for name, term in parts.direct.items():
        part, every = TERM.interval(config.terms[name])
        weight = build_weight(TERM.split(part)[1], steps, times=every)
        added.append(cells.Added(term, weight, parts.columns[f"terms.{name}"]))
    return added


def build_weight(weight: float | Ramp, steps: Parameter, times: float = 1.0) -> Weight:
    """A number or a ramp of a recipe as a factor in the graph, in steps of a counter."""
    return Weight(build_schedule(weight), steps, times)


def build_schedule(value: float | Ramp) -> float | RampSchedule:
    if not isinstance(value, Ramp):
        return value
    return RampSchedule(value.start, value.end, shape=value.shape, span=value.span)


def on(steps: Parameter, lr: float | Ramp) -> float | OnClock:
    """A learning rate in steps of the run."""
    return OnClock(build_schedule(lr), steps) if isinstance(lr, Ramp) else lr


def build_optimizer(config: Config, name: str, weights: list, lr: Any) -> nn.Optimizer:
    """The optimizer of one net, its own parameters named `name.…`.

    Args:
        weights: those that it moves.
        lr: a number or a schedule.
    """
    part = OPTIMIZER.resolve(config.optimizer, given=("lr",))
    optimizer = OPTIMIZER.call(part, OPTIMIZER[part.name], weights, lr=lr)
    cells.name_optimizer_parameters(optimizer, name)
    return optimizer


def load_training(
    path: str | Path,
    state: TrainState,
    foreign: Callable[[Mapping[str, Any]], str | None] = lambda meta: None,
) -> None:
    """Put a checkpoint of :func:`ms_gan.training.trainer.save_all` into the state.

    Learning rates stay those of the recipe, which may have been changed since.

    Args:
        foreign: says of its meta data why it is not the file that it should be, if it is not.

    Raises:
        CheckpointError: it is not of this recipe, or holds values that are not finite.
    """
    arrays, meta = checkpoint.load(path)
    if not isinstance(meta, dict) or type(meta.get("step")) is not int:
        raise checkpoint.CheckpointError(f"{path}: says no step; not a training checkpoint")
    if why := foreign(meta):
        raise checkpoint.CheckpointError(f"{path}: {why}")
    own = [p for p in state.parameters if not p.name.endswith(".learning_rate")]
    if not any(name.startswith("scaling_") for name in arrays):  # until now without float16
        own = [p for p in own if not p.name.startswith("scaling_")]
    checkpoint.restore(own, arrays, path)
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
