"""`ms-gan keys`: every key of a recipe and every named part, as Markdown, from the code itself.

What a key means is said once: under `Args:` in the docstring of the dataclass or the constructor
that takes it. docs/recipes.md holds what this prints; a test compares them.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from ms_gan.cli.console import say
from ms_gan.recipe.schema import Config, Data, Every, Optimizer, Part, Runtime, Train
from ms_gan.system import runtime

SECTIONS = {
    "": Config, "data": Data, "optimizer": Optimizer, "train": Train, "every": Every,
    "runtime": Runtime,
}  # fmt: skip
TITLES = {  # kind of a table -> its title here
    "data": "Data sets", "model": "Architectures", "input": "Inputs of the generator",
    "loss": "Losses", "terms": "Terms of the generator's loss", "regularizer": "Regularizers",
    "augment": "Augmentations", "optimizer": "Optimizers",
}  # fmt: skip


def add_parser(commands: argparse._SubParsersAction) -> None:
    keys = commands.add_parser("keys", help="every key of a recipe and every named part")
    keys.set_defaults(run=run_keys)


def run_keys(arguments: argparse.Namespace) -> int:
    runtime.import_mindspore()
    say(reference())
    return 0


def reference() -> str:
    """The whole page."""
    from ms_gan import build, data

    lines = ["### Keys of a recipe", "", "| key | default | meaning |", "|---|---|---|"]
    for section, cls in SECTIONS.items():
        lines += [row(*cells) for cells in keys(section, cls)]
    tables = {table.kind: table for table in (data.DATA, *build.TABLES)}
    for kind, title in TITLES.items():
        table = tables[kind]
        where = "`terms.NAME`" if kind == "terms" else f"`{kind}.name`"
        lines += ["", f"### {title}", "", f"| {where} | option | default | meaning |"]
        lines += ["|---|---|---|---|"]
        given = data.GIVEN if kind == "data" else GIVEN
        groups: dict[tuple, list[str]] = {}  # what differs by its name alone stands together
        for name in table:
            groups.setdefault(tuple(part(table, name, given)), []).append(name)
        for rows, names in groups.items():
            title = ", ".join(f"`{name}`" for name in names)
            lines += [row(title, *rows[0]), *(row("", *cells) for cells in rows[1:])]
    return "\n".join(lines)


# What the program gives to the constructors, which is no option of a recipe.
GIVEN = ("image_shape", "input_shape", "num_classes", "lr")
# What every part of a kind may have, whatever its constructor takes.
COMMON = {
    "weight": "a number or a ramp.",
    "every": "in every how many updates it counts, and how often there; 1: in each.",
}


def keys(section: str, cls: type) -> Iterator[tuple[str, str, str]]:
    """(key, default, meaning) of a section, without those that are sections themselves."""
    meanings = described(cls)
    for field in dataclasses.fields(cls):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.name == "options" or type(default) in SECTIONS.values():
            continue
        path = f"{section}.{field.name}" if section else field.name
        yield f"`{path}`", written(default), meanings[field.name]


def part(table: Any, name: str, given: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """(option, default, meaning): what the part is, then a row for each option."""
    pair = isinstance(table[name], tuple)
    factories = table[name] if pair else (table[name],)
    yield "", "", first_line(inspect.getmodule(factories[0]) if pair else factories[0])
    meanings = [described(factory) for factory in factories]
    for option, parameter in table.accepted(name).items():
        if option in given:
            continue
        said = {
            role: found[option]
            for role, found in zip("GD"[: len(meanings)], meanings, strict=True)
            if option in found
        }
        if len(set(said.values())) > 1:
            meaning = " ".join(f"{role}: {text}" for role, text in said.items())
        else:
            meaning = next(iter(said.values()), COMMON.get(option, ""))
        yield f"`{option}`", written(parameter.default), meaning


def described(documented: Callable) -> dict[str, str]:
    """name -> meaning, from the section `Args:` of a docstring."""
    text = inspect.getdoc(documented) or ""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, re.S | re.M)
    found = {}
    for names, meaning in re.findall(
        r"^    ([\w, ]+): (.*?)(?=^    \w|\Z)", section[1] if section else "", re.S | re.M
    ):
        for name in names.split(","):
            found[name.strip()] = " ".join(meaning.split())
    return found


def first_line(documented: Any) -> str:
    """The first sentence of a docstring, which may run over lines."""
    paragraph = (inspect.getdoc(documented) or "").split("\n\n")[0]
    return " ".join(paragraph.split())


def written(value: Any) -> str:
    """A default as YAML writes it."""
    if value is dataclasses.MISSING or value is inspect.Parameter.empty:
        return ""
    if isinstance(value, Part):
        return f"`{value.name}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, bool) or value is None:
        return {True: "`true`", False: "`false`", None: "null"}[value]
    return f"`{value}`" if not isinstance(value, dict) else ("`{}`" if not value else str(value))


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
