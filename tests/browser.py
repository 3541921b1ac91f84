"""A headless Chromium for tests that look at pages as a person does."""

import os
import re
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HOW = (
    "PAGES WERE NOT TRIED IN A BROWSER: `pip install playwright`, then a Chromium: "
    "`apt-get install chromium`, `playwright install chromium`, or its path in MS_GAN_CHROMIUM"
)
DESKTOP, PHONE = {"width": 1200, "height": 900}, {"width": 360, "height": 740}
OWN = r"data:|blob:|file:.*\.html$"  # what a page may ask for


@contextmanager
def launched():
    """A browser, or a loud skip."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip(HOW)
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
        named = [os.environ.get("MS_GAN_CHROMIUM"), *map(shutil.which, BROWSERS)]
        path = next((str(place) for place in [*named, own] if place and Path(place).exists()), None)
        if path is None:
            pytest.skip(HOW)
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@contextmanager
def pages(browser, ready):
    """A function (path, **options of the context) -> the page, once `ready` is true in it; what
    goes wrong there or is asked of a network fails the test."""
    contexts, problems, asked_for = [], [], []

    def show(path, **options):
        context = browser.new_context(**{"viewport": DESKTOP, "locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: problems.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: asked_for.append(asked.url))
        page.goto(path.as_uri())
        until(page, ready)
        return page

    yield show
    for context in contexts:
        context.close()
    assert problems == []
    assert [url for url in asked_for if not re.match(OWN, url)] == []


def until(page, condition, tries=400):
    """Wait for it; Playwright's own way of waiting is against the policy of the page."""
    for _ in range(tries):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never: {condition}")
