"""docs/adding_a_gan.md is followed in a copy of the project, whose tests must pass afterwards.

The page marks its code blocks with HTML comments, which do not show: `<!-- write PATH -->`,
`<!-- insert PATH before: LINE -->`, `<!-- insert PATH after: LINE -->`, `<!-- import PATH -->` and
`<!-- run -->`. LINE is how one line of the file begins. An import names all that the file then
imports from a module, whatever it has imported before.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

PAGE = ROOT / "docs" / "adding_a_gan.md"
SMOKE = "data.batch_size=64 train.steps=2 every.sample=0 every.evaluate=0 every.save=0"
NARROW = "'model.g_widths=[16, 24]' 'model.d_widths=[16]'"
NEW = (
    "lsgan_r1", "relativistic_hinge", "zero_centred", "mean_image", "antithetic", "shallow", "npz",
)  # fmt: skip
RUNS = {"lsgan_r1", "relativistic_hinge", "zero_centred", "parts", "shallow", "noise"}
# Tests of everything, and those that go over a table, of which the new rows are run.
WHOLE = ["architecture", "docs", "guide", "keys", "registry", "recipe"]
TABLES = ["losses", "penalties", "terms", "models", "recipes", "data", "npz"]


def steps():
    """(action, path, line, body) of every marked block, in the order of the page."""
    text = PAGE.read_text(encoding="utf-8")
    for mark, body in re.findall(r"^<!-- (.+?) -->\n```\w+\n(.*?)^```$", text, re.S | re.M):
        found = re.fullmatch(r"(run|write|insert|import)(?: ([\w./]+))?(.*?)(?:: (.+))?", mark)
        assert found, f"cannot read <!-- {mark} -->"
        action, path, where, line = found.groups()
        yield action + where, path, line, body


def sections():
    """(title, text) of the sections that make something new."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^## (\d+\. .+?)\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    return [(title, body) for title, body in found if "To run: " in body]


def insert(text, action, line, body):
    lines = text.splitlines(keepends=True)
    places = [i for i, own in enumerate(lines) if own.strip().startswith(line)]
    assert len(places) == 1, f"`{line}` begins {len(places)} lines; expected one"
    start = places[0] + (action == "insert after")
    lines[start:start] = body.splitlines(keepends=True)
    return "".join(lines)


def merge_import(text, body):
    start, _, names = body.strip().partition(" import ")
    found = re.search(rf"^{re.escape(start)} import (\([^)]*\)|.+)$", text, re.M)
    names = sorted({*re.findall(r"\w+", found[1]), *re.findall(r"\w+", names)})
    line = f"{start} import {', '.join(names)}"
    if len(line) > 100:
        line = f"{start} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
    return text[: found.start()] + line + text[found.end() :]


def edit(path, action, line, body):
    text = path.read_text(encoding="utf-8")
    done = merge_import(text, body) if action == "import" else insert(text, action, line, body)
    path.write_text(done, encoding="utf-8")


def was_followed():
    """Whether somebody has followed a part of the page here already."""
    for action, path, _, body in steps():
        file = ROOT / path if path else None
        if action == "write" and file.exists():
            return True
        if action.startswith("insert") and body in file.read_text(encoding="utf-8"):
            return True
    return False


def call(line, folder):
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MS_GAN_SCRIPT")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=300
    )


def at_smoke_size(line):
    if "run_train.sh" not in line:
        return line
    data = "" if "data.name=" in line else "data.name=digits"
    nets = "" if "shallow" in line else NARROW
    return f"{line.split(' #')[0]} {data} {nets} {SMOKE}"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the checkout in which the page was followed."""
    if was_followed():
        pytest.skip("this checkout has the page's examples in it")
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(git, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a checkout, so there is no list of its files")
    folder = tmp_path_factory.mktemp("guide") / "project"
    for file in listed.stdout.split("\0"):
        if file and (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, folder / file)
    for action, path, line, body in steps():
        if action == "write":
            assert not (folder / path).exists(), f"{path} is in the project already"
            (folder / path).write_text(body, encoding="utf-8")
        elif action == "run":
            # Tests are run afterwards, all of them in one process.
            for command in (line for line in body.splitlines() if "run_tests.sh" not in line):
                done = call(at_smoke_size(command), folder)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        else:
            edit(folder / path, action, line, body)
    return folder


def test_the_page_can_be_followed(project):
    """Everything that it makes is there; its options are checked like those of any other part."""
    assert {path.parent.name for path in (project / "runs").glob("*/generator.ckpt")} == RUNS
    assert (project / "shallow_samples" / "grid.png").is_file()
    words = "name=typo 'loss={name: relativistic_hinge, marginn: 2}'"
    refused = call(f"bash scripts/run_train.sh {words}", project)
    assert refused.returncode == 2 and "did you mean 'margin'?" in refused.stderr


def passed_in(project, names, chosen):
    """What pytest says of test files that must pass; -k `chosen`."""
    files = [f"tests/test_{name}.py" for name in names]
    assert not [file for file in files if not (project / file).exists()]
    words = f"python -m pytest -p no:cacheprovider -rA {' '.join(files)} -k '{chosen}'"
    done = call(words, project)
    assert done.returncode == 0, f"{done.stdout[-5000:]}\n{done.stderr}"
    return done.stdout


def test_what_goes_over_everything_passes_where_the_page_was_followed(project):
    """This file passes too: it skips what cannot be followed twice."""
    said = passed_in(project, WHOLE, "not python_of_the_readme and not without_the_package")
    assert "SKIPPED" in said and "has the page's examples in it" in said


def test_what_goes_over_tables_passes_where_the_page_was_followed(project):
    """The new rows, and what goes over a table within one test; in the project's own files."""
    said = passed_in(project, TABLES, f"({' or '.join(NEW)} or not [) and not download")
    passed = re.findall(r"^PASSED (.+)$", said, re.M)
    assert all(any(name in test for test in passed) for name in NEW), "a row without a test"


def test_what_was_added_is_in_style(project):
    style = shutil.which("ruff")
    if style is None:
        pytest.skip("ruff is not installed")
    files = sorted({path for _, path, *_ in steps() if path and path.endswith(".py")})
    for words in (["check"], ["format", "--check"]):
        subprocess.run([style, *words, "--quiet", *files], cwd=project, check=True)


@pytest.mark.parametrize("title, text", sections(), ids=lambda value: value[:1])
def test_the_table_counts_the_files_rightly(title, text):
    """Those that a section names, and none but those are written to."""
    listed = re.search(r"^To run: (.+?)\. To merge: (.+)\.$", text, re.M).groups()
    to_run, to_merge = (re.findall(r"`([^`]+)`", part) for part in listed)
    marks = re.findall(r"^<!-- (?:write|insert|import) ([\w./]+)", text, re.M)
    assert set(marks) <= set(to_merge) and set(to_run) <= set(to_merge)
    assert {path for path in marks if path.startswith(("ms_gan/", "configs/"))} == set(to_run)
    row = re.search(rf"^\| {title[0]}\. .*\| (\d+) \| (\d+) \|$", PAGE.read_text("utf-8"), re.M)
    assert [int(number) for number in row.groups()] == [len(to_run), len(to_merge)]
