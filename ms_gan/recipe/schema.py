"""What a recipe can say: frozen dataclasses with the tutorial's values as defaults.

Imports neither MindSpore nor NumPy, so that a typing mistake is answered in milliseconds. The
docstrings are the reference of the keys (`ms-gan keys`): one line for each under `Args:`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from ms_gan.errors import UserError

INSTRUCTION_SETS = (  # oneDNN's names, lowest first
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
    "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16",
)  # fmt: skip

LENGTHS = ("steps", "epochs", "minutes")  # of which section train has one
MINUTES = 100_000
INTERVALS = ("log", "sample", "evaluate", "save")  # of section every


class ConfigError(UserError, ValueError):
    """A recipe that cannot be used: `path: what is wrong; what was expected`."""


@dataclass(frozen=True)
class Part:
    """A named row of a table with its options, which the signature of its factory checks."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ramp:
    """A number that changes while training: see :class:`ms_gan.training.schedules.RampSchedule`.

    Where and how long it changes is given in updates or, under other names, as shares of the run.

    Args:
        start, end: the two values.
        steps: updates that the change takes; give this or share.
        after: the update at which it begins.
        shape: 'cosine' or 'linear'.
        share: of the run, that the change takes, such as 0.6.
        after_share: of the run, after which it begins; in place of after.
    """

    start: float
    end: float
    steps: int | None = None
    after: int = 0
    shape: str = "cosine"
    share: float | None = None
    after_share: float | None = None

    def __post_init__(self):
        if (self.steps is None) == (self.share is None):
            raise ConfigError("a ramp: give either steps or share (the other one as null)")
        if self.after and self.after_share is not None:
            raise ConfigError("a ramp: give either after or after_share (the other one as null)")
        if self.steps is not None:
            at_least("steps of a ramp", self.steps, 1)
        at_least("after of a ramp", self.after, 0)
        one_of("shape of a ramp", self.shape, ("cosine", "linear"))
        for name in ("share", "after_share"):
            value = getattr(self, name)
            if value is not None and not (0 <= value <= 1 and (value or name == "after_share")):
                least = "0 <=" if name == "after_share" else "0 <"
                raise ConfigError(
                    f"{name} of a ramp: expected {least} x <= 1, a share of the run, got {value}"
                )

    def span(self, updates: int) -> tuple[int, int]:
        """(after, steps) in a run of that many updates; a share is rounded to whole ones."""
        after = self.after if self.after_share is None else round(self.after_share * updates)
        steps = max(1, round(self.share * updates)) if self.steps is None else self.steps
        return after, steps

    def settled(self, updates: int) -> Ramp:
        """The same ramp in updates."""
        after, steps = self.span(updates)
        return Ramp(self.start, self.end, steps, after, self.shape)


@dataclass(frozen=True)
class Data:
    """Real images. The other keys are options of the data set, which its row checks.

    Args:
        name: a data set.
        batch_size: images per discriminator update.
        sampling: 'shuffle': epochs without replacement; 'random': with replacement.
        flip: mirror every image, left and right, half of the times that it is drawn.
        fallback: 'digits': used when mnist, or for stacked_mnist, cannot be downloaded.
        pair: a second data set, whose images are further channels of the first one's; its options
            are those of the first where it does not give them, but for the folder; none unless it
            is given.
        match: 'names': pictures of the same name lie together; 'none': any with any.
    """

    name: str = "mnist"
    batch_size: int = 128
    sampling: str = "shuffle"
    flip: bool = False
    fallback: str | None = None
    pair: Part | None = None
    match: str = "none"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        at_least("data.batch_size", self.batch_size, 2)
        one_of("data.match", self.match, ("none", "names"))
        if self.match != "none" and self.pair is None:
            raise ConfigError(
                f"data.match: {self.match}, but there is no second data set; expected data.pair, "
                "such as data.pair.root=FOLDER; or set data.match=none"
            )
        one_of("data.sampling", self.sampling, ("shuffle", "random"))
        one_of("data.fallback", self.fallback, (None, "digits"))


@dataclass(frozen=True)
class Optimizer:
    """Of both nets. The other keys are options of the optimizer, which its row checks.

    Args:
        name: an optimizer.
        lr_d: learning rate of the discriminator, a number or a ramp.
        lr_g: learning rate of the generator, a number or a ramp.
    """

    name: str = "adam"
    lr_d: float | Ramp = 2e-4
    lr_g: float | Ramp = 2e-4
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name in ("lr_d", "lr_g"):
            lr = getattr(self, name)
            for value in (lr.start, lr.end) if isinstance(lr, Ramp) else (lr,):
                if not 0 <= value <= 10 or not (isinstance(lr, Ramp) or value > 0):
                    raise ConfigError(f"optimizer.{name}: expected > 0 and at most 10, got {value}")


@dataclass(frozen=True)
class Train:
    """How long and in which order.

    Args:
        steps: generator updates; give this, epochs or minutes.
        epochs: passes over the data; give this, steps or minutes.
        minutes: the run measures its own step and plans as many as fit; give this, steps or epochs.
        d_steps: discriminator updates per step.
        same_latents: G is updated with the latents of the last D update.
        ema_decay: moving average of the generator, such as 0.999; 0: none.
        pack: images that the discriminator judges at once (PacGAN).
        history: earlier generated images that the discriminator may see again; 0: none.
        on_divergence: where a number becomes infinite or NaN: 'stop', or 'rollback': go back to the
            newest finite checkpoint with half the learning rates, three times at most.
    """

    steps: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    d_steps: int = 1
    same_latents: bool = True
    ema_decay: float = 0.0
    pack: int = 1
    history: int = 0
    on_divergence: str = "stop"

    def __post_init__(self):
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"both {' and '.join(given)}" if given else "none"
            if len(given) > 2:
                found = "all three"
            raise ConfigError(
                f"train: give one of steps, epochs and minutes (the others as null), got {found}"
            )
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                at_least(f"train.{name}", getattr(self, name), 1)
        if self.minutes is not None and not 0 < self.minutes <= MINUTES:
            raise ConfigError(
                f"train.minutes: expected > 0 and at most {MINUTES} (ten weeks), got {self.minutes}"
            )
        at_least("train.d_steps", self.d_steps, 1)
        at_least("train.pack", self.pack, 1)
        at_least("train.history", self.history, 0)
        one_of("train.on_divergence", self.on_divergence, ("stop", "rollback"))
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay: expected 0 <= x < 1, got {self.ema_decay}")


@dataclass(frozen=True)
class Every:
    """Intervals in steps; 0 means only at the end, for `evaluate` never. A fraction between 0 and 1
    is a share of the run: 0.05 is twenty times.

    Args:
        log: a line of log.jsonl; in steps or, as every interval, a share of the run such as 0.05.
        sample: a picture of the fixed samples, which is a frame of progress.gif.
        evaluate: a light evaluation, also at the end; keeps best.ckpt.
        save: a checkpoint from which training can continue.
        keep: how many of those checkpoints stay.
    """

    log: int | float = 50
    sample: int | float = 468
    evaluate: int | float = 0
    save: int | float = 2340
    keep: int = 2

    def __post_init__(self):
        for name in INTERVALS:
            value = getattr(self, name)
            if isinstance(value, float) and not 0 < value < 1:
                raise ConfigError(
                    f"every.{name}: expected whole steps, or a share of the run between 0 and 1, "
                    f"got {value}"
                )
            at_least(f"every.{name}", value, 0)
        at_least("every.keep", self.keep, 1)

    def settled(self, steps: int) -> Every:
        """The same in steps of a run of that many."""
        values = {name: getattr(self, name) for name in INTERVALS}
        shares = {name: value for name, value in values.items() if isinstance(value, float)}
        return replace(self, **{k: max(1, round(share * steps)) for k, share in shares.items()})


@dataclass(frozen=True)
class Runtime:
    """The process. `layers`, `share_forward` and `join_batches` are switches for measurements.

    Args:
        device: 'auto', 'Ascend', 'GPU' or 'CPU'.
        mode: 'graph'; 'pynative' for debugging.
        convolutions: of a CPU. 'native': MindSpore's own kernels; 'onednn': oneDNN's operators,
            compiled on first use; 'auto': oneDNN's where they can be had and are faster.
        onednn_fpmath: 'bf16': matrix products on CPU, and convolutions by oneDNN's operators, may
            round their factors to bfloat16: faster where the CPU can, 0.2 % less exact; 'strict':
            they may not.
        onednn_isa: oneDNN's instruction set on CPU. 'auto': limited where that is faster;
            'default': not limited; or a limit, such as 'AVX2'.
        layers: 'fast': on CPU, some layers from its fast kernels; 'native': MindSpore's own.
        share_forward: with the same latents, one forward pass of G serves both updates.
        join_batches: D judges real and generated images in one pass where it may.
        amp: mixed precision: 'float16' or 'bfloat16': the nets multiply such numbers, everything
            else is float32; null: nothing is.
        tensorboard: write event files for TensorBoard too; needs tensorboardX.
    """

    device: str = "auto"
    mode: str = "graph"
    convolutions: str = "auto"
    onednn_fpmath: str = "strict"
    onednn_isa: str = "auto"
    layers: str = "fast"
    share_forward: bool = True
    join_batches: bool = True
    amp: str | None = None
    tensorboard: bool = False

    def __post_init__(self):
        one_of("runtime.layers", self.layers, ("fast", "native"))
        if self.amp is not None:
            one_of("runtime.amp", self.amp, ("float16", "bfloat16"))
            if self.convolutions == "onednn":
                raise ConfigError(
                    f"runtime.amp: {self.amp} with runtime.convolutions=onednn, whose operators "
                    "take float32 alone; use native or auto"
                )
        one_of("runtime.device", self.device, ("auto", "Ascend", "GPU", "CPU"))
        one_of("runtime.mode", self.mode, ("graph", "pynative"))
        one_of("runtime.convolutions", self.convolutions, ("auto", "native", "onednn"))
        one_of("runtime.onednn_isa", self.onednn_isa, ("auto", "default", *INSTRUCTION_SETS))
        one_of("runtime.onednn_fpmath", self.onednn_fpmath, ("strict", "bf16"))


@dataclass(frozen=True)
class Config:
    """A whole recipe. The defaults are those of the MindSpore tutorial.

    Args:
        name: names the run directory; the name of the file if it is left out.
        seed: of weights, data order and latents.
        data: the real images.
        model: an architecture and its options.
        input: what the generator receives.
        loss: the adversarial loss; its weight is that of the adversarial part of G's loss.
        terms: what is added to G's loss, name: weight or name: {weight, options}.
        regularizer: what keeps D smooth; none unless it is given.
        augment: what D sees instead of the images; none unless it is given.
        optimizer: of both nets.
        train: how long and in which order.
        every: intervals.
        runtime: the process.
    """

    name: str
    seed: int = 0
    data: Data = field(default_factory=Data)
    model: Part = field(default_factory=lambda: Part("gan"))
    input: Part = field(default_factory=lambda: Part("latents"))
    loss: Part = field(default_factory=lambda: Part("non_saturating"))
    terms: dict[str, Part] = field(default_factory=dict)
    regularizer: Part | None = None
    augment: Part | None = None
    optimizer: Optimizer = field(default_factory=Optimizer)
    train: Train = field(default_factory=lambda: Train(epochs=200))
    every: Every = field(default_factory=Every)
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w.-]*", self.name):  # it names a folder: neither '.' nor '..'
            raise ConfigError(f"name: expected letters, digits, '_', '-', '.', got {self.name!r}")
        at_least("seed", self.seed, 0)
        if self.data.batch_size % self.train.pack:
            raise ConfigError(
                f"train.pack: {self.train.pack} does not divide data.batch_size, "
                f"{self.data.batch_size}; change one of them"
            )
        if self.data.pair is not None and self.train.pack > 1:
            raise ConfigError(
                f"train.pack: {self.train.pack}, but images of two sets are paired already; "
                "expected 1; leave it out"
            )
        if 0 < self.train.history < self.data.batch_size:
            raise ConfigError(
                f"train.history: expected 0 or at least data.batch_size, {self.data.batch_size}, "
                f"got {self.train.history}"
            )
        if self.seed >= 2**32:
            raise ConfigError(f"seed: expected less than 2**32, got {self.seed}")


def settled(config: Config, steps: int) -> Config:
    """The recipe with its ramps in updates, as a run of that many steps has them."""

    def of(value: Any, updates: int) -> Any:
        return value.settled(updates) if isinstance(value, Ramp) else value

    def part(given: Part, updates: int) -> Part:
        return replace(given, options={k: of(v, updates) for k, v in given.options.items()})

    of_d = steps * config.train.d_steps
    optimizer = config.optimizer
    return replace(
        config,
        optimizer=replace(optimizer, lr_d=of(optimizer.lr_d, of_d), lr_g=of(optimizer.lr_g, steps)),
        loss=part(config.loss, steps),
        terms={name: part(term, steps) for name, term in config.terms.items()},
        regularizer=config.regularizer and part(config.regularizer, of_d),
    )


def at_least(path: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{path}: expected at least {low}, got {value}")


def one_of(path: str, value: Any, known: tuple) -> None:
    if value not in known:
        names = ", ".join("null" if k is None else str(k) for k in known)
        raise ConfigError(f"{path}: expected one of {names}, got {value!r}")
