"""Convolutions by oneDNN's operators: equal to MindSpore's own, and never a run that fails."""

import ast
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mindspore import ParameterTuple, Tensor, nn, ops

from ms_gan import session
from ms_gan.convolution import choice, layers, library, trial
from ms_gan.convolution.library import Missing, Unavailable
from ms_gan.convolution.operators import Geometry, room
from ms_gan.export import graph
from ms_gan.export.packages import ExportError
from ms_gan.export.subject import Port
from ms_gan.models.layers import BatchNorm2d, LeakyReLU
from ms_gan.models.spectral_norm import SpectralNorm
from ms_gan.recipe import reader
from ms_gan.system import runtime
from tests.tiny import ROOT, assert_same_bits, newest, recipe_file, refused, run

OBTAIN = """
from ms_gan.convolution import library
print(library.obtained(lambda line: print("said", line)))
"""


@pytest.fixture(autouse=True)
def native_again():
    yield
    choice.use(None)


def tools_or_skip():
    try:
        library.place()
        return library.tools()
    except Missing as error:
        pytest.skip(f"ONEDNN'S OPERATORS NOT TESTED: {error}")


@pytest.fixture(scope="module")
def compiled():
    """What two processes say that want the library at once, where there was none."""
    tools_or_skip()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OBTAIN]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, umask=0o002)
        for _ in range(2)
    ]
    return [process.communicate(timeout=200)[0].splitlines() for process in both]


@pytest.fixture
def onednn(compiled):
    """The library, in use."""
    path = library.ready()
    choice.use(path)
    return path


# --- the operators ------------------------------------------------------------------------------


def test_two_processes_make_one_library(compiled):
    said = [line for lines in compiled for line in lines if line.startswith("said ")]
    assert said in (
        [],  # another test of this session was first
        ["said convolutions: compiling oneDNN's operators, once on this machine"],
    )
    assert compiled[0][-1] == compiled[1][-1] == str(library.ready())
    assert sorted(path.suffix for path in library.ready().parent.iterdir()) == ["", ".so"]


KINDS = {  # what a net of its own makes of [2, 4, 9, 9]
    "4x4, stride 2, a row left over": (8, 4, {"stride": 2, "padding": 1}),
    "5x5, same, stride 2": (4, 5, {"stride": 2, "pad_mode": "same"}),
    "3x3, same, bias": (4, 3, {"pad_mode": "same", "has_bias": True}),
    "3x3, dilated": (4, 3, {"padding": 2, "dilation": 2}),
    "3x3, two groups": (4, 3, {"padding": 1, "group": 2}),
    "depthwise, uneven edges": (4, 3, {"stride": 2, "padding": (1, 0, 1, 0), "group": 4}),
    "1x1": (8, 1, {}),
    "valid": (4, 3, {"pad_mode": "valid"}),
}
BACK = {
    "4x4, stride 2": (4, 4, {"stride": 2, "padding": 1, "has_bias": True}),
    "valid": (4, 3, {"stride": 2, "pad_mode": "valid"}),
    "same": (4, 3, {"stride": 2, "pad_mode": "same"}),
}


class All(nn.Cell):
    """x -> the sum of what all kinds make of it, each in a power of its own: one graph."""

    def __init__(self, ahead, back):
        super().__init__()
        made = [ahead(4, width, kernel, **padded(o)) for width, kernel, o in KINDS.values()]
        made += [back(4, width, kernel, **padded(o)) for width, kernel, o in BACK.values()]
        self.layers = nn.CellList(made)

    def construct(self, x):
        total = x.sum() * 0
        for layer in self.layers:
            y = layer(x)
            total = total + (y * y * y).mean()
        return total


def padded(options):
    return {"pad_mode": "pad", **options} if "pad_mode" not in options else options


class Gradients(nn.Cell):
    """x -> the gradients of a net's value for x and for all weights."""

    def __init__(self, net):
        super().__init__()
        self.net, self.weights = net, ParameterTuple(net.trainable_params())
        self.gradients = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x):
        return self.gradients(self.net, self.weights)(x)


class Penalty(nn.Cell):
    """x -> the squared gradient of a net's value for x."""

    def __init__(self, net):
        super().__init__()
        self.net, self.gradient = net, ops.GradOperation()

    def construct(self, x):
        dx = self.gradient(self.net)(x)
        return (dx * dx).sum()


def test_all_geometries_in_one_graph(onednn, rng):
    """Also where one operator could be taken for another: the shapes of several agree."""
    ours, theirs = All(layers.Conv2d, layers.Conv2dTranspose), All(nn.Conv2d, nn.Conv2dTranspose)
    assert layers.by_onednn(ours) and not layers.by_onednn(theirs)
    names = [[(p.name, p.shape) for p in net.get_parameters()] for net in (ours, theirs)]
    assert names[0] == names[1]
    for mine, other in zip(ours.get_parameters(), theirs.get_parameters(), strict=True):
        other.set_data(mine)
    x = Tensor(rng.standard_normal((2, 4, 9, 9)).astype(np.float32))
    compute, reference = Everything(ours), Everything(theirs)
    found, expected, again = compute(x), reference(x), compute(x)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=3e-6 * np.abs(other).max())
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, again, strict=True))


class Everything:
    """x -> the gradients of a net's value, and those of the penalty."""

    def __init__(self, net):
        self.first, self.second = Gradients(net), Gradients(Penalty(net))

    def __call__(self, x):
        return flat((self.first(x), self.second(x)))


def flat(value):
    if isinstance(value, tuple):
        return [array for part in value for array in flat(part)]
    return [value.asnumpy()]


def test_functions_of_weights(onednn, rng):
    """What takes its weights as an argument, and its transpose to a size that was left over."""
    x = rng.standard_normal((2, 4, 9, 9)).astype(np.float32)
    w = rng.standard_normal((4, 1, 3, 3)).astype(np.float32)
    y = rng.standard_normal((2, 4, 5, 5)).astype(np.float32)
    options = {"stride": 2, "padding": (1, 1, 1, 1), "groups": 4}
    found = []
    for path in (onednn, None):
        choice.use(path)
        ahead, back = (
            layers.convolution(4, 3, **options),
            layers.transposed_convolution(4, 3, **options),
        )
        made = [ahead(Tensor(x), Tensor(w)), back(Tensor(y), Tensor(w), (2, 4, 9, 9))]
        found.append([tensor.asnumpy() for tensor in made])
    assert isinstance(ahead, ops.Conv2D) and isinstance(back, ops.Conv2DTranspose)
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
    ahead, back = found[0]
    assert np.isclose((ahead * y).sum(), (back * x).sum(), rtol=1e-4)


def test_spectral_norm_takes_it(onednn, rng):
    layer = layers.Conv2d(2, 3, 3, pad_mode="pad", padding=1, has_bias=True)
    # The largest singular value well above the next one, so that 30 iterations are enough.
    rows = np.outer([3.0, 2.0, 1.0], rng.standard_normal(18)) + rng.standard_normal((3, 18)) / 4
    layer.weight.set_data(Tensor(rows.reshape(3, 2, 3, 3).astype(np.float32)))
    x = Tensor(rng.standard_normal((1, 2, 5, 5)).astype(np.float32))
    plain = layer(x).asnumpy()
    net = SpectralNorm(layer).set_train()
    for _ in range(30):
        y = net(x).asnumpy()
    weight = layer.weight.asnumpy()
    norm = np.linalg.norm(weight.reshape(3, -1), 2)
    bias = layer.bias.asnumpy().reshape(1, -1, 1, 1)
    np.testing.assert_allclose(y, (plain - bias) / norm + bias, rtol=1e-3, atol=1e-4)


class Curved(nn.Cell):
    """x -> the gradient of a penalty on an activation's gradient, and that gradient, and y."""

    def __init__(self, activation):
        super().__init__()
        self.net = Cubed(activation)
        self.penalty = Penalty(self.net)
        self.gradient = ops.GradOperation()

    def construct(self, x):
        return self.net.activation(x), self.gradient(self.net)(x), self.gradient(self.penalty)(x)


class Cubed(nn.Cell):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def construct(self, x):
        y = self.activation(x)
        return (y * y * y).sum()


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7, 5), (129, 127), (64, 8, 16, 16)])
def test_leaky_relu(shape, onednn, rng):
    """Bit for bit what MindSpore's kernels make; one thread and several."""
    ours = LeakyReLU(0.2)
    choice.use(None)
    theirs = LeakyReLU(0.2)
    assert layers.by_onednn(ours) and not layers.by_onednn(theirs)
    x = Tensor(rng.standard_normal(shape).astype(np.float32))
    for mine, other in zip(Curved(ours)(x), Curved(theirs)(x), strict=True):
        np.testing.assert_array_equal(mine.asnumpy(), other.asnumpy())


def test_leaky_relu_where_it_bends(onednn):
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-37, -1e-37], np.float32)
    ones = Tensor(np.ones_like(x))
    net = LeakyReLU(0.2)
    slopes = ops.GradOperation(sens_param=True)(net)(Tensor(x), ones).asnumpy()
    expected = np.where(x > 0, x, np.float32(0.2) * x)
    np.testing.assert_array_equal(net(Tensor(x)).asnumpy(), expected)
    np.testing.assert_array_equal(slopes, np.where(x > 0, 1, np.float32(0.2)))


class First(nn.Cell):
    """x, d -> the gradients of the product of y and d for x, gamma and beta."""

    def __init__(self, net):
        super().__init__()
        self.net, self.weights = net, ParameterTuple(net.trainable_params())
        self.gradients = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)

    def construct(self, x, d):
        return self.gradients(self.net, self.weights)(x, d)


class Second(nn.Cell):
    """x, d -> the gradients of half the squared gradient for x."""

    def __init__(self, net):
        super().__init__()
        self.penalty, self.weights = PenaltyOf(net), ParameterTuple(net.trainable_params())
        self.gradients = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x, d):
        return self.gradients(self.penalty, self.weights)(x, d)


class PenaltyOf(nn.Cell):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.gradient = ops.GradOperation(sens_param=True)

    def construct(self, x, d):
        dx = self.gradient(self.net)(x, d)
        return 0.5 * (dx * dx).sum()


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(4, 5, 7, 9), (16, 6, 32, 32)], ids=["one thread", "several"])
def test_batch_norm(shape, slope, onednn, rng):
    """What MindSpore's layers make, second derivatives and moving statistics included."""
    ours = BatchNorm2d(shape[1], slope, momentum=0.9)
    choice.use(None)
    theirs = BatchNorm2d(shape[1], slope, momentum=0.9)
    assert layers.by_onednn(ours) and not layers.by_onednn(theirs)
    x, d = (Tensor(rng.standard_normal(shape).astype(np.float32) * 2 + 1) for _ in range(2))
    weights = rng.standard_normal((2, shape[1])).astype(np.float32)
    found = []
    for net in (ours, theirs):
        net.set_train()
        for parameter, values in zip((net.gamma, net.beta), weights, strict=True):
            parameter.set_data(Tensor(values))
        y, (dx, dweights), (slopes, of_weights) = net(x), First(net)(x, d), Second(net)(x, d)
        used = net.set_train(False)(x)
        statistics = (net.moving_mean, net.moving_variance)
        found.append([y, dx[0], *dweights, *slopes, *of_weights, *statistics, used])
    names = "y dx dgamma dbeta x d gamma beta mean variance used".split()
    for name, mine, other in zip(names, *found, strict=True):
        mine, other = mine.asnumpy(), other.asnumpy()
        error = np.abs(mine - other).max() / (np.abs(other).max() or 1)
        assert error < 1e-4, name
    assert np.abs(found[0][0].asnumpy()).max() > 1


def test_geometry():
    """Sizes as nn.Conv2d makes them."""
    assert Geometry.of((4, 4), 2, 1, "pad", 1, 1).size((7, 8)) == [3, 4]
    assert Geometry.of(5, (2, 2), (1, 1), "same", 0, 1).size((7, 28)) == [4, 14]
    assert Geometry.of(3, 1, 2, "valid", 0, 1).size((9, 5)) == [5, 1]
    assert Geometry.of(3, (1, 1, 2, 2), 1, "pad", (1, 0, 2, 0), 1).size((14, 14)) == [7, 7]


def test_every_convolution_is_one_of_these():
    """A convolution of MindSpore's would be a hundred times slower beside them."""
    for path in sorted((ROOT / "ms_gan").rglob("*.py")):
        if path.parent.name == "convolution":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                where = f"{path.name}, line {node.lineno}: take it from ms_gan.convolution.layers"
                assert not re.match("conv[123]d", node.func.attr.lower()), where


# --- having them --------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "ms_gan" / "convolution"


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def headers(tmp_path, monkeypatch):
    """Something that looks like oneDNN's."""
    (tmp_path / "include" / library.HEADER.parent).mkdir(parents=True)
    (tmp_path / "include" / library.HEADER).touch()
    monkeypatch.setenv("CPATH", str(tmp_path / "include"))


def test_without_a_compiler(monkeypatch, cache, headers):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "there is no C++ compiler (Debian: apt-get" in refused(Missing, library.obtained, print)


def test_without_headers(monkeypatch, cache, tmp_path):
    monkeypatch.setattr(library, "HEADER", library.HEADER.with_name("no_such_header.hpp"))
    monkeypatch.setenv("CXX", script(tmp_path / "compiler", "exit 0"))
    assert "pip install --no-deps onednn-devel" in refused(Missing, library.obtained, print)


@pytest.mark.parametrize(
    "compiler, line",
    [
        ("echo 'x.cpp:1:2: error: no such thing' >&2; exit 1", "cannot compile it: x.cpp:1:2: err"),
        ("kill -SEGV $$", "cannot compile it: it was ended by SIGSEGV"),
        ("exit 1", "cannot compile it: exit code 1"),
        ('for last; do if [ "$before" = -o ]; then echo x > "$last"; fi; before="$last"; done',
         "it does not work here (strict): "),
    ],
)  # fmt: skip
def test_what_does_not_work_leaves_nothing(compiler, line, cache, headers, tmp_path, monkeypatch):
    """The last one compiles what cannot be loaded, as of another MindSpore."""
    monkeypatch.setenv("CXX", script(tmp_path / "compiler", compiler))
    assert line in refused(Unavailable, library.obtained, lambda text: None)
    assert library.ready() is None and list(cache.glob("*.so")) == []


def test_a_crash_of_the_trial_is_a_line(monkeypatch, cache, tmp_path):
    monkeypatch.setattr(sys, "executable", script(tmp_path / "python", "kill -SEGV $$"))
    assert refused(Unavailable, library.attempt, tmp_path) == (
        "it does not work here (strict): it was ended by SIGSEGV"
    )


ROUNDING = """
import sys
import numpy as np
from ms_gan.system import runtime
from ms_gan.convolution import choice, library
runtime.set_fpmath(sys.argv[1])
runtime.limit_instruction_set(convolutions=False)
choice.use(library.ready())
import mindspore as ms
from ms_gan.convolution.layers import Conv2d
ms.set_device("CPU")
little = 2.0**-12  # what bfloat16, of 8 digits, does not see beside 1
x = np.ones((1, 4, 2, 2), np.float32)
x[:, 0] += little
w = np.full((2, 4 // int(sys.argv[2]), 1, 1), little, np.float32)
w[:, 0] = 1
layer = Conv2d(4, 2, 1, group=int(sys.argv[2]), weight_init=ms.Tensor(w))
y = layer(ms.Tensor(x)).asnumpy()
print("little", [round(v) for v in (y[0, :, 0, 0] - 1) / little])
"""


@pytest.mark.parametrize(
    "fpmath, groups, expected",
    [("strict", 1, [4, 4]), ("bf16", 1, [3, 3]), ("bf16", 2, [2, 1])],
    ids=lambda value: str(value),
)
def test_factors_are_rounded_where_the_recipe_allows_it(onednn, fpmath, groups, expected):
    """The result and its sums are not; nor are groups, which that would make slower."""
    if fpmath == "bf16" and groups == 1 and "avx512_bf16" not in runtime.cpu_flags():
        expected = [4, 4]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for name in (runtime.FPMATH_VARIABLE, *runtime.ISA_VARIABLES):
        environment.pop(name, None)
    command = [sys.executable, "-c", ROUNDING, fpmath, str(groups)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[-1:] == [f"little {expected}"], done.stderr


def test_the_trial_sees_a_wrong_gradient(onednn, monkeypatch):
    """As where one operator's gradient is taken for another's."""
    exact = trial.TOLERANCES["strict"]
    assert trial.fault(onednn, exact) is None
    right = layers.operators

    def almost(path, geometry):
        found = right(path, geometry)
        images, weights = found.images, found.weights
        forward = ops.Custom(*(getattr(found.forward, name) for name in PARTS), "aot")
        forward.add_prim_attr("geometry", f"almost {geometry}")

        def bprop(x, w, numbers, out, dy):
            dx = images(dy, w, numbers, room(x.shape[2], x.shape[3]))
            dw = weights(x, dy, numbers)
            return dx, dw * 1.001, ops.zeros_like(numbers)

        forward.bprop = bprop
        return SimpleNamespace(forward=forward, numbers=found.numbers)

    monkeypatch.setattr(layers, "operators", almost)
    found = trial.fault(onednn, exact)
    assert found == "the gradient of strided weights differ by 0.001 of their size"


PARTS = ("func", "out_shape", "out_dtype")


def test_others_must_not_write_there(onednn, cache):
    """What lies in the cache is executed."""
    cache.mkdir(parents=True)
    path = library.place()
    shutil.copy(onednn, path)
    cache.chmod(0o755)
    path.chmod(0o755)
    assert library.ready() == path
    for what in (path, cache):
        what.chmod(0o777)
        assert library.ready() is None
        assert "others may write there" in refused(Unavailable, library.check_private, what)
        what.chmod(0o755)


def test_another_machine_is_another_file(monkeypatch, cache):
    if sys.platform != "linux":
        pytest.skip("it is for Linux")
    monkeypatch.setattr(library.platform, "machine", lambda: "x86_64")
    here = library.place()
    monkeypatch.setattr(library, "mindspore_version", lambda: "2.99.0")
    elsewhere = library.place()
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"avx2"}))
    assert len({here, elsewhere, library.place()}) == 3
    monkeypatch.setattr(library.platform, "machine", lambda: "aarch64")
    assert refused(Missing, library.place) == "this is not Linux on x86-64"


# --- choosing -----------------------------------------------------------------------------------


NO_TOOLS, BROKEN = Missing("there is no compiler"), Unavailable("it was ended by SIGSEGV")
FALLS_BACK = "convolutions: by MindSpore's own kernels; oneDNN's operators cannot be used: "
TO_NATIVE = (
    "convolutions: from here on by MindSpore's own kernels, so far by oneDNN's operators: the same "
    "but for rounding"
)
TO_ONEDNN = (
    "convolutions: from here on by oneDNN's operators, so far by MindSpore's own kernels: the same "
    "but for rounding"
)


@pytest.mark.parametrize(
    "wanted, began, pays, there, expected, said",
    [
        ("auto", None, True, None, True, []),
        ("auto", None, False, None, False, []),
        ("auto", None, True, NO_TOOLS, False, []),  # nobody asked for it, nothing is wrong
        ("auto", None, True, BROKEN, False, [f"{FALLS_BACK}{BROKEN}"]),
        ("auto", "native", True, None, False, []),  # a run goes on as it began
        ("auto", "onednn", False, None, True, []),
        ("auto", "onednn", True, NO_TOOLS, False, [f"{FALLS_BACK}{NO_TOOLS}", TO_NATIVE]),
        ("native", None, True, None, False, []),
        ("native", "onednn", True, None, False, [TO_NATIVE]),
        ("onednn", None, False, None, True, []),
        ("onednn", "native", True, None, True, [TO_ONEDNN]),
        ("onednn", None, True, NO_TOOLS, NO_TOOLS, []),
        ("onednn", None, True, BROKEN, BROKEN, []),
    ],
)
def test_the_choice(wanted, began, pays, there, expected, said, monkeypatch, tmp_path):
    def obtained(say):
        if there is not None:
            raise there
        return tmp_path

    monkeypatch.setattr(library, "obtained", obtained)
    monkeypatch.setattr(choice, "pays", lambda isa: pays)
    lines = []
    given = {"began": began, "isa": "auto", "say": lines.append}
    if isinstance(expected, Exception):
        message = refused(Unavailable, choice.chosen, wanted, **given)
        assert message.startswith(f"runtime.convolutions: onednn cannot be used: {expected}; ")
    else:
        assert choice.chosen(wanted, **given) == (tmp_path if expected else None)
    assert lines == said


def test_where_it_pays(monkeypatch):
    """With AVX-512, before MindSpore is there, and where nobody limits it."""
    for name in (*runtime.ISA_VARIABLES, runtime.ISA_MARK):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(choice, "sys", SimpleNamespace(modules={}))
    monkeypatch.setattr(runtime, "has_avx512", lambda: True)
    assert choice.pays() and choice.pays("default") and not choice.pays("AVX2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not choice.pays()
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(runtime, "has_avx512", lambda: False)
    assert not choice.pays()
    monkeypatch.setattr(runtime, "has_avx512", lambda: True)
    monkeypatch.setattr(choice, "sys", SimpleNamespace(modules={"mindspore": None}))
    assert not choice.pays()


@pytest.mark.parametrize(
    "recipe, overrides, convolves",
    [
        ("dcgan28_mnist", [], True),
        ("dcgan28_mnist", ["runtime.device=GPU"], False),
        ("dcgan28_mnist", ["runtime.convolutions=native"], False),
        ("gan_mnist", [], False),
        ("gan_mnist", ["runtime.convolutions=onednn"], True),
    ],
)
def test_what_a_session_prepares(recipe, overrides, convolves, monkeypatch, tmp_path):
    """The limit is for MindSpore's own convolutions alone."""
    limits = []
    monkeypatch.setattr(runtime, "limit_instruction_set", lambda **given: limits.append(given))
    monkeypatch.setattr(library, "obtained", lambda say: tmp_path)
    monkeypatch.setattr(choice, "pays", lambda isa: True)
    config = reader.load(reader.find(recipe), overrides)
    session.prepare(config)
    native = config.model.name == "dcgan28" and not convolves
    assert limits == [{"convolutions": native, "isa": "auto"}]
    assert choice.library_in_use() == (tmp_path if convolves else None)


# --- a run --------------------------------------------------------------------------------------


SMALL = {
    "model": {
        "name": "dcgan28", "latent_dim": 8, "g_width": 4, "d_width": 4, "d_norm": "none",
    },
    "regularizer": {"name": "r1", "weight": 0.1},
    "train": {"steps": 8, "ema_decay": 0.9},
}  # fmt: skip


def test_a_run_says_what_it_used(onednn, tmp_path):
    """Its manifest says it, and a run that goes on by others says so."""
    recipe = recipe_file(tmp_path, **{**SMALL, "train": {"steps": 2}})
    lines = []
    made = session.start(
        recipe, tmp_path / "run", ["runtime.convolutions=onednn"], say=lines.append
    )
    assert layers.by_onednn(made.sampler.net)
    with refused_export():
        graph.mindir(made.sampler.net.set_train(False), (Port("z", (8,)),), 2, {})
    made.train()
    assert used(made) == "onednn"
    again = session.start(recipe, tmp_path / "run", ["train.steps=4"], say=lines.append)
    assert used(again) == choice.name() == "onednn"  # as it began
    assert TO_NATIVE not in lines
    native = ["train.steps=4", "runtime.convolutions=native"]
    other = session.start(recipe, tmp_path / "run", native, say=lines.append)
    assert TO_NATIVE in lines and not layers.by_onednn(other.sampler.net)
    assert used(other) == "native"


def used(session):
    return session.manifest()["sessions"][-1]["convolutions"]


def refused_export():
    return pytest.raises(ExportError, match="no other program has")


@pytest.mark.slow
def test_a_run_that_was_interrupted_has_the_same_bits(compiled, tmp_path):
    for place, lengths in (("whole", [8]), ("halves", [4, 8])):
        folder = tmp_path / place
        folder.mkdir()
        recipe = recipe_file(folder, **SMALL)
        for steps in lengths:
            code, _, err = run(
                "train", "--config", recipe, "--run-dir", folder / "run", f"train.steps={steps}",
                "runtime.convolutions=onednn",
            )  # fmt: skip
            assert code == 0, err
    assert_same_bits(newest(tmp_path / "whole" / "run"), newest(tmp_path / "halves" / "run"))


@pytest.mark.slow
def test_one_that_cannot_be_had_is_one_line(tmp_path):
    code, _, err = run(
        "train", "--config", recipe_file(tmp_path, **SMALL), "--run-dir", tmp_path / "run",
        "runtime.convolutions=onednn", XDG_CACHE_HOME=str(tmp_path / "cache"), PATH="", CXX="",
    )  # fmt: skip
    assert code == 2 and err.count("\n") == 1
    assert "runtime.convolutions: onednn cannot be used: there is no C++ compiler" in err
    assert not (tmp_path / "run").exists()


DELETED = """
import sys
from ms_gan.convolution import choice
from ms_gan.training import trainer

saves = trainer.save_all

def save_all(*arguments):  # behind the first one the cache is cleared; the next level compiles
    saves(*arguments)
    choice.library_in_use().unlink(missing_ok=True)

trainer.save_all = save_all
from ms_gan.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_library_that_is_deleted_during_a_run_is_one_line(compiled, tmp_path):
    words = [
        "train", "--config", "progan_fashion", "--run-dir", str(tmp_path / "run"),
        "runtime.convolutions=onednn", "model.levels=[2, 2]", "model.g_widths=[4, 4]",
        "model.d_widths=[4, 4]", "data.name=digits", "data.size=8", "data.margin=0",
        "data.batch_size=4", "every.evaluate=0", "train.steps=4", "every.save=2", "every.sample=2",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", DELETED, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"\.so: was deleted while .* from its newest checkpoint$", done.stderr.strip())
    code, out, err = run(*words)
    assert code == 0 and "step 4" in out + err
