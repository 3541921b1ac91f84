"""The notebooks of docs/: both languages have one code, which runs from top to bottom.

Run for real by nbclient (`pip install nbclient ipykernel`), with `-m slow`; here at smoke size.
"""

import ast
import importlib.util
import json
import re
import time

import pytest

from tests import commands
from tests.test_docs import in_text
from tests.tiny import ROOT

NOTEBOOKS = [ROOT / "docs" / "tutorial.ipynb", ROOT / "docs" / "tutorial_CN.ipynb"]
MINUTES = 4  # that it may take


def cells(path, kind):
    """The text of each cell of a kind."""
    found = json.loads(path.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_both_languages_have_the_same_code():
    ours, theirs = (json.loads(path.read_text("utf-8"))["cells"] for path in NOTEBOOKS)
    assert [cell["cell_type"] for cell in ours] == [cell["cell_type"] for cell in theirs]
    assert cells(NOTEBOOKS[0], "code") == cells(NOTEBOOKS[1], "code")
    for one, other in zip(*(cells(path, "markdown") for path in NOTEBOOKS), strict=True):
        for pattern in (r"^#+ ", r"\$\$.+?\$\$", r"`bash [^`]+`", r"arXiv:[\d.]+"):
            found, translated = (re.findall(pattern, text, re.M | re.S) for text in (one, other))
            assert found == translated
        assert re.search(r"[\u4e00-\u9fff]", other) and not re.search(r"[\u4e00-\u9fff]", one)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_file_is_small_and_has_no_outputs(path):
    book = json.loads(path.read_text("utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids) and path.stat().st_size < 30_000
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert max(map(len, "".join(cell["source"]).splitlines())) <= 100


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_its_links_and_commands_are_right(path):
    text = "\n".join(cells(path, "markdown"))
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) >= 8
    for link in links:
        assert (path.parent / link).is_file(), link
    typed = in_text(text)
    assert len(typed) >= 3
    for line in typed:
        for words in commands.split(line):
            commands.check(words)


SMOKE = {
    '"train.minutes=1"': '"train.steps=2"',
    "num=1000": "num=64",
    "from IPython.display import Image as Film": (
        "def Film(filename): return Path(filename).read_bytes()[:3]"
    ),
}


def smoke(code):
    """The same at a size that takes seconds, without IPython."""
    for whole, small in SMOKE.items():
        code = code.replace(whole, small)
    return code


def test_it_runs_at_smoke_size(tmp_path, monkeypatch, capsys):
    """Every cell; those that end in a value show one."""
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path / "docs")
    names, shown = {}, []
    for code in map(smoke, cells(NOTEBOOKS[0], "code")):
        tree = ast.parse(code)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
    out = capsys.readouterr().out
    assert "1497 to train, 300 to measure with" in out and "1,510,032 parameters" in out
    d, g = (re.search(rf"^{who}: (\S+) by hand (\S+)$", out, re.M) for who in "DG")
    for line in (d, g):
        assert float(line[1]) == pytest.approx(float(line[2]), abs=1e-5)
    pictures = [one.size for one in shown if hasattr(one, "size")]
    assert len(pictures) == 6 and min(min(size) for size in pictures) > 100
    assert b"GIF" in shown and shown.count(True) == 2  # the film; both trainings came to their end
    assert re.search(r"^floor +\d+\.\d +[01]\.\d\d +[01]\.\d\d$", out, re.M)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs_for_real(path, tmp_path, monkeypatch):
    """In a kernel, within its minutes; training shows a bar; the newer recipe comes nearer."""
    if not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))):
        pytest.skip("THE NOTEBOOK WAS NOT RUN: pip install nbclient ipykernel")
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    began = time.monotonic()
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert time.monotonic() - began < 60 * MINUTES
    outputs = [one for cell in book.cells if cell.cell_type == "code" for one in cell.outputs]
    bars = [one for one in outputs if "<progress" in str(one.get("data", {}).get("text/html"))]
    assert len(bars) == 2
    text = "".join(one.get("text", "") for one in outputs)
    rows = dict(re.findall(r"^(gan_mnist|cgan_mnist|floor) +(\d+\.\d)", text, re.M))
    assert float(rows["floor"]) < float(rows["cgan_mnist"]) < float(rows["gan_mnist"])
    assert sum("image/png" in one.get("data", {}) for one in outputs) == 6
