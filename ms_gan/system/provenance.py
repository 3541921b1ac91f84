"""What one needs to know to repeat a run: commit, versions, machine, settings of the process."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from typing import Any

from ms_gan.system import runtime
from ms_gan.system.program import ROOT


def git_commit() -> str | None:
    """The commit of the package's own checkout, with '+' where files differ from it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def process() -> dict[str, Any]:
    """When, with what and where this process runs, as a manifest holds it."""
    import numpy

    import mindspore

    return {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "versions": {
            "mindspore": mindspore.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", "not limited"),
        "onednn_fpmath": os.environ.get(runtime.FPMATH_VARIABLE, "STRICT"),
    }
