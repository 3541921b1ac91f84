"""report.html: what a run was and what came of it, one page that needs a browser and nothing else.

The template, its style, its script and its words in two languages lie in page/, with the library
that draws the curves. :mod:`ms_gan.runs.story` reads what there is to show.
"""

from __future__ import annotations

import datetime
import functools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ms_gan.runs import template
from ms_gan.runs.run_dir import RunDir
from ms_gan.runs.story import SHARES, differences, finite, metrics, story
from ms_gan.runs.template import PAGE, Words
from ms_gan.system import files
from ms_gan.version import __version__

LIMIT = 8_000_000  # bytes of a page
PICTURES = 5_200_000  # of these, of its pictures, a third less than they take in the page
POINTS = 2000  # of each curve
PART = 100  # while training, a page takes at most one part in so many of the time


class Report:
    """The page of a run that trains, written again at little cost; it never stops the run.

    Args:
        say: receives a line where the page cannot be made.
    """

    def __init__(self, run: RunDir, say: Callable[[str], None] = lambda line: None):
        self.run, self.say = run, say
        self.due = 0.0
        self.failed = False

    def refresh(self) -> None:
        """Write it, unless that would take more than a hundredth of the time."""
        if time.monotonic() >= self.due:
            self.write()

    def write(self) -> None:
        """Write it; where that fails, say so once."""
        started = time.monotonic()
        try:
            save([self.run], self.run.report_file)
        except Exception as error:  # whatever is in the folder: training is worth more
            if not self.failed:
                self.say(f"no {self.run.report_file}: {why(error)}")
            self.failed = True
        now = time.monotonic()
        self.due = now + PART * (now - started)


def why(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed; pip install {error.name}"
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def save(runs: Sequence[RunDir], path: Path) -> None:
    """One page of one run or of several, of at most `LIMIT` bytes; it appears whole or not at all.

    Raises:
        ImportError: of the template engine.
        RunError: a folder holds no run.
        OSError: the page cannot be written.
    """
    room, points = PICTURES // len(runs), max(200, POINTS // len(runs))
    while True:
        page = render(runs, path.parent, room, points).encode("utf-8", "backslashreplace")
        if len(page) <= LIMIT or room < 1000:
            break
        room, points = room // 2, max(10, points // 2)
    files.write(path, page)


def render(runs: Sequence[RunDir], folder: Path, room: int, points: int) -> str:
    """The page as text.

    Args:
        folder: in which it will lie, for its links.
        room: bytes of the pictures of each run.
        points: of each curve.
    """
    names = labels(runs)
    stories = [
        story(run, label=name, room=room, points=points)
        for run, name in zip(runs, names, strict=True)
    ]
    words = vocabulary()
    for index, one in enumerate(stories):
        one |= {
            "index": index,
            "highlights": highlights(one, words),
            "link": link(one["folder"], folder),
        }
    drawn = list(charts(stories, words))
    data = {
        "runs": [
            {key: one[key] for key in ("label", "frames", "curves", "marks")} for one in stories
        ],
        "charts": drawn,
        "words": {key: words["text"][key] for key in words["script"]},
    }
    for one in data["runs"]:  # the last picture stands in the page, also where no script runs
        one["frames"] = [
            {"step": frame["step"], "src": frame["src"] if frame is not one["frames"][-1] else None}
            for frame in one["frames"]
        ]
    return environment().get_template("page.html").render(
        runs=stories, charts=drawn, data=data,
        differences=differences([one["config"] for one in stories]) if len(stories) > 1 else [],
        real=real_pictures(stories),
        now=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
    )  # fmt: skip


def labels(runs: Sequence[RunDir]) -> list[str]:
    """A name for each run: of its folder where these differ, else its path."""
    names = [run.path.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def link(folder: Path, start: Path) -> str:
    """Where a run lies as seen from the page, ready for a URL; empty: beside it."""
    try:
        way = Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()
    except ValueError:  # on another drive
        way = folder.resolve().as_posix()
    return "" if way == "." else f"{way}/"


def real_pictures(stories: Sequence[dict]) -> list[tuple[str, str]]:
    """(name, picture) of real images, once for runs of the same data."""
    found = {}
    for one in stories:
        if one["real"]:
            key = str(one["data"]["md5"] or one["label"])
            found.setdefault(key, (one["data"]["name"], one["real"]))
    return list(found.values())


# --- what is drawn --------------------------------------------------------------------------------


def charts(stories: Sequence[dict], words: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Of one run a chart for what belongs together; of several, one for each key, with a curve for
    each run."""
    found: dict[str, None] = {}
    for one in stories:
        found |= dict.fromkeys(one["curves"])
    losses = [key for key in found if key.startswith("loss_")]
    measured = metrics(row for one in stories for row in one["log"])
    measured.sort(key=lambda key: not words["metrics"].get(key, {}).get("headline", False))
    shares = [key for key in measured if key in SHARES]
    others = [[key] for key in measured if key not in SHARES]
    groups = [
        ("losses", losses),
        ("judged", [key for key in ("d_real", "d_fake") if key in found]),
        ("scores", [key for key in ("real_score", "fake_score") if key in found]),
        *((None, keys) for keys in others[:1]),
        ("shares", shares),
        *((None, keys) for keys in others[1:]),
    ]
    several = len(stories) > 1
    for group, keys in groups:
        parts = [[key] for key in keys] if several else [keys]
        for part in filter(None, parts):
            yield {
                "title": title(group, part[0], several, words),
                "series": list(curves(stories, part, words)),
                "unit": group in ("judged", "shares"),  # an axis from 0 to 1
                "logarithmic": group in ("losses", None),  # an axis that may be
            }


def title(group: str | None, key: str, several: bool, words: dict[str, Any]) -> Words:
    if not group:
        return name(key, words)
    if not several:
        return words["charts"][group]
    if group in ("judged", "shares"):
        return name(key, words)
    pairs = zip(words["charts"][group], name(key, words), strict=True)
    return [": ".join(pair) for pair in pairs]


def curves(
    stories: Sequence[dict], keys: Sequence[str], words: dict[str, Any]
) -> Iterable[dict[str, Any]]:
    """One for each run and key that it has, and the floor of a headline."""
    for index, one in enumerate(stories):
        for key in keys:
            if key in one["curves"]:
                own = name(key, words) if len(stories) == 1 else [one["label"]] * 2
                yield {"run": index, "key": key, "label": own}
    if words["metrics"].get(keys[0], {}).get("headline"):
        for index, one in enumerate(stories):
            if "floor" in one["curves"]:
                yield {"run": index, "key": "floor", "label": words["text"]["floor"]}
                return


def name(key: str, words: dict[str, Any]) -> Words:
    """What people call a key of the log; the key itself where nobody has said."""
    known = words["metrics"].get(key)
    if known:
        return [known["en"], known["zh"]]
    return words["curves"].get(key) or [key.removeprefix("loss_")] * 2


def highlights(one: dict, words: dict[str, Any]) -> list[dict[str, Any]]:
    """The newest value of each measure, its best one, and the floor of the headline."""
    found = []
    for key in metrics(one["log"]):
        rows = [row for row in one["log"] if finite(row.get(key)) is not None]
        if not rows:
            continue
        known = words["metrics"].get(key, {})
        best = None
        if known.get("better"):
            pick = min if known["better"] == "smaller" else max
            best = pick(rows, key=lambda row, key=key: row[key])
        floor = rows[-1].get("floor") if known.get("headline") else None
        found.append(
            {
                "key": key, "value": rows[-1][key], "step": rows[-1]["step"], "best": best,
                "floor": floor, "headline": bool(known.get("headline")),
            }
        )  # fmt: skip
    return sorted(found, key=lambda value: not value["headline"])


# --- the template ---------------------------------------------------------------------------------


@functools.cache
def environment() -> Any:
    """Jinja with what the template uses: texts in both languages, numbers, files of page/."""
    words = vocabulary()
    found = template.environment(words["text"], PAGE)
    found.globals |= {
        "name": lambda key: found.globals["both"](name(key, words)),
        "column_name": lambda key: found.globals["text"](key) if key in words["text"] else key,
    }
    found.filters["number"] = number
    return found


def vocabulary() -> dict[str, Any]:
    return template.vocabulary(PAGE)


def number(value: Any) -> str:
    """Four digits that mean something, whole numbers as they are."""
    if finite(value) is None:
        return "–"
    if isinstance(value, int) or float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
