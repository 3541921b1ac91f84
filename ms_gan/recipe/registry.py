"""Literal tables of named parts: look a name up, check the options against a signature, build."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ms_gan.recipe.config import ConfigError, Part


def near_miss(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for a likely typing mistake, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def options_of(function: Callable) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a factory: its constructor is the schema of its options."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Registry:
    """A literal table `name -> factory` of one kind of part."""

    def __init__(self, kind: str, table: Mapping[str, Any]):
        self.kind = kind
        self.table = dict(table)

    def __iter__(self):
        return iter(self.table)

    def __getitem__(self, name: str) -> Any:
        if name not in self.table:
            raise ConfigError(
                f"{self.kind}.name: no {self.kind} called '{name}'; "
                f"known: {', '.join(self.table)}{near_miss(name, self.table)}"
            )
        return self.table[name]

    def check(self, part: Part, accepted: Mapping[str, inspect.Parameter], given: Iterable[str]):
        """ConfigError for an option that no factory of the entry accepts, or of wrong type."""
        free = [name for name in accepted if name not in set(given)]
        for name, value in part.options.items():
            if name not in free:
                raise ConfigError(
                    f"{self.kind}.{name}: '{part.name}' has no such option; "
                    f"it has: {', '.join(free) or 'none'}{near_miss(name, free)}"
                )
            check_type(f"{self.kind}.{name}", value, accepted[name])

    def build(self, part: Part, *args: Any, **given: Any) -> Any:
        """Call the factory `part.name` with `args`, those of `given` it knows, and its options."""
        factory = self[part.name]
        self.check(part, options_of(factory), given)
        return self.call(part, factory, *args, **given)

    def call(self, part: Part, factory: Callable, *args: Any, **given: Any) -> Any:
        """Call one factory of an entry with what it accepts of `given` and of the options."""
        accepted = options_of(factory)
        known = {k: v for k, v in {**given, **part.options}.items() if k in accepted}
        try:
            return factory(*args, **known)
        except ValueError as error:
            message = " ".join(str(error).split())
            raise ConfigError(f"{self.kind}: '{part.name}': {message}") from error


def check_type(path: str, value: Any, parameter: inspect.Parameter) -> None:
    """Compare a YAML value with the type of the parameter's default, where that says something."""
    default = parameter.default
    if default is inspect.Parameter.empty or default is None:
        return
    wanted = type(default)
    if wanted is tuple and isinstance(value, list | tuple):
        for i, item in enumerate(value if default else ()):
            check_value(f"{path}[{i}]", item, type(default[0]))
        return
    check_value(path, value, wanted)


def check_value(path: str, value: Any, wanted: type) -> None:
    if wanted is float and type(value) is int:
        return
    if type(value) is not wanted:
        expected = "list" if wanted is tuple else wanted.__name__
        raise ConfigError(f"{path}: expected {expected}, got {value!r}")
