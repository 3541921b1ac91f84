"""The documents say what is so: commands parse, links exist, papers are listed, examples run.

tests/test_guide.py follows docs/adding_a_gan.md.
"""

import ast
import dataclasses
import functools
import importlib
import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ms_gan import cli
from ms_gan.errors import UserError
from ms_gan.recipe import reader
from tests import commands
from tests.tiny import CONFIGS, ROOT

READMES = [ROOT / "README.md", ROOT / "README_CN.md"]
DOCS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "ms_gan" / "assets" / "README.md"]
PAGES = [*READMES, *DOCS, *OTHERS]
TRANSLATED = [page for page in PAGES if page.with_stem(page.stem + "_CN").is_file()]
GUIDE = ROOT / "docs" / "adding_a_gan.md"
OPTIONAL = ("onnxruntime",)  # a page may import what is not installed here


def text(path):
    return path.read_text(encoding="utf-8")


def name(path):
    return str(path.relative_to(ROOT))


def blocks(page, *languages):
    """(language, text) of the fenced code blocks."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text(page), re.S | re.M)
    return [(language, body) for language, body in found if not languages or language in languages]


def prose(page):
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.S | re.M)


def lines(page):
    """Every line of the page's bash blocks, and every command in its text."""
    for _, body in blocks(page, "bash"):
        yield from body.replace("\\\n", " ").splitlines()
    yield from in_text(prose(page))


def in_text(written):
    """The commands between backticks, but for those that show a form."""
    spans = re.findall(r"`((?:bash|python|ms-gan|pip|npm) [^`\n]+)`", written)
    return [span for span in spans if not commands.PLACEHOLDER.search(span)]


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
    sources = [*(ROOT / "ms_gan").rglob("*.py"), *CONFIGS, *(ROOT / "scripts").glob("*.py")]
    guides = [page for page in DOCS if page.stem.startswith("adding_a_gan")]  # their parts are new
    used = papers(*sources, *(page for page in PAGES if page not in (references, *guides)))
    assert {k: v for k, v in used.items() if k not in listed} == {}, "not in docs/references.md"
    assert set(listed) <= set(used), "in docs/references.md only"
    for number in listed:
        assert f"<https://arxiv.org/abs/{number}>" in text(references)


def links(page):
    """Where the relative links and the pictures of a page lead, without anchors."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:") or not target:
            continue
        assert not Path(target).is_absolute() and not anchor, f"{name(page)}: {link}"
        yield (page.parent / target).resolve()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_exist(page):
    for target in links(page):
        assert target.exists(), f"{name(page)}: {target}"


@pytest.mark.parametrize("start", READMES, ids=name)
def test_every_page_is_found_from_the_readme(start):
    found, new = set(), [start]
    while new:
        page = new.pop()
        found.add(page)
        new += [p for p in links(page) if p.suffix == ".md" and p not in found]
    assert set(PAGES) <= found, [name(page) for page in set(PAGES) - found]


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_the_header_of_a_recipe(path):
    """What it is, where it is from, and the command that runs this very file."""
    header = []
    for line in text(path).splitlines():
        if not line.startswith("#"):
            break
        header.append(line.lstrip("# "))
    assert len(header) >= 2, "expected a comment above the recipe"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|https?://", "\n".join(header)), "no source"
    typed = [line for line in header if line.startswith("bash scripts/run_train.sh")]
    assert typed, "no line `bash scripts/run_train.sh …`"
    arguments = cli.parse(["train", *shlex.split(typed[0])[2:]])
    assert reader.find(arguments.config).resolve() == path
    assert reader.load(path, arguments.overrides).name == path.stem


@pytest.mark.parametrize("page", READMES, ids=name)
def test_the_readme_is_short_and_lists_every_recipe(page):
    assert len(text(page).splitlines()) <= 200
    listed = re.findall(r"^\| `(\w+)` \|.*\| (`.*?) \| [^|]+ \|$", text(page), re.M)
    assert sorted(recipe for recipe, _ in listed) == [path.stem for path in CONFIGS]
    for recipe, parts in listed:
        config = reader.load(reader.find(recipe))
        regularizer = config.regularizer and config.regularizer.name
        expected = [config.model.name, config.loss.name, *([regularizer] if regularizer else [])]
        assert re.findall(r"`(\w+)`", parts) == expected, f"{recipe}: model, loss, regularizer"


# --- commands and recipes of the pages -----------------------------------------------------------


def check(config):
    """Every name and option of a recipe, without building it."""
    from ms_gan import build, session

    config = session.resolved(config)
    parts = [
        (build.MODELS, config.model), (build.INPUT, config.input), (build.LOSS, config.loss),
        (build.REGULARIZER, config.regularizer), (build.AUGMENT, config.augment),
        *((build.TERM, term) for term in config.terms.values()),
    ]  # fmt: skip
    for table, part in parts:
        if part is not None:
            table.check(part, table.accepted(part.name))


def recipes(page):
    """name -> tree of the recipes that the page tells to write, '' for parts of one."""
    for _, body in blocks(page, "yaml"):
        tree = yaml.safe_load(body)
        yield tree.get("name", ""), tree


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_recipes_are_right(page):
    """Everything of the page that is typed or written down."""
    own = dict(recipes(page))
    guide = page.stem.startswith("adding_a_gan")  # its recipes have parts that it adds itself
    made = re.findall(r"^<!-- write (\S+) -->", text(GUIDE), re.M) if guide else ()
    configs = [reader.from_dict({"name": "part", **tree}) for _, tree in recipes(page)]
    for line in lines(page):
        for words in commands.split(line):
            try:
                config = commands.check(words, own, made)
            except SystemExit:  # of argparse, which has said why
                raise AssertionError(f"{name(page)}: {line}") from None
            configs += [config] if config is not None else []
    if not guide:
        for config in configs:
            check(config)


WRONG = (
    "bash scripts/no_such.sh", "bash scripts/run_train.sh --confg default",
    "bash scripts/run_train.sh --config no_such", "bash scripts/run_train.sh train.stepz=3",
    "bash scripts/ms_gan.sh explore --no-such", "bash scripts/ms_gan.sh exploer",
    "bash scripts/run_distribute_train.sh 2 train.stepz=3",
    "bash scripts/run_tests.sh tests/test_no_such.py", "bash scripts/run_benchmark.sh --rounds x",
    "bash scripts/run_experiment.sh no_such", "bash scripts/run_experiment.sh sprites ONE",
    "python -m benchmarks.no_such", "python -m benchmarks.scale measur", "python no_such.py",
    "ms-gan keys --no-such", "pip install -r no_such.txt", "no_such_program --help",
    "bash scripts/ms_gan.sh train-classifier --data mnist data.no_such=1",
    'eval "$(ms-gan completion bsh)"', "cd x && no_such_program",
)  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_is_found(line, capsys):
    with pytest.raises((AssertionError, SystemExit, UserError, ModuleNotFoundError)):
        for words in commands.split(line):
            commands.check(words)


def test_every_script_is_in_a_page_and_every_variable_exists():
    """What is named MS_GAN_… is read somewhere; no script is without a word of what it is for."""
    written = "".join(map(text, PAGES))
    for script in (ROOT / "scripts").glob("run_*.sh"):
        assert f"scripts/{script.name}" in written, script.name
    sources = [*(ROOT / "ms_gan").rglob("*.py"), *(ROOT / "tests").glob("*.py")]
    sources += (ROOT / "scripts").glob("*.sh")
    read = "".join(map(text, sources))
    for variable in set(re.findall(r"\bMS_GAN_[A-Z_]+\b", written)):
        assert variable in read, variable


SETTING = re.compile(r"`([a-z]+(?:\.\w+)+)=[^`]*`")


@pytest.mark.parametrize("page", [p for p in PAGES if "generated: begin" not in text(p)], ids=name)
def test_every_key_in_the_text_exists(page):
    """`data.flip=true`: a key of a recipe, or an option of a part that some recipe may have."""
    keys, options = known_keys()
    for key in SETTING.findall(prose(page)):
        section, _, rest = key.partition(".")
        first = rest.split(".")[0]
        assert key in keys or first in options.get(section, ()) or section in FREE, key


FREE = {"terms", "key"}  # whose second word is a name of one's own; `key.path=value`


@functools.cache
def known_keys():
    """(keys of a recipe; section -> options of all parts that it may name)"""
    from ms_gan import build, data
    from ms_gan.cli import keys

    found = {
        re.sub("`", "", key) for section, cls in keys.SECTIONS.items()
        for key, *_ in keys.keys(section, cls)
    }  # fmt: skip
    options = {}
    for table in (data.DATA, *build.TABLES):
        for row in table:
            options.setdefault(table.kind, {"name", "weight", "every"}).update(table.accepted(row))
    for section, cls in keys.SECTIONS.items():
        options.setdefault(section, set()).update(field.name for field in dataclasses.fields(cls))
    return found, options


def names_of(tree):
    """name -> what it is, of everything that a block imports."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in OPTIONAL and not importlib.util.find_spec(alias.name):
                    continue
                module = importlib.import_module(alias.name)
                top = module if alias.asname else importlib.import_module(alias.name.split(".")[0])
                found[alias.asname or alias.name.split(".")[0]] = top
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
                found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


def resolved(node, names):
    """What `a.b.c` is, where `a` was imported; None elsewhere."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if not isinstance(node, ast.Attribute):
        return None
    owner = resolved(node.value, names)
    return None if owner is None else getattr(owner, node.attr)  # AttributeError: no such name


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python") and not p.stem.endswith("_CN")], ids=name
)
def test_names_in_python_blocks_exist(page):
    marked = re.findall(r"^<!-- .+? -->\n```python\n(.*?)^```$", text(page), re.S | re.M)
    for _, body in blocks(page, "python"):
        if body in marked:  # a piece of a file, which tests/test_guide.py puts there
            continue
        tree = ast.parse(body)
        names = names_of(tree)
        for node in ast.walk(tree):
            resolved(node, names)


TINY = '"train.steps=2", "data.name=digits", "data.batch_size=16", "every.sample=0", "every.save=0"'


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """What the README's Python has made, block after block, at smoke size: folder and names."""
    folder = tmp_path_factory.mktemp("readme")
    names = {}
    first, second = (body for _, body in blocks(READMES[0], "python"))
    assert first.count('"train.steps=400"') == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(first.replace('"train.steps=400"', TINY), names)
        names["trained"] = names["images"], names["labels"]
        shutil.copytree("runs/short", "runs/default")
        exec(second, names)
    return folder, names


def test_the_python_of_the_readme_does_what_its_comments_say(followed, tmp_path):
    folder, names = followed
    images, labels = names["trained"]
    assert (images.shape, images.dtype, labels) == ((64, 1, 28, 28), np.float32, None)
    assert -1 <= images.min() < images.max() <= 1
    assert names["run"].state.step == 2 and names["run"].train()  # the same call continues
    words = ["--seed", "1", "--num", "64", "--format", "npy", "--out", str(tmp_path)]
    assert cli.main(["generate", str(folder / "runs" / "default"), *words]) == 0
    generated = np.load(tmp_path / "samples.npy")
    assert names["images"].tobytes() == generated.tobytes() == images.tobytes()


def test_a_checkpoint_is_read_without_the_package(followed, monkeypatch, capsys):
    """As docs/recipes.md does it: the same images as the package's."""
    from ms_gan.runs import sampling

    folder, names = followed
    bodies = [body for _, body in blocks(ROOT / "docs" / "recipes.md", "python")]
    (body,) = (body for body in bodies if "load_checkpoint" in body)
    assert "import ms_gan" not in body and "from ms_gan" not in body
    if not (folder / "runs" / "gan_mnist").exists():
        shutil.copytree(folder / "runs" / "short", folder / "runs" / "gan_mnist")
    monkeypatch.chdir(folder)
    alone = {}
    exec(body, alone)
    assert "([], [])" in capsys.readouterr().out
    assert alone["meta"]["step"] == 2
    expected = sampling.generate(names["sampler"].net, alone["z"])
    np.testing.assert_allclose(alone["images"], expected[:, 0], atol=1e-5)


# --- translations -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", TRANSLATED, ids=name)
def test_translations_have_the_same_code(page):
    """But for comments; and the same pictures and sections."""
    other = page.with_stem(page.stem + "_CN")
    ours, theirs = blocks(page), blocks(other)
    assert [language for language, _ in ours] == [language for language, _ in theirs]
    for (language, body), (_, translated) in zip(ours, theirs, strict=True):
        if language in ("bash", "python", "yaml", "markdown"):
            assert without_comments(language, body) == without_comments(language, translated)
    for pattern in (r"!\[[^]]*\]\(([^)]+)\)", r"^#+ "):
        found, translated = (re.findall(pattern, written(p), re.M) for p in (page, other))
        assert found == translated


def written(page):
    """The page but for code, and for what `ms-gan keys` prints, which is in English only."""
    return re.sub(
        r"<!-- generated: begin -->.*?<!-- generated: end -->", "", prose(page), flags=re.S
    )
