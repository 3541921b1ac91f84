"""The command line: argparse, printing, exit codes. MindSpore is imported once it is needed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ms_gan.cli import doctor
from ms_gan.errors import UserError
from ms_gan.system import runtime
from ms_gan.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code. What the user can mend is one line on stderr."""
    words = sys.argv[1:] if argv is None else argv
    try:
        if not for_doctor(words):
            runtime.check_numpy()
        arguments = parse(words)
        arguments.words = words
        return arguments.run(arguments)
    except UserError as error:
        return fail(str(error))
    except BrokenPipeError:
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "ms_gan").startswith("ms_gan"):
            raise
        return fail(f"{error.name} is not installed; `ms-gan doctor` says what to do")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}")
    except MemoryError:
        return fail("out of memory; use fewer or smaller images at once")
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was lost that had been saved", file=sys.stderr)
        return 128 + signal.SIGINT


def fail(message: str) -> int:
    print(f"ms-gan: {' '.join(message.split())}", file=sys.stderr)
    return 2


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"ms-gan: {message}; see {self.prog} --help\n")


def for_doctor(words: Sequence[str]) -> bool:
    return list(words[:1]) == ["doctor"]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command line; overrides may stand before, between and after options."""
    top = parser(words)
    arguments, rest = top.parse_known_args(words)
    stray = [word for word in rest if word.startswith("-") or "overrides" not in arguments]
    if stray:
        top.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        arguments.overrides += rest
    return arguments


def parser(words: Sequence[str] = ()) -> Parser:
    top = Parser(
        prog="ms-gan", description="Train GANs with MindSpore and generate images from them."
    )
    top.add_argument("--version", action="version", version=f"ms_gan {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    if not for_doctor(words):  # which must answer even where what the others need is missing
        from ms_gan.cli import evaluate, generate, keys, train

        train.add_parser(commands)
        generate.add_parser(commands)
        evaluate.add_parsers(commands)
        keys.add_parser(commands)
    doctor.add_parser(commands)
    return top
