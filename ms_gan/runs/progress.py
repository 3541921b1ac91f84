"""What a person sees while training: a bar on a terminal or in a notebook, else plain lines."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TextIO

from ms_gan.system import output

LINE_EVERY = 5.0  # seconds between plain lines, so that a log file stays readable
LONG = 180.0  # seconds from which a run says how to ask for a shorter one
SHORTER = "train.minutes=2"


def duration(seconds: float) -> str:
    """65 -> '1:05', 3700 -> '1:01:40'"""
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def described(step: int, total: int, values: dict[str, float], left: str) -> str:
    return (
        f"step {step}/{total}  loss_d {values['loss_d']:.3f}  "
        f"loss_g {values['loss_g']:.3f}  D(x) {values['d_real']:.2f}  "
        f"D(G(z)) {values['d_fake']:.2f}  {values['images_per_second']:.0f} images/s  "
        f"{left} left"
    )


class Progress:
    """Shows `step/total` and the values of the last log step on one stream.

    Args:
        stream: None: the standard output.

    Attributes:
        unread: nobody reads the stream any more (`| head`); nothing is shown from then on.
    """

    every = LINE_EVERY  # seconds between what is shown, but on a terminal

    def __init__(self, total: int, stream: TextIO | None = None):
        self.total = total
        self.stream = sys.stdout if stream is None else stream
        self.terminal = output.is_terminal(self.stream)
        self.unread = False
        self.shown = None
        self.began, self.compiled = (0, 0.0), False
        self.hint = False

    def start(self, step: int, *, hint: bool = False) -> None:
        """Training begins at that step.

        Args:
            hint: say once how long the run will take, and how one asks for less.
        """
        self.hint = hint
        self.began, self.compiled = (step, time.monotonic()), False

    def show(self, step: int, values: dict[str, float], *, last: bool = False) -> None:
        """`values` as the trainer logs them; the time left follows from the pace so far, which is
        that since the first call: what is before it was compiled, too."""
        now = time.monotonic()
        pace = (now - self.began[1]) / max(1, step - self.began[0])
        if not self.compiled:
            self.began, self.compiled = (step, now), True
        elif self.hint:
            self.hint = False
            if pace * self.total >= LONG:
                self.line(
                    f"on this machine {self.total:,} steps take about "
                    f"{duration(pace * self.total)}; {SHORTER} asks for a run of two minutes"
                )
        due = self.shown is None or now - self.shown >= self.every
        if not (self.terminal or due or last):
            return
        self.shown = now
        self.draw(step, values, duration(pace * (self.total - step)), last)

    def draw(self, step: int, values: dict[str, float], left: str, last: bool) -> None:
        """Write the bar or the line."""
        text = described(step, self.total, values, left)
        if not self.terminal:
            self._write(f"{text}\n")
            return
        columns = shutil.get_terminal_size().columns
        if len(text) >= columns:  # a line that wraps could not be overwritten
            short = text.replace(f"  {values['images_per_second']:.0f} images/s", "")
            text = short.replace("  ", " ")[: columns - 1]
        room = columns - len(text) - 4
        if room >= 8:
            filled = round(min(room, 40) * step / self.total)
            text = f"[{'#' * filled}{'.' * (min(room, 40) - filled)}] {text}"
        self._write(f"\r\x1b[K{text}" + ("\n" if last else ""))

    def line(self, text: str) -> None:
        """A line of its own, above the bar."""
        self._write(f"\r\x1b[K{text}\n" if self.terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        try:
            if not self.unread:
                output.write(text, self.stream)
        except BrokenPipeError:
            self.unread = True


class Inline(Progress):
    """The bar in a cell of a notebook: HTML that is replaced, which needs no extension."""

    every = 0.2

    def __init__(self, total: int):
        super().__init__(total)
        self.place = None

    def draw(self, step: int, values: dict[str, float], left: str, last: bool) -> None:
        from IPython.display import display

        text = described(step, self.total, values, left)
        bar = f'<progress value="{step}" max="{self.total}" style="width: 40%"></progress>'
        content = {"text/html": f"{bar} <code>{text}</code>", "text/plain": text}
        if self.place is None:
            self.place = display(content, raw=True, display_id=True)
        else:
            self.place.update(content, raw=True)


def suited(total: int) -> Progress:
    """What shows the progress where this process runs."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return Inline(total) if hasattr(shell, "kernel") else Progress(total)
