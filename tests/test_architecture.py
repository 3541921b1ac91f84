"""The architecture: a folder imports only folders that stand below it, and in no circle."""

import ast

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ms_gan"

# From the ground up: a folder (or a module that stands alone) -> what it may import.
FOLDERS = {
    "errors": set(),
    "version": set(),
    "system": {"errors"},
    "recipe": {"errors"},
    "__init__": {"system", "version"},
    "data": {"errors", "system", "recipe"},
    "convolution": {"errors", "system"},
    "objectives": {"system"},
    "models": {"system", "recipe", "convolution", "objectives"},
    "runs": {"errors", "version", "system", "recipe"},
    "training": {"errors", "system", "objectives", "runs"},
    "evaluation": {"errors", "system", "data", "convolution", "objectives", "runs", "training"},
    "export": {"errors", "version", "system", "convolution", "runs", "evaluation"},
    "build": {"errors", "system", "recipe", "objectives", "models", "training", "runs"},
    "portability": {"errors", "system", "recipe", "training", "evaluation", "build"},
    "session": {
        *("errors", "version", "system", "recipe", "data", "convolution", "runs"),
        *("training", "evaluation", "build"),
    },
    "cli": {
        *("errors", "version", "system", "recipe", "data", "convolution", "runs"),
        *("evaluation", "export", "build", "session"),
    },
    "__main__": {"cli"},
}
# What answers a typing mistake at once: MindSpore is imported inside functions only, if at all.
WITHOUT_MINDSPORE = {
    *("errors", "version", "system", "recipe", "data", "__init__", "session", "cli", "__main__"),
    *(
        "runs.run_dir",
        "runs.shipped",
        "runs.visualise",
        "runs.film",
        "runs.story",
        "runs.report",
        "runs.template",
        "runs.board",
        "evaluation.metrics",
        "convolution.choice",
        "convolution.library",
        "convolution.__main__",
        "export.packages",
        "export.web",
        "portability.__main__",
        "evaluation.pyramid",
    ),
}
MAY_PRINT = {"cli", "cli.console", "runs.progress"}


def modules():
    """name without `ms_gan.` -> syntax tree"""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def folder(module):
    return module.split(".")[0]


def imports(tree):
    """(line, module) of every import of this package, at any depth, without `ms_gan.`"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "ms_gan":
                continue
            parts = parts[1:]
            while parts and ".".join(parts) not in MODULES:
                parts = parts[:-1]  # a function of a module
            yield node.lineno, ".".join(parts) or "__init__"


def test_every_folder_is_in_the_table_and_nothing_else():
    assert {folder(module) for module in MODULES} == set(FOLDERS)


def test_the_table_goes_down():
    below = set()
    for name, allowed in FOLDERS.items():
        assert allowed <= below, (
            f"{name} may import {sorted(allowed - below)}, which stand above it"
        )
        below.add(name)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    own = folder(module)
    for line, other in imports(MODULES[module]):
        where = f"ms_gan.{module}, line {line}, imports ms_gan.{other}"
        assert folder(other) == own or folder(other) in FOLDERS[own], where


@pytest.mark.parametrize("name", FOLDERS)
def test_no_circles_within_a_folder(name):
    needs = {
        module: {other for _, other in imports(tree) if folder(other) == name} - {module}
        for module, tree in MODULES.items()
        if folder(module) == name
    }
    while needs:
        free = [module for module, others in needs.items() if not others & set(needs)]
        assert free, f"a circle of imports among {sorted(needs)}"
        for module in free:
            del needs[module]


def top_level(node):
    """The nodes that run when the module is imported: all but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from top_level(child)


@pytest.mark.parametrize("module", [m for m in MODULES if {m, folder(m)} & WITHOUT_MINDSPORE])
def test_what_answers_at_once_does_not_import_mindspore(module):
    for node in top_level(MODULES[module]):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        roots = {name.split(".")[0] for name in names}
        assert "mindspore" not in roots, f"ms_gan.{module}, line {node.lineno}"


@pytest.mark.parametrize("module", [m for m in MODULES if m not in MAY_PRINT])
def test_only_the_command_line_prints(module):
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"ms_gan.{module}, line {node.lineno}: print"


def test_the_loop_and_the_cells_know_no_recipe():
    """What training does is decided by what it is given."""
    for module in ("training.trainer", "training.cells", "training.feed"):
        names = {folder(other) for _, other in imports(MODULES[module])}
        assert not names & {"build", "recipe", "models", "data", "cli"}, module


def test_every_folder_is_installed():
    """pyproject.toml finds packages by their __init__.py, which also says what belongs there."""
    for path in PACKAGE.iterdir():
        if path.is_dir() and list(path.glob("*.py")):
            first = (path / "__init__.py").read_text(encoding="utf-8")
            assert ast.get_docstring(ast.parse(first)), f"{path.name}/__init__.py: say what is here"
