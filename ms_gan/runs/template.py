"""Pages: files with every text in English and Chinese, which Jinja puts together."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

PAGE = Path(__file__).parent / "page"  # what all pages share lies beside the report's own

Words = list[str]  # the same in English and in Chinese


@functools.cache
def vocabulary(folder: Path) -> dict[str, Any]:
    """What words.yaml of a folder holds."""
    return yaml.safe_load((folder / "words.yaml").read_text(encoding="utf-8"))


def environment(texts: Mapping[str, Words], *folders: Path) -> Any:
    """Jinja with what templates use: texts in both languages, labels for screen readers, files.

    Args:
        texts: key -> the text.
        folders: in which templates and files are looked for, one after the other.
    """
    import jinja2
    from markupsafe import Markup, escape

    def both(pair: Words, **values: Any) -> Markup:
        english, chinese = (escape(text) for text in pair)
        if values:
            english, chinese = (text.format(**values) for text in (english, chinese))
        if english == chinese:
            return english
        return Markup(f'<span lang="en">{english}</span><span lang="zh-CN">{chinese}</span>')

    def text(key: str, **values: Any) -> Markup:
        return both(texts[key], **values)

    def labelled(key: str, **values: Any) -> Markup:
        """Attributes: a label for screen readers, which the script keeps in the language shown."""
        english, chinese = (
            escape(part).format(**values) if values else escape(part) for part in texts[key]
        )
        return Markup(f'aria-label="{english}" data-en="{english}" data-zh="{chinese}"')

    def source(file: str) -> Markup:
        path = next(folder / file for folder in folders if (folder / file).is_file())
        return Markup(path.read_text(encoding="utf-8").strip())

    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.globals |= {"both": both, "text": text, "labelled": labelled, "source": source}
    found.filters["size"] = size
    return found


def size(value: float) -> str:
    """1500 -> '1.5 kB'"""
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
