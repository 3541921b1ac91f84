"""YAML to a :class:`~ms_gan.recipe.schema.Config` and back, strictly, with `a.b=value` overrides.

Imports neither MindSpore nor NumPy, so that a typing mistake is answered in milliseconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from ms_gan.recipe.schema import Config, ConfigError, Part, Ramp

PACKAGE = Path(__file__).resolve().parent.parent
# pyproject.toml puts the recipes into the package when it is installed
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"


def find(path: str | Path) -> Path:
    """A recipe's file as given; else the same beside the project's configs/, or a name in it."""
    path = Path(path)
    for place in (path, CONFIGS.parent / path, CONFIGS / f"{path}.yaml"):
        if place.is_file():
            return place
    known = ", ".join(sorted(recipe.stem for recipe in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"{path}: no such recipe; there are {known}")


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
        elif isinstance(child, int | float) and node is tree.get("terms"):
            child = {"weight": child}  # `cycle: 10.0` is short for `cycle: {weight: 10.0}`
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
    # Of a named section the other keys are options, and null stands for an option's default.
    options = hints.pop("options", None) and {
        k: v for k, v in tree.items() if k not in hints and v is not None
    }
    values = {} if options is None else {"options": _options(options, path)}
    for key, value in tree.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in hints:
            if options is not None:
                continue
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
    if typing.get_origin(wanted) is dict:
        return _terms(value, path)
    if dataclasses.is_dataclass(wanted):
        return _section(wanted, value, path)
    if wanted is float and type(value) in (int, str):
        try:
            value = float(value)  # YAML reads 1e-4, without a dot, as a string
        except (ValueError, OverflowError):
            pass
    if type(value) is not wanted:
        raise ConfigError(f"{path}: expected {wanted.__name__}, got {value!r}")
    if wanted is float and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a finite number, got {value}")
    return value


def _part(value: Any, path: str) -> Part:
    if isinstance(value, str):
        return Part(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ConfigError(f"{path}: expected a name or {{name: …, options}}, got {value!r}")
    options = {k: v for k, v in value.items() if k != "name"}
    return Part(value["name"], _options(options, path))


def _terms(value: Any, path: str) -> dict[str, Part]:
    """`{cycle: 10.0, pixel: {weight: 1.0, norm: l1}}`: each a weight or a section with options."""
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a section of `name: weight`, got {value!r}")
    parts = {}
    for name, given in value.items():
        where = f"{path}.{name}"
        if isinstance(given, str):
            given = _option(given, where)
        is_ramp = isinstance(given, dict) and {"start", "end"} <= set(given)
        section = given if isinstance(given, dict) and not is_ramp else {"weight": given}
        if isinstance(given, str) or given is None or "name" in section:
            raise ConfigError(f"{where}: expected a weight or a section with one, got {given!r}")
        parts[str(name)] = Part(str(name), _options(section, where))
    return parts


def _options(values: dict, path: str) -> dict[str, Any]:
    for key in values:
        if not isinstance(key, str):  # YAML reads `on`, `yes` and `1` as no strings
            raise ConfigError(f"{path}.{key}: unknown key; expected the name of an option")
    return {key: _option(value, f"{path}.{key}") for key, value in values.items()}


def _option(value: Any, path: str) -> Any:
    """An option of a part has no type to convert it: `1e-4` is a string for YAML, a ramp a dict."""
    if isinstance(value, dict):
        return _section(Ramp, value, path)
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+", value):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a finite number, got {value}")
    return value


def to_dict(config: Config) -> dict[str, Any]:
    """Plain dict of the whole resolved recipe; `from_dict(to_dict(c)) == c`."""
    return _plain(config)


def _plain(value: Any) -> Any:
    """Nested dataclasses as dicts; options stand beside the other keys of their section."""
    if isinstance(value, dict):  # terms, whose keys are their names
        return {
            key: {k: v for k, v in _plain(item).items() if k != "name"}
            if isinstance(item, Part)
            else _plain(item)
            for key, item in value.items()
        }
    if not dataclasses.is_dataclass(value):
        return value
    tree = {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    options = tree.pop("options", {})
    return {**tree, **options}


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
