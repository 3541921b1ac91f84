"""One YAML is one whole recipe: frozen dataclasses, loaded strictly, overridden by `a.b=value`.

Imports neither MindSpore nor NumPy, so that a typing mistake is answered in milliseconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ms_gan.errors import UserError

INSTRUCTION_SETS = (  # oneDNN's names, lowest first
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
    "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX512_CORE_AMX_FP16",
)  # fmt: skip


class ConfigError(UserError, ValueError):
    """A recipe that cannot be used: `path: what is wrong; what was expected`."""


@dataclass(frozen=True)
class Part:
    """A named entry of a registry with its options, which its constructor's signature checks."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    name: str = "mnist"  # mnist, fashion_mnist, kmnist, digits, image_folder
    root: str | None = None  # folder that holds the files; None: search, then download
    batch_size: int = 128  # images per discriminator update
    size: int | None = None  # pixels; None: as stored (image_folder: 64)
    channels: int | None = None  # 1 grey, 3 colour; None: as stored (image_folder: 3)
    sampling: str = "shuffle"  # shuffle: epochs without replacement; random: with replacement
    fallback: str | None = None  # digits: used when mnist cannot be downloaded

    def __post_init__(self):
        at_least("data.batch_size", self.batch_size, 2)
        one_of("data.sampling", self.sampling, ("shuffle", "random"))
        one_of("data.fallback", self.fallback, (None, "digits"))
        one_of("data.channels", self.channels, (None, 1, 3))


@dataclass(frozen=True)
class Ramp:
    """A number that changes while training: see :class:`ms_gan.training.schedules.Ramp`."""

    start: float
    end: float
    steps: int  # updates that the change takes
    after: int = 0  # update at which it begins
    shape: str = "cosine"  # cosine, linear

    def __post_init__(self):
        at_least("steps of a ramp", self.steps, 1)
        at_least("after of a ramp", self.after, 0)
        one_of("shape of a ramp", self.shape, ("cosine", "linear"))


@dataclass(frozen=True)
class Optimizer:
    """Of both nets; the tutorial's values."""

    name: str = "adam"  # adam, rmsprop
    lr_d: float | Ramp = 2e-4
    lr_g: float | Ramp = 2e-4
    beta1: float = 0.5  # of Adam; 0: no momentum
    beta2: float = 0.999  # of Adam
    decay: float = 0.9  # of RMSProp's mean square
    eps: float = 1e-8

    def __post_init__(self):
        one_of("optimizer.name", self.name, ("adam", "rmsprop"))
        for name in ("lr_d", "lr_g"):
            lr = getattr(self, name)
            for value in (lr.start, lr.end) if isinstance(lr, Ramp) else (lr,):
                if not 0 <= value <= 10 or not (isinstance(lr, Ramp) or value > 0):
                    raise ConfigError(f"optimizer.{name}: expected > 0 and at most 10, got {value}")
        if not self.eps > 0:
            raise ConfigError(f"optimizer.eps: expected > 0, got {self.eps}")
        for name in ("beta1", "beta2", "decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"optimizer.{name}: expected 0 <= x < 1, got {getattr(self, name)}"
                )


@dataclass(frozen=True)
class Train:
    steps: int | None = None  # generator updates; give this or epochs
    epochs: int | None = None  # passes over the data; give this or steps
    d_steps: int = 1  # discriminator updates per generator update
    same_latents: bool = True  # G is updated with the latents of the last D update
    ema_decay: float = 0.0  # exponential moving average of G; 0: none
    pack: int = 1  # images that the discriminator judges at once (PacGAN)

    def __post_init__(self):
        if (self.steps is None) == (self.epochs is None):
            raise ConfigError("train: give either steps or epochs (the other one as null)")
        for name in ("steps", "epochs"):
            if getattr(self, name) is not None:
                at_least(f"train.{name}", getattr(self, name), 1)
        at_least("train.d_steps", self.d_steps, 1)
        at_least("train.pack", self.pack, 1)
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay: expected 0 <= x < 1, got {self.ema_decay}")


@dataclass(frozen=True)
class Every:
    """Intervals in steps; 0 means only at the end, for `evaluate` never."""

    log: int = 50
    sample: int = 468  # the fixed grid, one frame of progress.gif
    evaluate: int = 0  # a light evaluation, also at the end; keeps best.ckpt
    save: int = 2340  # a checkpoint from which training can continue
    keep: int = 2  # how many of those checkpoints stay

    def __post_init__(self):
        for name in ("log", "sample", "evaluate", "save"):
            at_least(f"every.{name}", getattr(self, name), 0)
        at_least("every.keep", self.keep, 1)


@dataclass(frozen=True)
class Runtime:
    device: str = "auto"  # auto, Ascend, GPU, CPU
    mode: str = "graph"  # graph; pynative for debugging
    layers: str = "fast"  # on CPU, from its fast kernels; native: MindSpore's own, for comparison
    share_forward: bool = True  # with train.same_latents: one forward pass of G for both updates
    join_batches: bool = True  # D judges real and generated images in one pass where it may
    onednn_isa: str = "auto"  # auto: limited where that is faster; default: not limited; or a name
    onednn_fpmath: str = "strict"  # bf16: factors of products on CPU may be rounded to bfloat16

    def __post_init__(self):
        one_of("runtime.layers", self.layers, ("fast", "native"))
        one_of("runtime.device", self.device, ("auto", "Ascend", "GPU", "CPU"))
        one_of("runtime.mode", self.mode, ("graph", "pynative"))
        one_of("runtime.onednn_isa", self.onednn_isa, ("auto", "default", *INSTRUCTION_SETS))
        one_of("runtime.onednn_fpmath", self.onednn_fpmath, ("strict", "bf16"))


@dataclass(frozen=True)
class Config:
    """A whole recipe. The defaults are those of the MindSpore tutorial."""

    name: str
    seed: int = 0
    data: Data = field(default_factory=Data)
    model: Part = field(default_factory=lambda: Part("gan"))
    loss: Part = field(default_factory=lambda: Part("non_saturating"))
    regularizer: Part | None = None
    augment: Part | None = None  # of what the discriminator sees
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
        if self.seed >= 2**32:
            raise ConfigError(f"seed: expected less than 2**32, got {self.seed}")


def at_least(path: str, value: int, low: int) -> None:
    if value < low:
        raise ConfigError(f"{path}: expected at least {low}, got {value}")


def one_of(path: str, value: Any, known: tuple) -> None:
    if value not in known:
        names = ", ".join("null" if k is None else str(k) for k in known)
        raise ConfigError(f"{path}: expected one of {names}, got {value!r}")


# --- reading ------------------------------------------------------------------------------------


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """Read a recipe, apply `key.path=value` overrides, check everything.

    Raises:
        ConfigError: one line that names the path of the offending key.
    """
    path = Path(path)
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {type(tree).__name__}")
    tree.setdefault("name", path.stem)
    for override in overrides:
        apply_override(tree, override)
    return from_dict(tree)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which PyYAML would silently take the last."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key.value}' is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return node


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        # `2024-13-45`, `!!bool x`, `!!timestamp x`, `[[[[…`: what PyYAML's constructors let through
        raise yaml.YAMLError(f"a value that cannot be read: {error}") from None


def apply_override(tree: dict, override: str) -> None:
    """Set `a.b=value` in the tree; train.steps and train.epochs replace each other."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"'{override}': expected key.path=value, for example train.epochs=12")
    try:
        value = _parse(text)
    except yaml.YAMLError:
        raise ConfigError(f"{key}: not a YAML value: {text!r}") from None
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        child = node.get(parent)
        if isinstance(child, str):  # `loss: hinge` is short for `loss: {name: hinge}`
            child = {"name": child}
        elif child is None:
            child = {}
        elif not isinstance(child, dict):
            raise ConfigError(f"{key}: '{parent}' is a plain value and has no keys below it")
        node[parent] = child
        node = child
    node[last] = value
    rival = {"train.steps": "epochs", "train.epochs": "steps"}.get(key)
    if rival and value is not None:
        node[rival] = None


def from_dict(tree: dict) -> Config:
    """Config from the plain dict that :func:`to_dict` or a YAML file gives."""
    return _section(Config, tree, "")


def _section(cls: type, tree: Any, path: str) -> Any:
    if not isinstance(tree, dict):
        where = path or "recipe"
        raise ConfigError(f"{where}: expected a section of `key: value`, got {tree!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in tree.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in hints:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(hints)}"
            raise ConfigError(f"{where}: unknown key; {hint}")
        values[key] = _value(hints[key], value, where)
    missing = [f.name for f in dataclasses.fields(cls) if f.name not in values and _required(f)]
    if missing:
        where = f"{path}.{missing[0]}" if path else missing[0]
        raise ConfigError(f"{where}: missing; expected in every {path or 'recipe'}")
    return cls(**values)


def _required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, path: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    if Ramp in options and isinstance(value, dict):
        return _section(Ramp, value, path)
    wanted = options[0]
    if wanted is Part:
        return _part(value, path)
    if dataclasses.is_dataclass(wanted):
        return _section(wanted, value, path)
    if wanted is float and type(value) in (int, str):
        try:
            value = float(value)  # YAML reads 1e-4, without a dot, as a string
        except (ValueError, OverflowError):
            pass
    if type(value) is not wanted:
        raise ConfigError(f"{path}: expected {wanted.__name__}, got {value!r}")
    if wanted is float and value - value != 0:
        raise ConfigError(f"{path}: expected a finite number, got {value}")
    return value


def _part(value: Any, path: str) -> Part:
    if isinstance(value, str):
        return Part(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError(f"{path}: expected a name or {{name: …, options}}, got {value!r}")
    for key in value:
        if not isinstance(key, str):  # YAML reads `on`, `yes` and `1` as no strings
            raise ConfigError(f"{path}.{key}: unknown key; expected the name of an option")
    options = {k: _option(v, f"{path}.{k}") for k, v in value.items() if k != "name"}
    return Part(value["name"], options)


def _option(value: Any, path: str) -> Any:
    """An option of a part has no type to convert it: `1e-4` is a string for YAML, a ramp a dict."""
    if isinstance(value, dict):
        return _section(Ramp, value, path)
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", value):
        value = float(value)
    if isinstance(value, float) and value - value != 0:
        raise ConfigError(f"{path}: expected a finite number, got {value}")
    return value


# --- writing ------------------------------------------------------------------------------------


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dict of the whole resolved recipe; `from_dict(to_dict(c)) == c`."""
    tree = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if isinstance(value, Part):
            options = {k: _plain(v) for k, v in value.options.items()}
            tree[item.name] = {"name": value.name, **options}
        elif dataclasses.is_dataclass(value):
            tree[item.name] = dataclasses.asdict(value)
        else:
            tree[item.name] = value
    return tree


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if isinstance(value, Ramp) else value


def dump(config: Config) -> str:
    """The resolved recipe as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def differences(old: Config, new: Config, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """`key: old -> new` of every leaf that differs, without those that `ignore` begins."""
    left, right = _leaves(to_dict(old)), _leaves(to_dict(new))
    keys = [k for k in {**left, **right} if not k.startswith(ignore)]
    return [f"{k}: {left.get(k)} -> {right.get(k)}" for k in keys if left.get(k) != right.get(k)]


def _leaves(tree: dict, prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out.update(_leaves(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out
