"""The one direction: a module imports only modules of strictly lower ranks."""

import ast

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ms_gan"

# A module that is not listed goes by its package: ms_gan.data.idx is of `data`.
RANKS = {
    "errors": 0,
    "metrics": 0,
    "version": 0,
    "shipped": 0,
    "files": 1,
    "config": 1,
    "registry": 2,
    "run_dir": 2,
    "visualise": 2,
    "progress": 2,
    "runtime": 2,
    "__init__": 3,
    "data": 4,
    "losses": 4,
    "regularizers": 4,
    "augmentations": 4,
    "optimizers": 4,
    "schedules": 4,
    "models.layers": 4,
    "models.*": 5,
    "models": 6,
    "cells": 6,
    "checkpoint": 7,
    "sampling": 7,
    "state": 7,
    "build": 8,
    "classifier": 8,
    "evaluator": 9,
    "trainer": 9,
    "monitor": 10,
    "cli.console": 10,
    "cli.source": 10,
    "cli.*": 11,
    "cli": 12,
    "__main__": 13,
}
WITHOUT_MINDSPORE = 3  # modules up to this rank import it in functions only, if at all
MAY_PRINT = {"cli", "cli.console", "progress"}
ONE_RANK = {"data"}  # packages whose modules import each other, but never the package itself


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


def rank(module):
    package = module.split(".")[0]
    for name in (module, f"{package}.*" if "." in module else module, package):
        if name in RANKS:
            return RANKS[name]
    pytest.fail(f"ms_gan.{module}: add it to RANKS in {__file__}, at the lowest rank that works")


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


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    own, package = rank(module), module.split(".")[0]
    for line, other in imports(MODULES[module]):
        where = f"ms_gan.{module}, line {line}, imports ms_gan.{other}"
        if package in ONE_RANK and other.startswith(f"{package}.") and other != module:
            continue
        assert rank(other) < own, f"{where}: rank {own} may import lower ranks only"


@pytest.mark.parametrize("package", sorted(ONE_RANK))
def test_no_circles_within_a_package(package):
    needs = {
        module: {other for _, other in imports(tree) if other.split(".")[0] == package}
        for module, tree in MODULES.items()
        if module.split(".")[0] == package
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


@pytest.mark.parametrize("module", [m for m in MODULES if rank(m) <= WITHOUT_MINDSPORE])
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


def test_the_trainer_receives_built_objects():
    names = {other for _, other in imports(MODULES["trainer"])}
    assert not names & {"build", "registry", "config", "losses", "models", "data", "cli"}


def test_the_table_has_no_leftovers():
    known = {name.removesuffix(".*") for name in RANKS}
    assert known <= set(MODULES), f"no such module: {sorted(known - set(MODULES))}"
