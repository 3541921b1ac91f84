"""The command line: argparse, printing, exit codes. MindSpore is imported once it is needed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from ms_gan.cli import doctor
from ms_gan.errors import UserError
from ms_gan.system import output, program, runtime, signals
from ms_gan.version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code. What the user can mend is one line on stderr.

    Args:
        argv: None: the words of this process, which is then this program's own.
    """
    if argv is None:
        output.claim_descriptors()
    try:
        return answer(sys.argv[1:] if argv is None else argv)
    except (runtime.MindSporeError, runtime.DeviceError) as error:
        code = fail(str(error))
        if argv is None:
            os._exit(code)  # what was loaded of it would abort the exit of Python, or print a page
        return code
    except UserError as error:
        return fail(str(error))
    except BrokenPipeError:
        return 128 + signals.NOBODY_READS
    except ImportError as error:
        if error.name is None or error.name.startswith("ms_gan"):
            raise
        missing = isinstance(error, ModuleNotFoundError)
        why = "is not installed" if missing else f"cannot be loaded: {error}"
        return fail(f"{error.name} {why}; `{program.called('doctor')}` says what to do")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"{where}{error.strerror or error}")
    except RuntimeError:
        from ms_gan.convolution import choice

        if (library := choice.lost()) is None:
            raise
        return fail(
            f"{library}: was deleted while oneDNN's operators in it were used; the same command "
            "compiles them again, and a run goes on from its newest checkpoint"
        )
    except MemoryError:
        return fail("out of memory; use fewer or smaller images at once")
    except KeyboardInterrupt:
        tell(f"\n{signals.INTERRUPTED}\n")
        return 128 + signal.SIGINT
    finally:
        output.settle()


def answer(words: Sequence[str]) -> int:
    """Run the command that the words name."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return fail("the current folder does not exist any more; change to another one (cd)")
    arguments = parse(words)
    if not for_doctor(words):
        runtime.check_numpy()
    arguments.words = words
    return arguments.run(arguments)


def fail(message: str) -> int:
    tell(f"ms-gan: {' '.join(message.split())}\n")
    return 2


def tell(text: str) -> None:
    """Text on stderr, if there is one and somebody reads it."""
    if sys.stderr is not None:
        with suppress(BrokenPipeError):
            output.write(text, sys.stderr)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; the usage is behind --help."""

    def error(self, message: str) -> NoReturn:
        words = self.prog.split()[1:]
        self.exit(2, f"ms-gan: {message}; see {program.called(*words, '--help')}\n")

    def _print_message(self, message: str, file: object = None) -> None:
        output.write(message, file)


def for_doctor(words: Sequence[str]) -> bool:
    return list(words[:1]) == ["doctor"]


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command line; overrides, pictures and runs may stand before, between and
    after options."""
    top = parser(words)
    words = words or ["--help"]
    arguments, rest = top.parse_known_args(words)
    many = [name for name in ("overrides", "pictures", "runs") if name in arguments]
    stray = [word for word in rest if word.startswith("-") or not many]
    if stray:
        top.error(f"unrecognized arguments: {' '.join(stray)}")
    if rest:
        vars(arguments)[many[0]] += rest
    return arguments


def parser(words: Sequence[str] = ()) -> Parser:
    top = Parser(
        prog="ms-gan", description="Train GANs with MindSpore and generate images from them."
    )
    top.add_argument("--version", action="version", version=f"ms_gan {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    if not for_doctor(words):  # which must answer even where what the others need is missing
        from ms_gan.cli import (
            apply,
            completion,
            distribute_train,
            evaluate,
            explore,
            export,
            generate,
            keys,
            report,
            train,
        )

        train.add_parser(commands)
        distribute_train.add_parser(commands)
        generate.add_parser(commands)
        apply.add_parser(commands)
        evaluate.add_parsers(commands)
        report.add_parsers(commands)
        export.add_parser(commands)
        explore.add_parser(commands)
        keys.add_parser(commands)
        completion.add_parser(commands, top)
    doctor.add_parser(commands)
    return top
