"""How much this machine has: what declares more is refused before anything is made of it."""

from __future__ import annotations

import os


def installed() -> int:
    """Bytes of memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return 0


def excess(size: int) -> str | None:
    """Why so many bytes cannot be held, in a few words; None: they can, or nobody knows."""
    there = installed()
    if size <= there or not there:
        return None
    return f"{size:,} bytes, more than the {there:,} of this machine's memory"
