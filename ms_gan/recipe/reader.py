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
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from ms_gan.recipe.schema import LENGTHS, Config, ConfigError, Data, Part, Ramp

PACKAGE = Path(__file__).resolve().parent.parent
# pyproject.toml puts the recipes into the package when it is installed
CONFIGS = PACKAGE / "configs" if (PACKAGE / "configs").is_dir() else PACKAGE.parent / "configs"

LONGEST_NUMBER = 64  # characters
MOST = 100_000  # values of a recipe; the longest of the project has a hundred


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
    if not _is_of_ordinary_size(tree):
        raise ConfigError(f"{path}: holds more than {MOST:,} values, aliases written out")
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected `key: value` lines, got {type(tree).__name__}")
    tree.setdefault("name", path.stem)
    for override in overrides:
        apply_override(tree, override)
    check_length(overrides)
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


def _number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """Python cannot show whole numbers of thousands of digits, nor sum up 1:1:1:1:… fast."""
    if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
        raise yaml.MarkedYAMLError(
            problem=f"a number of {len(node.value):,} characters", problem_mark=node.start_mark
        )
    is_whole = node.tag.endswith(":int")
    return loader.construct_yaml_int(node) if is_whole else loader.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)


def _is_of_ordinary_size(tree: Any) -> bool:
    """Aliases of aliases are small in memory, but not where they are compared or shown."""
    left, count = [tree], 0
    while left and count <= MOST:
        value = left.pop()
        count += 1
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return count <= MOST


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        raise
    except (ValueError, LookupError, AttributeError, RecursionError) as error:
        # `2024-13-45`, `!!bool x`, `!!timestamp x`, `[[[[…`: what PyYAML's constructors let through
        raise yaml.YAMLError(f"a value that cannot be read: {error}") from None


@dataclasses.dataclass(frozen=True)
class Typed:
    """A value of the command line: the text as it was typed, and what YAML makes of it.

    The type of its key decides between the two (:func:`_meant`, `Registry`): a folder called 2024,
    `a: b` or `pics #1` needs no quotes there.
    """

    text: str
    value: Any

    @property
    def is_null(self) -> bool:
        return self.text.strip() in ("", "null", "Null", "NULL")


class Options(dict):
    """Options of a part as YAML has them, and the texts of those that are texts or were typed."""

    def __init__(self, values: dict[str, Any], texts: dict[str, str]):
        super().__init__(values)
        self.texts = texts


NUMBER = r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?"
KEYS_OF_LENGTH = tuple(f"train.{name}" for name in LENGTHS)
EXPONENTIAL = r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+"  # a text for YAML where it has no dot
RIVALS = {  # of a ramp: each takes the other one's place
    "steps": "share", "share": "steps", "after": "after_share", "after_share": "after",
}  # fmt: skip


def typed(text: str) -> Typed:
    """A value that was typed; what is no YAML is a text, and so are 010 and 12:30, which YAML reads
    as the numbers 8 and 750."""
    try:
        value = _parse(text)
    except yaml.YAMLError:
        return Typed(text, text)
    if type(value) in (int, float):
        plain = re.fullmatch(NUMBER, text.strip()) and not re.match(r"[+-]?0\d", text.strip())
        if not plain and not re.match(r"[+-]?(0x|0b|\.inf|\.nan)", text.strip(), re.IGNORECASE):
            return Typed(text, text)
    return Typed(text, value)


def apply_override(tree: dict, override: str) -> None:
    """Set `a.b=value` in the tree; train.steps, train.epochs and train.minutes replace each other,
    and so do the steps and the share of a ramp."""
    key, separator, text = override.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"'{override}': expected key.path=value, for example train.epochs=12")
    value = typed(text)
    *parents, last = key.split(".")
    if not parents and _is_named(last) and not isinstance(value.value, dict):
        parents, last = [last], "name"  # `data=digits` is short for `data.name=digits`
    node = tree
    for parent in parents:
        child = _yaml(node.get(parent))
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
    if value.is_null:
        return
    if key in KEYS_OF_LENGTH:
        node.update({name: None for name in LENGTHS if name != last})
    elif last in RIVALS and {"start", "end"} <= set(node):
        node.pop(RIVALS[last], None)


def check_length(overrides: Iterable[str]) -> None:
    """Refuse two of train.steps, train.epochs and train.minutes at once; the last would win."""
    words = [word.partition("=") for word in overrides]
    given = {key: f"{key}={text}" for key, _, text in words if not Typed(text, None).is_null}
    found = [given[key] for key in KEYS_OF_LENGTH if key in given]
    if len(found) == 2:
        raise ConfigError(f"{' and '.join(found)}: both say how long; give one of the two")
    if len(found) > 2:
        raise ConfigError(f"{', '.join(found)}: all say how long; give one of them")


def _is_named(section: str) -> bool:
    """Whether a section of a recipe has keys of its own and the options of what it names."""
    hint = typing.get_type_hints(Config).get(section)
    names = {f.name for f in dataclasses.fields(hint)} if dataclasses.is_dataclass(hint) else set()
    return hint is not Part and {"name", "options"} <= names


def _yaml(value: Any) -> Any:
    """What YAML makes of a value, typed or not."""
    return value.value if isinstance(value, Typed) else value


def _shown(value: Any) -> Any:
    """A section for an error, what was typed in it as it was typed."""
    if not isinstance(value, dict):
        return value
    return {k: v.text if isinstance(v, Typed) else _shown(v) for k, v in value.items()}


def _meant(value: Any, wanted: Any) -> Any:
    """A typed value as its key takes it: a text or a name as it was typed, all else as YAML."""
    if not isinstance(value, Typed):
        return value
    is_text = wanted is str or (wanted is Part and not isinstance(value.value, dict | None))
    return value.text if is_text and not value.is_null else value.value


def from_dict(tree: dict) -> Config:
    """Config from the plain dict that :func:`to_dict` or a YAML file gives."""
    return _section(Config, tree, "")


def _section(cls: type, tree: Any, path: str) -> Any:
    tree = _yaml(tree)
    if isinstance(tree, str) and _is_named(path):
        tree = {"name": tree}
    if not isinstance(tree, dict):
        where = path or "recipe"
        raise ConfigError(f"{where}: expected a section of `key: value`, got {tree!r}")
    hints = typing.get_type_hints(cls)
    # Of a named section the other keys are options, and null stands for an option's default.
    options = hints.pop("options", None) and {
        k: v for k, v in tree.items() if k not in hints and not _is_null(v)
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
        if where == "data.pair":
            value = _like(value, tree.get("name", Data.name))
        values[key] = _value(hints[key], value, where)
    missing = [f.name for f in dataclasses.fields(cls) if f.name not in values and _required(f)]
    if missing:
        where = f"{path}.{missing[0]}" if path else missing[0]
        raise ConfigError(f"{where}: missing; expected in every {path or 'recipe'}")
    try:
        return cls(**values)
    except ConfigError as error:  # a ramp stands in many places
        raise ConfigError(f"{path}: {error}" if cls is Ramp else str(error)) from None


def _like(pair: Any, name: Any) -> Any:
    """What a data set is paired with; another one of its kind, if no name says otherwise."""
    section = _yaml(pair)
    return {"name": name, **section} if isinstance(section, dict) else pair


def _is_null(value: Any) -> bool:
    return value.is_null if isinstance(value, Typed) else value is None


def _required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, path: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    wanted = options[0]
    value = _meant(value, wanted)
    if value is None and type(None) in options:
        return None
    if Ramp in options and isinstance(value, dict):
        return _section(Ramp, value, path)
    if wanted is Part:
        return _part(value, path)
    if typing.get_origin(wanted) is dict:
        return _terms(value, path)
    if dataclasses.is_dataclass(wanted):
        return _section(wanted, value, path)
    if wanted is int:
        value = whole(value)
        if float in options and type(value) is float:
            wanted = float
    if wanted is float and type(value) in (int, str):
        try:
            value = float(value)  # YAML reads 1e-4, without a dot, as a string
        except (ValueError, OverflowError):
            pass
    if type(value) is not wanted:
        raise ConfigError(f"{path}: expected {wanted.__name__}, got {value!r:.80}{quotes(wanted)}")
    if wanted is float and not math.isfinite(value):
        raise ConfigError(f"{path}: expected a finite number, got {value}")
    return value


def whole(value: Any) -> Any:
    """A whole number in the way of 1e3, which is a text for YAML, as an int; all else as it is."""
    if isinstance(value, str) and re.fullmatch(EXPONENTIAL, value):
        number = float(value)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
    return value


def quotes(wanted: type) -> str:
    """What to do where a text was expected and YAML has read something else."""
    return "; write it in quotes" if wanted is str else ""


def _part(value: Any, path: str) -> Part:
    if isinstance(value, str):
        return Part(value)
    name = _meant(value.get("name"), str) if isinstance(value, dict) else None
    if not isinstance(name, str):
        found = _shown(value)
        raise ConfigError(f"{path}: expected a name or {{name: …, options}}, got {found!r}")
    options = {k: v for k, v in value.items() if k != "name"}
    return Part(name, _options(options, path))


def _terms(value: Any, path: str) -> dict[str, Part]:
    """`{cycle: 10.0, pixel: {weight: 1.0, norm: l1}}`: each a weight or a section with options."""
    value = _yaml(value)
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a section of `name: weight`, got {value!r}")
    parts = {}
    for name, given in value.items():
        where = f"{path}.{name}"
        given = _yaml(given)
        if isinstance(given, str):
            given = _option(given, where)
        is_ramp = isinstance(given, dict) and {"start", "end"} <= set(given)
        section = given if isinstance(given, dict) and not is_ramp else {"weight": given}
        if isinstance(given, str) or given is None or "name" in section:
            found = _shown(given)
            raise ConfigError(f"{where}: expected a weight or a section with one, got {found!r}")
        parts[str(name)] = Part(str(name), _options(section, where))
    return parts


def _options(values: dict, path: str) -> Options:
    for key in values:
        if not isinstance(key, str):  # YAML reads `on`, `yes` and `1` as no strings
            raise ConfigError(f"{path}.{key}: unknown key; expected the name of an option")
    texts = {k: v.text for k, v in values.items() if isinstance(v, Typed) and not v.is_null}
    texts |= {k: v for k, v in values.items() if isinstance(v, str)}  # 1e3 may name a folder
    return Options({k: _option(v, f"{path}.{k}") for k, v in values.items()}, texts)


def _option(value: Any, path: str) -> Any:
    """An option of a part has no type to convert it: `1e-4` is a string for YAML, a ramp a dict."""
    if isinstance(value, Typed):
        if isinstance(value.value, dict) and not {"start", "end"} & set(value.value):
            return value.text  # a folder called `a: b` is no ramp
        return _option(value.value, path)
    if isinstance(value, dict):
        return _section(Ramp, value, path)
    if isinstance(value, str) and re.fullmatch(EXPONENTIAL, value):
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
    if isinstance(value, Ramp):  # in updates or in shares
        tree = {key: item for key, item in tree.items() if item is not None}
    options = tree.pop("options", {})
    return {**tree, **options}


def dump(config: Config) -> str:
    """The resolved recipe as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def differences(old: Config, new: Config, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """`key: old -> new` of every leaf that differs, without those that `ignore` begins."""
    left, right = leaves(to_dict(old)), leaves(to_dict(new))
    keys = [k for k in {**left, **right} if not k.startswith(ignore)]
    return [f"{k}: {left.get(k)} -> {right.get(k)}" for k in keys if left.get(k) != right.get(k)]


def leaves(tree: dict, prefix: str = "") -> dict[str, Any]:
    """`section.key` -> the value there, of everything in the tree."""
    out = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            out.update(leaves(value, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = value
    return out
