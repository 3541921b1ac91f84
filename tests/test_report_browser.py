"""report.html in a real browser: the slider moves, curves are drawn, nothing is asked of a network.

Needs the Python package playwright and any Chromium.
"""

import json

import numpy as np
import pytest

from ms_gan.runs import report, visualise
from ms_gan.runs.run_dir import RunDir
from tests import browser as browsers
from tests.browser import PHONE, until
from tests.test_report import DATA, MEASURED, written

READY = "window.report && report.plots.every(plot => plot.status === 1)"
FIRST = "0,114,178"  # the colour of the first curve where it is light
PAINTED = """plot => {
    const {data} = plot.ctx.getImageData(0, 0, plot.ctx.canvas.width, plot.ctx.canvas.height);
    const seen = new Set();
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 200) seen.add([data[i], data[i + 1], data[i + 2]].join());
    return [...seen];
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with pictures that can be told apart, measures, a warning; and a page of two runs."""
    folder = tmp_path_factory.mktemp("pages")
    runs = []
    for number, name in enumerate(("one", "other")):
        run = written(folder / name, steps=[], rows=MEASURED, manifest={"data": DATA})
        for step in (0, 4, 8):
            visualise.save_png(run.sample_file(step), np.full((8, 8), 10 * step + number, np.uint8))
        report.save([run], run.report_file)
        runs.append(run)
    report.save(runs, folder / "compare.html")
    return folder


@pytest.fixture
def opened(browser):
    with browsers.pages(browser, READY) as show:
        yield show


def shade(page, run=0):
    """The grey of the picture that is shown."""
    return page.evaluate(
        """async run => {
            const image = document.querySelector(`img.samples[data-run="${run}"]`);
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = canvas.height = 1;
            const ink = canvas.getContext("2d");
            ink.drawImage(image, 0, 0);
            return ink.getImageData(0, 0, 1, 1).data[0];
        }""",
        run,
    )


def test_the_slider_moves_by_mouse_keyboard_and_button(folder, opened):
    page = opened(folder / "one" / "report.html")
    slider, play = page.locator("#at"), page.locator("#play")
    assert (slider.input_value(), shade(page)) == ("2", 80)
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert (slider.get_attribute("aria-valuetext"), shade(page)) == ("step 4", 40)
    page.keyboard.press("Home")
    assert shade(page) == 0 and page.locator("#now").inner_text() == "step 0"
    page.keyboard.press("Space")
    assert play.get_attribute("aria-pressed") == "true"
    until(page, "document.querySelector('#at').value === '2'")
    assert play.get_attribute("aria-pressed") == "false" and shade(page) == 80
    play.click()  # from the end it begins at the start
    until(page, "document.querySelector('#at').value < 2")
    until(page, "document.querySelector('#at').value === '2'")


def test_curves_are_drawn_read_and_zoomed(folder, opened):
    page = opened(folder / "one" / "report.html")
    plots = page.evaluate("report.plots.length")
    assert plots == 6 == page.locator(".chart canvas").count()
    for index in range(plots):
        painted = page.evaluate(f"({PAINTED})(report.plots[{index}])")
        assert FIRST in painted, (index, len(painted))
    values = page.locator(".chart").first.locator(".u-value")
    assert values.all_inner_texts() == ["8", "0.8", "0.9"]  # at the step of the slider
    page.locator("#at").fill("0")
    assert values.all_inner_texts() == ["0", "1", "0.5"]
    over = page.locator(".chart .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    assert values.all_inner_texts() == ["4", "0.9", "0.7"]  # under the pointer
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 20, steps=4)
    page.mouse.up()
    ranges = "report.plots.map(plot => [plot.scales.x.min, plot.scales.x.max])"
    until(page, "report.plots[5].scales.x.min > 3.5")
    assert all(3.5 < low < 4.5 and 6.5 < high < 8 for low, high in page.evaluate(ranges))
    page.get_by_role("button", name="Show everything").click()
    assert page.evaluate(ranges) == [[0, 8]] * plots
    page.get_by_role("button", name="Zoom in").click()
    assert page.evaluate(ranges) == [[2, 6]] * plots
    page.locator(".chart").first.focus()
    page.keyboard.press("0")
    assert page.evaluate(ranges) == [[0, 8]] * plots
    page.mouse.click(box["x"] + 2, box["y"] + 20)  # the samples of that step
    assert page.locator("#at").input_value() == "0"


def test_what_a_screen_reader_is_told(folder, opened):
    page = opened(folder / "one" / "report.html")
    chart = page.locator(".chart").first
    assert chart.get_attribute("aria-label") == (
        "Chart: Losses; discriminator: last 0.8; generator: last 0.9"
    )
    chart.locator("summary").click()
    rows = chart.locator("details tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [
        ["0", "1", "0.5"], ["4", "0.9", "0.7"], ["8", "0.8", "0.9"],
    ]  # fmt: skip
    distance = page.locator(".chart").nth(3)
    distance.get_by_label("logarithmic").check()
    assert page.evaluate("report.plots[3].scales.y.distr") == 3


def test_both_languages_and_both_kinds_of_light(folder, opened):
    page = opened(folder / "one" / "report.html", locale="zh-CN", color_scheme="dark")
    assert page.locator("h2").first.inner_text() == "样本"
    assert page.locator("#play").get_attribute("aria-label") == "播放或暂停"
    assert "判别器: 最后 0.8" in page.locator(".chart").first.get_attribute("aria-label")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="English").click()
    assert page.locator("h2").first.inner_text() == "Samples"
    assert page.locator("#now").inner_text() == "step 8"
    page.locator("#theme").click()
    assert page.evaluate(ground) != dark
    assert FIRST in page.evaluate(f"({PAINTED})(report.plots[0])")  # drawn anew


@pytest.mark.parametrize("name", ["one/report.html", "compare.html"])
def test_on_a_phone_nothing_is_wider_than_the_screen(folder, opened, name):
    page = opened(folder / name, viewport=PHONE, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.locator("#play").tap()
    until(page, "document.querySelector('#at').value === '2'")


def test_who_wants_no_motion_gets_a_slow_film(folder, opened):
    page = opened(folder / "one" / "report.html", reduced_motion="reduce")
    page.locator("#play").click()
    page.wait_for_timeout(400)
    assert page.locator("#at").input_value() == "0"
    page.locator("#play").click()  # and can stop it
    page.wait_for_timeout(1200)
    assert page.locator("#at").input_value() == "0"


def test_two_runs_move_together(folder, opened):
    page = opened(folder / "compare.html")
    assert (shade(page, 0), shade(page, 1)) == (80, 81)
    page.locator("#at").fill("1")
    assert (shade(page, 0), shade(page, 1)) == (40, 41)
    labels = page.evaluate("report.plots[0].series.map(one => one.label)")
    assert labels == ["step", "one", "other"]


def test_the_page_of_a_real_training(trained, opened):
    page = opened(RunDir(trained).report_file)
    assert page.locator("#at").get_attribute("max") == "3"
    shown = json.loads(page.locator("#data").inner_text())
    assert len(shown["charts"]) == 3 == page.evaluate("report.plots.length")
