"""Whatever happens to the newest checkpoint of a run, the newest good one is gone on from."""

import errno
import shutil

import pytest

from ms_gan.runs import checkpoint, records
from ms_gan.runs.run_dir import RunDir
from ms_gan.training import trainer
from tests.test_checkpoint import anatomy
from tests.test_divergence import started
from tests.tiny import assert_same_bits, newest, values


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of four steps with checkpoints of steps 2, 3 and 4; and one of another seed."""
    folder = tmp_path_factory.mktemp("whole")
    assert started(folder / "run")[0].train()
    assert started(folder / "other", seed=1)[0].train()
    return folder


def flip(path, kind):
    raw = bytearray(path.read_bytes())
    positions = anatomy(bytes(raw))[0][kind]
    raw[positions[len(positions) // 2]] ^= 16
    path.write_bytes(raw)


DAMAGE = {
    "cut": lambda run, path: path.write_bytes(path.read_bytes()[:2000]),
    "without a length": lambda run, path: path.write_bytes(b""),
    "zeros": lambda run, path: path.write_bytes(bytes(path.stat().st_size)),
    "a bit of a number": lambda run, path: flip(path, "numbers"),
    "a bit of a shape": lambda run, path: flip(path, "dims"),
    "a bit of the JSON": lambda run, path: flip(path, "meta"),
    "an older one in its place": lambda run, path: shutil.copy(run.checkpoint_file(3), path),
    "of another run": lambda run, path: shutil.copy(
        run.path.parent / "other/checkpoints/step_0000004.ckpt", path
    ),
    "of no run": lambda run, path: shutil.copy(run.generator_file, path),
}
SAID = {
    "without a length": "is an empty file",
    "an older one in its place": "was saved at step 3, but is called after step 4",
    "of another run": "is of another run (seed: 0 -> 1)",
    "of no run": "of another architecture: has no 'discriminator.",
}


@pytest.fixture(scope="module")
def at_work(whole):
    """A session whose run each test sets, so that the nets are built once."""
    said = []
    goes_on, _ = started(whole / "run")
    goes_on.say = said.append
    return goes_on, said


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_newest_good_one_is_used_with_one_line(damage, whole, at_work, tmp_path):
    shutil.copytree(whole / "run", tmp_path / "run")
    shutil.copytree(whole / "other", tmp_path / "other")
    run = RunDir(tmp_path / "run")
    path, good = run.checkpoint_file(4), checkpoint.load(run.checkpoint_file(3))[0]
    DAMAGE[damage](run, path)
    goes_on, lines = at_work
    goes_on.run, goes_on.state.step = run, 0
    lines.clear()
    goes_on.resume()
    said, *others = lines
    assert said.startswith(f"passed over a broken checkpoint: {path}: ") and "\n" not in said
    assert SAID.get(damage, "not a whole MindSpore checkpoint") in said
    assert others == ["continuing at step 3 of 4"] and goes_on.state.step == 3
    assert_same_bits(values(goes_on.state), good)


def test_what_was_lost_is_made_again(whole, tmp_path):
    shutil.copytree(whole / "run", tmp_path / "run")
    run = RunDir(tmp_path / "run")
    flip(run.checkpoint_file(4), "numbers")
    assert started(run.path)[0].train()
    assert_same_bits(newest(run.path), newest(whole / "run"))
    assert run.checkpoint_file(4).with_suffix(".refused").exists()


def test_the_previous_one_stays_until_the_next_is_proved_readable(whole, tmp_path, monkeypatch):
    """A disk that keeps other bytes than it was given; one checkpoint is kept."""
    shutil.copytree(whole / "run", tmp_path / "run")
    run = RunDir(tmp_path / "run")
    run.prune(1)
    goes_on, _ = started(run.path, steps=5, every={"log": 1, "sample": 0, "save": 1, "keep": 1})
    write, before = records.write, newest(run.path)

    def written(path, arrays, texts):
        write(path, arrays, texts)
        if "step_0000005" in path.name:
            flip(path, "numbers")

    monkeypatch.setattr(records, "write", written)
    with pytest.raises(OSError) as caught:
        goes_on.train()
    assert caught.value.errno == errno.EIO and caught.value.filename == str(run.checkpoint_file(5))
    assert "does not read back as it was written" in str(caught.value)
    assert [step for step, _ in run.checkpoint_files()] == [4]
    assert not list(run.path.rglob(".*.ckpt"))
    monkeypatch.undo()
    assert_same_bits(newest(run.path), before)
    assert trainer.last_finite(run) == run.checkpoint_file(4)
