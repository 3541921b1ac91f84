"""`ms-gan doctor`: what is here, what is missing, and what to do about it.

Answers where everything else fails: this module needs nothing but Python. What may be missing is
imported where it is looked at, and MindSpore in a process of its own, which may crash.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ms_gan.cli.console import say
from ms_gan.convolution import choice, library
from ms_gan.errors import UserError
from ms_gan.runs import shipped
from ms_gan.system import cuda, cuda_packages, runtime
from ms_gan.system.provenance import ROOT, git_commit
from ms_gan.version import __version__

INSTALL = "pip install -r requirements.txt"
PACKAGES = {  # what is imported -> its name for pip
    "yaml": "pyyaml", "PIL": "pillow", "imageio": "imageio", "matplotlib": "matplotlib",
    "sklearn": "scikit-learn", "jinja2": "jinja2",
}  # fmt: skip
VARIABLES = (
    "MS_GAN_DATA", "XDG_CACHE_HOME", *runtime.ISA_VARIABLES, runtime.FPMATH_VARIABLE,
    "OMP_NUM_THREADS", "GLOG_v",
    "ASCEND_RT_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUDA_CACHE_DISABLE",
    "DEVICE_ID",
)  # fmt: skip
CPU_FEATURES = (  # of x86-64 and ARM, as Linux names them; those that matter for speed
    "sse4_1", "avx", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_bf16", "asimd", "asimdhp", "sve", "sve2", "bf16", "i8mm",
)  # fmt: skip
# Without them: no curves.png, no embedded digits, no report.html.
NOT_NEEDED = {"matplotlib", "sklearn", "jinja2"}
LITTLE = 1e9  # bytes of free disk
PROBE = """
import json, os
try:
    from ms_gan.system import cuda, runtime
    with cuda.offered() as usable, runtime.quiet(usable):
        import mindspore
    said = []
    device = runtime.set_device("auto", said.append)
    threads = mindspore.get_context("runtime_num_threads")
    found = [mindspore.__version__, device, said, threads]
except Exception as error:
    found = f"{type(error).__name__}: {runtime.first_line(error)}"
os.write(1, ("\\n" + json.dumps(found)).encode())
os._exit(0)  # a MindSpore that is loaded by half would abort the exit of Python
"""


@dataclass(frozen=True)
class Line:
    name: str
    value: str
    remedy: str = ""
    broken: bool = False  # training cannot work


def add_parser(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser(
        "doctor", help="what is installed and found here, and what to do if something is wrong"
    )
    doctor.set_defaults(run=run_doctor)


def run_doctor(arguments: argparse.Namespace) -> int:
    """Print one line for each thing looked at; 0 when training can work, 1 when it cannot."""
    broken = []
    for line in examine():
        remedy = f"  ({line.remedy})" if line.remedy else ""
        say(f"{line.name:<13}  {line.value}{remedy}")
        if line.broken:
            broken.append(line)
    if not broken:
        say("training can work")
    for line in broken:
        say(f"training cannot work: {line.name}: {line.remedy}")
    return 1 if broken else 0


def examine() -> Iterator[Line]:
    """All lines, the quick ones first."""
    commit = git_commit()
    yield Line("ms_gan", f"{__version__} in {ROOT}" + (f", commit {commit}" if commit else ""))
    yield python()
    numpy = numpy_version()
    yield numpy
    yield packages(can_be_tried=not numpy.broken)
    outlook = cuda.look()
    yield gpu(outlook)
    if outlook is not None:
        yield cuda_libraries(outlook)
    minutes = 30 if cuda.translation(outlook) else 2
    yield from mindspore_and_device(can_be_tried=not numpy.broken, minutes=minutes)
    yield Line("cpu", f"{cpu_model()}, {platform.machine()}, {platform.system()}")
    yield cores()
    yield instructions()
    yield onednn()
    yield convolutions()
    yield from environment()
    yield from data_sets()
    yield assets()
    yield folder()


# --- software -----------------------------------------------------------------------------------


def python() -> Line:
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    remedy = "" if fits else "MindSpore 2.10 needs Python 3.10, 3.11 or 3.12: install one"
    return Line("python", f"{platform.python_version()} in {sys.executable}", remedy, not fits)


def numpy_version() -> Line:
    try:
        runtime.check_numpy()
    except runtime.NumpyError as error:
        value, _, remedy = str(error).rpartition("; ")
        return Line("numpy", value, remedy, broken=True)
    import numpy

    return Line("numpy", f"{numpy.__version__}, fits MindSpore 2.10")


def packages(can_be_tried: bool) -> Line:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = " ".join(PACKAGES[name] for name in missing)
        broken = not set(missing) <= NOT_NEEDED
        return Line("packages", f"missing: {names}", f"pip install {names}", broken)
    reasons = {name: why for name in PACKAGES if can_be_tried and (why := cannot_be_loaded(name))}
    if reasons:
        value = "; ".join(f"{PACKAGES[name]}: {why}" for name, why in reasons.items())
        remedy = f"pip install --force-reinstall {' '.join(PACKAGES[name] for name in reasons)}"
        broken = not set(reasons) <= NOT_NEEDED
        return Line("packages", f"cannot be loaded: {value}", remedy, broken)
    return Line("packages", f"{', '.join(PACKAGES.values())}: all that is needed beside these")


def cannot_be_loaded(name: str) -> str | None:
    """Why a package that is installed cannot be imported; None where it can."""
    try:
        if name == "matplotlib":
            runtime.import_matplotlib()
        else:
            importlib.import_module(name)
    except Exception as error:  # whatever libraries of the system raise
        return runtime.first_line(error)
    return None


def gpu(outlook: cuda.Outlook | None) -> Line:
    """NVIDIA's card and driver."""
    if outlook is None:
        return Line("gpu", "no NVIDIA driver (libcuda.so.1) is found")
    if outlook.card is None:
        return Line("gpu", f"{outlook.driver.described()}: {outlook.why}")
    value = f"{outlook.card.described()}; {outlook.driver.described()}"
    return Line("gpu", value, cuda.translation(outlook).removeprefix("GPU: "))


def cuda_libraries(outlook: cuda.Outlook) -> Line:
    """Whose CUDA MindSpore takes; which packages there are, and which there should be."""
    if outlook.source == cuda.USERS:
        value = f"CUDA_HOME={os.environ[cuda.HOME]}, set by you, CUDA {outlook.cuda or 'unknown'}"
    elif outlook.source == cuda.SYSTEM:
        value = f"{outlook.cuda}, which the system finds by itself"
    else:
        packages = outlook.packages or cuda_packages.installed()
        groups = {"": True, "missing: ": False}
        listed = (
            label + ", ".join(package.described() for package in packages if package.fits == fits)
            for label, fits in groups.items()
            if any(package.fits == fits for package in packages)
        )
        value = "; ".join(listed)
    if outlook.source == cuda.USERS and outlook.why:
        return Line("cuda", value, f"{outlook.why}: {outlook.remedy}")
    return Line("cuda", value, outlook.remedy)


def mindspore_and_device(can_be_tried: bool, minutes: int) -> Iterator[Line]:
    if importlib.util.find_spec("mindspore") is None:
        yield Line("mindspore", "not installed", INSTALL, broken=True)
        return
    if not can_be_tried:
        yield Line("mindspore", f"{installed_version()}, not tried", "NumPy first")
        return
    result, why = probe(minutes)
    if result is None:
        remedy = f"install it again: {INSTALL}; for Ascend see https://www.mindspore.cn/install/en"
        yield Line("mindspore", f"{installed_version()}, does not work: {why}", remedy, broken=True)
        return
    version, device, said, threads = result
    oldest, newest = runtime.numbers(runtime.OLDEST), runtime.numbers(runtime.NEWEST)
    tried = oldest <= runtime.numbers(version) <= newest
    other = "" if tried else f"tried were {runtime.OLDEST} to {runtime.NEWEST}: {INSTALL}"
    yield Line("mindspore", version, other)
    # set_device says `device: CPU (passed over …)`, and before it what takes long
    lines = [line.removeprefix("device: ") for line in said if line.startswith("device: ")]
    yield Line("device", lines[-1] if lines else device)
    yield Line("threads", f"{threads}, MindSpore's runtime_num_threads")


def installed_version() -> str:
    try:
        return metadata.version("mindspore")
    except metadata.PackageNotFoundError:
        return "of unknown version"


def probe(minutes: int = 2) -> tuple[list | None, str]:
    """What `PROBE` prints, or None and the reason why it does not."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
    try:
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, errors="replace", timeout=60 * minutes,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f"no answer within {minutes} minutes"
    if done.returncode < 0:
        return None, f"the process was killed by {signal.Signals(-done.returncode).name}"
    if done.returncode > 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return None, lines[-1][:200] if lines else f"exit code {done.returncode}"
    found = json.loads(done.stdout.splitlines()[-1])
    return (None, found) if isinstance(found, str) else (found, "")


# --- machine ------------------------------------------------------------------------------------


def cpu_model() -> str:
    """The name of the CPU as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # macOS
        lines = []
    for line in lines:
        if line.lower().startswith(("model name", "hardware")):
            return line.partition(":")[2].strip()
    try:
        done = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return platform.processor() or "of unknown model"
    return done.stdout.strip() or platform.processor() or "of unknown model"


def cores() -> Line:
    present = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else present
    return Line("cores", f"{usable} of {present} may be used")


def instructions() -> Line:
    """Which of `CPU_FEATURES` the CPU has, and who says so."""
    flags = runtime.cpu_flags()
    if not flags:
        return Line("instructions", "unknown: this system does not say")
    found = " ".join(name for name in CPU_FEATURES if name in flags)
    return Line("instructions", found if runtime.flags_of_linux() else f"{found}, says NumPy")


def onednn() -> Line:
    """The limit of the instruction set: which it is, who chose it, which recipes differ."""
    name = "onednn limit"
    if runtime.limit_is_the_users():
        given = [f"{key}={os.environ[key]}" for key in runtime.ISA_VARIABLES if key in os.environ]
        return Line(name, f"{', '.join(given)}, set by you, for every recipe")
    if not runtime.has_avx512():
        return Line(name, "none; it is for CPUs with AVX-512 only")
    families = ", ".join(runtime.FULLY_CONNECTED)
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "none")
    return Line(
        name,
        f"{limit}, set by ms_gan for MindSpore's own convolutions; none for recipes whose model is "
        f"{families}; runtime.onednn_isa of a recipe changes it",
    )


def convolutions() -> Line:
    """Which ones `runtime.convolutions: auto` takes, and what it would need to take oneDNN's."""
    name, own = "convolutions", choice.NAMES[choice.NATIVE]
    if not choice.pays():
        return Line(
            name,
            f"{own}; oneDNN's operators are taken with AVX-512 that you do not limit, or by "
            "runtime.convolutions=onednn",
        )
    if library.ready():
        return Line(name, f"{choice.NAMES[choice.ONEDNN]}, compiled and tried on this machine")
    try:
        library.place()
        library.tools()
    except library.Unavailable as error:
        return Line(name, f"{own}; {choice.NAMES[choice.ONEDNN]} are faster, but {error}")
    return Line(name, f"{choice.NAMES[choice.ONEDNN]}, compiled by the first run that wants them")


def environment() -> Iterator[Line]:
    ours = () if runtime.limit_is_the_users() else runtime.ISA_VARIABLES
    given = {k: os.environ[k] for k in VARIABLES if k in os.environ and k not in ours}
    if given.get("GLOG_v") == "3":
        del given["GLOG_v"]  # ms_gan sets it unless it is set
    values = ", ".join(f"{key}={value}" for key, value in given.items())
    yield Line("environment", values or "nothing set that matters here")


# --- files --------------------------------------------------------------------------------------


def data_sets() -> Iterator[Line]:
    try:
        from ms_gan.data.known import IDX_SETS
        from ms_gan.data.search import find_files, home_folder
    except Exception as error:  # a broken NumPy raises anything
        yield Line("data", f"cannot be looked for: {error}", "what is broken above first")
        return
    try:
        home = home_folder(None)
        for name in IDX_SETS:
            files = find_files(name, "train", None, home)
            if files:
                yield Line(name, f"in {files[0].parent.resolve()}")
            elif IDX_SETS[name].mirrors:
                yield Line(name, "not found", f"downloaded into {home / name} when first used")
            else:
                yield Line(name, "not found", f"put its files into {home / name} to use it")
    except UserError as error:
        what, _, remedy = str(error).rpartition("; ")
        yield Line("data", what, remedy, broken=True)
    if importlib.util.find_spec("sklearn"):
        yield Line("digits", "1,797, embedded in scikit-learn")


def assets() -> Line:
    """Whether the shipped weights are those that SHA256SUMS lists."""
    try:
        files = shipped.checksums()
        wrong = [file for file in files if shipped.damage(shipped.ASSETS / file)]
    except OSError as error:
        return Line("weights", f"{error.filename}: {error.strerror}", "install the package again")
    if wrong:
        remedy = "restore them with git checkout or install the package again"
        return Line("weights", f"damaged or missing: {', '.join(wrong)}", remedy)
    return Line("weights", f"{len(files)} shipped files, each with the sha256 that is listed")


def folder() -> Line:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    value = f"{here}, {free / 1e9:.1f} GB free"
    if not os.access(here, os.W_OK | os.X_OK):
        remedy = "change to another folder, or give one with --run-dir"
        return Line("folder", f"{value}, not writable", remedy, broken=True)
    return Line("folder", value, "make room: a run needs some 100 MB" if free < LITTLE else "")
