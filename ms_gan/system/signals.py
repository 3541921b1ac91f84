"""Ctrl-C, SIGTERM and a hang-up as a wish to stop, which long work looks at where it can.

Imports little, since :func:`watch` comes before everything else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Collection

INTERRUPTED = "interrupted; nothing was lost that had been saved"
STOPPING = "stopping once everything is saved; Ctrl-C again stops at once"
HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none
NOBODY_READS = getattr(signal, "SIGPIPE", 13)  # what ends a program whose output is not read
_watched = False


def is_command() -> bool:
    """Whether this process is `ms-gan …` or `python -m ms_gan …`: no other program or notebook."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    if program == "-m":  # Python is looking for the module
        words = sys.orig_argv
        return "-mms_gan" in words or ("-m", "ms_gan") in zip(words, words[1:], strict=False)
    return program.removesuffix(".exe") == "ms-gan"


def watch() -> None:
    """From here on, threads wait for Ctrl-C, SIGTERM and a hang-up and end the process in one line.

    Without effect where the system cannot do this (Windows), or outside of the main thread.

    Only for a process that is this program's own. Python's own way, an exception at any moment,
    tears up imports and MindSpore's threads; and MindSpore, while a graph runs, turns a SIGINT into
    a SIGTERM. A signal that all threads block comes to the one that waits for it. The other two are
    not blocked, since processes that are started would inherit that and outlive whoever ends them;
    Python writes them into a pipe at once, also while MindSpore compiles.
    """
    global _watched
    can = hasattr(signal, "pthread_sigmask") and hasattr(signal, "sigwait")
    if _watched or not can or threading.current_thread() is not threading.main_thread():
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # threads and processes inherit it
    arrived, noted = os.pipe()
    os.set_blocking(noted, False)
    signal.set_wakeup_fd(noted, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, HANG_UP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, lambda number, frame: None)  # the pipe has it already
    for name, numbers, wait in (
        ("Ctrl-C", (signal.SIGINT,), lambda: signal.sigwait({signal.SIGINT})),
        ("SIGTERM", (signal.SIGTERM, HANG_UP), lambda: os.read(arrived, 1)[0]),
    ):
        threading.Thread(target=_answer, args=(numbers, wait), name=name, daemon=True).start()
    _watched = True


def _answer(numbers: Collection[int], wait: Callable[[], int]) -> None:
    while True:
        number = wait()
        if number not in numbers:  # the pipe has all signals that Python handles
            continue
        work = StopSignals.active
        if work is None or not work.wish(number):
            leave(number)
        tell(STOPPING)


def leave(number: int) -> None:
    """End the process at once, as a signal would have; half-written files are removed."""
    files = sys.modules.get("ms_gan.system.files")
    try:
        for path in list(files.unfinished) if files else ():
            path.unlink(missing_ok=True)
        tell(INTERRUPTED)
    finally:
        os._exit(128 + number)


def tell(line: str) -> None:
    """A line on stderr, below a bar that may stand there, whatever other threads hold."""
    try:
        os.write(2, f"\n{line}\n".encode())
    except OSError:
        pass


class StopSignals:
    """Remember SIGINT, SIGTERM and SIGHUP instead of dying of them; a second one ends at once.

    Outside of the main thread, where Python allows no handlers, it changes nothing. A SIGHUP that
    is ignored (nohup) stays so. Where :func:`watch` was not called, MindSpore turns a SIGINT that
    arrives while a graph runs into a SIGTERM.

    Attributes:
        received: the signal's number, or None.
    """

    active: StopSignals | None = None  # the one whose block runs

    def __init__(self):
        self.received: int | None = None
        self.previous: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            others = () if _watched else (signal.SIGTERM, HANG_UP)
            for number in (signal.SIGINT, *others):  # SIGINT: of threads older than the watch
                ignored = number == HANG_UP and signal.getsignal(number) == signal.SIG_IGN
                if number is not None and not ignored:
                    self.previous[number] = signal.signal(number, self.handle)
        StopSignals.active = self
        return self

    def wish(self, number: int) -> bool:
        """Note a signal; whether it was the first one."""
        if self.received is not None:
            return False
        self.received = number
        return True

    def handle(self, number: int, frame: object) -> None:
        if self.wish(number):
            return
        if _watched:
            leave(number)
        raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        StopSignals.active = None
        for number, handler in self.previous.items():
            signal.signal(number, handler)
