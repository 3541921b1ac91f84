"""The primitives of compiled graphs and what MindSpore declares for them: docs/portability.md."""

import dataclasses
import re

import pytest

from mindspore import Tensor, nn, ops

from ms_gan.portability import __main__ as program
from ms_gan.portability import backends, cases, graphs, report
from ms_gan.portability.graphs import Compiled, PortabilityError, compiled
from ms_gan.portability.registrations import described, registered
from ms_gan.system import runtime
from ms_gan.training.updates import Updates
from tests.tiny import ROOT, refused

PAGE = ROOT / "docs" / "portability.md"
RECIPES = ["gan_mnist", "wgan_mnist", "cgan_mnist", "dcgan28_mnist"]


@pytest.fixture(scope="module")
def some():
    """Graphs of four recipes: dense and convolutional, conditional, both optimizers, a penalty."""
    runtime.set_mode("graph")
    try:
        return {recipe: cases.graphs(recipe) for recipe in RECIPES}
    finally:
        runtime.set_layers("fast")


def test_every_primitive_has_all_backends_and_no_graph_a_trap(some):
    assert report.missing(some) == []
    assert {"Conv2D", "MatMul", "Adam", "BatchNormGrad"} <= some["dcgan28_mnist"]["step"].primitives
    assert "OneHot" in some["cgan_mnist"]["generator"].primitives
    assert not some["gan_mnist"]["generator"].primitives & {"Adam", "TanhGrad"}


def test_the_kernels_that_run_are_among_those_that_are_read(some):
    """The calibration of the reading: on CPU the truth is known."""
    for parts in some.values():
        for graph in parts.values():
            assert graph.kernels <= backends.of_cpu()
            assert not graph.expanded & backends.of_cpu()  # what has a kernel is not replaced


def test_the_table_of_the_page_says_the_same(some):
    """Of every primitive of these recipes; the page is written by `--write`."""
    written = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"`\w+`", cells[0]) and len(cells) == 6:
            written[cells[0]] = cells[2:]
    assert len(written) > 60
    for name, _, *columns in report.rows(some):
        assert written[name] == columns, name


@pytest.mark.parametrize(
    "source, has, lacks",
    [
        (backends.of_cpu, "Conv2D", "Muls"),
        (backends.of_gpu, "ApplyRMSProp", "Muls"),
        (backends.of_gpu, "Conv2D", "PowTensorScalar"),
        (backends.of_aclnn, "Muls", "Conv2D"),
        (backends.of_acl, "Conv2DBackpropFilter", "Muls"),
        (backends.of_ai_cpu, "BiasAddGrad", "Conv2D"),
    ],
)
def test_what_is_read_of_a_plugin(source, has, lacks):
    names = source()
    assert len(names) > 400
    assert has in names and lacks not in names
    assert not names & {"TypeError", "float32", "Default"}  # strings that are no primitives


def test_documented_platforms():
    assert backends.documented("Conv2D") == {"Ascend", "GPU", "CPU"}  # says so itself
    assert backends.documented("Mul") == {"Ascend", "GPU", "CPU"}  # names a function that does
    assert backends.documented("PowTensorScalar") == {"Ascend"}
    assert backends.documented("TanhGrad") == frozenset()
    assert backends.documented("NoSuchPrimitive") == frozenset()


def test_what_a_backend_lacks_is_named():
    """A primitive of nobody, one of Ascend alone, one that CPU replaces by what GPU lacks."""
    fine = Compiled(frozenset({"MatMul"}), frozenset({"MatMul"}))
    nobodys = Compiled(frozenset({"NoSuch"}), frozenset({"NoSuch"}))
    ascends = Compiled(frozenset({"PowTensorScalar"}), frozenset({"PowTensorScalar"}))
    replaced = Compiled(frozenset({"Muls"}), frozenset({"NoSuch"}), ("float64",))
    found = report.missing(
        {"a": {"step": fine}, "b": {"step": nobodys}, "c": {"step": ascends, "used": replaced}}
    )
    assert found == [
        *(f"b, step: {b} declares nothing for NoSuch" for b in ("CPU", "GPU", "Ascend")),
        *(f"c, step: {b} declares nothing for PowTensorScalar" for b in ("CPU", "GPU")),
        "c, used: holds float64",
        *(f"c, used: {b} declares nothing for NoSuch" for b in ("CPU", "GPU")),
    ]
    assert "**nothing**" in report.table({"b": {"step": nobodys}})


class Doubtful(nn.Cell):
    """Has what a graph here must not have."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.grouped = nn.Conv2d(4, 4, 1, group=2)

    def construct(self, x):
        if self.kind == "float64":
            return x.astype("float64") * 2.0
        if self.kind == "random numbers":
            return x + ops.standard_normal((4,))
        if self.kind == "branches or loops on values":
            while x.sum() < 10:
                x = x + 1
        if self.kind == graphs.GROUPED:
            return self.grouped(x.reshape((1, 4, 1, 1)))
        return x * 2


@pytest.mark.parametrize("kind", graphs.TRAPS)
def test_traps_are_seen(kind):
    x = Tensor([1.0, 2.0, 3.0, 4.0])
    if kind == "a shape that is not known":
        x = Tensor(shape=(None,), dtype=x.dtype)
    assert compiled(Doubtful(kind), x).traps == (kind,)


def test_the_known_trap_of_r3gan():
    """Its blocks have groups; with one group only the depthwise resampling is left."""
    config = cases.narrow("r3gan_mnist")
    graph = cases.of_generator(config)
    assert graph.traps == (graphs.GROUPED,)
    found = {"r3gan_mnist": {"generator": graph}}
    assert report.missing(found) == [] and "model.cardinality=1" in report.known(found)[0]
    assert graphs.GROUPED in report.missing({"mine": {"generator": graph}})[0]
    config = cases.narrow("r3gan_mnist", "model.cardinality=1")
    assert cases.of_generator(config).traps == ()
    runtime.set_layers("fast")


class Unlike(nn.Cell):
    """A step that holds one primitive."""

    def __init__(self, primitive):
        super().__init__()
        self.primitive = primitive

    def construct(self, real, *others):
        return self.primitive(real)


def test_all_steps_of_a_run_are_looked_at(monkeypatch):
    """Of levels and lazy parts; what they need is that of all together."""
    state = cases.build.build_training(cases.narrow("gan_mnist"), (1, 28, 28), 10, {})
    steps = [
        {(True,): Unlike(ops.ReLU()), (False,): Unlike(ops.Exp())},
        {(True,): Unlike(ops.Sin())},
    ]
    state = dataclasses.replace(state, updates=Updates(steps))
    monkeypatch.setattr(cases.build, "build_training", lambda *_: state)
    assert cases.of_step(cases.narrow("gan_mnist")).primitives == {"ReLU", "Exp", "Sin"}
    runtime.set_layers("fast")
    one, two = (
        Compiled(frozenset("a"), frozenset("b"), ("x",)),
        Compiled(frozenset("c"), frozenset()),
    )
    assert graphs.together([one, two]) == Compiled(frozenset("ac"), frozenset("b"), ("x",))


def test_a_graph_is_not_read_twice():
    """A cell that was compiled already is not compiled again, so there is nothing to read."""
    cell, x = nn.ReLU(), Tensor([1.0])
    assert compiled(cell, x).primitives == {"ReLU"}
    assert "wrote no graph" in refused(PortabilityError, compiled, cell, x)


def test_files_that_are_no_plugins(tmp_path):
    assert "no such file" in refused(PortabilityError, registered, tmp_path / "x.so")
    (tmp_path / "x.so").write_bytes(b"\x7fELF" + bytes(60))
    assert "x86-64" in refused(PortabilityError, registered, tmp_path / "x.so")
    library = backends.PLUGINS / "libmindspore_ops_ascend.so"
    assert "no table" in refused(PortabilityError, described, library, "NoSuch")


def test_the_program(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(cases, "graphs", lambda recipe: {"step": nobodys})
    nobodys = Compiled(frozenset({"NoSuch"}), frozenset({"NoSuch"}))
    assert program.main(["default"]) == 1
    out, err = capsys.readouterr()
    assert "| `NoSuch` | default |" in out and err.count("\n") == 3
    nobodys = Compiled(frozenset({"MatMul"}), frozenset({"MatMul"}))
    page = tmp_path / "page.md"
    page.write_text(f"a\n{program.BEGIN}\nold\n{program.END}\nb\n", encoding="utf-8")
    assert program.main(["default", "--write", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "`MatMul`" in text and "old" not in text and text.endswith("\nb\n")
    page.write_text("nothing", encoding="utf-8")
    assert program.main(["default", "--write", str(page)]) == 2
    assert page.read_text(encoding="utf-8") == "nothing"
    assert program.main(["default", "--write", str(tmp_path)]) == 2
    monkeypatch.undo()
    assert program.main(["no_such_recipe"]) == 2
