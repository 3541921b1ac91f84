"""What the commands share: printing, argument types, who and where this process is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ms_gan.errors import UsageError
from ms_gan.system import files, output
from ms_gan.system.output import say, shown
from ms_gan.system.program import called, command

DEVICES = ("auto", "Ascend", "GPU", "CPU")
__all__ = [
    "DEVICES", "DownloadProgress", "called", "command", "natural", "positive", "say",
    "say_replaced", "writing_to",
]  # fmt: skip


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {value}")
    return value


def natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected at least 0, got {value}")
    return value


def say_replaced(*places: Path) -> None:
    """A line where files of before were replaced: of these names, or in these folders."""
    found = sorted(p for p in files.replaced if {p, p.parent} & set(places))
    files.replaced.clear()
    if found:
        more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
        say(f"in place of one that was there: {found[0]}{more}")


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """What cannot be written below the folder --out is one line."""
    try:
        yield
    except BrokenPipeError:  # of the terminal, not of the folder
        raise
    except OSError as error:
        raise UsageError(
            f"{shown(error.filename or out)}: cannot be written: {error.strerror or error}; "
            "choose another folder with --out"
        ) from None


class DownloadProgress:
    """One line that grows on a terminal; one line per file elsewhere."""

    def __call__(self, file: str, done: int, total: int) -> None:
        terminal = output.is_terminal(sys.stdout)
        complete = total > 0 and done >= total
        if terminal or complete:
            text = f"downloading {file}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            end = "\n" if complete else ""
            output.write(f"\r{text}{end}" if terminal else f"{text}{end}")
