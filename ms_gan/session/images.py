"""The images of a run: those that its recipe names, or those that it began with."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.errors import UserError
from ms_gan.recipe.schema import Config, Data
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system.output import Say

if TYPE_CHECKING:
    from ms_gan.data import Dataset


def load(config: Config, run: RunDir, say: Say, download: Any) -> Dataset:
    """The recipe's data set; for a run that fell back to another one, that one again.

    Where the recipe does not say in which folder it is, that in which the run found it comes first,
    also when MS_GAN_DATA names another one today.
    """
    from ms_gan import data

    begun = run.manifest.get("data", {})
    recorded = begun.get("name")
    name, fallback, options = config.data.name, config.data.fallback, config.data.options
    given = {"match": config.data.match, "say": say, "progress": download}
    if recorded == name:
        fallback = None  # it goes on with what it was started on
        there, folders = found_again(config.data, begun.get("source"))
        if folders:
            with suppress(UserError):
                dataset = data.load(name, pair=there.pair, **given, **there.options)
                if dataset.md5 == begun.get("md5"):
                    where = " and ".join(map(str, folders))
                    say(f"data: in {where}, where this run was started on them")
                    return dataset
    other = data.stand_in(name, fallback)
    if other is not None and recorded == other:
        say(f"data: this run was started on {other} and goes on with it")
        known = data.DATA.accepted(other)
        name, options = other, {k: v for k, v in options.items() if k in known}
    return data.load(name, fallback=fallback, pair=config.data.pair, **given, **options)


def found_again(recipe: Data, source: Any) -> tuple[Data, list[Path]]:
    """The section `data` of a recipe with the folders in which a run found its data, where the
    recipe names none; and those folders."""
    folders = []
    for index, part in enumerate((recipe, recipe.pair)):
        folder = folder_of(source, index)
        if part is None or folder is None or part.options.get("root", "") is not None:
            continue
        folders.append(folder)
        part = dataclasses.replace(part, options={**part.options, "root": str(folder)})
        recipe = dataclasses.replace(recipe, pair=part) if index else part
    return recipe, folders


def folder_of(source: Any, index: int = 0) -> Path | None:
    """The folder that the `source` of a data set names, which holds all splits, if it is there.

    Args:
        index: 1: that of the second set, where two are joined.
    """
    from ms_gan.data.pairs import JOINT

    sources = str(source).split(JOINT)
    text = sources[index].partition(" in ")[2] if index < len(sources) else ""
    folder = Path(text)
    if not text or not folder.is_dir():
        return None
    return folder.parent if folder.name in ("raw", "train", "test") else folder


def check(run: RunDir, dataset: Dataset, say: Say) -> None:
    """Raise RunError where the run was started on other images."""
    recorded = run.manifest.get("data", {})
    md5 = recorded.get("md5")
    if md5 is None and run.checkpoint_files():
        say(
            f"{run.manifest_file}: does not say which data this run was started on; it goes on "
            f"with {dataset.name}"
        )
    if md5 is not None and md5 != dataset.md5:
        raise RunError(
            f"{run.path}: was started on other data ({recorded.get('name')}, "
            f"{recorded.get('images')} images, {recorded.get('source')}; their md5 differ from "
            "today's); choose another folder with --run-dir"
        )
