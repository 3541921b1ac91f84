"""The documents say what is so: commands parse, links exist, papers are listed, examples run.

tests/test_guide.py follows docs/adding_a_gan.md.
"""

import ast
import copy
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
from ms_gan.recipe import reader
from tests.tiny import CONFIGS, ROOT

READMES = [ROOT / "README.md", ROOT / "README_CN.md"]
DOCS = sorted((ROOT / "docs").glob("*.md"))
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "ms_gan" / "assets" / "README.md"]
PAGES = [*READMES, *DOCS, *OTHERS]
TRANSLATED = [page for page in PAGES if page.with_stem(page.stem + "_CN").is_file()]
VERBS = (
    "train", "distribute-train", "generate", "apply", "evaluate", "report", "compare",
    "train-classifier", "export", "keys", "completion", "doctor",
)  # fmt: skip
OPTIONAL = ("onnxruntime",)  # a page may import what is not installed here
PLACEHOLDER = re.compile(r"…|\b(NAME|OTHER)\b|=N\b")  # in a command that shows a form


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


def commands(page):
    """The words of every command in the page's bash blocks and in its text, without comments."""
    lines = [body.replace("\\\n", " ").splitlines() for _, body in blocks(page, "bash")]
    spans = re.findall(r"`((?:bash|python|ms-gan) [^`\n]+)`", prose(page))
    for line in [*sum(lines, []), *(span for span in spans if not PLACEHOLDER.search(span))]:
        words = shlex.split(line, comments=True)
        if words:
            yield words[: words.index(">")] if ">" in words else words


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
    lines = [line for line in header if line.startswith("bash scripts/run_train.sh")]
    assert lines, "no line `bash scripts/run_train.sh …`"
    arguments = cli.parse(["train", *shlex.split(lines[0])[2:]])
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


def of_the_package(words):
    """The words after `ms-gan` of a command in any of its forms; None: it is another command."""
    script = next((word for word in words if word.startswith("scripts/")), None)
    if script:
        assert (ROOT / script).is_file(), words
        verb = Path(script).stem.removeprefix("run_").replace("_", "-")
        return [verb, *words[words.index(script) + 1 :]] if verb in VERBS else None
    if words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), words
        words = ["ms-gan", *words[3:]] if words[2] == "ms_gan" else []
    return words[1:] if words[:1] == ["ms-gan"] and words[1:2] and words[1] in VERBS else None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_recipes_are_right(page):
    """Everything of the page that is typed or written down."""
    own = dict(recipes(page))
    configs = [reader.from_dict({"name": "part", **tree}) for _, tree in recipes(page)]
    for words in filter(None, map(of_the_package, commands(page))):
        arguments = cli.parse(words)
        if words[0] == "train" and arguments.config.stem in own:
            tree = copy.deepcopy(own[arguments.config.stem])
            for override in arguments.overrides:
                reader.apply_override(tree, override)
            configs.append(reader.from_dict(tree))
        elif words[0] == "train":
            configs.append(reader.load(reader.find(arguments.config), arguments.overrides))
    if not page.stem.startswith("adding_a_gan"):  # its recipes have parts that it adds itself
        for config in configs:
            check(config)


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
