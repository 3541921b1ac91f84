"""Literal tables of named parts: look a name up, check the options against a signature, build."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ms_gan.errors import UserError, near_miss
from ms_gan.recipe import reader
from ms_gan.recipe.schema import ConfigError, Part, Ramp, one_of

Options = dict[str, inspect.Parameter]


def options_of(function: Callable) -> Options:
    """The keyword-only parameters of a factory: its constructor is the schema of its options."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Registry:
    """A literal table `name -> factory` of one kind of part.

    Args:
        kind: the section of a recipe, for messages.
        table: a factory takes its options as keyword-only arguments. If it has an attribute
            `weight`, a recipe may give another one, a number or a ramp; the same of `every`, a
            whole number of updates.
        weight: the weight of factories that have no such attribute; None: they have none.
    """

    def __init__(self, kind: str, table: Mapping[str, Any], *, weight: float | None = None):
        self.kind = kind
        self.table = dict(table)
        self.default_weight = weight

    def __iter__(self):
        return iter(self.table)

    def __getitem__(self, name: str) -> Any:
        if name not in self.table:
            raise ConfigError(
                f"{self.kind}.name: no {self.kind} called '{name}'; "
                f"known: {', '.join(self.table)}{near_miss(name, self.table)}"
            )
        return self.table[name]

    def accepted(self, name: str) -> Options:
        """The options of an entry with their defaults."""
        options = options_of(self[name])
        weight = getattr(self[name], "weight", self.default_weight)
        if weight is not None:
            kind = inspect.Parameter.KEYWORD_ONLY
            options["weight"] = inspect.Parameter("weight", kind, default=float(weight))
        if hasattr(self[name], "every"):
            kind = inspect.Parameter.KEYWORD_ONLY
            options["every"] = inspect.Parameter("every", kind, default=self[name].every)
        return options

    def checked(self, part: Any, given: Iterable[str] = ()) -> Any:
        """The part with its options as they are meant; ConfigError for a name or an option."""
        accepted = self.accepted(part.name)
        self.check(part, accepted, given)
        self.split(part)
        self.interval(part)
        return settled(part, accepted)

    def check(self, part: Any, accepted: Options, given: Iterable[str] = ()) -> None:
        """ConfigError for an option that no factory of the entry accepts, or of wrong type."""
        free = [name for name in accepted if name not in set(given)]
        part = settled(part, accepted)
        for name, value in part.options.items():
            if name not in free:
                # A section with keys of its own (data, optimizer): they are known as well.
                own = [
                    f.name for f in dataclasses.fields(part) if f.name not in ("name", "options")
                ]
                raise ConfigError(
                    f"{self.kind}.{name}: '{part.name}' has no such option; "
                    f"it has: {', '.join(free) or 'none'}{near_miss(name, [*free, *own])}"
                )
            if not (name == "weight" and isinstance(value, Ramp)):
                check_type(f"{self.kind}.{name}", value, accepted[name])

    def resolve(self, part: Any, given: Iterable[str] = ()) -> Any:
        """The part with all its options, those with defaults too.

        An option of another row is refused unless it has that row's default: until 0.1 a recipe
        that was written down held the options of all rows.
        """
        given = set(given)
        accepted = {k: v for k, v in self.accepted(part.name).items() if k not in given}
        defaults = {k: v.default for k, v in accepted.items()}
        of_others = [
            (name, parameter.default)
            for other in self
            for name, parameter in self.accepted(other).items()
            if name not in accepted and name not in given
        ]
        part = settled(part, accepted)
        options = {k: v for k, v in part.options.items() if (k, v) not in of_others}
        part = dataclasses.replace(part, options=options)
        self.check(part, accepted)
        return dataclasses.replace(part, options={**defaults, **options})

    def split(self, part: Part) -> tuple[Part, float | Ramp | None]:
        """The part without its weight, and the weight: a number >= 0, a ramp of such, or None."""
        part, weight = self._without(part, "weight", None)
        for value in (weight.start, weight.end) if isinstance(weight, Ramp) else (weight,):
            if value is not None and value < 0:
                raise ConfigError(f"{self.kind}.weight: {value!r} is negative; use 0.0 or more")
        return part, weight

    def interval(self, part: Part) -> tuple[Part, int]:
        """The part without its `every`, and that: in every how many updates it counts."""
        part, every = self._without(part, "every", 1)
        if every < 1:
            raise ConfigError(f"{self.kind}.every: expected at least 1, got {every}")
        return part, every

    def _without(self, part: Part, name: str, missing: Any) -> tuple[Part, Any]:
        """The part without an option, and its value; `missing` where the entry has none such."""
        accepted = self.accepted(part.name)
        self.check(part, accepted)
        options = dict(settled(part, accepted).options)
        value = options.pop(name, accepted[name].default if name in accepted else missing)
        return Part(part.name, options), value

    def build(self, part: Part, *args: Any, **given: Any) -> Any:
        """Call the factory `part.name` with `args`, those of `given` it knows, and its options."""
        self.check(part, self.accepted(part.name), given)
        return self.call(part, self[part.name], *args, **given)

    def call(self, part: Part, factory: Callable, *args: Any, **given: Any) -> Any:
        """Call one factory of an entry with what it accepts of `given` and of the options."""
        accepted = options_of(factory)
        options = settled(part, accepted).options
        known = {k: v for k, v in {**given, **options}.items() if k in accepted}
        try:
            return factory(*args, **known)
        except UserError:  # says itself where: of a recipe, or of the files that a row reads
            raise
        except ValueError as error:
            message = " ".join(str(error).split())
            raise ConfigError(f"{self.kind}: '{part.name}': {message}") from error


PLAIN = (str, int, float, bool)


def said(kind: type) -> str:
    """`int`, `[int, int]`"""
    items = typing.get_args(kind)
    return f"[{', '.join(map(said, items))}]" if items else kind.__name__


def settled(part: Any, accepted: Options) -> Any:
    """The part with its options as their types want them: of what was typed on the command line the
    text, where the option is one, else what YAML makes of it, and 1e3 where it is a whole number.
    """
    texts = getattr(part.options, "texts", {})
    options = {
        name: meant(value, texts.get(name), accepted[name]) if name in accepted else value
        for name, value in part.options.items()
    }
    return dataclasses.replace(part, options=options)


def meant(value: Any, text: str | None, parameter: inspect.Parameter) -> Any:
    """The value of one option: see :func:`settled`."""
    default, hint = parameter.default, parameter.annotation
    kinds: tuple[Any, ...] = (type(default),)
    if default is inspect.Parameter.empty or default is None:
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    others = [kind for kind in kinds if kind not in (str, type(None))]
    if text is not None and str in kinds and not any(fits(value, kind) for kind in others):
        return text
    if text is not None and int in kinds and type(value) is float:
        return reader.whole(text) if type(reader.whole(text)) is int else value
    return value


def check_type(path: str, value: Any, parameter: inspect.Parameter) -> None:
    """Compare a YAML value with the type of the parameter's default, or with its annotation."""
    default, hint = parameter.default, parameter.annotation
    if typing.get_origin(hint) is typing.Literal:
        one_of(path, value, typing.get_args(hint))
        return
    if default is inspect.Parameter.empty or default is None:
        wanted = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        known = [kind for kind in wanted if kind in PLAIN or typing.get_origin(kind) is tuple]
        if value is not None and known and not any(fits(value, kind) for kind in known):
            expected = " or ".join(map(said, known))
            remedy = reader.quotes(known[0])
            raise ConfigError(f"{path}: expected {expected}, got {value!r}{remedy}")
        return
    wanted = type(default)
    if wanted is tuple and isinstance(value, list | tuple):
        for i, item in enumerate(value if default else ()):
            check_value(f"{path}[{i}]", item, type(default[0]))
        return
    check_value(path, value, wanted)


def check_value(path: str, value: Any, wanted: type) -> None:
    if not fits(value, wanted):
        expected = "list" if wanted is tuple else wanted.__name__
        raise ConfigError(f"{path}: expected {expected}, got {value!r}{reader.quotes(wanted)}")


def fits(value: Any, wanted: type) -> bool:
    """Whether YAML may have meant that type: a whole number is a float too, a bool no number."""
    items = typing.get_args(wanted)
    if items:  # tuple[int, int]: a list of as many
        is_list = isinstance(value, list | tuple) and len(value) == len(items)
        return is_list and all(map(fits, value, items))
    return type(value) is wanted or (wanted is float and type(value) is int)
