"""`ms-gan completion`: what a shell needs to complete commands, options and files."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from ms_gan.cli.console import say
from ms_gan.errors import UsageError

SHELLS = ("bash", "zsh", "tcsh")


def add_parser(commands: argparse._SubParsersAction, top: argparse.ArgumentParser) -> None:
    completion = commands.add_parser(
        "completion", help='for the Tab key: eval "$(ms-gan completion bash)"; needs shtab'
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(run=run_completion, top=top)


def run_completion(arguments: argparse.Namespace) -> int:
    """Print the script; shtab makes it of the parser."""
    if importlib.util.find_spec("shtab") is None:
        raise UsageError("completion: shtab is not installed; pip install shtab")
    import shtab

    for action in actions(arguments.top):
        if action.type is Path:
            action.complete = shtab.FILE
    say(shtab.complete(arguments.top, shell=arguments.shell))
    return 0


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of the commands below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions(command)
