"""All pictures of a folder, decoded side by side, and what there is to say of them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ms_gan.data.dataset import data_error
from ms_gan.data.decoding import Facts, Look, Unreadable, Values, decode
from ms_gan.data.finding import Parts, named
from ms_gan.data.found import number
from ms_gan.system.output import Say

WORKERS = min(4, os.cpu_count() or 1)  # Pillow decodes without the interpreter's lock
FIRST, LATER = 1.0, 5.0  # seconds between lines of progress, at first and in the end
DARK = 32  # of 255: the brightest pixel of a whole folder should not stay below


@dataclass(frozen=True)
class Reading:
    """What was read.

    Args:
        images: uint8 [N, C, H, W], the whole pictures, or their tiles.
        facts: of each of the whole pictures.
        rows: which of the names they are.
        broken: names of the others, and why.
        md5: of names and contents of the whole pictures.
        remarks: what a person should know.
    """

    images: np.ndarray
    facts: list[Facts]
    rows: list[int]
    broken: list[tuple[str, str]]
    md5: str
    remarks: list[str]

    @property
    def sizes(self) -> str:
        """`40x40 to 218x178 pixels`"""
        sizes = sorted({facts.size for facts in self.facts}, key=lambda size: size[0] * size[1])
        ends = dict.fromkeys(f"{width}x{height}" for width, height in (sizes[0], sizes[-1]))
        return f"{' to '.join(ends)} pixels"


Content = Callable[[Parts], bytes]  # of a file; OSError where it cannot be read


def read(content_of: Content, names: Sequence[Parts], look: Look, say: Say) -> Reading:
    """Decode pictures, in their order; those that cannot be read are named."""
    is_tiled = look.fit == "tiles"  # nobody knows how many there will be
    images, facts, rows, broken = [] if is_tiled else room(len(names), look), [], [], []
    digest = hashlib.md5(usedforsecurity=False)
    progress = Progress(len(names), say)
    for index, (content, result) in enumerate(decoded(content_of, names, look)):
        if isinstance(result, str):
            broken.append((named(names[index]), result))
            continue
        pixels, fact = result
        if is_tiled:
            images.append(pixels)
        else:
            images[len(rows)] = pixels
        digest.update(os.fsencode("/".join(names[index])) + b"\0" + content)
        facts.append(fact)
        rows.append(index)
        progress.show(index + 1)
    images = together(images, look) if is_tiled else images[: len(rows)]
    remarks = share_values(content_of, [names[row] for row in rows], images, facts, look)
    remarks += looked_at(images, facts, look)
    return Reading(images, facts, rows, broken, digest.hexdigest(), remarks)


def room(num: int, look: Look) -> np.ndarray:
    """uint8 [num, C, H, W]"""
    shape = (num, look.channels, look.height, look.width)
    try:
        return np.empty(shape, np.uint8)
    except (MemoryError, ValueError):
        gigabytes = float(np.prod(shape, dtype=object)) / 1e9
        wrong = f"{num:,} pictures of {look.height}x{look.width} take {gigabytes:,.1f} GB"
        raise data_error("image_folder", wrong, "less", "choose a smaller data.size") from None


def together(tiles: list[np.ndarray], look: Look) -> np.ndarray:
    """The tiles of all pictures as one array; the list is emptied on the way."""
    images, start = room(sum(map(len, tiles)), look), 0
    for i, some in enumerate(tiles):
        images[start : start + len(some)] = some
        start += len(some)
        tiles[i] = None
    return images


def decoded(
    content_of: Content, names: Sequence[Parts], look: Look
) -> Iterator[tuple[bytes, tuple[np.ndarray, Facts] | str]]:
    """The content of each file, and its picture with the facts, or why it cannot be read."""

    def one(parts: Parts) -> tuple[bytes, tuple[np.ndarray, Facts] | str]:
        try:
            content = content_of(parts)
            return content, decode(content, look, name=parts[-1])
        except OSError as error:
            return b"", error.strerror or str(error)
        except Unreadable as error:
            return b"", str(error)

    some = 4 * WORKERS  # so that few contents are in memory at once
    with ThreadPoolExecutor(WORKERS) as pool:
        for start in range(0, len(names), some):
            yield from pool.map(one, names[start : start + some])


class Progress:
    """Says how far the reading is, after a second, then less and less often."""

    def __init__(self, total: int, say: Say):
        self.total, self.say = total, say
        self.start = time.monotonic()
        self.pause, self.due = FIRST, self.start + FIRST

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        left = (now - self.start) * (self.total - done) / done
        self.say(f"data: read {done:,} of {self.total:,} pictures, {left:.0f} s left")
        self.pause = min(LATER, self.pause + FIRST)
        self.due = now + self.pause


def share_values(
    content_of: Content,
    names: Sequence[Parts],
    images: np.ndarray,
    facts: Sequence[Facts],
    look: Look,
) -> list[str]:
    """Let all pictures of more than 8 bits share one span of values, and say which.

    Each was scaled by its own values; those that span less than all are decoded again.
    """
    common: dict[str, Values] = {}
    deep = [(row, fact.values) for row, fact in enumerate(facts) if fact.values]
    for _, values in deep:
        common[values.kind] = values.join(common.get(values.kind))
    ends = np.cumsum([fact.grid[0] * fact.grid[1] for fact in facts])
    for row, values in deep:
        span = common[values.kind].span
        if values.span != span:
            pixels, fact = decode(content_of(names[row]), look, name=names[row][-1], span=span)
            images[ends[row] - fact.grid[0] * fact.grid[1] : ends[row]] = pixels
    return [
        f"{number(sum(values.kind == kind for _, values in deep), 'picture')} of more than 8 bits, "
        f"{kind} from {all_.low:g} to {all_.high:g}: {all_.span[0]:g} becomes black, "
        f"{all_.span[1]:g} white" + (", what is no number black" if all_.gaps else "")
        for kind, all_ in common.items()
    ]


def looked_at(images: np.ndarray, facts: Sequence[Facts], look: Look) -> list[str]:
    """Remarks on pictures that do not show what a person thinks they show."""
    remarks = []
    several = sum(fact.several for fact in facts)
    if several:
        whose = "has" if several == 1 else "have"
        remarks.append(
            f"{number(several, 'picture')} {whose} several frames or pages; the first one is taken"
        )
    plain = [fact for fact in facts if fact.plain]
    clear = sum(fact.transparent for fact in plain)
    if clear:
        remarks.append(
            f"{clear:,} of {number(len(facts), 'picture')}: partly transparent, and of one colour "
            f"throughout on the background {list(look.background)}; another one may show them: "
            f"data.background={0 if min(look.background) > 127 else 255}"
        )
    opaque = len(plain) - clear
    if opaque > len(facts) / 2:
        remarks.append(
            f"{opaque:,} of {number(len(facts), 'picture')}: of one colour throughout; look at "
            "them before training"
        )
    brightest = int(images.max(initial=0))
    if 0 < brightest < DARK and not clear:
        remarks.append(
            f"no pixel of all pictures is brighter than {brightest} of 255; Pillow keeps the upper "
            "8 of 16 bits in colour: if they were 10 or 12, brighten the pictures first"
        )
    return remarks
