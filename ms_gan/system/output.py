"""Text for a person, on streams that may be missing, know few letters, or go away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

Say = Callable[[str], None]  # receives a line for a person


def shown(name: str | os.PathLike) -> str:
    """A name as it can be printed and written: what is not UTF-8, or no letter, is escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(line: str) -> None:
    """A line on the standard output: see :func:`write`."""
    write(f"{line}\n")


def write(text: str, stream: TextIO | None = None) -> None:
    """Write and flush; letters that the stream's encoding lacks are escaped.

    A stream that is missing (a service, pythonw), closed, or cannot take the text (the terminal
    hung up, the disk behind `> file` is full) swallows it: work goes on.

    Args:
        stream: None: the standard output.

    Raises:
        BrokenPipeError: nobody reads any more (`| head`).
    """
    stream = sys.stdout if stream is None else stream
    if stream is None:
        return
    try:
        stream.write(escaped(text, getattr(stream, "encoding", None)))
        stream.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError):
        pass


def escaped(text: str, encoding: str | None) -> str:
    r"""The text with what an encoding lacks as `\u2026`; None: that of UTF-8."""
    try:
        return text.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
    except LookupError:  # an encoding that Python does not know
        return text.encode("ascii", "backslashreplace").decode("ascii")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a line on it can be overwritten."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # none, or a closed one
        return False


def claim_descriptors() -> None:
    """Open 0, 1 and 2 where the caller closed them: else a run's own file would get the number,
    and what MindSpore prints would go into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def settle() -> None:
    """Let the exit of Python be silent where a reader went away with text still unread."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
