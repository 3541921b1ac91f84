"""Ctrl-C, SIGTERM and a hang-up in every phase of a command: one line, 128 + the number."""

import signal
import socket
import threading
import time

import pytest
from PIL import Image

from ms_gan.system import signals
from tests.tiny import ROOT, python, recipe_file

# A process that counts as the command. `hook` says "here" where the phase begins.
PROGRAM = """
import sys
sys.argv = ["ms-gan", *sys.argv[1:]]
import ms_gan
def here(*arguments, **options):
    print("here", flush=True)
{hook}
from ms_gan import cli
sys.exit(cli.main())
"""
HOOKS = {
    "importing": "here()",
    "downloading": """
import dataclasses
from ms_gan.data.known import IDX_SETS
IDX_SETS["mnist"] = dataclasses.replace(IDX_SETS["mnist"], mirrors=("http://127.0.0.1:{port}/",))
""",
    "decoding": """
import time
from ms_gan.data import reading
decode = reading.decode
def slowly(*arguments, **options):
    here()
    time.sleep(0.2)
    return decode(*arguments, **options)
reading.decode = slowly
""",
    "compiling": """
from ms_gan import session
from ms_gan.training.feed import Feed
at = Feed.at
Feed.at = lambda self, step: (here(), at(self, step))[1]  # the first update compiles the graph
""",
    "evaluating": """
from ms_gan.evaluation import metrics
import inspect
for name, function in inspect.getmembers(metrics, inspect.isfunction):
    setattr(metrics, name, lambda *a, _f=function, **o: (here(), _f(*a, **o))[1])
""",
}
STAYS = {"downloading": {".lock", "train-images-idx3-ubyte.gz.part"}}  # what goes on the next time


@pytest.fixture
def slow_server():
    """A server that sends a little of a large file; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            held.append(connection)
            connection.recv(4096)
            connection.sendall(
                b"HTTP/1.0 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(100_000)
            )

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()
    for connection in held:
        connection.close()


def begin(phase, tmp_path, port):
    """The command in that phase, as a process of its own."""
    words = ["train", "--config", recipe_file(tmp_path), "--run-dir", tmp_path / "run"]
    if phase == "downloading":
        words += ["data.name=mnist"]
    if phase == "decoding":
        (tmp_path / "pictures").mkdir()
        for i in range(200):
            Image.new("L", (8, 8), i).save(tmp_path / "pictures" / f"{i}.png")
        words += ["data.name=image_folder", f"data.root={tmp_path / 'pictures'}"]
    if phase == "evaluating":
        words = ["evaluate", "--pretrained", "mnist-tutorial", "--data", "digits",
                 "--num", "1797", "--out", tmp_path / "numbers.json"]  # fmt: skip
    if phase == "compiling":
        words += ["train.steps=100000000", "every.save=0", "every.sample=0"]
    code = PROGRAM.format(hook=HOOKS[phase].replace("{port}", str(port)))
    return python("-c", code, *words, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"),
                  MS_GAN_DATA="", HOME=str(tmp_path))  # fmt: skip


def wait_until_there(process, phase, tmp_path):
    if phase == "downloading":
        while not list(tmp_path.rglob("*.part")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        return
    while process.stdout.readline() != "here\n":
        assert process.poll() is None, process.communicate()


DEFAULT = {("importing", signal.SIGTERM), ("downloading", signal.SIGTERM),
           ("decoding", signal.SIGHUP), ("compiling", signal.SIGTERM)}  # fmt: skip
CASES = [
    pytest.param(
        *(phase, number, twice),
        marks=[] if (phase, number) in DEFAULT and not twice else pytest.mark.slow,
        id=f"{phase}-{number.name}{'-twice' * twice}",
    )
    for phase in HOOKS
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for twice in (False, True)
]


@pytest.mark.parametrize(("phase", "number", "twice"), CASES)
def test_every_phase_ends_in_one_line(phase, number, twice, tmp_path, slow_server):
    process = begin(phase, tmp_path, slow_server)
    wait_until_there(process, phase, tmp_path)
    time.sleep(0.2)
    process.send_signal(number)
    if twice:
        time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, (out, err)
    lines = [line for line in err.splitlines() if line]
    if phase == "compiling":  # the wish is heard after the step, and everything is saved
        assert lines == [signals.STOPPING, *[signals.INTERRUPTED] * twice]
        assert ("everything is saved" in out) != twice
        assert bool(list(tmp_path.glob("run/checkpoints/step_*.ckpt"))) != twice
    else:
        assert lines == [signals.INTERRUPTED]
        assert not (tmp_path / "run").exists()
    left = {p.name for p in tmp_path.rglob(".*") if p.is_file()}
    left |= {p.name for p in tmp_path.rglob("*.part")}
    expected = {".lock"} if phase == "compiling" else STAYS.get(phase, set())
    assert left == expected


def test_processes_that_are_started_can_be_ended():
    """They inherit no blocked SIGTERM and no ignored hang-up."""
    code = (
        "import subprocess, sys\nfrom ms_gan.system import signals\nsignals.watch()\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "child.terminate()\nsys.exit(-child.wait(10))"
    )
    process = python("-c", code, cwd=ROOT)
    assert (process.communicate(timeout=30), process.returncode) == (("", ""), signal.SIGTERM)
