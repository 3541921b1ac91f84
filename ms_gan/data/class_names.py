"""Names of classes: their order, and which one a person means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ms_gan.system.output import shown


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names sorted; as numbers, if all are whole numbers."""
    names = sorted(names)
    if all(is_number(name) for name in names):
        names = sorted(names, key=int)
    return tuple(names)


def is_number(name: str) -> bool:
    """Whether a name is a whole number."""
    return re.fullmatch(r"[+-]?[0-9]{1,18}", name) is not None


def folded(name: str) -> str:
    """What names have in common that a person takes for the same."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def find(text: str, names: Sequence[str]) -> int | None:
    """The label of the class that a name or a number means, None where there is none.

    A name as it is written comes first, then one that differs by case or by how its accents are
    written, then a number: the label, or where all names are numbers the one of that value.
    """
    written = [label for label, name in enumerate(names) if name in (text, shown(text))]
    alike = [label for label, name in enumerate(names) if folded(name) == folded(text)]
    for found in (written, alike):
        if len(found) == 1:
            return found[0]
    if alike or not is_number(text):
        return None
    number = int(text)
    if all(is_number(name) for name in names):
        return next((label for label, name in enumerate(names) if int(name) == number), None)
    return number if 0 <= number < len(names) else None
