"""Event files for TensorBoard, of what a run logs and samples anyway."""

from __future__ import annotations

import importlib.util
import numbers
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ms_gan.errors import UsageError
from ms_gan.runs.run_dir import NUMBERS, RunDir

if TYPE_CHECKING:
    import numpy as np

WRITER = "tensorboardX"


def check() -> None:
    """Raise UsageError where the library that writes event files is missing."""
    if importlib.util.find_spec(WRITER) is None:
        raise UsageError(
            f"runtime.tensorboard: {WRITER} is not installed; pip install {WRITER}, or leave it out"
        )


class Board:
    """Writes event files; where one cannot be written it says so once, and the run goes on.

    Args:
        run: gets the folder tensorboard/.
        step: from which the run goes on; what was written of later steps counts no more.
        say: receives the line.
    """

    def __init__(self, run: RunDir, step: int, say: Callable[[str], None]):
        self.say = say
        self.writer: Any = None
        with self.kept_off():
            from tensorboardX import SummaryWriter

            first = step + 1 if step else 0
            self.writer = SummaryWriter(str(run.board), purge_step=first, flush_secs=30)

    def row(self, step: int, row: Mapping[str, Any]) -> None:
        """The numbers of a row of the log, and its warning."""
        with self.kept_off():
            if self.writer is None:
                return
            for name, value in flat(row):
                if isinstance(value, numbers.Real):
                    self.writer.add_scalar(name, value, step)
            if "warning" in row:
                self.writer.add_text("warning", row["warning"], step)

    def picture(self, step: int, picture: np.ndarray) -> None:
        """uint8 [H, W] or [H, W, 3]."""
        with self.kept_off():
            if self.writer is not None:
                layout = "HW" if picture.ndim == 2 else "HWC"
                self.writer.add_image("samples", picture, step, dataformats=layout)

    def close(self) -> None:
        with self.kept_off():
            if self.writer is not None:
                self.writer.close()

    @contextmanager
    def kept_off(self) -> Iterator[None]:
        """An error ends the board, not the run."""
        try:
            yield
        except Exception as error:  # of the library, or of the disk
            self.writer = None
            self.say(f"no more event files for TensorBoard: {error}")


def flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name of its chart, value) of each entry, and of the parts of one that has some."""
    for key, value in row.items():
        parts = value.items() if isinstance(value, Mapping) else [(None, value)]
        for part, number in parts:
            yield tag(key) if part is None else f"{tag(key)}/{part}", number


def tag(key: str) -> str:
    """The name of a chart: TensorBoard shows together what has the same beginning."""
    if key.startswith("loss_"):
        return f"loss/{key.removeprefix('loss_')}"
    if key == "images_per_second":
        return f"speed/{key}"
    return f"scores/{key}" if key in NUMBERS else f"quality/{key}"
