"""Ctrl-C and SIGTERM as a wish to stop, which long work looks at where it can stop well."""

from __future__ import annotations

import signal
import threading
from typing import Any


class StopSignals:
    """Remember SIGINT and SIGTERM instead of dying of them; a second one interrupts at once.

    Outside of the main thread, where Python allows no handlers, it changes nothing. MindSpore turns
    a SIGINT that arrives while a graph runs into a SIGTERM.

    Attributes:
        received: the signal's number, or None.
    """

    def __init__(self):
        self.received: int | None = None
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self.handle)
        return self

    def handle(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
