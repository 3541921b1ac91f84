"""The shell scripts: short, sound, and usable from any folder, also one with a space in it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

SCRIPTS = sorted([*(ROOT / "scripts").glob("run_*.sh"), ROOT / "scripts" / "ms_gan.sh"])


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "scripts" / "env.sh", ROOT / ".ci" / "run"])
def test_script_parses_and_is_thin(script):
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    if script in SCRIPTS:
        assert len(text.splitlines()) <= 15
        assert text.count('exec "$PYTHON" ') == 1 and ('"$@"' in text or '"${@:2}"' in text)
        assert "set -euo pipefail" in text


@pytest.fixture
def copy(tmp_path):
    """The project in another folder, and the current Python first on PATH."""
    folder = tmp_path / "a copy" / "ms gan"
    for part in ("ms_gan", "scripts", "configs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


def call(script, *words, cwd, **environment):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MS_GAN_SCRIPT")}
    return subprocess.run(
        ["bash", script, *map(str, words)],
        cwd=cwd, env={**env, "PATH": path, **environment}, capture_output=True, text=True,
        timeout=180,
    )  # fmt: skip


def test_train_and_generate_from_another_folder(copy, tmp_path):
    """Relative paths are those of the person who calls, recipes are found by name."""
    here = tmp_path / "else where"
    here.mkdir()
    tiny = ["data.name=digits", "data.batch_size=64", "train.steps=2", "every.sample=0",
            "model.g_widths=[16]", "model.d_widths=[16]"]  # fmt: skip
    done = call(
        copy / "scripts" / "run_train.sh", "--config", "configs/gan_mnist.yaml", *tiny, cwd=here
    )
    assert done.returncode == 0, done.stderr
    assert "setting up" not in done.stdout  # the current Python has what is needed
    last = [line for line in done.stdout.splitlines() if line.startswith("new images:")][0]
    bash, *words = shlex.split(last.removeprefix("new images:"))
    assert bash == "bash"
    done = call(*words, cwd=here)
    assert done.returncode == 0, done.stderr
    assert (here / "samples" / "grid.png").is_file()


def test_unsupported_python_is_one_line(copy, tmp_path):
    """No Python that can be used: one line says which ones can, nothing is made."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("bash", "dirname", "basename", "flock", "cat", "env"):
        found = shutil.which(tool)
        if found:
            (tools / tool).symlink_to(found)
    for name in ("python", "python3"):
        (tools / name).write_text("#!/bin/sh\nexit 1\n")
        (tools / name).chmod(0o755)
    done = call(copy / "scripts" / "run_train.sh", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0  # with the current Python it works
    done = subprocess.run(
        [shutil.which("bash"), copy / "scripts" / "run_train.sh"],
        env={"PATH": str(tools), "HOME": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs Python 3.10, 3.11 or 3.12" in done.stderr and done.stderr.count("\n") == 1
    assert not (copy / ".venv").exists()
