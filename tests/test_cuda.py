"""NVIDIA's GPU without one: a stand-in driver, packages and a MindSpore that are made here.

The stand-in says what its environment tells it to say. The last test takes the real packages.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ms_gan.cli import doctor
from ms_gan.system import cuda, cuda_packages, nvidia, runtime
from ms_gan.system.cuda_packages import PACKAGES
from tests import tiny
from tests.tiny import ROOT

# With STAND_IN_CALLS=1, ms_gan is shown a card, and MindSpore's plugin, which asks later, is not.
DRIVER = """
#include <stdlib.h>
#include <string.h>
static int calls;
static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}
int cuInit(unsigned flags) {
    return calls++ < number("STAND_IN_CALLS", 1000) ? number("STAND_IN_INIT", 0) : 100;
}
int cuDriverGetVersion(int *v) { *v = number("STAND_IN_CUDA", 12000); return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    int both = number("STAND_IN_CAPABILITY", 80);
    *value = attribute == 75 ? both / 10 : attribute == 76 ? both % 10 : -1;
    return 0;
}
int cuGetErrorString(int code, const char **text) {
    *text = code == 100 ? "no CUDA-capable device is detected" : 0;
    return *text ? 0 : 1;
}
int cuGetErrorName(void) { return 100; }
int cuLaunchKernel(void) { return 100; }
int cuModuleGetFunction(void) { return 100; }
int cuModuleLoadDataEx(void) { return 100; }
int cuModuleUnload(void) { return 100; }
int cuStreamSynchronize(void) { return 100; }
"""
# Every copy writes its name down when it is loaded.
LIBRARY = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
int what_ms_gan_loaded(void) { return 42; }
__attribute__((constructor)) static void loaded(void) {
    Dl_info info;
    const char *list = getenv("STAND_IN_LIST");
    FILE *file = list ? fopen(list, "a") : 0;
    if (file && dladdr((void *)loaded, &info)) fprintf(file, "%s\\n", info.dli_fname);
    if (file) fclose(file);
}
"""
FILES = [name for package in PACKAGES for name in package.names()]
# Tells at its import which CUDA_HOME it sees, and what is answered there.
MINDSPORE = """
import os, subprocess
Parameter = Tensor = nn = ops = None
home = os.environ.get("CUDA_HOME")
print("home", home, (os.stat(home).st_mode & 0o777) if home and os.path.isdir(home) else None)
if home and os.path.isdir(home):
    done = subprocess.run([home + "/bin/nvcc", "--version"], capture_output=True, text=True)
    print("nvcc", done.stdout.strip())
"""


def compiled(folder, name, source):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("NO C COMPILER ON LINUX: the stand-in for NVIDIA's driver cannot be built")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.c").write_text(source)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", f"-Wl,-soname,{name}", "-o", folder / name,
         folder / "source.c", "-ldl"],
        check=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """The folder of a libcuda.so.1."""
    return compiled(tmp_path_factory.mktemp("driver"), "libcuda.so.1", DRIVER)


@pytest.fixture
def card(stand_in, monkeypatch, tmp_path):
    """An A100 as far as this process knows, and no CUDA; gives the setter of variables."""
    for name in ("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUDA_CACHE_DISABLE", "LD_LIBRARY_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(nvidia, "LIBRARY", str(stand_in / "libcuda.so.1"))
    monkeypatch.setattr(nvidia, "release", lambda: "580.65.06")
    monkeypatch.setattr(cuda, "loaders_list", dict)
    monkeypatch.setattr(cuda, "PLUGIN", "__init__.py")
    monkeypatch.setattr(cuda, "_offered", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_CACHE_PATH", str(tmp_path / "kernels"))
    (tmp_path / "kernels").mkdir()
    hidden = [entry for entry in sys.path if not (Path(entry or ".") / "nvidia").is_dir()]
    monkeypatch.setattr(sys, "path", hidden)  # packages that are installed here are not asked about
    return monkeypatch.setenv


def site(folder, versions=None, files=FILES, library=b""):
    """A folder for sys.path with these files below nvidia/, and what pip leaves beside them."""
    for name in files:
        path = folder / "nvidia" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(library)
    known = {package.name: package.version for package in PACKAGES} | (versions or {})
    for name, version in known.items():
        if version is not None:
            info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
    return folder


def process(code, **environment):
    """(lines, stderr) of Python with the package, without what this process has set."""
    ours = ("CUDA_HOME", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PYTHONPATH", "GLOG_v")
    clean = {k: v for k, v in os.environ.items() if k not in ours}
    path = [str(entry) for entry in environment.pop("path", ())]
    clean["PYTHONPATH"] = os.pathsep.join([*path, str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **{k: str(v) for k, v in environment.items()}},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr


# --- what is written in several places ------------------------------------------------------------


def test_the_lists_of_packages_agree():
    ours = [f"{package.name}=={package.version}" for package in PACKAGES]
    pinned = r"nvidia-[\w-]+==[\w.]+"
    assert re.findall(rf"^{pinned}", (ROOT / "requirements-gpu.txt").read_text(), re.M) == ours
    assert re.findall(rf'"({pinned})"', (ROOT / "pyproject.toml").read_text()) == ours
    assert (ROOT / cuda_packages.REQUIREMENTS).is_file()


def test_the_order_in_which_libraries_are_loaded():
    """cublas needs cublasLt, cudnn needs cublas, cusolver needs cusparse and cublas."""
    place = [Path(name).name.partition(".so")[0].removeprefix("lib") for name in FILES].index
    assert place("cublasLt") < place("cublas") < place("cudnn") < place("cudnn_cnn_train")
    assert place("cublas") < place("cusparse") < place("cusolver") and len(FILES) == 13


# --- no driver ------------------------------------------------------------------------------------


def test_without_a_driver_nothing_happens(monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("something was looked for")

    monkeypatch.setattr(nvidia, "LIBRARY", "libcuda-of-nobody.so.1")
    for owner, name in ((subprocess, "run"), (cuda, "installed"), (cuda, "load"), (cuda, "home")):
        monkeypatch.setattr(owner, name, forbidden)
    before = dict(os.environ)
    with cuda.offered() as usable:
        assert usable is False and dict(os.environ) == before
    assert cuda.look() is None and not cuda.was_offered() and cuda.translation(cuda.look()) == ""
    line = doctor.gpu(None)
    assert line.value.startswith("no NVIDIA driver") and not line.broken and not line.remedy


def test_on_other_systems_nobody_asks(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert nvidia.driver() is None


def test_who_asks_for_the_cpu_does_not_wake_the_driver(stand_in, tmp_path):
    folder = tmp_path / "mindspore"
    folder.mkdir()
    (folder / "__init__.py").write_text(MINDSPORE)
    code = (
        "from ms_gan.system import cuda, runtime\nruntime.import_mindspore('CPU')\n"
        "print(cuda.was_offered(), 'libcuda.so.1' in open('/proc/self/maps').read())"
    )
    lines, errors = process(code, path=[tmp_path], LD_LIBRARY_PATH=stand_in)
    assert lines == ["home None None", "False False"], errors


# --- the card -------------------------------------------------------------------------------------


def test_the_card_and_its_driver(card):
    before = dict(os.environ)
    here = nvidia.driver()
    assert dict(os.environ) == before
    assert here.card == nvidia.Card("Stand-in", (8, 0)) and here.cuda == 12000
    assert here.described() == "driver 580.65.06, for CUDA up to 12.0"
    assert here.card.described() == "Stand-in, compute capability 8.0"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"STAND_IN_INIT": "100"}, "the driver shows no card (no CUDA-capable device is detected)"),
        ({"STAND_IN_INIT": "100", "CUDA_VISIBLE_DEVICES": ""},
         "the driver shows no card (no CUDA-capable device is detected, CUDA_VISIBLE_DEVICES=)"),
        ({"STAND_IN_INIT": "803"}, "the driver shows no card (error 803 of the driver)"),
        ({"STAND_IN_CUDA": "10020"}, "for CUDA up to 10.2 is too old"),
        ({"STAND_IN_CAPABILITY": "52"}, "5.2, is older than MindSpore's kernels, 6.0"),
    ],
)  # fmt: skip
def test_cards_and_drivers_that_do_not_serve(card, variables, why):
    for name, value in variables.items():
        card(name, value)
    found = cuda.look()
    assert why in found.why and found.source is None
    with cuda.offered() as usable:
        assert not usable and "CUDA_HOME" not in os.environ


def test_a_library_that_is_no_driver(card, tmp_path, monkeypatch):
    folder = compiled(tmp_path / "other", "libcuda.so.1", "int other;")
    monkeypatch.setattr(nvidia, "LIBRARY", str(folder / "libcuda.so.1"))
    assert "is not a driver" in cuda.look().why


def test_a_mindspore_without_a_plugin(card, monkeypatch):
    monkeypatch.setattr(cuda, "PLUGIN", "lib/plugin/of_nobody.so")
    assert "has no GPU plugin" in cuda.look().why


# --- packages -------------------------------------------------------------------------------------


def test_all_packages(card, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(site(tmp_path / "site"))
    found = cuda.look()
    assert (found.source, found.cuda, found.why, found.remedy) == (cuda.PIP, "11.6", "", "")
    files = [
        str(f.relative_to(tmp_path / "site" / "nvidia")) for p in found.packages for f in p.files
    ]
    assert files == FILES
    line = doctor.cuda_libraries(found)
    assert "nvidia-cudnn-cu11 8.9.6.50" in line.value and "missing" not in line.value
    assert line.remedy == ""


def test_no_packages(card):
    """One line that says what one command adds, and how much it is."""
    found = cuda.look()
    assert found.source is None and "\n" not in found.obstacle()
    assert found.why == "Stand-in needs 8 packages that are not installed (about 2 GB in all)"
    assert found.remedy.endswith("requirements-gpu.txt") and " install -r " in found.remedy
    line = doctor.cuda_libraries(found)
    assert line.value.startswith("missing: nvidia-cuda-runtime-cu11==11.8.89, ")
    assert line.remedy == found.remedy and not line.broken


DAMAGED = "nvidia-cudnn-cu11==8.9.6.50 (installed, but its files are missing or another package's)"
OTHER = "nvidia-cudnn-cu11==8.9.6.50 (9.10.2.21 is installed)"


@pytest.mark.parametrize(
    ("versions", "files", "lacking"),
    [
        ({"nvidia-cudnn-cu11": "9.10.2.21"}, [f for f in FILES if "cudnn" not in f], OTHER),
        ({"nvidia-cudnn-cu11": "9.10.2.21"}, FILES, OTHER),  # left behind by version 8
        ({}, [f for f in FILES if "libcudnn_cnn_infer" not in f],
         DAMAGED),
        ({"nvidia-cufft-cu11": None}, [f for f in FILES if "cufft" not in f],
         "nvidia-cufft-cu11==10.9.0.58"),
        ({"nvidia-curand-cu11": None, "nvidia-curand-cu12": "10.3.5.147"}, FILES,
         "nvidia-curand-cu11==10.3.0.86"),  # the same file name, of another CUDA
        ({"nvidia-curand-cu11": None}, FILES, None),  # a folder that was unpacked
        ({"nvidia-cublas-cu11": "11.10.3.66"}, FILES, None),
    ],
)  # fmt: skip
def test_missing_and_wrong_packages_are_named(
    card, versions, files, lacking, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(site(tmp_path / "site", versions, files))
    found = cuda.look()
    if lacking is None:
        assert found.source == cuda.PIP
        return
    assert found.source is None
    assert found.why == f"Stand-in needs what is not installed: {lacking} (about 2 GB in all)"
    line = doctor.cuda_libraries(found)
    assert line.value.endswith(f"; missing: {lacking}")
    damaged = [p.package for p in found.packages if p.package.name in DAMAGED]
    assert line.remedy == cuda_packages.install(damaged if lacking == DAMAGED else ())


def test_files_that_another_package_has_replaced(card, tmp_path, monkeypatch):
    """Of the same name, in the same folder, for CUDA 12: their size tells."""
    folder = site(tmp_path / "site", {"nvidia-curand-cu12": "10.3.5.147"}, library=b"123")
    monkeypatch.syspath_prepend(folder)
    record = folder / "nvidia_curand_cu11-10.3.0.86.dist-info" / "RECORD"
    record.write_text("nvidia/curand/lib/libcurand.so.10,,3\n")
    assert cuda.look().source == cuda.PIP
    record.write_text("nvidia/curand/lib/libcurand.so.10,,4\n")
    found = cuda.look()
    assert "nvidia-curand-cu11==10.3.0.86 (installed, but its files" in found.why
    assert found.remedy.endswith("install --force-reinstall nvidia-curand-cu11==10.3.0.86")


def test_what_to_type(monkeypatch, tmp_path):
    requirements = ROOT / "requirements-gpu.txt"
    (tmp_path / "pip").write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(shutil, "which", lambda name: str(tmp_path / "pip"))
    monkeypatch.chdir(tmp_path)
    assert cuda_packages.install() == f"pip install -r {requirements}"
    monkeypatch.chdir(ROOT)
    assert cuda_packages.install() == "pip install -r requirements-gpu.txt"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/pip")  # of another Python
    assert cuda_packages.install() == f"{tmp_path}/python -m pip install -r requirements-gpu.txt"
    monkeypatch.setattr(cuda_packages, "ROOT", tmp_path)  # not a checkout
    assert cuda_packages.install().endswith("nvidia-cufft-cu11==10.9.0.58")


# --- around the import ----------------------------------------------------------------------------

IMPORT = """
import ctypes, os
from ms_gan.system import cuda, runtime
before = dict(os.environ)
try:
    runtime.import_mindspore("auto")
except runtime.MindSporeError as error:
    print("error", error)
print("same", dict(os.environ) == before)
print("offered", cuda.was_offered(), repr(cuda.outlook().why))
try:
    print("global", ctypes.CDLL(None).what_ms_gan_loaded())
except AttributeError:
    print("global none")
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a MindSpore that tells what it sees, and libraries that say their names."""
    folder = tmp_path_factory.mktemp("whole")
    library = compiled(folder / "build", "library.so", LIBRARY) / "library.so"
    site(folder / "site", library=library.read_bytes())
    plugin = folder / "site" / "mindspore" / cuda.PLUGIN
    plugin.parent.mkdir(parents=True)
    plugin.write_text("")
    (folder / "site" / "mindspore" / "__init__.py").write_text(MINDSPORE)
    return folder / "site"


def imported(whole, stand_in, tmp_path, code=IMPORT, **environment):
    """(name -> rest of the line, the libraries that were loaded, what is left in the folder)."""
    place = tmp_path / "tmp"
    place.mkdir(exist_ok=True)
    lines, errors = process(
        code, path=[whole], LD_LIBRARY_PATH=stand_in, TMPDIR=place, XDG_CACHE_HOME=tmp_path,
        STAND_IN_LIST=tmp_path / "list", **environment,
    )  # fmt: skip
    assert errors == "", errors
    said = dict(line.split(" ", 1) for line in lines)
    loaded = (tmp_path / "list").read_text().split() if (tmp_path / "list").exists() else []
    return said, [str(Path(p).relative_to(whole / "nvidia")) for p in loaded], os.listdir(place)


def test_what_mindspore_finds_at_its_import(whole, stand_in, tmp_path):
    said, loaded, left = imported(whole, stand_in, tmp_path)
    home, mode = said["home"].split()
    assert home.startswith(f"{tmp_path}/tmp/ms_gan-cuda-") and int(mode) == 0o700
    assert said["nvcc"] == "Cuda compilation tools, release 11.6, V11.6.0"
    assert loaded == FILES and said["global"] == "42"
    assert said["same"] == "True" and left == [] and said["offered"] == "True ''"


def test_an_import_that_fails_leaves_nothing(whole, stand_in, tmp_path):
    folder = tmp_path / "broken" / "mindspore"
    folder.mkdir(parents=True)
    shutil.copytree(whole / "mindspore", folder, dirs_exist_ok=True)
    (folder / "__init__.py").write_text(MINDSPORE + "raise RuntimeError('broken')\n")
    code = f"import sys\nsys.path.insert(0, {str(folder.parent)!r})\n{IMPORT}"
    said, _, left = imported(whole, stand_in, tmp_path, code)
    assert said["home"].startswith(str(tmp_path)) and "broken" in said["error"]
    assert said["same"] == "True" and left == []


def own_cuda(folder, version):
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "nvcc").write_text(
        f'#!/bin/sh\necho "Cuda compilation tools, release {version}, V{version}.0"\n'
    )
    (folder / "bin" / "nvcc").chmod(0o755)
    return folder


def test_the_users_cuda_home_is_left_alone(whole, stand_in, tmp_path):
    home = own_cuda(tmp_path / "cuda", "11.8")
    said, loaded, left = imported(whole, stand_in, tmp_path, CUDA_HOME=home)
    assert said["home"].split()[0] == str(home) and said["nvcc"].endswith("11.8, V11.8.0")
    assert loaded == [] and said["global"] == "none" and left == []
    assert said["same"] == "True" and said["offered"] == "True ''"


@pytest.mark.parametrize("version", ["12.4", "11.1", None])
def test_a_cuda_home_that_does_not_fit_is_said(whole, stand_in, version, tmp_path):
    home = own_cuda(tmp_path / "cuda", version) if version else tmp_path / "nothing"
    said, loaded, _ = imported(whole, stand_in, tmp_path, CUDA_HOME=home)
    assert said["home"].split()[0] == str(home) and loaded == [] and said["same"] == "True"
    holds = f"holds CUDA {version}" if version else "holds no bin/nvcc that tells its version"
    assert (
        f"CUDA_HOME={home} {holds}, and MindSpore 2.10 needs CUDA 11.6 to 11.8" in said["offered"]
    )


def test_a_library_that_cannot_be_loaded_is_said(whole, stand_in, tmp_path):
    copy = tmp_path / "site"
    shutil.copytree(whole, copy)
    (copy / "nvidia" / "cublas" / "lib" / "libcublas.so.11").write_text("cut")
    said, loaded, left = imported(copy, stand_in, tmp_path)
    assert loaded == FILES[: FILES.index("cublas/lib/libcublas.so.11")] and left == []
    assert (
        "a CUDA library cannot be loaded" in said["offered"]
        and "libcublas.so.11" in said["offered"]
    )


def test_two_at_once_do_not_meet(card, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with cuda.home("11.6") as one, cuda.home("11.8") as other:
        assert one != other and one.stat().st_mode & 0o777 == 0o700
        assert [cuda.version_below(str(folder)) for folder in (one, other)] == ["11.6", "11.8"]
    assert not one.exists() and not other.exists() and "CUDA_HOME" not in os.environ
    card("CUDA_HOME", "")  # as good as not set
    with cuda.home("11.6") as one:
        assert os.environ["CUDA_HOME"] == str(one)
    assert os.environ["CUDA_HOME"] == ""


def test_a_folder_where_no_program_may_be_run(card, tmp_path, monkeypatch):
    noexec = tmp_path / "noexec"
    noexec.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(noexec))
    real = os.access
    monkeypatch.setattr(os, "access", lambda p, m: "noexec" not in str(p) and real(p, m))
    with cuda.home("11.6") as folder:
        assert folder.parent == tmp_path / "cache" / "ms_gan" and os.listdir(noexec) == []
    monkeypatch.setattr(os, "access", lambda p, m: False)
    monkeypatch.syspath_prepend(site(tmp_path / "site"))
    monkeypatch.setattr(cuda, "load", lambda packages: None)
    with cuda.offered() as usable:
        assert not usable and "CUDA_HOME" not in os.environ
    assert "no program may be run in" in cuda.outlook().why and "TMPDIR" in cuda.outlook().remedy
    assert os.listdir(noexec) == [] and os.listdir(tmp_path / "cache" / "ms_gan") == []


# --- a CUDA of the system -------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "expected"), [("11.8.89", "11.8"), ("11.2.152", None)])
def test_libraries_that_the_loader_finds(card, version, expected, tmp_path):
    for name in FILES:
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / Path(name).name).write_text("")
    (tmp_path / "lib" / "libcudart.so.11.0").unlink()
    (tmp_path / "lib" / f"libcudart.so.{version}").write_text("")
    (tmp_path / "lib" / "libcudart.so.11.0").symlink_to(f"libcudart.so.{version}")
    card("LD_LIBRARY_PATH", f"/nowhere:{tmp_path / 'lib'}")
    assert cuda.version_of_the_system() == expected
    if expected:
        assert cuda.look().source == cuda.SYSTEM
        assert "which the system finds" in doctor.cuda_libraries(cuda.look()).value
        with cuda.offered() as usable:  # nothing is loaded: the files are empty
            assert usable and cuda.version_below(os.environ["CUDA_HOME"]) == "11.8"
        (tmp_path / "lib" / "libcudnn.so.8").unlink()
        assert cuda.version_of_the_system() is None and cuda.look().source is None


def test_the_list_of_the_loader(monkeypatch, tmp_path):
    (tmp_path / "libcudart.so.11.0").write_text("")
    out = "2 libs found in cache\n"
    for path in (tmp_path / "libcudart.so.11.0", Path("/gone/libgone.so.1")):
        out += f"\t{path.name} (libc6,x86-64) => {path}\n"
    done = subprocess.CompletedProcess([], 0, out)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    assert cuda.loaders_list() == {"libcudart.so.11.0": f"{tmp_path}/libcudart.so.11.0"}


# --- the first start on a new card ----------------------------------------------------------------


@pytest.mark.parametrize("capability", ["75", "89", "90", "120"])
def test_a_card_that_is_newer_than_the_kernels(card, capability, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(site(tmp_path / "site"))
    card("STAND_IN_CAPABILITY", capability)
    line = cuda.translation(cuda.look())
    if int(capability) < 90:
        assert line == ""
        cuda.translated(cuda.look())
        assert not (tmp_path / "cache").exists()
        return
    number = f"{capability[:-1]}.{capability[-1]}"
    assert (
        line.startswith(f"GPU: Stand-in, compute capability {number}, is newer than")
        and "\n" not in line
    )
    assert f"minutes, once; later starts find them in {tmp_path / 'kernels'}" in line
    assert doctor.gpu(cuda.look()).remedy == line.removeprefix("GPU: ")
    cuda.translated(cuda.look())
    assert cuda.translation(cuda.look()) == "" == doctor.gpu(cuda.look()).remedy
    (tmp_path / "kernels").rmdir()  # somebody has tidied up
    assert cuda.translation(cuda.look()) == line
    (tmp_path / "kernels").mkdir()
    card("CUDA_CACHE_DISABLE", "1")
    assert cuda.translation(cuda.look()).endswith("at every start, since CUDA_CACHE_DISABLE=1")
    card("CUDA_CACHE_DISABLE", "0")
    monkeypatch.setattr(nvidia, "release", lambda: "590.1")  # another driver
    assert cuda.translation(cuda.look()) == line


# --- the device -----------------------------------------------------------------------------------


class Ops:
    def __init__(self, ms):
        self.ms = ms

    def relu(self, tensor):
        if self.ms.faults:
            raise RuntimeError(self.ms.faults.pop(0))
        return self

    def asnumpy(self):
        pass


class Fake:
    """A MindSpore whose operators fail with these messages, one after the other."""

    float32 = None

    def __init__(self, *faults, refuses=()):
        self.faults, self.refuses, self.target = list(faults), refuses, "GPU"
        self.ops = Ops(self)

    def get_context(self, key):
        return self.target

    def set_device(self, target):
        if target in self.refuses:
            raise RuntimeError(f"Unsupported device target {target}. This process only supports …")
        self.target = target

    def Tensor(self, values, kind):
        return values


PAGE = """
----------------------------------------------------
- Cuda error:
----------------------------------------------------
The cudaGetLastError[2], out of memory

----------------------------------------------------
- C++ Call Stack: (For framework developers)
----------------------------------------------------
mindspore/ccsrc/plugin/gpu/res_manager/symbol_interface/cuda_driver.cc:292 device_count
"""
NO_ASCEND = "Ascend: Unsupported device target Ascend"


@pytest.fixture
def expected(card, tmp_path, monkeypatch):
    """Packages, a Hopper, and a MindSpore that was imported with them."""
    monkeypatch.syspath_prepend(site(tmp_path / "site"))
    card("STAND_IN_CAPABILITY", "90")
    monkeypatch.setattr(cuda, "_offered", cuda.look())
    monkeypatch.setattr(cuda, "plugin_is_loaded", lambda: True)


def test_the_gpu_is_taken_and_the_wait_is_said(expected):
    said = []
    assert runtime._first_that_works(Fake(refuses=["Ascend"]), "auto", said.append) == "GPU"
    assert said[0].startswith("GPU: Stand-in, compute capability 9.0, is newer")
    assert said[1:] == [f"device: GPU (passed over {NO_ASCEND})"]
    said.clear()
    runtime._first_that_works(Fake(refuses=["Ascend"]), "auto", said.append)
    assert said == [f"device: GPU (passed over {NO_ASCEND})"]  # translated by now


def test_the_wait_is_said_without_a_listener_too(expected, capsys):
    assert runtime._first_that_works(Fake(), "GPU", None) == "GPU"
    assert capsys.readouterr().out.startswith("GPU: Stand-in, ")


def test_a_gpu_that_fails_is_passed_over(expected):
    """Its error comes once or twice more, to operators of the CPU."""
    said = []
    assert (
        runtime._first_that_works(Fake(*[PAGE] * 3, refuses=["Ascend"]), "auto", said.append)
        == "CPU"
    )
    why = "GPU: The cudaGetLastError[2], out of memory"
    assert said[1] == f"device: CPU (passed over {NO_ASCEND}; {why})"
    message = tiny.refused(
        runtime.DeviceError,
        runtime._first_that_works,
        Fake(*[PAGE] * 9, refuses=["Ascend"]),
        "auto",
        None,
    )
    assert why in message and message.endswith("; runtime.device=CPU tries no other")
    message = tiny.refused(runtime.DeviceError, runtime._first_that_works, Fake(PAGE), "GPU", None)
    assert message == f"runtime.device: {why}; runtime.device=auto takes the first that works"


def test_what_is_missing_is_the_reason(card):
    fake = Fake(refuses=["Ascend", "GPU"])
    fake.target, said = "CPU", []
    assert runtime._first_that_works(fake, "auto", said.append) == "CPU"
    assert said == [f"device: CPU (passed over {NO_ASCEND}; GPU: {cuda.look().obstacle()})"]
    message = tiny.refused(runtime.DeviceError, runtime._first_that_works, fake, "GPU", None)
    assert message.startswith("runtime.device: GPU: Stand-in needs 8 packages") and "pip" in message


def test_a_mindspore_that_was_imported_too_early(card, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(site(tmp_path / "site"))
    assert "was imported before the CUDA libraries" in runtime._why("GPU", "Unsupported device")


def test_the_sentence_about_a_plugin_that_lacks_a_library(expected):
    page = (
        "Unsupported device target GPU. This process only …\n- Device load error message:\n"
        "Load dynamic library: libmindspore_gpu.so.11.6 failed. libcudnn.so.8: cannot open shared\n"
    )
    said = runtime._why("GPU", page)
    assert said == "MindSpore's plugin cannot be loaded: libcudnn.so.8: cannot open shared"


# --- real ones ------------------------------------------------------------------------------------

DEVICE = """
import os, sys
from ms_gan.system import cuda, runtime
before = os.environ.get("CUDA_HOME")
runtime.import_mindspore(sys.argv[1] if len(sys.argv) > 1 else "GPU")
print("home", os.environ.get("CUDA_HOME") == before)
print("plugin", cuda.plugin_is_loaded(), cuda.outlook().source)
try:
    print("device", runtime.set_device("GPU", print))
except runtime.DeviceError as error:
    print("error", error)
sys.stdout.flush()
os._exit(0)
"""


def real_packages(folder):
    """What to add to PYTHONPATH: the packages of MS_GAN_CUDA alone, or nothing where this Python
    has them; or a skip."""
    if given := os.environ.get("MS_GAN_CUDA"):
        assert (Path(given) / "nvidia").is_dir(), f"MS_GAN_CUDA={given} has no nvidia/ in it"
        folder.mkdir()
        for path in (Path(given) / "nvidia", *Path(given).glob("nvidia_*.dist-info")):
            (folder / path.name).symlink_to(path)
        return [folder]
    if not all(package.fits for package in cuda_packages.installed()):
        pytest.skip(
            "CUDA PACKAGES NOT FOUND: pip install -r requirements-gpu.txt, or set MS_GAN_CUDA to a "
            "folder that holds nvidia/"
        )
    return []


def test_a_driver_without_packages_costs_a_line(stand_in, tmp_path):
    """The real MindSpore, asked for the GPU where only the packages are missing."""
    if any(package.files for package in cuda_packages.installed()):
        pytest.skip("the CUDA packages are installed here")
    if cuda.version_of_the_system():
        pytest.skip("this system has a CUDA 11 of its own")
    environment = {"LD_LIBRARY_PATH": str(stand_in), "CUDA_HOME": ""}
    recipe = tiny.recipe_file(tmp_path, train={"steps": 1}, runtime={"device": "auto"})
    words = ["train", "--config", recipe, "--run-dir", tmp_path / "run"]
    code, out, err = tiny.run(*words, **environment)
    assert code == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("device: "))
    assert line.startswith("device: CPU (passed over Ascend: ")
    assert "; GPU: Stand-in needs 8 packages that are not installed (about 2 GB in all): " in line
    code, out, err = tiny.run(*words, "runtime.device=GPU", **environment)
    assert code == 2 and err.count("\n") == 1, err
    assert err.startswith("ms-gan: runtime.device: GPU: Stand-in needs 8 packages")


@pytest.mark.slow
def test_the_real_plugin_loads_and_lacks_a_card_only(stand_in, tmp_path):
    """Names, order and versions: a wrong library shows as one that the plugin cannot load."""
    path = real_packages(tmp_path / "site")
    place = tmp_path / "tmp"
    place.mkdir()
    lines, errors = process(
        DEVICE,
        path=path,
        LD_LIBRARY_PATH=stand_in,
        TMPDIR=place,
        XDG_CACHE_HOME=tmp_path,
        STAND_IN_CALLS=1,
    )
    assert lines[:2] == ["home True", "plugin True pip"], lines + [errors]
    assert lines[-1].startswith("error runtime.device: GPU: ")
    assert "no CUDA-capable device is detected" in lines[-1]
    assert os.listdir(place) == [] and "is not found" not in errors
