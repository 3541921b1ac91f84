"""What a folder of pictures was found to hold, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

FEW = 8  # classes that one line names
NAMED = 3  # files that one line names


def number(count: int, what: str) -> str:
    """`1 picture`, `1,200 pictures`"""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """`a, b, c`, or `a, b, c … (12 in all)` where there are more than `most`."""
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} … ({len(names):,} in all)"


@dataclass(frozen=True)
class Found:
    """What was there and what was made of it.

    Args:
        sizes: of the pictures as they are stored.
        formats: name -> number of pictures.
        classes: name -> number of pictures, in the order of the labels; empty: no classes.
        left_out: why -> names of files and folders.
        remarks: what a person should know besides.
        unit: what an image is, 'picture' or 'tile'.
    """

    sizes: str
    formats: dict[str, int] = field(default_factory=dict)
    classes: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    unit: str = "picture"

    def short(self) -> str:
        """One line: sizes, classes with counts, how much was left out and why."""
        parts = [self.sizes, self._classes()]
        if self.left_out:
            kinds = (
                f"{len(names):,} {why} ({', '.join(names[:NAMED])}"
                f"{', …' if len(names) > NAMED else ''})"
                for why, names in self.left_out.items()
            )
            parts.append(f"left out: {', '.join(kinds)}")
        return "; ".join(parts)

    def _classes(self) -> str:
        if not self.classes:
            return "no classes"
        if len(self.classes) <= FEW:
            counts = (f"{name} {count:,}" for name, count in self.classes.items())
            return f"{len(self.classes)} classes: {', '.join(counts)}"
        counts, names = self.classes.values(), list(self.classes)
        least, most = min(counts), number(max(counts), self.unit)
        return (
            f"{len(names):,} classes of {f'{least:,} to ' if least < max(counts) else ''}{most}: "
            f"{', '.join(names[: FEW // 2])} … {names[-1]}"
        )

    def listing(self) -> Iterator[str]:
        """Every class and every file that was left out, a line each."""
        if self.sizes:
            formats = (f"{count:,} {name}" for name, count in sorted(self.formats.items()))
            yield f"stored: {self.sizes}; {', '.join(formats)}"
        yield f"classes: {len(self.classes):,}" if self.classes else "classes: none"
        for label, (name, count) in enumerate(self.classes.items()):
            yield f"  {label}  {name}: {number(count, self.unit)}"
        if self.left_out:
            yield f"left out: {sum(map(len, self.left_out.values())):,}"
        for why, names in self.left_out.items():
            yield f"  {why}: {len(names):,}"
            yield from (f"    {name}" for name in names)


def by_reason(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """(name, why) -> names by reason, in order of their names."""
    reasons: dict[str, list[str]] = {}
    for name, why in sorted(pairs, key=lambda pair: (pair[1], pair[0])):
        reasons.setdefault(why, []).append(name)
    return reasons
