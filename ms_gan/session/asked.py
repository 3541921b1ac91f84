"""What a recipe asks of a process: checked, and set before MindSpore is imported."""

from __future__ import annotations

import dataclasses

from ms_gan.convolution import choice
from ms_gan.recipe.registry import Registry
from ms_gan.recipe.schema import Config, ConfigError
from ms_gan.system import output, runtime
from ms_gan.system.output import Say


def resolved(config: Config) -> Config:
    """The recipe with all options of its data set and its optimizer, which are checked."""
    from ms_gan import data
    from ms_gan.training.optimizers import OPTIMIZERS

    optimizers = Registry("optimizer", OPTIMIZERS)
    return dataclasses.replace(
        config,
        data=data.DATA.resolve(config.data, data.GIVEN),
        optimizer=optimizers.resolve(config.optimizer, ("lr",)),
    )


def prepare(config: Config, began: str | None = None, say: Say = output.say) -> None:
    """Set what MindSpore reads at import; without effect where it is imported already.

    Args:
        began: :func:`ms_gan.session.recorded.convolutions` of the run.

    Raises:
        Unavailable: `runtime.convolutions: onednn` cannot be had here.
    """
    wanted, isa = config.runtime.convolutions, config.runtime.onednn_isa
    convolutions = config.model.name not in runtime.FULLY_CONNECTED
    on_cpu = config.runtime.device in ("auto", "CPU")
    if wanted == "auto" and not (convolutions and on_cpu and config.runtime.amp is None):
        wanted = began = choice.NATIVE
    choice.use(choice.chosen(wanted, began=began, isa=isa, say=say))
    native = convolutions and choice.library_in_use() is None
    runtime.limit_instruction_set(convolutions=native, isa=isa)
    runtime.set_fpmath(config.runtime.onednn_fpmath)


def check_shared(config: Config, size: int) -> None:
    """Raise ConfigError where so many workers cannot share the training of a recipe."""
    batch, least = config.data.batch_size, size * max(config.train.pack, 2)
    if size > 1 and (batch % (size * config.train.pack) or batch < least):
        whole = size * config.train.pack
        packed = f", {config.train.pack} packed together (train.pack)" * (config.train.pack > 1)
        raise ConfigError(
            f"data.batch_size: {batch} images for {size} workers{packed}; expected a multiple of "
            f"{whole}, at least {least}; change it or the number of workers"
        )
    if size > 1 and config.train.history:
        raise ConfigError(
            f"train.history: {config.train.history} with {size} workers: each would keep images of "
            "its own, and a checkpoint holds those of one; expected 0; set it or use one worker"
        )


def with_steps(config: Config, steps: int) -> Config:
    """The recipe of a run that was asked for minutes, once its steps are known."""
    train = dataclasses.replace(config.train, steps=steps, epochs=None, minutes=None)
    return dataclasses.replace(config, train=train, every=config.every.settled(steps))


def total_steps(config: Config, steps_per_epoch: int) -> int | None:
    """Generator updates of the whole run; None: they are planned when training begins."""
    if config.train.steps is not None or config.train.minutes is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)
