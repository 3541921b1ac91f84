"""`ms-gan doctor` in processes of its own: what works, and what is broken on purpose."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from ms_gan.cli import doctor
from ms_gan.runs import shipped
from ms_gan.system import runtime
from tests.tiny import ROOT

OWN = ("MS_GAN_DATA", "MS_GAN_SET_ISA", "GLOG_v", "XDG_CACHE_HOME", *runtime.ISA_VARIABLES)


def examine(cwd, *, python=sys.executable, root=ROOT, stubs="", **environment):
    """Exit code and {name: rest of the line}; the last lines, which sum up, under 'sum'."""
    env = {k: v for k, v in os.environ.items() if k not in OWN}
    env |= {"PYTHONPATH": f"{stubs}{os.pathsep}{root}", "XDG_CACHE_HOME": str(cwd), **environment}
    done = subprocess.run(
        [python, "-m", "ms_gan", "doctor"],
        cwd=cwd, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == "", done.stderr
    lines = done.stdout.splitlines()
    found = {line[:13].rstrip(): line[15:] for line in lines if line[13:15] == "  "}
    found["sum"] = [line for line in lines if line.startswith("training can")]
    assert len(found) - 1 + len(found["sum"]) == len(lines), "a name twice, or a line of no kind"
    return done.returncode, found


def stub(folder, name, text):
    """A package of that name that comes first on PYTHONPATH."""
    (folder / "stubs" / name).mkdir(parents=True)
    (folder / "stubs" / name / "__init__.py").write_text(text)
    return str(folder / "stubs")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return examine(tmp_path_factory.mktemp("here"))


def test_a_healthy_machine(healthy):
    import mindspore

    code, found = healthy
    assert code == 0 and found["sum"] == ["training can work"]
    assert found["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["mindspore"] == mindspore.__version__
    assert found["numpy"].startswith(np.__version__)
    assert found["device"].split()[0] in ("Ascend", "GPU", "CPU")
    if found["device"].startswith("CPU"):
        assert "passed over Ascend: " in found["device"] and "; GPU: " in found["device"]
    assert "GB free" in found["folder"] and "embedded in scikit-learn" in found["digits"]
    assert found["mnist"].startswith("not found") and "downloaded into" in found["mnist"]
    assert "each with the sha256" in found["weights"]
    assert ("avx512f" in found["instructions"]) == runtime.has_avx512()


def test_the_onednn_limit_is_ours(healthy):
    expected = (
        "AVX2, set by ms_gan for MindSpore's own convolutions; none for recipes whose model is gan"
    )
    said = healthy[1]["onednn limit"]
    assert said.startswith(expected if runtime.has_avx512() else "none; it is for CPUs with")


def test_what_the_environment_says(tmp_path, mnist_root):
    code, found = examine(tmp_path, MS_GAN_DATA=mnist_root, DNNL_MAX_CPU_ISA="SSE41")
    assert code == 0
    assert found["environment"].startswith(f"MS_GAN_DATA={mnist_root}, ")
    assert found["environment"].endswith(", DNNL_MAX_CPU_ISA=SSE41")
    assert found["onednn limit"] == "DNNL_MAX_CPU_ISA=SSE41, set by you, for every recipe"
    place = Path(found["mnist"].removeprefix("in "))
    assert list(place.glob("train-images*idx3-ubyte*"))


def test_a_data_folder_that_does_not_exist(tmp_path):
    code, found = examine(tmp_path, MS_GAN_DATA="/no/such/folder")
    assert code == 1 and found["data"].startswith("/no/such/folder")
    assert len(found["sum"]) == 1 and found["sum"][0].startswith("training cannot work: data: ")


def test_numpy_2(tmp_path):
    code, found = examine(tmp_path, stubs=stub(tmp_path, "numpy", '__version__ = "2.4.0"\n'))
    assert code == 1 and found["numpy"].startswith("NumPy 2.4.0 does not work with MindSpore 2.10")
    assert found["sum"] == [
        "training cannot work: numpy: install one that fits: pip install 'numpy>=1.25,<2'"
    ]
    assert "not tried" in found["mindspore"] and "GB free" in found["folder"]


@pytest.mark.parametrize(
    "text, why",
    [
        ("raise ImportError('libgomp.so.1: cannot open')", "ImportError: libgomp.so.1: cannot"),
        ("import os\nos.kill(os.getpid(), 4)", "the process was killed by SIGILL"),
    ],
)
def test_a_mindspore_that_cannot_be_imported(text, why, tmp_path):
    """Not even one that takes its process down, as on CPUs that lack its instructions."""
    code, found = examine(tmp_path, stubs=stub(tmp_path, "mindspore", text))
    assert code == 1 and f"does not work: {why}" in found["mindspore"]
    assert found["sum"][0].startswith("training cannot work: mindspore: ")
    assert "device" not in found


def test_a_python_with_nothing_installed(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = tmp_path / "bare" / "bin" / "python"
    code, found = examine(tmp_path, python=python)
    assert code == 1 and found["mindspore"].startswith("not installed")
    assert "missing: pyyaml pillow imageio matplotlib scikit-learn" in found["packages"]
    assert [line.split(": ")[1] for line in found["sum"]] == ["numpy", "packages", "mindspore"]
    for words in (["train"], ["--version"]):  # the other commands: one line
        done = subprocess.run(
            [python, "-m", "ms_gan", *words],
            env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr


def test_a_missing_package_is_one_line_elsewhere(tmp_path):
    text = "raise ModuleNotFoundError(\"No module named 'yaml'\", name='yaml')"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((stub(tmp_path, "yaml", text), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "-m", "ms_gan", "train"], env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "ms-gan: yaml is not installed; `ms-gan doctor` says what to do\n"


def test_changed_and_missing_weights_are_named(tmp_path, monkeypatch):
    copy = tmp_path / "assets"
    shutil.copytree(shipped.ASSETS, copy)
    monkeypatch.setattr(shipped, "ASSETS", copy.resolve())
    assert doctor.assets().remedy == ""
    with open(copy / "mnist_classifier.ckpt", "ab") as file:
        file.write(b"x")
    line = doctor.assets()
    assert line.value == "damaged or missing: mnist_classifier.ckpt" and not line.broken
    (copy / "mnist_classifier.ckpt").unlink()
    assert doctor.assets() == line
    (copy / "SHA256SUMS").unlink()
    assert "install the package again" in doctor.assets().remedy


def test_little_room_and_no_right_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctor.folder().remedy == ""
    monkeypatch.setattr(doctor, "LITTLE", 1e18)  # more than this disk has
    assert doctor.folder().remedy.startswith("make room") and not doctor.folder().broken
    tmp_path.chmod(0o500)
    try:
        if not os.access(tmp_path, os.W_OK):  # root may always
            assert doctor.folder().broken
    finally:
        tmp_path.chmod(0o700)
    monkeypatch.chdir("/proc/self")  # nobody may write here
    assert doctor.folder().broken == (not os.access(".", os.W_OK))


def test_a_system_without_proc(monkeypatch):
    """macOS, Windows: NumPy knows the CPU; where nobody does, nothing is assumed and fails."""
    real = Path.read_text
    absent = FileNotFoundError(2, "No such file or directory", "/proc/cpuinfo")

    def read_text(path, *arguments, **options):
        if str(path) == "/proc/cpuinfo":
            raise absent
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for name in runtime.ISA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert runtime.cpu_flags() == runtime.flags_of_numpy() != frozenset()
    monkeypatch.setattr(runtime, "flags_of_numpy", frozenset)
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not runtime.has_avx512() and doctor.cpu_model()
    assert doctor.cores().value.startswith(f"{os.cpu_count()} of {os.cpu_count()}")
    assert doctor.onednn().value.startswith("none; it is for CPUs with AVX-512 only")
