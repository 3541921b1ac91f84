"""A disk that fills up or goes away while a run trains: one line, and nothing is lost."""

import os
import shutil
import subprocess

import pytest
import yaml

from ms_gan import cli
from ms_gan.runs.run_dir import RunDir
from ms_gan.training.feed import Feed
from tests.test_divergence import BASE
from tests.tiny import assert_same_bits, newest, refused_command


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A real file system of one megabyte, of whoever may make one."""
    folder = tmp_path_factory.mktemp("disk")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True
    )
    if made.returncode:
        pytest.skip("NO FILE SYSTEM OF ITS OWN: only root may mount one")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def train(tmp_path_factory, monkeypatch):
    """Words of a run of eight steps, at whose sixth update something happens."""
    folder = tmp_path_factory.mktemp("recipe")
    tree = {**BASE, "train": {"steps": 8}, "every": {"log": 1, "sample": 4, "save": 2, "keep": 2}}
    (folder / "small.yaml").write_text(yaml.safe_dump(tree))
    at = Feed.at

    def words(run_dir, happens=lambda: None):
        def now(feed, step):
            if step == 5:
                happens()
            return at(feed, step)

        monkeypatch.setattr(Feed, "at", now)
        return ["train", "--config", str(folder / "small.yaml"), "--run-dir", str(run_dir)]

    return words


def test_a_disk_that_is_full(disk, train, tmp_path, capsys):
    filler = disk / "of somebody else"

    def fill():
        with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))

    run = RunDir(disk / "full")
    said = refused_command(capsys, *train(run.path, fill))
    assert str(run.path) in said and "No space left on device" in said
    assert [step for step, _ in run.checkpoint_files()] == [2, 4]
    assert not list(run.path.rglob(".*.ckpt"))
    filler.unlink()
    assert cli.main(train(run.path)) == 0
    assert cli.main(train(tmp_path / "whole")) == 0
    assert_same_bits(newest(run.path), newest(tmp_path / "whole"))


def test_a_folder_that_is_deleted(train, tmp_path, capsys):
    run = RunDir(tmp_path / "run")
    said = refused_command(capsys, *train(run.path, lambda: shutil.rmtree(run.path)))
    assert f"{run.log_file}: No such file or directory" in said
    assert not os.path.exists(run.path)
