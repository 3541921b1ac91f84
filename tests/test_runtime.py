"""What must hold for a whole process, each time in a process of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ms_gan.system import runtime
from tests import tiny
from tests.tiny import ROOT

OURS = (
    "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MS_GAN_SET_ISA", "GLOG_v",
    "ONEDNN_DEFAULT_FPMATH_MODE", "MS_GAN_SET_FPMATH",
)  # fmt: skip


def process(*arguments, code=None, **environment):
    """Run Python as a user would, without what this process has set."""
    clean = {k: v for k, v in os.environ.items() if k not in OURS}
    clean["PYTHONPATH"] = environment.pop("PYTHONPATH", "") + os.pathsep + str(ROOT)
    words = ["-c", code] if code else list(arguments)
    return subprocess.run(
        [sys.executable, *words], env={**clean, **environment}, capture_output=True, text=True
    )


SHOW = "import os, ms_gan; print(os.environ.get('{0}'), os.environ.get('GLOG_v'))"


@pytest.mark.parametrize("name", runtime.ISA_VARIABLES)
def test_the_users_instruction_set_wins(name):
    done = process(code=SHOW.format(name), **{name: "AVX512_CORE", "GLOG_v": "1"})
    assert done.stdout.split() == ["AVX512_CORE", "1"], done.stderr
    other = next(other for other in runtime.ISA_VARIABLES if other != name)
    assert process(code=SHOW.format(other), **{name: "SSE41"}).stdout.split() == ["None", "3"]


def test_the_instruction_set_when_the_user_says_nothing():
    expected = "AVX2" if runtime.has_avx512() else "None"
    assert process(code=SHOW.format("ONEDNN_MAX_CPU_ISA")).stdout.split() == [expected, "3"]


def test_a_child_process_may_change_our_choice_but_not_the_users():
    code = (
        "import os\nfrom ms_gan.system import runtime\n"
        "runtime.limit_instruction_set(convolutions=False)\n"
        "print(os.environ.get('ONEDNN_MAX_CPU_ISA'), os.environ.get('MS_GAN_SET_ISA'))"
    )
    ours = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MS_GAN_SET_ISA": "1"}
    assert process(code=code, **ours).stdout.split() == ["None", "None"]
    assert process(code=code).stdout.split() == ["None", "None"]
    assert process(code=code, ONEDNN_MAX_CPU_ISA="AVX2").stdout.split() == ["AVX2", "None"]


ISA = ("ONEDNN_MAX_CPU_ISA", {"ONEDNN_MAX_CPU_ISA": "AVX2", "MS_GAN_SET_ISA": "1"}, "SSE41")
FPMATH_OURS = {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "MS_GAN_SET_FPMATH": "1"}
FPMATH = ("ONEDNN_DEFAULT_FPMATH_MODE", FPMATH_OURS, "TF32")


@pytest.mark.parametrize(
    "call, variable, ours, users, expected",
    [
        ("limit_instruction_set(convolutions=True, isa='AVX')", *ISA, "AVX"),
        ("limit_instruction_set(convolutions=True, isa='default')", *ISA, "None"),
        ("set_fpmath('bf16')", *FPMATH, "BF16"),
        ("set_fpmath('strict')", *FPMATH, "None"),
    ],
)
def test_the_recipe_may_choose(call, variable, ours, users, expected):
    """It beats our own choice, also an inherited one; what the user's environment says beats it."""
    code = (
        "import os\nfrom ms_gan.system import runtime\n"
        f"runtime.{call}\n"
        f"print(os.environ.get('{variable}'))"
    )
    assert process(code=code).stdout.split() == [expected]
    assert process(code=code, **{variable: users}).stdout.split() == [users]
    assert process(code=code, **ours).stdout.split() == [expected]


def test_bfloat16_products_are_not_inherited():
    done = process(code=SHOW.format("ONEDNN_DEFAULT_FPMATH_MODE"), **FPMATH_OURS)
    assert done.stdout.split() == ["None", "3"]


MULTIPLY = """
import sys
from ms_gan.system import runtime
runtime.set_fpmath(sys.argv[1])
import numpy as np
import mindspore as ms
a, b = np.random.default_rng(0).standard_normal((2, 128, 128), np.float32)
error = np.abs(ms.ops.MatMul()(ms.Tensor(a), ms.Tensor(b)).asnumpy() - a.astype(float) @ b)
print(error.max())
"""


def test_bfloat16_products_are_sums_in_float32():
    """bfloat16 keeps 8 bits: 128 products of size 1 are off by about 128 ** 0.5 / 2 ** 9 each."""
    strict, rounded = (float(process("-c", MULTIPLY, m).stdout) for m in ("strict", "bf16"))
    assert strict < 1e-4
    assert rounded == pytest.approx(strict, abs=1e-4) or 0.01 < rounded < 0.3


CONVOLVE = """
import sys
import ms_gan
from ms_gan.system import runtime
runtime.limit_instruction_set(convolutions=True, isa=sys.argv[1])
import numpy as np
import mindspore as ms
ms.set_seed(0)
nn = ms.nn
net = nn.SequentialCell(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.Flatten(), nn.Dense(256, 3))
x = np.random.default_rng(0).standard_normal((2, 1, 8, 8), np.float32)
print(*net(ms.Tensor(x)).asnumpy().ravel())
"""


def test_the_instruction_set_changes_rounding_only():
    auto, default, low = (
        np.array(process("-c", CONVOLVE, isa).stdout.split(), float)
        for isa in ("auto", "default", "SSE41")
    )
    assert auto.shape == (6,) and np.abs(auto).max() > 0.1
    np.testing.assert_allclose(default, auto, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(low, auto, rtol=1e-5, atol=1e-6)


def test_importing_the_package_does_not_import_mindspore():
    done = process(code="import sys, ms_gan; print('mindspore' in sys.modules)")
    assert done.stdout == "False\n", done.stderr


# --- NumPy ----------------------------------------------------------------------------------------


@pytest.fixture
def numpy_2(tmp_path):
    """A folder for PYTHONPATH whose numpy says that it is 2.4.0."""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text('__version__ = "2.4.0"\n')
    return str(tmp_path)


def test_numpy_2_stops_the_import(numpy_2):
    code = (
        "try:\n    import ms_gan\nexcept ImportError as error:\n    print(error)\n"
        "else:\n    print('imported')"
    )
    done = process(code=code, PYTHONPATH=numpy_2)
    lines = done.stdout.splitlines()
    assert len(lines) == 1 and done.stderr == ""
    assert "NumPy 2.4.0" in lines[0] and "pip install 'numpy>=1.25,<2'" in lines[0]


@pytest.mark.parametrize("words", [["keys"], ["train"], ["generate", "a.ckpt"]])
def test_numpy_2_is_one_line_at_the_command_line(numpy_2, words):
    done = process("-m", "ms_gan", *words, PYTHONPATH=numpy_2)
    lines = (done.stdout + done.stderr).splitlines()
    assert done.returncode != 0 and len(lines) == 1
    assert "NumPy 2.4.0" in lines[0] and "Traceback" not in lines[0]


def test_what_computes_nothing_answers_with_any_numpy(numpy_2):
    done = process("-m", "ms_gan", "--version", PYTHONPATH=numpy_2)
    assert done.returncode == 0 and done.stdout.startswith("ms_gan ") and done.stderr == ""


def test_this_numpy_is_accepted():
    done = process("-c", "from ms_gan.system import runtime; runtime.check_numpy()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- devices --------------------------------------------------------------------------------------

DEVICE = """
import sys
from ms_gan.system import runtime
try:
    print(runtime.set_device(sys.argv[1], print))
except runtime.DeviceError as error:
    print("DeviceError", error)
"""


def device(requested):
    clean = {k: v for k, v in os.environ.items() if k not in OURS}
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, requested],
        env=clean, cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.splitlines(), done.stderr


@pytest.fixture(scope="module")
def automatic():
    return device("auto")


def test_auto_takes_the_first_that_works_and_says_so(automatic):
    lines, errors = automatic
    assert lines[-1] in ("Ascend", "GPU", "CPU") and errors == ""
    if lines[-1] == "Ascend":
        assert lines == ["Ascend"]
    else:
        assert len(lines) == 2 and lines[0].startswith(f"device: {lines[1]} (passed over Ascend: ")
    if lines[-1] == "CPU":
        assert "; GPU: " in lines[0]


def test_a_device_that_is_not_there(automatic):
    """In one line, with the key that was wrong and the way out; no pages from MindSpore."""
    if automatic[0][-1] == "Ascend":
        pytest.skip("this machine has an Ascend")
    lines, errors = device("Ascend")
    assert len(lines) == 1 and errors == ""
    assert lines[0].startswith("DeviceError runtime.device: Ascend: ")
    assert "runtime.device=auto" in lines[0]


def test_the_cpu_always_works():
    assert device("CPU") == (["CPU"], "")


# --- versions of MindSpore ------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.7.0", "2.8.0", "2.10.0", "2.10.0rc1", "2.11.0", "3.0"])
def test_versions_that_may_work(version):
    runtime.check_version(version)


@pytest.mark.parametrize("version", ["2.6.0", "1.10.1", "2.0.0rc1"])
def test_versions_that_are_too_old(version):
    message = tiny.refused(runtime.MindSporeError, runtime.check_version, version)
    assert message.startswith(f"MindSpore {version} is too old; expected 2.7 to 2.10")
