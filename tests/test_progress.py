"""What a person sees while training: a bar that never wraps, plain lines elsewhere."""

import io
import os
import pty
import shutil
import sys
import types

import pytest

from ms_gan.runs.progress import Inline, Progress, duration, suited

VALUES = {
    "loss_d": 0.5, "loss_g": 1.25, "d_real": 0.75, "d_fake": 0.25, "images_per_second": 12345.0,
}  # fmt: skip


def test_plain_lines_when_not_a_terminal():
    stream = io.StringIO()
    progress = Progress(1000, stream)
    progress.start(0)
    for step in range(1, 1001):
        progress.show(step, VALUES, last=step == 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2  # the first and the last; the others within seconds of the first
    assert lines[0].startswith("step 1/1000 ") and lines[1].startswith("step 1000/1000 ")
    for word in ("loss_d 0.500", "loss_g 1.250", "D(x) 0.75", "D(G(z)) 0.25", "12345 images/s"):
        assert word in lines[0]
    assert "\x1b" not in stream.getvalue() and lines[1].endswith("0:00 left")


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_the_bar_never_wraps(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert shutil.get_terminal_size().columns == columns
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        progress = Progress(93800, stream)
        progress.start(0)
        for step in (1, 50000):
            progress.show(step, VALUES)
        progress.show(93800, VALUES, last=True)
        shown = ""
        while not shown.endswith("\n"):  # a pseudo-terminal gives what it has so far
            shown += os.read(leader, 10000).decode()
    os.close(leader)
    lines = [line for line in shown.replace("\x1b[K", "").split("\r") if line.strip()]
    assert len(lines) == 3 and all(len(line.strip("\n")) < columns for line in lines)
    assert "step 50000/93800" in lines[1]
    if columns >= 80:
        assert lines[2].rstrip().endswith("left")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.4, "1:05"), (3700, "1:01:40")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def shown(monkeypatch, *, times, steps, total, **started):
    """What a Progress prints that is shown these steps at these times."""
    clock = iter(times)
    monkeypatch.setattr("ms_gan.runs.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress = Progress(total, stream)
    progress.start(0, **started)
    for step in steps:
        progress.show(step, VALUES)
    return stream.getvalue().splitlines()


def test_how_long_it_will_take_is_said_without_the_compilation(monkeypatch):
    """30 s of compilation, then 0.04 s a step: 14,000 of them are nine minutes."""
    given = {"times": [0, 32, 34, 36, 38], "steps": [50, 100, 150, 200]}
    lines = shown(monkeypatch, **given, total=14000, hint=True)
    hint = "on this machine 14,000 steps take about 9:20; train.minutes=2 asks for a run of two"
    assert [line.startswith(hint) for line in lines] == [False, True, False]
    assert lines[-1].endswith("9:12 left")  # 13,800 steps at the same pace
    assert len(shown(monkeypatch, **given, total=14000)) == 2
    assert len(shown(monkeypatch, **given, total=4000, hint=True)) == 2  # 160 s are short enough


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_of_its_own_takes_the_place_of_the_bar():
    for stream, expected in ((io.StringIO(), "news\n"), (Terminal(), "\r\x1b[Knews\n")):
        Progress(10, stream).line("news")
        assert stream.getvalue() == expected


def test_in_a_notebook_one_bar_is_replaced(monkeypatch):
    """By IPython's own way, which needs no extension; elsewhere IPython changes nothing."""
    shown = []

    class Place:
        def update(self, content, *, raw):
            shown.append((self, content))

    def display(content, *, raw, display_id):
        assert raw and display_id
        place = Place()
        shown.append((place, content))
        return place

    assert type(suited(10)) is Progress
    shell = types.SimpleNamespace()
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    assert type(suited(10)) is Progress  # IPython on a terminal
    shell.kernel = object()
    progress = suited(10)
    assert type(progress) is Inline
    progress.start(0)
    progress.show(1, VALUES)
    progress.show(2, VALUES)  # too soon after the first
    progress.show(10, VALUES, last=True)
    assert len(shown) == 2 and shown[0][0] is shown[1][0]
    first, last = (content for _, content in shown)
    assert '<progress value="1" max="10"' in first["text/html"]
    assert last["text/plain"].startswith("step 10/10  loss_d 0.500")
