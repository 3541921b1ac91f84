"""report.html without a browser: what stands in it, how large it is, that it harms no run."""

import base64
import hashlib
import inspect
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from ms_gan import cli, session
from ms_gan.recipe import reader
from ms_gan.runs import report, visualise
from ms_gan.runs import story as stories
from ms_gan.runs.run_dir import RunDir
from tests.tiny import RECIPE, copy_run, refused_command

EVIL = "</script><script>alert('a')</script>\"'&"
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What a page holds: elements with their attributes, the text of the scripts, the language of
    every text."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open, self.scripts, self.texts = [], [], [], []
        self.feed(Path(path).read_text(encoding="utf-8"))
        assert self.open == [], "elements that are not closed"
        (self.data,) = (
            json.loads(text) for kind, text in self.scripts if kind == "application/json"
        )

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes)))
        if tag == "script":
            self.scripts.append([dict(attributes).get("type"), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, text):
        inside = self.open[-1][0] if self.open else ""
        if inside == "script":
            self.scripts[-1][1] += text
        elif inside != "style" and text.strip():
            languages = [a["lang"] for _, a in self.open if "lang" in a]
            self.texts.append((languages[-1], text.strip()))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, language="en"):
        return " ".join(text for spoken, text in self.texts if spoken == language)


def written(folder, *, steps=(0, 4, 8), rows=(), picture=None, manifest=None, **sections):
    """A run folder that nobody has trained: recipe, log, pictures."""
    run = RunDir(folder)
    run.samples.mkdir(parents=True)
    run.write_recipe(session.resolved(reader.from_dict({**RECIPE, **sections})))
    run.write_manifest(manifest or {})
    run.log_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in steps:
        picture = np.full((8, 8), step % 256, np.uint8) if picture is None else picture
        visualise.save_png(run.sample_file(step), picture)
    return run


def page_of(*runs, out=None):
    out = out or runs[0].report_file
    report.save(runs, out)
    return Page(out)


# --- a run that was trained -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(trained):
    return Page(trained / "report.html")


def test_training_leaves_the_page_with_all_that_it_knows(trained, page):
    run = RunDir(trained)
    (shown,) = page.data["runs"]
    files = run.sample_files()
    assert [frame["step"] for frame in shown["frames"]] == [0, 4, 8, 12]
    sources = [frame["src"] for frame in shown["frames"]]
    assert sources[-1] is None  # it stands in the page itself
    (last,) = (image for image in page.all("img") if image.get("class") == "samples")
    for source, (_, path) in zip([*sources[:-1], last["src"]], files, strict=True):
        kind, _, content = source.partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == path.read_bytes()  # not drawn again
    log = run.read_log()
    assert shown["curves"]["step"] == [row["step"] for row in log]
    assert shown["curves"]["loss_d"] == [row["loss_d"] for row in log]
    text = page.said()
    for part in (run.manifest["sessions"][0]["command"], "digits", "step 12 of 12", "MIT licence"):
        assert part in " ".join([text, page.said("zh-CN")]), part
    recipe = " ".join(run.config_file.read_text().split())
    assert recipe in " ".join(text.split())
    links = {a["href"] for a in page.all("a")}
    assert {"generator.ckpt", "config.yaml", "real.png", "samples/", "log.jsonl"} <= links
    assert all((trained / link).exists() for link in links)


def test_the_page_asks_for_nothing(page):
    """Its policy forbids it, and nothing in it would."""
    (policy,) = (m["content"] for m in page.all("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "iframe", "object", "video", "source"):
        assert not any("src" in attributes for attributes in page.all(tag))
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert [link["href"] for link in page.all("link")] == ["data:,"]
    assert not any(re.match(r"\w+:|//", a["href"]) for a in page.all("a"))


def test_the_library_of_the_curves_is_as_it_was_published_and_has_its_licence(page):
    """dist/uPlot.iife.min.js of the npm package uplot 1.6.32."""
    content = (report.PAGE / "uPlot.iife.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == (
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
    )
    (script,) = (text for kind, text in page.scripts if "var uPlot=" in text)
    licence = (report.PAGE / "uPlot.LICENSE").read_text()
    assert "MIT" in licence and licence.strip() in script and content.decode().strip() in script


def test_the_page_speaks_to_everybody(page):
    ids = Counter(a["id"] for _, a in page.elements if "id" in a)
    assert set(ids.values()) == {1}
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(image["alt"] for image in page.all("img"))
    for control in [*page.all("button"), *page.all("input")]:
        named = "aria-label" in control or control.get("id") == "language"
        assert named or "data-zoom" in control or control["type"] == "checkbox", control
    for _, attributes in page.elements:  # labels, which the script changes with the language
        assert ("aria-label" in attributes) == ("data-zh" in attributes) or "tabindex" in attributes
    spoken = Counter(a["lang"] for tag, a in page.elements if tag == "span" and "lang" in a)
    assert spoken["en"] == spoken["zh-CN"] > 30
    assert re.search("[\u4e00-\u9fff]", page.said("zh-CN"))
    assert not re.search("[\u4e00-\u9fff]", page.said("en").replace("中文", ""))


def test_every_word_is_there_in_both_languages_and_used():
    words = report.vocabulary()
    pairs = [*words["text"].values(), *words["charts"].values(), *words["curves"].values()]
    assert all(len(pair) == 2 and all(pair) for pair in pairs)
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in [*report.PAGE.glob("*.html"), report.PAGE / "page.js", Path(report.__file__)]
    )
    shown = {"given", "made", "true", "a", "a_to_b", "b", "b_to_a", "warning", "change"}
    for key in set(words["text"]) - shown:
        assert f'"{key}"' in source or key.startswith("file_"), f"{key} is not used"
    kinds = re.findall(r'\("(\w+)", ', inspect.getsource(stories.listing))
    assert {f"file_{kind}" for kind in kinds} == {k for k in words["text"] if k.startswith("file_")}


def test_measures_are_called_as_evaluate_calls_them():
    from ms_gan.evaluation import evaluator, modes, translation

    known = report.vocabulary()["metrics"]
    names = {key: title for key, title, _ in evaluator.ROWS}
    names |= {key: row[0].strip() for key, row in translation.ROWS.items()}
    assert {key: known[key]["en"] for key in names} == names
    judges = [judge.headline for judge in translation.JUDGES.values()]
    headlines = {h.key: h for h in (evaluator.DISTANCE, evaluator.SLICED, modes.MODE_KL, *judges)}
    assert {key for key, value in known.items() if value.get("headline")} == set(headlines)
    for key, headline in headlines.items():
        assert (known[key]["en"], known[key]["better"] == "smaller") == (
            headline.title, headline.smaller,
        )  # fmt: skip
    assert set(modes.KEYS) | {k for j in translation.JUDGES.values() for k in j.keys} <= set(known)


# --- evaluations, warnings, pictures --------------------------------------------------------------

MEASURED = [
    {"step": 0, "loss_d": 1.0, "loss_g": 0.5, "real_score": 0.0, "fake_score": 0.0, "d_real": 0.5,
     "d_fake": 0.5, "images_per_second": 10.0},
    {"step": 4, "loss_d": 0.9, "loss_g": 0.7, "real_score": 1.0, "fake_score": -1.0, "d_real": 0.7,
     "d_fake": 0.3, "images_per_second": 30.0, "frechet_classifier_distance": 20.0,
     "precision": 0.5, "recall": 0.25, "coverage": 0.5, "classes_seen": 2, "shares": [0.5, 0.5],
     "floor": 5.0},
    {"step": 8, "loss_d": 0.8, "loss_g": 0.9, "real_score": 2.0, "fake_score": -2.0, "d_real": 0.9,
     "d_fake": 0.1, "images_per_second": 20.0, "frechet_classifier_distance": 40.0,
     "precision": 0.75, "recall": 0.125, "coverage": 0.25, "classes_seen": 1, "shares": [1.0, 0.0],
     "warning": "modes lost: 1 of 2 classes are left", "floor": 5.0},
]  # fmt: skip
DATA = {
    "name": "digits", "images": 100, "image_shape": [1, 28, 28], "classes": ["cats", EVIL],
    "class_shares": [0.25, 0.75], "md5": "1",
}  # fmt: skip


def test_measures_warnings_and_classes(tmp_path):
    changed = {"step": 4, "changed": {"optimizer.lr_d": [0.1, 0.01]}}
    rows = [*MEASURED[:2], changed, MEASURED[2]]
    run = written(tmp_path / "run", rows=rows, manifest={"data": DATA})
    page = page_of(run)
    titles = [chart["title"][0] for chart in page.data["charts"]]
    assert titles == [
        "Losses", "What D thinks: mean of sigmoid(score)", "Mean scores of D",
        "Frechet classifier distance", "Precision, recall, coverage", "classes seen",
    ]  # fmt: skip
    distance = page.data["charts"][3]
    assert [one["key"] for one in distance["series"]] == ["frechet_classifier_distance", "floor"]
    (shown,) = page.data["runs"]
    assert shown["curves"]["frechet_classifier_distance"] == [None, 20.0, None, 40.0]
    assert [(mark["step"], mark["kind"]) for mark in shown["marks"]] == [
        (4, "change"), (8, "warning"),
    ]  # fmt: skip
    text = page.said()
    assert "best 20 at step 4" in text and "floor 5" in text
    assert "modes lost: 1 of 2" in text and "optimizer.lr_d: 0.1 → 0.01" in text
    assert f"cats 100.0 % 25.0 % {EVIL} 0.0 % 75.0 %" in text
    assert "alert('a')" not in "".join(s for kind, s in page.scripts if kind is None)


def test_an_evaluation_of_the_run_is_shown_with_the_nearest_pictures(tmp_path):
    run = written(tmp_path / "run", rows=MEASURED, manifest={"data": DATA})
    (run.path / "generator.evaluation.json").write_text(json.dumps({
        "checkpoint": {"file": "generator.ckpt", "step": 8}, "num": 500,
        "generated": {"precision": 0.625, "classes_seen": 2, "shares": [0.75, 0.25]},
        "floor": {"precision": 0.9375, "classes_seen": 2}, "reference_shares": [0.5, 0.5],
    }))  # fmt: skip
    (run.path / "best.evaluation.json").write_text("{")  # cut off
    (run.path / "restored.evaluation.json").write_text(json.dumps({
        "checkpoint": {"file": "restored.ckpt", "step": 4},
        "made": {"psnr": float("inf"), "ssim": 0.5}, "floors": {"bicubic": {"psnr": 30.5}},
    }))  # fmt: skip
    visualise.save_png(run.path / "generator.nearest.png", np.zeros((4, 4), np.uint8))
    page = page_of(run)
    text = page.said()
    assert "precision 0.625 0.9375" in text and "bicubic PSNR, dB" in text
    assert "PSNR, dB" in text and "– 30.5" in text and "SSIM" in text and "0.5 –" in text
    assert "75.0 % 50.0 %" in text  # the evaluation of the same step is of more samples
    (picture,) = (image for image in page.all("img") if image.get("class") == "natural")
    content = (run.path / "generator.nearest.png").read_bytes()
    assert picture["src"].endswith(base64.b64encode(content).decode())


def test_columns_of_pictures_are_named(tmp_path):
    columns = ["given", "made", "true"] * 2
    page = page_of(written(tmp_path / "run", manifest={"columns": columns}))
    assert "given made true given made true" in page.said()
    assert "输入 生成 真实" in page.said("zh-CN")
    assert page_of(written(tmp_path / "old", manifest={"columns": [3, {}]}))  # edited by hand


def test_each_input_names_the_columns_that_it_shows():
    from ms_gan.objectives.inputs import INPUTS

    real = np.zeros((1, 2, 8, 8), np.float32)
    for name, kind in INPUTS.items():
        if name == "latents":
            continue
        part = kind(image_shape=(2, 8, 8))
        received = np.zeros((1, *part.shape), np.float32)
        assert len(part.columns(real, received, real)) == len(part.shown), name


def test_real_images_are_shown_as_the_samples_are(trained):
    """Of an unconditional net some from all over the data, of another one some of each class."""
    from ms_gan.runs.sampling import Sampler

    class Net:
        num_classes = 0

    class Data:
        images = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
        labels = np.repeat([0, 1, 2], [2, 28, 30])

    plain = Sampler(Net(), (1, 1, 1), {}).real_gallery(Data)
    assert {0, 59} <= set(plain.ravel()) and len(np.unique(plain)) == 25
    Net.num_classes = 3
    shown = set(np.unique(Sampler(Net(), (1, 1, 1), {}).real_gallery(Data)).tolist())
    assert shown >= {1, 2, 29, 30, 59} and len(shown - {0, 96}) == 1 + 8 + 8
    assert (trained / "real.png").is_file()


# --- size -----------------------------------------------------------------------------------------


def test_a_long_run_fits_and_says_what_is_left_out(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    run = written(tmp_path / "run", steps=[0], picture=noise)
    content = run.sample_file(0).read_bytes()
    for step in range(1, 400):
        run.sample_file(step * 10).write_bytes(content)
    with open(run.log_file, "w") as file:
        for step in range(20_000):
            row = {"step": step, "loss_d": 0.123456, "loss_g": 1.654321, "d_real": 0.987654}
            file.write(json.dumps(row) + "\n")
    page = page_of(run)
    assert 5_000_000 < run.report_file.stat().st_size <= report.LIMIT == 8_000_000
    (shown,) = page.data["runs"]
    steps = [frame["step"] for frame in shown["frames"]]
    assert steps[0] == 0 and steps[-1] == 3990 and 100 < len(steps) < 200
    assert np.ptp(np.diff(steps)) <= 10  # evenly
    assert f"{len(steps)} of 400 pictures are shown" in page.said()
    drawn = shown["curves"]["step"]
    assert len(drawn) == report.POINTS and (drawn[0], drawn[-1]) == (0, 19_999)
    assert "2,000 of 20,000 logged steps" in page.said()


def test_a_picture_that_is_too_large_alone_is_made_smaller(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2600, 2600), np.uint8)  # 6.8 MB as PNG
    run = written(tmp_path / "run", steps=[0], picture=noise)
    shutil.copy(run.sample_file(0), run.sample_file(5))
    shutil.copy(run.sample_file(0), run.real_file)
    page = page_of(run)
    assert run.report_file.stat().st_size <= report.LIMIT
    assert [frame["step"] for frame in page.data["runs"][0]["frames"]] == [0, 5]
    assert all(image["src"].startswith("data:image/jpeg") for image in page.all("img"))


# --- it harms no run ------------------------------------------------------------------------------


def test_what_somebody_left_in_the_folder_is_no_reason_to_stop(tmp_path):
    run = written(tmp_path / f"läuft 猫 #1 {EVIL[2:8]}".replace("/", ""), rows=MEASURED)
    session = {"command": [], "steps": "x", "versions": 3, "started": 5}
    manifest = {"data": {"classes": 3, "image_shape": 7}, "sessions": [session, 3]}
    run.manifest_file.write_text(json.dumps(manifest))
    with open(run.log_file, "a") as file:
        file.write('{"step": 9, "loss_d": "x"}\n{"step": 3, "shares": [], "psnr": Infinity}\n{"st')
        file.write('\n{"step": 9, "changed": 3}\n{"step": 9, "changed": {"a": 3}}\n[]\n')
    run.sample_file(9).write_bytes(b"no picture")
    run.sample_file(10).write_bytes(b"")
    page = page_of(run)
    assert [frame["step"] for frame in page.data["runs"][0]["frames"]] == [0, 4, 8]
    assert all("%" in a["href"] or "/" not in a["href"][:-1] for a in page.all("a"))


def test_a_run_of_which_nothing_is_there_yet(tmp_path):
    run = written(tmp_path / "run", steps=[])
    page = page_of(run)
    assert "No pictures yet" in page.said() and page.data["charts"] == []


def test_an_error_is_one_line_and_said_once(tmp_path, monkeypatch):
    run, lines = written(tmp_path / "run"), []
    made = report.Report(run, lines.append)
    monkeypatch.setattr(report, "story", lambda *words, **options: 1 / 0)
    made.write()
    made.write()
    assert lines == [f"no {run.report_file}: division by zero"] and not run.report_file.exists()
    monkeypatch.undo()
    made.write()
    assert run.report_file.is_file()


def test_without_the_template_engine_a_run_goes_on(trained, tmp_path, monkeypatch, capsys):
    run = RunDir(copy_run(trained, tmp_path / "run"))
    run.report_file.unlink()
    report.environment.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    lines = []
    report.Report(run, lines.append).write()
    assert lines == [f"no {run.report_file}: jinja2 is not installed; pip install jinja2"]
    assert "jinja2 is not installed" in refused_command(capsys, "report", run.path)
    monkeypatch.undo()
    report.environment.cache_clear()
    report.Report(run, lines.append).write()
    assert len(lines) == 1 and run.report_file.is_file()


def test_it_takes_at_most_a_hundredth_of_the_time(tmp_path, monkeypatch):
    now, written_at = [0.0], []

    def save(runs, path):
        written_at.append(now[0])
        now[0] += 0.25

    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(report, "save", save)
    made = report.Report(RunDir(tmp_path))
    while now[0] < 100:
        made.refresh()
        now[0] += 0.5
    assert written_at[0] == 0 and len(written_at) == 4
    assert all(gap >= 25 for gap in np.diff(written_at))
    made.write()  # the end is always written
    assert len(written_at) == 5


# --- the commands ---------------------------------------------------------------------------------


def test_the_command_makes_the_page_of_an_older_run_again(trained, tmp_path, capsys):
    run = RunDir(copy_run(trained, tmp_path / "run"))
    for path in (run.report_file, run.real_file):
        path.unlink()
    assert cli.main(["report", str(run.path)]) == 0
    assert capsys.readouterr().out.startswith(f"written to {run.report_file}, ")
    assert Page(run.report_file).data["runs"][0]["label"] == "run"
    out = tmp_path / "pages"
    out.mkdir()
    assert cli.main(["report", str(run.path), "--out", str(out / "a.html")]) == 0
    assert {a["href"] for a in Page(out / "a.html").all("a")} >= {"../run/generator.ckpt"}


def test_several_runs_side_by_side(trained, tmp_path, capsys):
    one = copy_run(trained, tmp_path / "one")
    other = written(tmp_path / "other", steps=(0, 6), rows=MEASURED, loss="hinge").path
    out = tmp_path / "compare.html"
    assert cli.main(["compare", str(one), "--out", str(out), str(other)]) == 0
    page = Page(out)
    assert [run["label"] for run in page.data["runs"]] == ["one", "other"]
    charts = {chart["title"][0]: chart["series"] for chart in page.data["charts"]}
    assert [curve["label"][0] for curve in charts["Losses: discriminator"]] == ["one", "other"]
    assert [curve["run"] for curve in charts["Frechet classifier distance"]] == [1, 1]
    assert len([image for image in page.all("img") if image.get("class") == "samples"]) == 2
    text = page.said()
    assert "loss.name non_saturating hinge" in text and "2 runs side by side" in text
    assert {a["href"] for a in page.all("a")} >= {"one/generator.ckpt", "other/config.yaml"}
    capsys.readouterr()
    report.save([RunDir(one), RunDir(copy_run(one, tmp_path / "x" / "one"))], out)
    assert len({run["label"] for run in Page(out).data["runs"]}) == 2  # the same name elsewhere


def test_refusals(trained, tmp_path, capsys):
    for words in (["report", tmp_path], ["compare", trained, tmp_path]):
        assert f"{tmp_path}: holds no run" in refused_command(capsys, *words)
    assert "give two runs" in refused_command(capsys, "compare", trained, trained)
    for out, why in (("a.png", "ends in .html"), ("none/a.html", "is not a folder")):
        assert why in refused_command(capsys, "report", trained, "--out", tmp_path / out)
    assert not any(tmp_path.iterdir())
