"""What the command line prints as one line instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend: `where: what is wrong; what was expected; what to do`."""


class UsageError(UserError, ValueError):
    """An argument of a command or a call that cannot be used."""


def near_miss(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for a likely typing mistake, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
