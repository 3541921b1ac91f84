"""The reference of the keys: made from the code, complete, and held by docs/recipes.md."""

import dataclasses

import pytest

from ms_gan import build, data
from ms_gan.cli import keys
from tests.tiny import ROOT, run

BEGIN, END = "<!-- generated: begin -->", "<!-- generated: end -->"


def test_the_page_holds_what_the_command_prints():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    held = page.partition(BEGIN)[2].partition(END)[0].strip()
    assert held == keys.reference().strip(), "put the output of `ms-gan keys` between the marks"


def test_the_command():
    code, out, err = run("keys")
    assert (code, err) == (0, "")
    assert out.strip() == keys.reference().strip()


@pytest.mark.parametrize("section", keys.SECTIONS)
def test_every_key_has_a_meaning(section):
    cls = keys.SECTIONS[section]
    meanings = keys.described(cls)
    fields = [f.name for f in dataclasses.fields(cls) if f.name != "options"]
    assert sorted(meanings) == sorted(fields), "one line each under Args:, and no others"


@pytest.mark.parametrize("table", [data.DATA, *build.TABLES], ids=lambda table: table.kind)
def test_every_option_has_a_meaning(table):
    given = data.GIVEN if table.kind == "data" else keys.GIVEN
    for name in table:
        factories = table[name] if isinstance(table[name], tuple) else (table[name],)
        known = set(keys.COMMON).union(*(keys.described(factory) for factory in factories))
        options = set(table.accepted(name)) - set(given)
        assert options <= known, f"{table.kind} '{name}': say what it means under Args:"
        assert all(keys.first_line(factory) for factory in factories)


def test_meanings_run_over_lines_and_names_may_share_one():
    def documented():
        """What it is.

        Args:
            one, two: of both,
                and more.
            three: last.

        Returns:
            four: no argument.
        """

    assert keys.described(documented) == {
        "one": "of both, and more.", "two": "of both, and more.", "three": "last.",
    }  # fmt: skip
