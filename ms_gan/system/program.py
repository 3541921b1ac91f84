"""How a person calls this program here: `ms-gan …`, or the scripts of a checkout."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent  # the checkout


def called(*words: str) -> str:
    """What to type for a command, such as `ms-gan doctor`."""
    script = os.environ.get("MS_GAN_SCRIPT")
    if script and words:
        own = Path(script).with_name(f"run_{words[0].replace('-', '_')}.sh")
        if own.is_file():
            return shlex.join(["bash", str(own), *words[1:]])
    return shlex.join([*_all_commands(), *words])


def command(words: Sequence[str]) -> str:
    """The command line of this process as a person would type it."""
    if started := os.environ.get(STARTED):
        return started
    script = os.environ.get("MS_GAN_SCRIPT")
    if script and Path(script).name != ALL_COMMANDS:  # one for each command: run_train.sh …
        return shlex.join(["bash", script, *words[1:]])
    return shlex.join([*_all_commands(), *words])


STARTED = "MS_GAN_COMMAND"  # tells a worker what started it
ALL_COMMANDS = "ms_gan.sh"  # in scripts/: `bash ms_gan.sh train …`


def _all_commands() -> list[str]:
    script = os.environ.get("MS_GAN_SCRIPT")
    return ["bash", str(Path(script).with_name(ALL_COMMANDS))] if script else ["ms-gan"]


def ready_python() -> Path | None:
    """The Python that the scripts have set up in .venv, unless it is this one."""
    venv = ROOT / ".venv"
    complete = any(venv.glob("lib/python*/site-packages/mindspore"))
    here = Path(sys.prefix).resolve() == venv.resolve()
    return venv / "bin" / "python" if complete and not here else None
