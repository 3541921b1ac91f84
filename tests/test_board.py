"""Event files for TensorBoard hold what the log and the samples hold."""

import importlib.util
import struct

import numpy as np
import pytest
from PIL import Image

from ms_gan import session
from ms_gan.runs import board
from ms_gan.runs.run_dir import RunDir
from tests.tiny import RECIPE, recipe_file, refused_command

RUNTIME = {**RECIPE["runtime"], "tensorboard": True}


@pytest.fixture
def written():
    """() of a run: its events in the order in which they were written; a loud skip."""
    if importlib.util.find_spec(board.WRITER) is None:
        pytest.skip("NO EVENT FILES WERE TRIED: pip install tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    def read(run):
        for path in sorted(run.board.iterdir(), key=lambda path: path.stat().st_mtime_ns):
            content = path.read_bytes()
            while content:  # length, its checksum, the event, its checksum
                (length,) = struct.unpack("<Q", content[:8])
                yield Event.FromString(content[12 : 12 + length])
                content = content[16 + length :]

    return read


def test_they_hold_the_log_and_the_samples_and_go_on_with_the_run(tmp_path, written):
    run = session.start(recipe_file(tmp_path, runtime=RUNTIME), tmp_path / "run")
    assert run.train(stop=lambda: run.state.step == 5) is False
    assert run.train() is True
    folder, scalars, pictures, starts = run.run, {}, [], []
    for event in written(folder):
        if event.WhichOneof("what") == "session_log":
            starts.append(event.step)
        for value in event.summary.value:
            if value.WhichOneof("value") == "image":
                pictures.append((event.step, value.image.width, value.image.height))
            else:
                scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    log = folder.read_log()
    for key, name in (("loss_d", "loss/d"), ("d_fake", "scores/d_fake")):
        expected = {row["step"]: np.float32(row[key]) for row in log}
        assert scalars[name] == pytest.approx(expected, rel=1e-6)
    assert set(scalars) == {
        "loss/d", "loss/g", "speed/images_per_second",
        *(f"scores/{key}" for key in ("real_score", "fake_score", "d_real", "d_fake")),
    }  # fmt: skip
    with Image.open(folder.sample_file(12)) as picture:
        assert pictures == [(step, *picture.size) for step in (0, 4, 8, 12)]
    assert starts == [0, 6]  # what a kill had left behind step 5 would count no more


def test_parts_and_warnings(tmp_path, written):
    run = RunDir(tmp_path)
    made = board.Board(run, 0, pytest.fail)
    made.row(3, {"psnr": 20.0, "levels": {"8x8": 2, "4x4": 3}, "shares": [1], "warning": "lost"})
    made.picture(3, np.zeros((2, 5, 3), np.uint8))
    made.close()
    values = [value for event in written(run) for value in event.summary.value]
    assert [value.tag.partition("/text")[0] for value in values] == [
        "quality/psnr", "quality/levels/8x8", "quality/levels/4x4", "warning", "samples",
    ]  # fmt: skip
    assert values[3].tensor.string_val == [b"lost"]
    assert (values[4].image.width, values[4].image.height) == (5, 2)


def test_without_the_library_nothing_begins(tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        board.importlib.util, "find_spec", lambda name: None if name == board.WRITER else find(name)
    )
    words = ["train", "--config", recipe_file(tmp_path), "--run-dir", tmp_path / "run"]
    error = refused_command(capsys, *words, "runtime.tensorboard=true")
    assert "pip install tensorboardX" in error and not (tmp_path / "run").exists()


def test_an_error_ends_the_board_and_not_the_run(tmp_path, written):
    (tmp_path / "tensorboard").write_text("a file where the folder should be")
    lines = []
    made = board.Board(RunDir(tmp_path), 0, lines.append)
    made.row(1, {"loss_d": 1.0})
    made.picture(1, np.zeros((2, 2), np.uint8))
    made.close()
    assert len(lines) == 1 and lines[0].startswith("no more event files for TensorBoard: ")
