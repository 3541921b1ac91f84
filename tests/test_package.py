"""What is installed: wheel and sdist hold all files, and the wheel works in a folder of its own."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.tiny import ROOT

OTHERS = (".py", ".pyc")  # what needs no glob in pyproject.toml


def test_every_file_of_the_package_is_named_in_the_project():
    """Every folder with Python in it is a package; every other file is the data of one."""
    tomllib = pytest.importorskip("tomllib")
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in files(".py")}
    assert set(tool["packages"]) == folders | {"ms_gan.configs"}
    data = {
        path
        for package, globs in tool["package-data"].items() if package != "ms_gan.configs"
        for glob in globs for path in (ROOT / package.replace(".", "/")).glob(glob)
    }  # fmt: skip
    assert {path for path in files() if path.suffix not in OTHERS} == data


def files(suffix=""):
    found = (path for path in (ROOT / "ms_gan").rglob(f"*{suffix}") if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def built(source, kind, out):
    """A wheel or an sdist, by the setuptools that is installed here."""
    code = f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = out.iterdir()
    return path


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.mark.slow
def test_the_wheel_generates_digits_in_an_empty_folder(tmp_path):
    """Built by way of the sdist, in an environment that has MindSpore but not this project."""
    pytest.importorskip("wheel")
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("ms_gan", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.txt"):
        shutil.copy(ROOT / name, tree)
    wanted = {path.relative_to(ROOT).as_posix() for path in files()}
    wanted |= {f"ms_gan/configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")}
    with tarfile.open(built(tree, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = built(unpacked, "wheel", tmp_path / "wheel")
    assert names(wheel) == wanted

    home = tmp_path / "fresh"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", where], capture_output=True, text=True).stdout.strip()
    (Path(site) / "here.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MS_GAN"))}
    for words in (["--help"], ["generate", "--device", "CPU"]):
        done = subprocess.run(
            [home / "bin" / "ms-gan", *words], cwd=empty, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert [path.name for path in empty.rglob("*.png")] == ["grid.png"]
    code = "import ms_gan; print(ms_gan.__file__)"
    done = subprocess.run([python, "-c", code], cwd=empty, env=env, capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(home)
