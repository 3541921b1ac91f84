"""What machines, file systems, terminals and people do to a run: real faults, real processes."""

import contextlib
import errno
import io
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ms_gan import cli, data, session
from ms_gan.cli import doctor
from ms_gan.data import search
from ms_gan.recipe import reader
from ms_gan.runs.progress import Progress
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import files, output, program, runtime, signals
from ms_gan.training.trainer import is_due
from tests import tiny
from tests.conftest import ROOT

CONFIG = reader.from_dict({"name": "t", "train": {"steps": 10}})
LATER = ["train.steps=6", "every.sample=2"]
LONG = ["train.steps=100000000", "every.save=0", "every.sample=0", "every.log=1"]


def error_of(number):
    return OSError(number, os.strerror(number))


def raising(error):
    def function(*arguments, **options):
        raise error

    return function


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 4 steps, which nobody may change."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = tiny.recipe_file(folder, train={"steps": 4}, every={"log": 1, "sample": 2, "save": 2})
    assert cli.main(["train", "--config", str(recipe), "--run-dir", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def longer(finished):
    """The weights of that run after 6 steps, by name."""
    shutil.copytree(finished / "run", finished / "longer")
    words = ["train", "--config", str(finished / "tiny.yaml"), "--run-dir"]
    assert cli.main([*words, str(finished / "longer"), *LATER]) == 0
    return weights(RunDir(finished / "longer"))


def weights(run):
    """name -> bytes of the newest checkpoint"""
    from ms_gan.runs import checkpoint

    arrays, _ = checkpoint.load(run.checkpoint_files()[-1][1])
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture
def run(finished, tmp_path):
    """A copy of it: (RunDir, the words that train it)."""
    shutil.copytree(finished / "run", tmp_path / "run")
    words = ["train", "--config", str(finished / "tiny.yaml"), "--run-dir", str(tmp_path / "run")]
    return RunDir(tmp_path / "run"), words


def content(folder):
    """path -> bytes of all files of a run, without those that nobody looks at."""
    paths = (p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def opened(path, **options):
    """Open a run in the folder; what was said."""
    said = []
    run = RunDir(path)
    run.check(CONFIG)
    with run.open(CONFIG, say=said.append, **options):
        pass
    return said


def refused(path, **options):
    return tiny.refused(RunError, opened, path, **options)


# --- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.EBADF]
)
def test_a_file_system_without_locks(number, tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", raising(error_of(number)))
    (line,) = opened(tmp_path / "run")
    assert line.startswith(f"{tmp_path / 'run'}: this file system keeps no locks ")
    assert os.strerror(number) in line
    assert RunDir(tmp_path / "run").exists


def test_a_lock_that_another_holds(tmp_path):
    with RunDir(tmp_path).open(CONFIG):
        assert "another process trains in this folder" in refused(tmp_path)


# --- what a file system refuses, at the start -----------------------------------------------------


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EXDEV, errno.EROFS])
def test_no_renaming(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", raising(error_of(number)))
    message = refused(tmp_path / "run")
    expected = f"{tmp_path / 'run'}: cannot be written: {os.strerror(number)}; "
    assert message.startswith(expected) and "--run-dir" in message
    assert not (tmp_path / "run").exists()


def test_calls_that_a_file_system_lacks_are_not_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(error_of(errno.EINVAL)))
    monkeypatch.setattr(os, "posix_fallocate", raising(error_of(errno.EOPNOTSUPP)), raising=False)
    assert opened(tmp_path, size=1000) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_write_that_fails_at_the_end(number, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(error_of(number)))
    assert os.strerror(number) in refused(tmp_path / "run")


def test_no_right_to_change_the_mode(run, longer, monkeypatch):
    """chmod of vfat and cifs: MindSpore calls it as its last act."""
    monkeypatch.setattr(os, "chmod", raising(error_of(errno.EPERM)))
    assert cli.main([*run[1], *LATER]) == 0
    assert [step for step, _ in run[0].checkpoint_files()] == [4, 6]
    assert weights(run[0]) == longer


def test_a_limit_on_the_size_of_files(tmp_path):
    """As of quotas: a real one, below what a checkpoint takes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        message = refused(tmp_path / "run", size=200_000)
        assert opened(tmp_path / "smaller", size=50_000) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "no room for a checkpoint of 200,000 bytes: File too large" in message
    assert not (tmp_path / "run").exists()


def test_a_disk_that_is_too_small(tmp_path):
    message = refused(tmp_path / "run", size=10, room=10**18)
    assert "bytes are free" in message and "1,000,000,000,000,000,000" in message
    assert not (tmp_path / "run").exists()


def test_training_asks_for_the_room_that_it_needs(run, monkeypatch, capsys):
    usage = shutil.disk_usage(run[0].path)._replace(free=20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    before = content(run[0].path)
    assert "20,000 bytes are free" in tiny.refused_command(capsys, *run[1], "train.steps=6")
    assert content(run[0].path) == before
    assert cli.main(run[1]) == 0  # it is complete and saves nothing


def test_files_and_folders_in_each_others_place(tmp_path):
    opened(tmp_path / "run")
    for name in ("samples", "checkpoints"):
        (tmp_path / "run" / name).rmdir()
        (tmp_path / "run" / name).write_text("x")
        assert f"{name}: is a file where a folder should be" in refused(tmp_path / "run")
        (tmp_path / "run" / name).unlink()
    for name in ("log.jsonl", "generator.ckpt", "progress.gif", "samples/0000000.png"):
        (tmp_path / "run" / name).mkdir(parents=True)
        assert f"{name}: is a folder where a file should be" in refused(tmp_path / "run")
        (tmp_path / "run" / name).rmdir()


def test_links(tmp_path):
    for name, target in (("dangling", tmp_path / "nowhere"), ("circle", tmp_path / "circle")):
        (tmp_path / name).symlink_to(target)
        message = refused(tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: is a link to {target}, which is not there")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert opened(tmp_path / "link") == [] and RunDir(tmp_path / "real").exists
    (tmp_path / "real" / "samples").rmdir()
    (tmp_path / "real" / "samples").symlink_to(tmp_path / "nowhere")
    assert "samples: is a link to" in refused(tmp_path / "link")


@pytest.mark.parametrize("path", ["x" * 300, "/".join(["xxxxxxxxx"] * 409), "x/" * 3000])
def test_names_that_are_too_long(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert os.strerror(errno.ENAMETOOLONG) in refused(path)


@contextlib.contextmanager
def nobody():
    """A folder of a user who is not root."""
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
        shutil.rmtree(folder)


def test_files_that_were_copied_without_the_right_to_write():
    with nobody() as folder:
        opened(folder / "run")
        run = RunDir(folder / "run")
        run.log(1, loss_d=1.0)
        for path in (run.path / ".lock", run.log_file, run.config_file):
            path.chmod(0o444)
        assert opened(run.path) == []
        run.rewind(1)
        run.log(2, loss_d=1.0)
        assert [row["step"] for row in run.read_log()] == [1, 2]


def test_folders_without_the_right_to_write():
    with nobody() as folder:
        opened(folder / "run")
        for name in ("samples", "checkpoints"):
            (folder / "run" / name).chmod(0o555)
            assert f"{name}: cannot be written: Permission denied" in refused(folder / "run")
            (folder / "run" / name).chmod(0o755)
        folder.chmod(0o555)
        assert "new: cannot be written: Permission denied" in refused(folder / "new")


# --- names in other encodings ---------------------------------------------------------------------


def test_names_that_are_no_unicode_are_written_and_read_again(tmp_path):
    """The name of a folder in Latin-1, as Python holds it."""
    from mindspore import Parameter, Tensor

    from ms_gan.runs import checkpoint

    name = os.fsdecode(b"\xe9t\xe9 \xe7a")
    opened(tmp_path)
    run = RunDir(tmp_path)
    run.write_manifest({"data": {"classes": [name, "é", "猫"]}})
    assert run.manifest["data"]["classes"] == [name, "é", "猫"]
    assert "é" in run.manifest_file.read_text(encoding="utf-8")
    run.log(1, changed={"data.root": [None, name]})
    assert run.read_log()[0]["changed"]["data.root"][1] == name
    place = tmp_path / name
    place.mkdir()
    weights = [Parameter(Tensor(np.ones(2, np.float32)), name="generator.w")]
    checkpoint.save(place / "a.ckpt", weights, {"classes": [name, "猫"]})
    assert checkpoint.load(place / "a.ckpt")[1] == {"classes": [name, "猫"]}


# --- runs that people tidied or edited ------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "folder deleted", "cut", "only a session says so"])
def test_a_run_without_its_checkpoints_is_not_begun_again(how, run, capsys):
    run, words = run
    for _, path in run.checkpoint_files():
        if how == "cut":
            path.write_bytes(path.read_bytes()[:1000])
        else:
            path.unlink()
    if how == "folder deleted":
        run.checkpoints.rmdir()
    if how == "only a session says so":
        for path in (run.generator_file, run.gif_file, run.curves_file):
            path.unlink()
        manifest = run.manifest
        manifest["sessions"][0]["step"] = 2
        run.write_manifest(manifest)
    before = content(run.path)
    error = tiny.refused_command(capsys, *words, "train.steps=8")
    assert f"{run.path}: was trained to step 4, but has no checkpoint to go on from" in error
    assert ("can be read" if how == "cut" else "holds none") in error and "--run-dir" in error
    assert content(run.path) == before


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(run, capsys):
    run, words = run
    shutil.rmtree(run.checkpoints)
    for path in (run.generator_file, run.gif_file, run.curves_file):
        path.unlink()
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "nothing was saved before this run ended at step 4" in out
    assert [row["step"] for row in run.read_log()] == [1, 2, 3, 4]


def test_a_run_without_its_recipe_says_so(run, capsys):
    run[0].config_file.unlink()
    assert "without its config.yaml" in tiny.refused_command(capsys, *run[1])


MANIFESTS = {
    "missing": None, "empty": "", "cut": '{"data": {"md5', "a list": "[]", "a number": "7",
    "null": "null", "deep": "[" * 100_000, "no keys": "{}", "other kinds":
    '{"data": [], "sessions": {}, "changes": 7, "from": "x", "drawn": "yes"}',
    "lists of other things": '{"data": {}, "sessions": [1, null], "changes": ["x"], "from": [2]}',
    "not UTF-8": b"\xff\xfe\x00", "with a BOM": "\ufeff{}",
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_were_edited(case, run):
    run = run[0]
    run.manifest_file.unlink()
    text = MANIFESTS[case]
    if text is not None:
        run.manifest_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    manifest = run.manifest
    assert not any(manifest.values()) and not run.drawn
    assert set(manifest) <= {"data", "sessions", "changes", "from"}


FOREIGN = [
    b"", b"not json", b"[1, 2]", b"7", b"null", b'"step"', b'{"loss_d": 1.0}', b'{"step": "5"}',
    b'{"step": null}', b'{"step": 2.5}', b'{"step": true}', b'{"note": "lr was too high"}',
    b"\xff\xfe", b'{"step": 9, "los', b"[" * 100_000,
]  # fmt: skip


def test_foreign_lines_in_a_log(run):
    """Rows without a step count as none; what is JSON stays, also when training goes back."""
    run = run[0]
    rows = run.read_log()
    lines = run.log_file.read_bytes().splitlines()
    run.log_file.write_bytes(b"\xef\xbb\xbf" + b"\n".join([*FOREIGN, *lines, *FOREIGN]))
    assert run.read_log() == rows and [row["step"] for row in rows] == [1, 2, 3, 4]
    run.rewind(2)
    assert [row["step"] for row in run.read_log()] == [1, 2]
    assert "lr was too high" in run.log_file.read_text()


def test_a_tidied_and_edited_run_goes_on(run, longer, capsys):
    """Everything at once that leaves the checkpoints alone; the weights come out the same."""
    run, words = run
    moved = run.path.with_name("moved 猫 #1")
    run.path.rename(moved)
    run = RunDir(moved)
    run.manifest_file.write_text('{"data": {"name": 7}, "sessions": [3]}')
    run.log_file.write_bytes(b"\n".join([*FOREIGN, *run.log_file.read_bytes().splitlines()]))
    for value in ("x", None, [1], {}, True):  # of keys that are drawn
        run.log(3, loss_d=value, d_real=value)
    run.log(3, frechet_classifier_distance="good")
    shutil.rmtree(run.samples)
    run.curves_file.unlink()
    (run.path / "notes.txt").write_text("mine")
    (run.checkpoints / "step_0000004 (1).ckpt").write_text("a copy of somebody")
    run.config_file.write_text(run.config_file.read_text() + "# edited\n")
    assert cli.main([*words[:-1], str(moved), *LATER]) == 0
    out = capsys.readouterr().out
    assert "does not say which data this run was started on" in out
    assert "continuing at step 4 of 6" in out
    assert weights(run) == longer
    assert run.gif_file.is_file() and (run.path / "notes.txt").read_text() == "mine"


# --- clocks ---------------------------------------------------------------------------------------


def test_times_of_files_do_not_matter(run, capsys):
    """Copied without times, or by a clock that went back."""
    run, words = run
    for path in (run.curves_file, run.gif_file, run.manifest_file):
        os.utime(path, (1, 1))
    for _, path in run.checkpoint_files():
        os.utime(path, (4e9, 4e9))
    os.utime(run.generator_file, (5, 5))
    assert run.drawn and cli.main(words) == 0
    assert run.generator_file.stat().st_mtime == 5 and run.curves_file.stat().st_mtime == 1


def test_what_was_not_drawn_is_drawn(run):
    """A kill came between the last checkpoint and the film."""
    run, words = run
    manifest = run.manifest
    assert manifest.pop("drawn") == 4
    run.write_manifest(manifest)
    expected = content(run.path)
    run.curves_file.write_bytes(b"of before")
    assert not run.drawn and cli.main(words) == 0 and run.drawn
    assert content(run.path)["curves.png"] == expected["curves.png"]


@pytest.mark.parametrize(
    ("every", "total", "due"),
    [(468, 50, [0, 50]), (468, 101, [0, 101]), (10, 41, [0, 10, 20, 30, 41]), (0, 20, [20]),
     (10, 1, [0, 1]), (4, 12, [0, 4, 8, 12])],
)  # fmt: skip
def test_the_first_and_the_last_picture_exist(every, total, due):
    assert [step for step in range(total + 1) if is_due(step, every, total)] == due


# --- matplotlib -----------------------------------------------------------------------------------

DRAW = """
import os, sys
import ms_gan
from ms_gan.runs import visualise
visualise.save_curves("c.png", [{"step": 1, "loss_d": 1.0}, {"step": 2, "loss_d": 0.5}])
import matplotlib
print(os.environ["MPLBACKEND"], matplotlib.rcParams._get("backend"))
"""


@pytest.mark.parametrize(
    ("backend", "taken"),
    [("module://not_here.backend", False), ("svg", True)],
)
def test_the_backend_of_a_notebook_does_not_matter(backend, taken, tmp_path):
    """Nor is it lost for others in the process, who read it from the variable or rcParams."""
    done = subprocess.run(
        [sys.executable, "-c", DRAW], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": backend},
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert (tmp_path / "c.png").stat().st_size > 5000
    said = done.stdout.removesuffix("\n")
    assert said.startswith(f"{backend} ") and said.endswith(" svg") == taken


def test_without_matplotlib_everything_but_the_curves(run, monkeypatch, capsys):
    run, words = run
    run.curves_file.unlink()
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    before = run.gif_file.read_bytes()
    assert cli.main([*words, "train.steps=6"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no ")]
    assert len(lines) == 1 and lines[0].startswith(f"no {run.curves_file}: matplotlib cannot be")
    assert not run.curves_file.exists() and run.gif_file.read_bytes() != before
    assert doctor.packages(can_be_tried=False).broken is False
    monkeypatch.undo()
    assert cli.main([*words, "train.steps=6"]) == 0  # it is there again
    assert run.curves_file.is_file()


# --- what a terminal can show, and that it can go away --------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "猫 … é \\udce9"), ("ascii", "\\u732b \\u2026 \\xe9 \\udce9"),
     ("cp1252", "\\u732b … é \\udce9"), ("gbk", "猫 … é \\udce9"), (None, "猫 … é \\udce9"),
     ("no such encoding", "\\u732b \\u2026 \\xe9 \\udce9")],
)  # fmt: skip
def test_letters_that_a_terminal_lacks_are_escaped(encoding, shown):
    assert output.escaped("猫 … é \udce9", encoding) == shown


class Bare:
    """What a notebook or a service has for stdout: no fileno, no isatty, no encoding."""

    def __init__(self, error=None):
        self.text, self.error = "", error

    def write(self, text):
        if self.error is not None:
            raise self.error
        self.text += text

    def flush(self):
        pass


def test_streams_that_are_missing_or_broken(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (closed, Bare(error_of(errno.EIO)), Bare(error_of(errno.ENOSPC))):
        output.write("x", stream)
        assert not output.is_terminal(stream)
    monkeypatch.setattr(sys, "stdout", None)
    output.say("x")
    Progress(10).line("x")
    monkeypatch.setattr(sys, "stdout", Bare())
    output.say("…")
    assert sys.stdout.text == "…\n"
    with pytest.raises(BrokenPipeError):
        output.write("x", Bare(BrokenPipeError()))


def test_a_terminal_that_cannot_overwrite_a_line(monkeypatch):
    """That of Emacs and of some build servers."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setenv("TERM", "xterm")
    assert output.is_terminal(terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert not output.is_terminal(terminal)
    Progress(10, terminal).line("x")
    assert terminal.getvalue() == "x\n"


def test_progress_notes_that_nobody_reads():
    progress = Progress(10, Bare(BrokenPipeError()))
    assert not progress.unread
    progress.line("x")
    assert progress.unread
    progress.line("y")


def test_a_session_in_a_thread_of_a_notebook(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Bare())
    results = []

    def work():
        results.append(session.start(finished / "tiny.yaml", tmp_path / "run").train())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert results == [True] and RunDir(tmp_path / "run").curves_file.is_file()
    assert "step 4/4" in sys.stdout.text


def test_closed_descriptors_are_claimed():
    """Else the first file that is opened would be what MindSpore prints into."""
    code = (
        "import os\nfor n in (0, 1, 2): os.close(n)\n"
        "from ms_gan.system import output\noutput.claim_descriptors()\n"
        f"number = os.open({os.devnull!r}, os.O_RDONLY)\nos._exit(number)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=env).returncode == 3


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["--version"]])
def test_nobody_reads_the_help(words):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "ms_gan", *words], stdout=writing, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def begin(folder, **options):
    """(A long training as a process of its own, its run)"""
    words = ["train", "--config", tiny.recipe_file(folder), "--run-dir", folder / "run", *LONG]
    process = subprocess.Popen(
        [sys.executable, "-m", "ms_gan", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, **options,
    )  # fmt: skip
    return process, RunDir(folder / "run")


def wait_for_steps(process, run):
    while not (run.log_file.is_file() and run.log_file.stat().st_size > 1000):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def saved_all(run):
    """Whether the run ended with its last logged step saved and drawn."""
    (step, _), *_ = run.checkpoint_files()
    return step == run.read_log()[-1]["step"] > 0 and run.generator_file.is_file() and run.drawn


def test_the_reader_of_the_output_goes_away(tmp_path):
    process, run = begin(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not process.stdout.readline().startswith("data: "):
        pass
    process.stdout.close()  # before the first line of training
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""
    process.stderr.close()
    assert saved_all(run)


def test_the_terminal_hangs_up(tmp_path):
    """A terminal of its own, which is closed."""
    import fcntl
    import termios

    terminal, end = pty.openpty()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(end, termios.TIOCSCTTY, 0)

    process, run = begin(tmp_path, stdin=end, stdout=end, stderr=end, preexec_fn=own_terminal)
    wait_for_steps(process, run)
    os.close(end)
    os.close(terminal)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert saved_all(run)


def test_ctrl_c_while_training(tmp_path):
    """All is saved, and the exit code tells which signal came, also while a graph runs."""
    process, run = begin(tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_steps(process, run)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert err == f"\n{signals.STOPPING}\n" and "everything is saved" in out and saved_all(run)


WORK = """
import sys, time
from ms_gan.system import signals
signals.watch()
with signals.StopSignals() as stop:
    print("ready", flush=True)
    while stop.received is None or len(sys.argv) > 1:
        time.sleep(0.01)
sys.exit(128 + stop.received)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("busy", [False, True])
def test_signals_once_and_twice(number, busy):
    """The first one is a wish; a second one ends what does not look at wishes."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, *["busy"] * busy], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    if busy:
        time.sleep(0.1)
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert (signals.INTERRUPTED in err) == busy and "Traceback" not in err


def test_a_hang_up_that_is_ignored_stays_ignored():
    """nohup"""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.received is None
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.mark.parametrize(
    ("words", "later"),
    [("train", 0.0), ("train", 0.4), ("train", 1.2), ("generate", 0.6), ("doctor", 0.4)],
)
def test_ctrl_c_while_everything_is_imported(words, later, tmp_path):
    """One line and 130 from the first moment on: no traceback, no abort."""
    process = tiny.start(words, cwd=tmp_path)
    blocked = 0
    while not blocked & 1 << (signal.SIGINT - 1):  # Python itself has started
        status = Path(f"/proc/{process.pid}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    time.sleep(later)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + signal.SIGINT, f"\n{signals.INTERRUPTED}\n")


def test_leaving_at_once_removes_what_is_half_written(tmp_path):
    code = (
        "from ms_gan.system import files, signals\n"
        "with files.replacing('new.txt') as temporary:\n"
        "    temporary.write_text('half')\n    signals.leave(2)\n"
    )
    (tmp_path / "new.txt").write_text("whole")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 130 and [p.name for p in tmp_path.iterdir()] == ["new.txt"]
    assert (tmp_path / "new.txt").read_text() == "whole"


def test_a_service_trains(tmp_path):
    """No home, no locale, a notebook's MPLBACKEND, no TMPDIR, an output of ASCII, odd names."""
    recipe = tiny.recipe_file(tmp_path)
    here = tmp_path / "猫 #1"
    here.mkdir()
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "LANG")}
    done = subprocess.run(
        [sys.executable, "-m", "ms_gan", "train", "--config", recipe, "--run-dir", "läuft",
         "train.steps=2"],
        cwd=here, capture_output=True, text=True, timeout=60,
        env={**env, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONIOENCODING": "ascii",
             "MPLBACKEND": "module://matplotlib_inline.not_here", "TMPDIR": "/no/such/folder"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.isascii() and "train.steps=\\u2026" in done.stdout
    assert RunDir(here / "läuft").curves_file.is_file()


def test_a_current_folder_that_is_gone(tmp_path):
    code = f"import os\nos.rmdir({str(tmp_path)!r})\nfrom ms_gan import cli\ncli.main(['keys'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "" and done.stderr.count("\n") == 1, done.stderr
    assert "the current folder does not exist any more" in done.stderr


# --- MindSpore, NumPy, the CPU --------------------------------------------------------------------


def stub(folder, name, text):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)
    return f"{folder}{os.pathsep}{ROOT}"


HINT = "`ms-gan doctor` says what to do"
BROKEN = {
    "a library": ("mindspore", "raise ImportError('libstdc++: `GLIBCXX_3.4.29` not found\\nmore')",
                  "libstdc++: `GLIBCXX_3.4.29` not found"),
    "a device": ("mindspore", "raise RuntimeError('Load dynamic library failed')", "Load dynamic"),
    "a file": ("mindspore", "raise OSError(12, 'Cannot allocate memory in static TLS block')",
               "Cannot allocate memory in static TLS block"),
    "a version": ("mindspore", "import numpy\nnumpy.before", "has no attribute 'before'"),
    "half removed": ("mindspore", "", "cannot import name"),
    "loaded by half": ("dill", "raise OSError('no dill today')", "no dill today"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_mindspore_that_cannot_be_loaded_is_one_line(case, tmp_path):
    name, text, why = BROKEN[case]
    path = stub(tmp_path, name, text)
    commands = (["train"], ["generate"], ["evaluate"], ["keys"], ["train-classifier"])
    for words in commands if case == "a library" else commands[:1]:
        code, _, err = tiny.run(*words, cwd=tmp_path, PYTHONPATH=path)
        assert code == 2 and err.count("\n") == 1, err
        assert err.startswith("ms-gan: MindSpore cannot be loaded: ") and why in err
        assert err.endswith((f"; {HINT}\n", "/.venv/bin/python\n")) and "more" not in err
    assert not (tmp_path / "runs").exists()


def test_doctor_says_why_a_mindspore_was_loaded_by_half(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", stub(tmp_path, "dill", "raise OSError('no dill today')"))
    assert doctor.probe() == (None, "OSError: no dill today")


def test_the_python_that_is_set_up_is_named(tmp_path, monkeypatch):
    assert program.ready_python() is None or program.ready_python().is_file()
    monkeypatch.setattr(program, "ROOT", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    assert program.ready_python() is None  # its setting up was interrupted
    (tmp_path / ".venv" / "lib" / "python3.11" / "site-packages" / "mindspore").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    assert program.ready_python() == python
    monkeypatch.setattr(np, "__version__", "2.4.6")
    message = tiny.refused(runtime.NumpyError, runtime.check_numpy)
    assert message.endswith(f"use the Python that is set up: {python}") and "pip" not in message
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert program.ready_python() is None


@pytest.mark.parametrize(
    ("proc", "numpy", "machine", "expected"),
    [
        ("flags : fpu avx2 avx512f\n", {}, "x86_64", True),
        ("flags : fpu avx2\n", {"AVX512F": True}, "x86_64", False),
        (None, {"AVX512F": True, "AVX2": True}, "AMD64", True),
        (None, {"AVX512F": False, "AVX2": True}, "AMD64", False),
        ("model name : container\n", {"AVX512F": True}, "x86_64", True),
        (None, None, "AMD64", True),  # nobody says: the limit costs little, its lack much
        (None, None, "arm64", False),
    ],
)
def test_the_cpu_is_asked_in_another_way(proc, numpy, machine, expected, monkeypatch):
    import platform

    from numpy.core import _multiarray_umath

    real = Path.read_text

    def read_text(path, *arguments, **options):
        if str(path) != "/proc/cpuinfo":
            return real(path, *arguments, **options)
        if proc is None:
            raise FileNotFoundError(2, "No such file or directory", "/proc/cpuinfo")
        return proc

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(_multiarray_umath, "__cpu_features__", numpy or {})
    assert runtime.has_avx512() is expected
    line = doctor.instructions().value
    assert ("says NumPy" in line) == bool(numpy and not runtime.flags_of_linux())
    assert ("unknown" in line) == (not runtime.cpu_flags())


def test_numpy_knows_the_flags_that_linux_knows():
    if runtime.flags_of_linux():
        assert ("avx512f" in runtime.flags_of_numpy()) == ("avx512f" in runtime.flags_of_linux())


# --- data of before -------------------------------------------------------------------------------


def idx_files(folder, seed=0, num=64):
    """A data set of the MNIST kind: random images, training and test; these beside train/."""
    rng = np.random.default_rng(seed)
    for stem in ("train", "t10k"):
        if (stem, folder.name) == ("t10k", "train"):
            folder = folder.with_name("test")
        folder.mkdir(parents=True, exist_ok=True)
        images = rng.integers(0, 255, (num, 28, 28), np.uint8)
        head = b"".join(n.to_bytes(4, "big") for n in (0x803, num, 28, 28))
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = b"".join(n.to_bytes(4, "big") for n in (0x801, num))
        labels = (np.arange(num) % 10).astype(np.uint8)
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No MS_GAN_DATA, an empty cache, and no way out."""
    from ms_gan.data import mnist
    from ms_gan.data.download import DownloadError

    monkeypatch.delenv("MS_GAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "download", raising(DownloadError("no network")))


@pytest.mark.parametrize("layout", ["mnist", "mnist/raw", "FashionMNIST/train", "raw", "train"])
def test_the_folder_of_a_run_is_the_one_that_its_manifest_names(layout, tmp_path, offline):
    name = "fashion_mnist" if "Fashion" in layout else "mnist"
    idx_files(tmp_path / layout)
    dataset = data.load(name, root=str(tmp_path))
    run = RunDir(tmp_path / "run")
    opened(run.path)
    run.write_manifest(
        {"data": {"name": name, "source": dataset.source, "md5": dataset.md5, "images": 64}}
    )
    config = session.resolved(reader.from_dict({**tiny.RECIPE, "data": {"name": name}}))
    said = []
    found = session.images.load(config, run, said.append, None)
    assert found.md5 == dataset.md5 and "where this run was started on them" in said[-1]
    folder = session.images.folder_of(found.source)
    assert len(data.split(found, root=str(folder))[1]) == 64  # the test images too


def test_a_run_finds_its_data_again(tmp_path, monkeypatch, offline, capsys):
    """The variable that named their folder is set for the first command alone."""
    place = tmp_path / "in place"
    idx_files(place)
    recipe = tiny.recipe_file(
        tmp_path, train={"steps": 1}, data={"name": "mnist", "batch_size": 8, "fallback": "digits"}
    )
    words = ["train", "--config", str(recipe), "--run-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setenv("MS_GAN_DATA", str(place))
        assert cli.main(words) == 0
    capsys.readouterr()
    assert cli.main([*words, "train.steps=2"]) == 0
    out = capsys.readouterr().out
    assert "where this run was started on them" in out and "continuing at step 1 of 2" in out
    shutil.rmtree(place)  # gone: no digits in their place
    error = tiny.refused_command(capsys, *words, "train.steps=3")
    assert "cannot download mnist" in error and "MS_GAN_DATA" in error
    idx_files(place, seed=1)  # others in their place
    monkeypatch.setenv("MS_GAN_DATA", str(place))
    error = tiny.refused_command(capsys, *words, "train.steps=3")
    assert "was started on other data" in error and str(place) in error


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert search.cache_folder().is_absolute()


# --- the words of the program ---------------------------------------------------------------------


def test_no_command_is_the_help(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([])
    out, err = capsys.readouterr()
    assert left.value.code == 0 and err == "" and "train-classifier" in out


def test_a_folder_of_runs_lists_them(finished, tmp_path, capsys):
    error = tiny.refused_command(capsys, "generate", finished)
    assert "holds some" in error and str(finished / "run") in error
    assert "holds no run" in tiny.refused_command(capsys, "generate", tmp_path)
    opened(tmp_path / "new")
    error = tiny.refused_command(capsys, "evaluate", tmp_path / "new")
    assert "has saved no generator yet" in error


def test_what_is_replaced_is_said(finished, tmp_path, capsys):
    words = ["generate", str(finished / "run"), "--num", "4", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    assert "in place of" not in capsys.readouterr().out
    assert cli.main(words) == 0
    assert f"in place of one that was there: {tmp_path / 'grid.png'}\n" in capsys.readouterr().out
    for _ in range(2):
        assert cli.main([*words, "--format", "png"]) == 0
    assert f"{tmp_path / '00000.png'} and 3 more\n" in capsys.readouterr().out


def test_messages_name_the_script_that_was_called(monkeypatch):
    monkeypatch.delenv("MS_GAN_SCRIPT", raising=False)
    assert program.called("train-classifier") == "ms-gan train-classifier"
    assert program.command(["train", "a b"]) == "ms-gan train 'a b'"
    monkeypatch.setenv("MS_GAN_SCRIPT", str(ROOT / "scripts" / "run_train.sh"))
    scripts = ROOT / "scripts"
    assert program.called("train-classifier") == f"bash {scripts / 'ms_gan.sh'} train-classifier"
    assert program.called("generate", "x") == f"bash {scripts / 'run_generate.sh'} x"
    assert program.command(["train", "seed=1"]) == f"bash {scripts / 'run_train.sh'} seed=1"
    monkeypatch.setenv("MS_GAN_SCRIPT", str(ROOT / "scripts" / "ms_gan.sh"))
    assert program.command(["train", "seed=1"]) == f"bash {scripts / 'ms_gan.sh'} train seed=1"


@pytest.mark.parametrize(
    ("argv", "words", "expected"),
    [
        (["/usr/bin/ms-gan", "train"], [], True),
        (["-m", "train"], ["python", "-X", "dev", "-m", "ms_gan", "train"], True),
        (["-m"], ["python", "-mms_gan"], True),
        (["-m", "x"], ["python", "-m", "my_package", "ms_gan"], False),
        (["/usr/bin/pytest"], ["python", "/usr/bin/pytest"], False),
        (["notebook.py"], ["python", "notebook.py", "-m", "ms_gan"], False),
        ([], [], False),
    ],
)
def test_whose_process_it_is(argv, words, expected, monkeypatch):
    """Ctrl-C of other programs that import the package stays theirs."""
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", words)
    assert signals.is_command() is expected


def test_scripts_for_all_commands_and_experiments():
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def bash(script, *words):
        return subprocess.run(
            ["bash", ROOT / "scripts" / script, *words], env=env, capture_output=True, text=True
        )

    assert bash("ms_gan.sh", "--version").stdout.startswith("ms_gan ")
    done = bash("run_experiment.sh", "mode_colapse")
    assert done.returncode == 2 and "no experiment called 'mode_colapse'" in done.stderr
    assert "mode_collapse optimal_discriminator" in done.stderr
    done = bash("run_experiment.sh", "mode_collapse", "--help")
    assert done.returncode == 0 and "--seeds" in done.stdout


def test_long_names_and_files_of_before(tmp_path):
    """A temporary file fits beside a name of the longest kind."""
    path = tmp_path / f"{'x' * 250}.json"
    files.replaced.clear()
    files.write(path, "{}")
    assert not files.replaced
    files.write(path, json.dumps([1]))
    assert path.read_text() == "[1]" and files.replaced == {path} and not files.unfinished
    files.replaced.clear()
