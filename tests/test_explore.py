"""The page of `ms-gan explore`: in a real browser it makes the pictures that `generate` makes.

Needs onnx and onnxruntime (`pip install -e .[export]`); in a browser also playwright, a Chromium,
and the npm package of ONNX Runtime Web: its .tgz or folder in MS_GAN_ONNXRUNTIME_WEB.
"""

import base64
import functools
import hashlib
import http.server
import importlib.util
import io
import os
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ms_gan import build, cli
from ms_gan.cli import explore
from ms_gan.errors import UsageError
from ms_gan.export import explorer, formats, packages, web
from ms_gan.export.packages import ExportError
from ms_gan.recipe import reader
from ms_gan.runs import sampling, shipped, template, visualise
from ms_gan.runs.styles import StyleSampler
from tests import browser as browsers
from tests.browser import PHONE, until
from tests.tiny import randomise, refused, refused_command

INSTALLED = all(importlib.util.find_spec(name) for name in packages.PACKAGES["onnx"])
needs_onnx = pytest.mark.skipif(
    not INSTALLED,
    reason="EXPLORE NOT TESTED: pip install onnx onnxruntime 'numpy>=1.25,<2' (extra [export])",
)
IDLE = "window.explorer && explorer.idle()"
USERS_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ms_gan"
STYLES = {"name": "stylegan", "latent_dim": 8, "style_dim": 8, "g_widths": [6, 4]}


@pytest.fixture(scope="session")
def runtime():
    """The real files of ONNX Runtime Web, or a loud skip."""
    places = [os.environ.get("MS_GAN_ONNXRUNTIME_WEB"), USERS_CACHE / web.kept_in().name]
    for place in filter(None, places):
        if Path(place).exists():
            return web.given(Path(place))
    pytest.skip(
        "EXPLORE WAS NOT TRIED IN A BROWSER: `npm pack " + f"{web.PACKAGE}@{web.VERSION}`, and the "
        "path of the .tgz in MS_GAN_ONNXRUNTIME_WEB"
    )


def styles(shape=(3, 8, 12), num_classes=0):
    """A StyleGAN with random weights, as `load_sampler` returns one."""
    model = {**STYLES, "conditional": num_classes > 0}
    config = reader.from_dict({"name": "tiny", "model": model})
    net = randomise(build.build_net(config, "generator", shape, num_classes), 0, 0.3)
    for p in net.get_parameters():
        if p.name.startswith("mapping."):  # is scaled by 0.01 when it is used
            p.set_data(500.0 * p)
    return StyleSampler(build.frozen(net), shape, {"config": reader.to_dict(config), "step": 7})


# --- what the page runs ---------------------------------------------------------------------------


def test_truncation_is_an_input_of_a_generator_of_styles(tmp_path):
    """The net of the page beside the package's truncation, through a file; 1 changes nothing."""
    source = styles(num_classes=4)
    subject = explorer.of_sampler(source)
    assert [port.name for port in subject.inputs] == ["z", "psi", "labels"]
    content, difference = formats.made(subject, "mindir", tmp_path / "x")
    assert difference <= subject.tolerance
    run = formats.mindir_runner(content, subject)
    z, _, *labels = subject.examples(3)
    for psi in (0.0, 0.5, 1.0):
        (images,) = run((z, np.full((3, 1), psi, np.float32), *labels))
        expected = source.truncated(psi).made(z, *labels)
        np.testing.assert_allclose(images, expected, atol=1e-4)
        assert (np.abs(images - images[:1]).max() < 1e-5) == (psi == 0.0)


def test_other_generators_are_run_as_they_are_exported():
    source = build.load_sampler(shipped.ASSETS / shipped.GENERATORS["mnist"])
    assert [port.name for port in explorer.of_sampler(source).inputs] == ["z", "labels"]


def test_every_text_is_used_and_in_both_languages():
    words = template.vocabulary(explorer.PAGE)
    page, script = (
        (explorer.PAGE / name).read_text("utf-8") for name in ("explore.html", "explore.js")
    )
    page += (template.PAGE / "switches.html").read_text("utf-8")
    said = set(re.findall(r'text\("(\w+)"', page)) | set(re.findall(r'labelled\("(\w+)"', page))
    by_script = set(re.findall(r'say\(\W*(?:away \? )?"(\w+)"', script)) | {"at", "off_pad"}
    by_script |= {f"corner_{c}" for c in range(4)}
    assert set(words["script"]) == by_script
    assert set(words["text"]) == said | by_script
    for english, chinese in words["text"].values():
        holes = [sorted(re.findall(r"{\w+}", part)) for part in (english, chinese)]
        assert english and chinese and holes[0] == holes[1]


# --- the files that run it ------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Three small files in place of the real ones; the user's cache is a new folder."""
    contents = {name: name.encode() * 9 for name in web.FILES}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(web, "SHA256", sums)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return contents


def laid(folder, contents):
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("below", web.BELOW)
def test_the_files_of_a_folder(below, small, tmp_path):
    laid(tmp_path / "at" / below, small)
    assert web.given(tmp_path / "at") == small


def packed(path, contents):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_files_of_an_archive_are_kept_for_the_next_time(small, tmp_path):
    assert web.kept() is None
    place = packed(tmp_path / "x.tgz", small)
    assert explore.at_hand(place) == small
    place.unlink()
    assert explore.at_hand(None) == small == web.kept()
    (web.kept_in() / web.GLUE).write_bytes(b"torn")
    assert web.kept() is None


def test_other_files_are_refused_in_one_line(small, tmp_path):
    def said(place):
        return refused(UsageError, web.given, place)

    assert "no such file" in said(tmp_path / "no.tgz")
    (tmp_path / "empty").mkdir()
    assert "expected the package onnxruntime-web" in said(tmp_path / "empty")
    (tmp_path / "text.tgz").write_text("no archive")
    assert "holds no ort.wasm.min.js" in said(tmp_path / "text.tgz")
    whole = packed(tmp_path / "x.tgz", small).read_bytes()
    (tmp_path / "half.tgz").write_bytes(whole[: len(whole) // 2])
    assert "npm pack onnxruntime-web@" in said(tmp_path / "half.tgz")
    older = packed(tmp_path / "older.tgz", {**small, web.GLUE: b"of another version"})
    assert f"{web.GLUE} is not that of" in said(older)
    assert web.kept() is None


def served(folder):
    """A server of a folder on this machine: (its address with a slash, what ends it)."""
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def end():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_address[1]}/", end


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


def test_they_are_downloaded_once_and_checked(small, tmp_path, monkeypatch, capsys):
    """The first mirror has another version of one file; the second one has all."""
    laid(tmp_path / "stale", {**small, web.WASM: b"older"})
    laid(tmp_path / "right", small)
    (stale, end), (right, finish) = served(tmp_path / "stale"), served(tmp_path / "right")
    monkeypatch.setattr(web, "MIRRORS", (stale, right))
    assert explore.at_hand(None) is None
    assert explore.downloaded() == small
    assert f"downloading to {web.kept_in()}" in capsys.readouterr().out
    end()
    finish()
    assert explore.at_hand(None) == small
    assert sorted(path.name for path in web.kept_in().iterdir()) == sorted(web.FILES)


def test_without_a_network_one_line_says_what_to_do(small, tmp_path, monkeypatch):
    laid(tmp_path / "stale", {**small, web.WASM: b"older"})
    stale, end = served(tmp_path / "stale")
    monkeypatch.setattr(web, "MIRRORS", (stale, "http://127.0.0.1:9/"))
    message = refused(UsageError, explore.downloaded)
    end()
    assert "wrong sha256" in message and "refused" in message.lower()
    assert "`npm pack onnxruntime-web@" in message and "--runtime FILE.tgz" in message


# --- what cannot be done --------------------------------------------------------------------------


def test_wrong_words(small, tmp_path, monkeypatch, capsys):
    def said(*words):
        return refused_command(capsys, "explore", "--device", "CPU", *words)

    monkeypatch.setattr(packages, "PACKAGES", {**packages.PACKAGES, "onnx": ("no_such_package",)})
    monkeypatch.chdir(tmp_path)
    assert "ends in .html" in said("--out", "x.htm")
    assert "not a folder that can be written" in said("--out", tmp_path / "no" / "x.html")
    assert "ms-gan: explore: needs no_such_package" in said()
    monkeypatch.setattr(packages, "PACKAGES", {**packages.PACKAGES, "onnx": ()})
    runtime = packed(tmp_path / "x.tgz", small)
    assert "no such file" in said(tmp_path / "no.ckpt", "--runtime", runtime)
    translator = shipped.ASSETS / shipped.TRANSLATORS["inpainting"]
    message = said(translator, "--out", "x.html")  # before anything is downloaded
    assert "makes pictures of pictures" in message and "apply" in message
    assert not list(tmp_path.glob("*.html"))


def test_images_that_no_browser_shows(tmp_path):
    source = styles(shape=(4, 8, 8))
    message = refused(ExportError, explorer.write, source, tmp_path / "x.html", {})
    assert "4 channels" in message and not list(tmp_path.iterdir())


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture
def opened(browser):
    with browsers.pages(browser, IDLE) as show:
        yield show


@pytest.fixture(scope="module")
def digits(runtime, tmp_path_factory):
    """The page of the best shipped generator, by the command: (page, sampler)."""
    folder = tmp_path_factory.mktemp("explore")
    web.keep(runtime)
    out = folder / "digits.html"
    assert cli.main(["explore", "--out", str(out), "--device", "CPU"]) == 0
    return out, build.load_sampler(shipped.ASSETS / shipped.GENERATORS["mnist"])


@pytest.fixture(scope="module")
def coloured(runtime, tmp_path_factory):
    """The page of a StyleGAN in colour: (page, sampler)."""
    source, out = styles(), tmp_path_factory.mktemp("explore") / "styles.html"
    explorer.write(source, out, runtime)
    return out, source


def pixels(page, selector="#shown", number=0):
    """uint8 [H, W, 3] of a canvas."""
    until(page, IDLE)
    url = page.evaluate(
        "([selector, number]) => document.querySelectorAll(selector)[number].toDataURL()",
        [selector, number],
    )
    return read(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def read(file):
    """A PNG: uint8 [H, W, 3]."""
    return np.array(Image.open(file).convert("RGB"))


def expected(sampler, z, label=None):
    """The same of `generate`."""
    labels = None if label is None else np.array([label], np.int32)
    image = visualise.to_picture(sampler.made(np.array([z], np.float32), labels)[0])
    return np.broadcast_to(image.reshape(*image.shape[:2], -1), (*image.shape[:2], 3))


def assert_same(found, wanted):
    """But for one grey level of 255, and they show something."""
    assert found.shape == wanted.shape and found.std() > 1
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


@needs_onnx
def test_the_corners_are_the_pictures_of_generate(digits, opened, tmp_path):
    path, _ = digits
    page = opened(path)
    page.get_by_role("radio", name="7").check(force=True)
    words = ["--label", "7", "--num", "8", "--format", "png", "--out", str(tmp_path)]
    assert cli.main(["generate", "--device", "CPU", *words]) == 0
    made = [read(tmp_path / f"{i:05d}.png") for i in range(8)]
    for corner in range(4):
        assert_same(pixels(page, ".corner", corner), made[corner])
    page.get_by_role("button", name="Four other corners").click()
    assert "pictures 5 to 8 of ms-gan generate --seed 1" in page.locator("#origin").inner_text()
    for corner in range(4):
        assert_same(pixels(page, ".corner", corner), made[4 + corner])


@needs_onnx
def test_dragging_changes_the_picture(digits, opened):
    """By mouse and by keyboard; everywhere it is that of the package, of the latents there."""
    path, sampler = digits
    page = opened(path)
    first, z = pixels(page), page.evaluate("explorer.latent()")
    assert_same(first, expected(sampler, z, 0))
    corners = sampling.latents(1, 4, sampler.latent_dim)
    assert np.array_equal(np.array(page.evaluate("explorer.corners()"), np.float32), corners)
    mean = corners.astype(np.float64).mean(axis=0)  # as long as the corners are on average
    wanted = mean * np.linalg.norm(corners, axis=1).mean() / np.linalg.norm(mean)
    np.testing.assert_allclose(z, wanted, atol=1e-5)

    box = page.locator("#pad").bounding_box()

    def place(x, y):
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*place(0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*place(0.8, 0.3), steps=4)
    page.mouse.up()
    moved, z = pixels(page), page.evaluate("explorer.latent()")
    assert np.abs(moved.astype(int) - first).max() > 50
    assert_same(moved, expected(sampler, z, 0))
    assert page.locator("#where").inner_text() == "80 % to the right, 30 % down, class 0"

    page.locator("#across").focus()
    page.keyboard.press("Home")
    page.locator("#down").focus()
    page.keyboard.press("End")
    assert np.allclose(page.evaluate("explorer.latent()"), corners[2])
    assert_same(pixels(page), pixels(page, ".corner", 2))
    assert "0 % to the right, 100 % down" in page.locator("#shown").get_attribute("aria-label")


@needs_onnx
def test_more_like_this(digits, opened):
    """Nearer where less is asked for; one can go on from each, and put it into a corner."""
    path, sampler = digits
    page = opened(path)
    z = np.array(page.evaluate("explorer.latent()"))
    near = [pixels(page, "#neighbours canvas", n) for n in range(8)]
    assert len({picture.tobytes() for picture in near}) == 8
    page.locator("#distance").fill("90")
    far = [pixels(page, "#neighbours canvas", n) for n in range(8)]
    shown = pixels(page).astype(int)
    assert np.mean([np.abs(p - shown).mean() for p in near]) < (
        0.7 * np.mean([np.abs(p - shown).mean() for p in far])
    )
    page.locator("#distance").fill("25")
    page.get_by_role("button", name="Similar picture 3").click()
    other = np.array(page.evaluate("explorer.latent()"))
    cosine = z @ other / np.linalg.norm(z) / np.linalg.norm(other)
    assert abs(np.degrees(np.arccos(cosine)) - 25) < 12  # of a direction that is not quite square
    assert_same(pixels(page), near[2])
    assert_same(pixels(page), expected(sampler, other, 0))
    page.get_by_role("button", name="Put it into the corner bottom right").click()
    assert_same(pixels(page, ".corner", 3), near[2])
    assert np.allclose(page.evaluate("explorer.corners()")[3], other)
    assert page.locator("#across").input_value() == page.locator("#down").input_value() == "100"
    before = pixels(page, "#neighbours canvas", 0)
    page.get_by_role("button", name="Eight others").click()
    assert not np.array_equal(pixels(page, "#neighbours canvas", 0), before)


@needs_onnx
def test_classes_by_the_keyboard(digits, opened):
    path, sampler = digits
    page = opened(path)
    page.get_by_role("radio", name="0").focus()
    for label in (1, 2):
        page.keyboard.press("ArrowRight")
        assert_same(pixels(page), expected(sampler, page.evaluate("explorer.latent()"), label))
    assert page.locator("#where").inner_text().endswith("class 2")


@needs_onnx
def test_truncation_and_colour(coloured, opened):
    path, sampler = coloured
    page = opened(path)
    z = page.evaluate("explorer.latent()")
    assert_same(pixels(page), expected(sampler, z))
    page.locator("#psi").fill("0.5")
    assert_same(pixels(page), expected(sampler.truncated(0.5), z))
    assert page.locator("#psi-now").inner_text() == "0.5"
    assert page.locator("input[name=class]").count() == 0
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the picture").click()
    assert np.array_equal(read(saved.value.path()), pixels(page))


@needs_onnx
def test_both_languages_both_kinds_of_light_and_a_phone(coloured, opened):
    path, _ = coloured
    page = opened(path, locale="zh-CN", color_scheme="dark", viewport=PHONE, has_touch=True)
    assert page.locator("h2").first.inner_text() == "在四张图片之间"
    assert page.locator("#state").inner_text() == "已就绪。"
    assert page.locator("#where").inner_text() == "向右 50 %，向下 50 %"
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="English").tap()
    assert page.locator("h2").first.inner_text() == "Between four pictures"
    assert page.locator("#shown").get_attribute("aria-label").startswith("Generated picture: 50 %")
    page.locator("#theme").tap()
    assert page.evaluate(ground) != dark
    before = pixels(page)
    page.locator("#pad").tap(position={"x": 30, "y": 200})
    assert not np.array_equal(pixels(page), before)


@needs_onnx
def test_everything_has_a_name_for_a_screen_reader(coloured, opened):
    """Every control and every picture, by the browser's own tree of what is read aloud."""
    page = opened(coloured[0])
    for selector in ("button", "input", "canvas[role=img]"):
        for one in page.locator(selector).all():
            name = one.evaluate(
                "e => e.getAttribute('aria-label') || (e.labels && e.labels[0] || e).innerText"
            )
            assert name.strip(), one.evaluate("e => e.outerHTML")


def test_a_browser_that_cannot_run_it_says_so(runtime, browser, tmp_path):
    """A page whose net is damaged: a line in place of a page that waits for ever."""
    out = tmp_path / "x.html"
    source = styles()
    out.write_text(
        explorer.render(source, explorer.of_sampler(source), b"no net", runtime), "utf-8"
    )
    page = browser.new_page()
    page.goto(out.as_uri())
    until(page, "document.getElementById('state').className === 'note'")
    assert "cannot run the generator" in page.locator("#state").inner_text()
    page.close()
