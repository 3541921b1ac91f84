"""The command line: argparse, printing, exit codes. MindSpore is imported once it is needed."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import NoReturn

from ms_gan.cli import evaluate, generate, train
from ms_gan.errors import UserError
from ms_gan.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code. What the user can mend is one line on stderr."""
    try:
        arguments = parse(argv)
        arguments.words = sys.argv[1:] if argv is None else argv
        return arguments.run(arguments)
    except UserError as error:
        return fail(str(error))
    except BrokenPipeError:
        return 1
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


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Arguments of the command line; overrides may stand before, between and after options."""
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    stray = [word for word in rest if word.startswith("-") or "overrides" not in arguments]
    if stray:
        top.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        arguments.overrides += rest
    return arguments


def parser() -> Parser:
    top = Parser(
        prog="ms-gan", description="Train GANs with MindSpore and generate images from them."
    )
    top.add_argument("--version", action="version", version=f"ms_gan {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    train.add_parser(commands)
    generate.add_parser(commands)
    evaluate.add_parsers(commands)
    return top
