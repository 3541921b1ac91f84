"""The documents say what is so: commands parse, links exist, papers are listed, pages are followed.

docs/adding_a_gan.md marks its code blocks with HTML comments, which do not show:
`<!-- write PATH -->`, `<!-- insert PATH before: LINE -->`, `<!-- insert PATH after: LINE -->`,
`<!-- replace PATH: LINE -->` and `<!-- run -->`. LINE is how one line of the file begins.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ms_gan import cli
from ms_gan.recipe import reader
from tests.conftest import ROOT

DOCS = sorted((ROOT / "docs").glob("*.md"))
READMES = sorted(ROOT.glob("README*.md"))
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *DOCS]
RECIPES = sorted((ROOT / "configs").glob("*.yaml"))
TRANSLATED = [page for page in PAGES if page.with_stem(page.stem + "_CN").is_file()]
SMOKE = "data.name=digits data.batch_size=64 train.steps=2 every.sample=0 every.save=0"


def text(path):
    return path.read_text(encoding="utf-8")


def name(path):
    return str(path.relative_to(ROOT))


def blocks(page, *languages):
    """(language, text) of the fenced code blocks."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), re.S | re.M)
    return [(language, body) for language, body in found if not languages or language in languages]


def commands(page):
    """The words of every command in the page's bash blocks, without comments."""
    for _, body in blocks(page, "bash"):
        for line in body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def without_comments(language, body):
    if language not in ("bash", "python", "yaml", "text"):
        return body
    body = re.sub(r"(^|\s+)#.*$", "", body, flags=re.M)
    return [line.rstrip() for line in body.splitlines() if line.strip()]


# --- papers, links, recipes ---------------------------------------------------------------------


def papers(*paths):
    found = {}
    for path in paths:
        for number in re.findall(r"arXiv:(\d{4}\.\d{4,5})", text(path)):
            found.setdefault(number, name(path))
    return found


def test_every_paper_is_in_the_references_and_used():
    references = ROOT / "docs" / "references.md"
    listed = re.findall(r"^\*\*arXiv:(\d{4}\.\d{4,5})\*\*", text(references), re.M)
    assert listed == sorted(set(listed)), "one entry each, in order"
    sources = [*(ROOT / "ms_gan").rglob("*.py"), *RECIPES, *(ROOT / "scripts").glob("*.py")]
    used = papers(*sources, *(page for page in PAGES if page != references))
    assert {k: v for k, v in used.items() if k not in listed} == {}, "not in docs/references.md"
    assert set(listed) <= set(used), "in docs/references.md only"
    for number in listed:
        assert f"<https://arxiv.org/abs/{number}>" in text(references)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_exist(page):
    body = re.sub(r"```.*?```", "", text(page), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", body):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:") or not target:
            continue
        assert (page.parent / target).exists(), f"{name(page)}: {link}"
        assert not Path(target).is_absolute() and not anchor, f"{name(page)}: {link}"


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_the_header_of_a_recipe(path):
    """What it is, where it is from, and the command that runs this very file."""
    header = []
    for line in text(path).splitlines():
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# "))
    assert len(header) >= 2, "expected a comment above the recipe"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|https?://", "\n".join(header)), "no source"
    lines = [line for line in header if line.startswith("bash scripts/run_train.sh")]
    assert lines, "no line `bash scripts/run_train.sh …`"
    arguments = cli.parser().parse_args(["train", *shlex.split(lines[0])[2:]])
    assert cli.train.find_config(arguments.config).resolve() == path
    assert reader.load(path, arguments.overrides).name == path.stem


# --- commands -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page):
    """Every `run_train.sh`, `run_generate.sh` and `run_evaluate.sh` of the page."""
    own = {}  # recipes that the page itself tells to write
    for _, body in blocks(page, "yaml"):
        found = re.search(r"^name: (\w+)$", body, re.M)
        if found:
            own[found[1]] = body
    for words in commands(page):
        script = next((word for word in words if word.startswith("scripts/run_")), None)
        if script:
            assert (ROOT / script).is_file(), words
        verb = (script or "").removeprefix("scripts/run_").removesuffix(".sh")
        if verb not in ("train", "generate", "evaluate"):
            continue
        arguments = cli.parser().parse_args([verb, *words[words.index(script) + 1 :]])
        if verb == "train":
            load(arguments, own)


def load(arguments, own):
    if arguments.config.stem not in own:
        return reader.load(cli.train.find_config(arguments.config), arguments.overrides)
    tree = yaml.safe_load(own[arguments.config.stem])
    for override in arguments.overrides:
        reader.apply_override(tree, override)
    return reader.from_dict(tree)


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_translations_have_the_same_code(page):
    """But for comments; and the same pictures."""
    other = page.with_stem(page.stem + "_CN")
    ours, theirs = blocks(page), blocks(other)
    assert [language for language, _ in ours] == [language for language, _ in theirs]
    for (language, body), (_, translated) in zip(ours, theirs, strict=True):
        if language in ("bash", "python", "yaml", "diff"):
            assert without_comments(language, body) == without_comments(language, translated)
    pictures = r"!\[[^]]*\]\(([^)]+)\)"
    assert re.findall(pictures, text(page)) == re.findall(pictures, text(other))


# --- docs/adding_a_gan.md is followed -----------------------------------------------------------


def steps(page):
    """(action, path, line, body) of every marked block, in the order of the page."""
    marked = re.findall(r"^<!-- (.+?) -->\n```\w+\n(.*?)^```$", text(page), re.S | re.M)
    for mark, body in marked:
        found = re.fullmatch(r"(run|write|insert|replace)(?: ([\w./]+))?(.*?)(?:: (.+))?", mark)
        assert found, f"{name(page)}: cannot read <!-- {mark} -->"
        action, path, where, line = found.groups()
        yield f"{action}{where}", path, line, body


def edit(path, action, line, body):
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    places = [i for i, own in enumerate(lines) if own.strip().startswith(line)]
    assert len(places) == 1, f"{path.name}: `{line}` begins {len(places)} lines; expected one"
    start = places[0] + (action == "insert after")
    lines[start : places[0] + (action != "insert before")] = body.splitlines(keepends=True)
    path.write_text("".join(lines), encoding="utf-8")


def run(line, folder):
    """One command of the page at smoke size."""
    if "run_train.sh" in line:
        line = f"{line.split(' #')[0]} {SMOKE}"
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MS_GAN_SCRIPT")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True, timeout=180
    )


def test_adding_a_gan_can_be_followed(tmp_path):
    folder = tmp_path / "project"
    for part in ("ms_gan", "scripts", "configs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for file in ("requirements.txt", "pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, folder / file)
    actions = []
    for action, path, line, body in steps(ROOT / "docs" / "adding_a_gan.md"):
        actions.append(action)
        if action == "write":
            assert not (folder / path).exists(), f"{path} is in the project already"
            (folder / path).write_text(body, encoding="utf-8")
        elif action == "run":
            for command in body.splitlines():
                done = run(command, folder)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        else:
            edit(folder / path, action, line, body)
    assert actions.count("run") == 3 and actions.count("write") == 4
    assert {"insert before", "insert after", "replace"} <= set(actions)
    made = {path.parent.name for path in (folder / "runs").glob("*/generator.ckpt")}
    assert made == {"lsgan_r1", "relativistic_hinge", "shallow"}
    assert (folder / "shallow_samples" / "grid.png").is_file()
    refused = run(
        "bash scripts/run_train.sh name=typo 'loss={name: relativistic_hinge, marginn: 2}'", folder
    )
    assert refused.returncode == 2 and "did you mean 'margin'?" in refused.stderr
    style = shutil.which("ruff")
    if style:
        subprocess.run([style, "check", "--quiet", "ms_gan", "tests"], cwd=folder, check=True)
        subprocess.run([style, "format", "--check", "--quiet", "ms_gan"], cwd=folder, check=True)
