"""What the commands share: printing, argument types, who and where this process is."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

DEVICES = ("auto", "Ascend", "GPU", "CPU")


def say(line: str) -> None:
    print(line, flush=True)


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


class DownloadProgress:
    """One line that grows on a terminal; one line per file elsewhere."""

    def __call__(self, file: str, done: int, total: int) -> None:
        terminal = sys.stdout.isatty()
        complete = total > 0 and done >= total
        if terminal or complete:
            text = f"downloading {file}: {done / 1e6:.1f} of {total / 1e6:.1f} MB"
            print(f"\r{text}" if terminal else text, end="\n" if complete else "", flush=True)


def command(words: list[str]) -> str:
    """The command line of this process as a person would type it."""
    script = os.environ.get("MS_GAN_SCRIPT")
    return shlex.join(["bash", script, *words[1:]] if script else ["ms-gan", *words])
