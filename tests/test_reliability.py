"""docs/reliability.md names a test for each promise: the tests are there."""

import ast
import re

import pytest

from tests.tiny import ROOT


@pytest.mark.parametrize("page", ["reliability.md", "reliability_CN.md"])
def test_the_tests_of_the_page_exist(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py)::(\w+)`", text)
    assert len(named) > 25
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_both_languages_name_the_same():
    pages = [(ROOT / "docs" / f"reliability{cn}.md").read_text("utf-8") for cn in ("", "_CN")]
    assert len({tuple(re.findall(r"`tests/[^`]+`", page)) for page in pages}) == 1
