"""The kernels that a plugin of MindSpore registers, read from its file without loading it.

The plugins for GPU and Ascend need CUDA and CANN to be loaded. But each registration is the same
code in all of them, three calls behind the name of a primitive:

    lea  rsi, "Conv2D"          ; the name
    call std::string            ; of the C++ library, so through the linkage table
    call Factory::Instance      ; of the plugin itself
    call Factory::Register      ; of the plugin itself

All kernels of a factory share the last two addresses. So the names in front of one such pair are
what this factory can make, and nothing has to be known of any address. On CPU, where the truth is
known, the kernels of every graph that runs are among the names that are found
(tests/test_portability.py).
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ms_gan.portability.graphs import PortabilityError

NAME = re.compile(rb"[A-Za-z_]\w{1,63}\Z")
WINDOW = 120  # bytes from the name to the last of the three calls
FEWEST = 30  # names of a factory: fewer are something else
X86_64 = 62


def registered(library: Path) -> list[set[str]]:
    """The names that each factory of a library can make, the largest factory first.

    Raises:
        PortabilityError: there is no such file, or it is not for x86-64.
    """
    factories: dict[tuple[int, int], set[str]] = defaultdict(set)
    for name, instance, register in _named_calls(library):
        if register is not None:
            factories[instance, register].add(name)
    found = [names for names in factories.values() if len(names) >= FEWEST]
    return sorted(found, key=len, reverse=True)


def described(library: Path, known: str) -> set[str]:
    """The names of a table of a library that is filled by `table[name] = …`.

    Here one function of the plugin alone is called behind the name.

    Args:
        known: a name in the table, and in none that is larger.

    Raises:
        PortabilityError: as above, or nothing was found.
    """
    tables: dict[int, set[str]] = defaultdict(set)
    for name, index, _ in _named_calls(library):
        tables[index].add(name)
    found = [names for names in tables.values() if known in names and len(names) >= FEWEST]
    if not found:
        raise PortabilityError(f"{library}: no table with {known}; expected MindSpore 2.10")
    return max(found, key=len)


def _named_calls(library: Path) -> Iterator[tuple[str, int, int | None]]:
    """Each name that a string is made of, and the functions of the library called behind it.

    The second is None where it is not one of the library itself.
    """
    if not library.is_file():
        raise PortabilityError(f"{library}: no such file; expected MindSpore's wheel for Linux")
    content = library.read_bytes()
    if content[:4] != b"\x7fELF" or struct.unpack_from("<H", content, 18)[0] != X86_64:
        raise PortabilityError(f"{library}: expected machine code of x86-64; use such a machine")
    sections = _sections(content)
    text, (names_at, names_offset, names_size) = sections[".text"], sections[".rodata"]
    where, what = _addresses(content, text)
    of_names = (what >= names_at) & (what < names_at + names_size)
    where, what = where[of_names], what[of_names] - names_at + names_offset

    calls, targets = _calls(content, text)
    first = np.searchsorted(calls, where)
    fits = first + 2 < len(calls)
    where, what, first = where[fits], what[fits], first[fits]
    near = calls[first + 2] - where < WINDOW
    inside = text[0]  # the linkage table stands in front of the code
    outer, second, third = (targets[first + i] for i in range(3))
    for i in np.flatnonzero(near & (outer < inside) & (second >= inside)):
        name = content[what[i] : content.index(b"\0", what[i])]
        if NAME.match(name):
            own = int(third[i]) if third[i] >= inside else None
            yield name.decode(), int(second[i]), own


def _sections(content: bytes) -> dict[str, tuple[int, int, int]]:
    """name -> (address, offset in the file, size) of an ELF file."""
    (table,) = struct.unpack_from("<Q", content, 0x28)
    size, count, of_names = struct.unpack_from("<HHH", content, 0x3A)
    rows = [struct.unpack_from("<IIQQQQ", content, table + size * i) for i in range(count)]
    texts = rows[of_names][4]
    found = {}
    for name, _, _, address, offset, length in rows:
        start = texts + name
        found[content[start : content.index(b"\0", start)].decode()] = (address, offset, length)
    return found


def _addresses(content: bytes, text: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where an address is loaded (`lea register, [rip + n]`), and which one."""
    code = np.frombuffer(content, np.uint8, text[2], text[1])
    wide = (code[:-7] & 0xFB) == 0x48  # REX.W, with or without REX.R
    at = np.flatnonzero(wide & (code[1:-6] == 0x8D) & ((code[2:-5] & 0xC7) == 0x05))
    return text[0] + at, text[0] + at + 7 + _distance(code, at + 3)


def _calls(content: bytes, text: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where something is called (`call n`), and what."""
    code = np.frombuffer(content, np.uint8, text[2], text[1])
    at = np.flatnonzero(code[:-5] == 0xE8)
    target = at + 5 + _distance(code, at + 1)
    real = (target > -(1 << 22)) & (target < text[2])  # else the byte was something else
    return text[0] + at[real], text[0] + target[real]


def _distance(code: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The signed numbers of four bytes that stand there."""
    whole = sum(code[at + i].astype(np.int64) << (8 * i) for i in range(4))
    return np.where(whole >= 1 << 31, whole - (1 << 32), whole)
