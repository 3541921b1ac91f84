"""What a format needs beside MindSpore, and the error of this folder; nothing here is slow."""

from __future__ import annotations

import importlib.util
import shlex
import sys

from ms_gan.errors import UserError

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "mindir": ()}  # format, and suffix of its files


class ExportError(UserError, ValueError):
    """A net that cannot become a file of a format, or a file that does not say the same."""


def check(form: str, asked: str | None = None) -> None:
    """Refuse a format whose files cannot be made and compared here.

    Args:
        asked: what needs it; None: the option --format.
    """
    missing = [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]
    if missing:
        asked = asked or f"--format {form}"
        raise ExportError(
            f"{asked}: needs {' and '.join(PACKAGES[form])}, to make the file and to compare it; "
            f"not installed: {', '.join(missing)}; {shlex.quote(sys.executable)} -m pip install "
            f"{' '.join(PACKAGES[form])} 'numpy>=1.25,<2'"
        )
