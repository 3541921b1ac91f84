"""What a run directory tells, as plain data: what `report.html` shows of one run."""

from __future__ import annotations

import base64
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config
from ms_gan.runs import film, visualise
from ms_gan.runs.run_dir import NUMBERS, RunDir, RunError

FRAMES = 300  # grids in the slider, at most
ALONE = 700_000  # bytes of a picture that is shown alone; larger ones become JPEG
SIDES = (1600, 1000, 600)  # the longer side of such a JPEG, tried in turn
SHARES = ("precision", "recall", "coverage")  # measures between 0 and 1 that share a chart
NOT_DRAWN = {"step", "floor", "images_per_second"}

Row = Mapping[str, Any]


def story(run: RunDir, *, label: str, room: int, points: int) -> dict[str, Any]:
    """All that a page shows of a run.

    Args:
        label: what the page calls it.
        room: bytes of PNG files that may be shown.
        points: of each curve, at most.

    Raises:
        RunError: the folder holds no run.
        ConfigError: its recipe cannot be read.
    """
    if not run.exists:
        raise RunError(f"{run.path}: holds no run; expected a folder of `train`")
    config, manifest = reader.load(run.config_file), run.manifest
    log = sorted(run.read_log(), key=lambda row: row["step"])
    sessions = manifest.get("sessions", [])
    last = sessions[-1] if sessions else {}
    data = data_of(manifest.get("data", {}), config)
    evaluations = list(read_evaluations(run))
    most = min(ALONE, room // 4)
    alone = {"real": shown_alone(run.real_file, most), "nearest": nearest(run, most)}
    frames, left_out = chosen(run, room - sum(len(src or "") * 3 // 4 for src in alone.values()))
    rows = thinned(log, points)
    step = max([row["step"] for row in log] + [step for step, _ in run.sample_files()], default=0)
    return {
        "label": label,
        "folder": run.path,
        "config": config,
        "recipe": run.config_file.read_text(encoding="utf-8"),
        "data": data,
        "sessions": sessions,
        "started": sessions[0].get("started") if sessions else None,
        "device": last.get("device"),
        "machine": last.get("machine"),
        "versions": last.get("versions") or {},
        "commit": last.get("git_commit"),
        "commands": commands(sessions),
        "step": step,
        "steps": last["steps"] if isinstance(last.get("steps"), int) else config.train.steps,
        "speed": speed(log),
        "columns": words_of(manifest.get("columns")),
        "frames": frames,
        "left_out": left_out,
        **alone,
        "log": log,
        "curves": as_columns(rows),
        "points_left_out": len(log) - len(rows),
        "marks": list(marks(log)),
        "evaluations": evaluations,
        "histogram": histogram(log, evaluations, data),
        "files": list(listing(run)),
    }


def data_of(recorded: Mapping[str, Any], config: Config) -> dict[str, Any]:
    """What the manifest says of the data; None where it is missing or somebody's own."""
    images, shape = recorded.get("images"), recorded.get("image_shape")
    shown = isinstance(shape, list) and all(isinstance(side, int) for side in shape)
    return {
        "name": str(recorded.get("name") or config.data.name),
        "images": images if isinstance(images, int) else None,
        "shape": shape if shown else None,
        "classes": words_of(recorded.get("classes")),
        "class_shares": recorded.get("class_shares"),
        "md5": recorded.get("md5"),
    }


def words_of(value: Any) -> list[str]:
    """A list of texts of the manifest; empty where it is something else."""
    fits = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return value if fits else []


def commands(sessions: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was typed, each once; nothing of a run that was started from Python."""
    typed = [session.get("command") for session in sessions]
    return list(dict.fromkeys(word for word in typed if isinstance(word, str)))


def speed(log: Sequence[Row]) -> float | None:
    """Images for each second, the median of the log."""
    values = [row["images_per_second"] for row in log if "images_per_second" in row]
    return statistics.median(values) if values else None


# --- pictures -------------------------------------------------------------------------------------


def chosen(run: RunDir, room: int) -> tuple[list[dict[str, Any]], int]:
    """Grids for the slider, evenly chosen where not all have room, and how many were left out.

    The first and the last one are always there, as JPEG where they are too large.
    """
    files = [entry for entry in run.sample_files() if entry[1].stat().st_size > 0]
    sizes = [path.stat().st_size for _, path in files]
    num = min(FRAMES, len(files))
    rows = visualise.evenly(len(files), num)
    while num > 2 and (total := sum(sizes[row] for row in rows)) > room:
        num = max(2, min(num - 1, num * room // total))
        rows = visualise.evenly(len(files), num)
    most = room if num > 2 else room // 2
    frames = []
    for step, path in (files[row] for row in rows):
        size = film.size_of(path)
        src = size and embedded(path, most)
        if src:
            frames.append({"step": step, "src": src, "size": size})
    return frames, len(files) - len(frames)


def shown_alone(path: Path, most: int) -> str | None:
    return embedded(path, most) if path.is_file() else None


def nearest(run: RunDir, most: int) -> str | None:
    """Samples beside the training images nearest to them, where `ms-gan evaluate` looked."""
    found = (run.path / f"{stem}.nearest.png" for stem in ("generator", "best"))
    return next((src for path in found if (src := shown_alone(path, most))), None)


def embedded(path: Path, most: int) -> str | None:
    """A picture as a data: address, its bytes as they are; larger than `most` a JPEG of it.

    None where it cannot be read.
    """
    content = path.read_bytes()
    if len(content) <= most:
        return address(content, "png")
    try:
        with Image.open(path) as file:
            picture = file.convert("L" if file.mode in ("1", "L") else "RGB")
    except film.UNREADABLE:
        return None
    for side in SIDES:
        buffer = io.BytesIO()
        picture.thumbnail((side, side))
        picture.save(buffer, "JPEG", quality=85)
        if buffer.tell() <= most:
            break
    return address(buffer.getvalue(), "jpeg")


def address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


# --- numbers --------------------------------------------------------------------------------------


def thinned(log: Sequence[Row], points: int) -> list[Row]:
    """At most `points` rows of the log and as many of its evaluations, evenly chosen."""
    measured = [index for index, row in enumerate(log) if metrics([row])]
    kept = {measured[i] for i in visualise.evenly(len(measured), points)}
    kept |= set(visualise.evenly(len(log), points).tolist())
    return [log[index] for index in sorted(kept)]


def metrics(log: Iterable[Row]) -> list[str]:
    """The keys of evaluations that are one number, in their order."""
    found: dict[str, None] = {}
    for row in log:
        found |= dict.fromkeys(key for key, value in row.items() if is_metric(key, value))
    return list(found)


def is_metric(key: str, value: Any) -> bool:
    known = key in NUMBERS or key in NOT_DRAWN or key.startswith("loss_")
    return not known and is_number(value)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_columns(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """key -> the value in each row, for what is drawn: JSON knows neither infinity nor NaN."""
    keys: dict[str, None] = {}
    for row in rows:
        keys |= dict.fromkeys(key for key, value in row.items() if is_number(value))
    return {key: [finite(row.get(key)) for row in rows] for key in keys}


def finite(value: Any) -> float | None:
    return value if is_number(value) and math.isfinite(value) else None


def marks(log: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """Warnings, those in a row as one, and changes of the recipe."""
    before = None
    for row in log:
        if isinstance(changed := row.get("changed"), dict):
            parts = (f"{key}: {pair[0]} → {pair[1]}" for key, pair in changed.items())
            with suppress(TypeError, IndexError, KeyError):  # somebody's own line
                yield {"step": row["step"], "kind": "change", "text": ", ".join(parts)}
        if "warning" in row and before is None:
            yield {"step": row["step"], "kind": "warning", "text": row["warning"]}
        if metrics([row]):
            before = row.get("warning")


def read_evaluations(run: RunDir) -> Iterable[dict[str, Any]]:
    """What `ms-gan evaluate` has written beside the checkpoints of the run, as tables."""
    for path in sorted(run.path.glob("*.evaluation.json")):
        with suppress(OSError, ValueError, RecursionError, AttributeError, TypeError):
            found = json.loads(path.read_text(encoding="utf-8"))
            made = found.get("generated") or found["made"]
            floors = found.get("floors") or {"floor": found.get("floor") or {}}
            beside = {name: dict(values) for name, values in floors.items()}
            yield {
                "file": path.name,
                "checkpoint": found["checkpoint"]["file"],
                "step": found["checkpoint"].get("step"),
                "num": found.get("num"),
                "floors": list(beside),
                "rows": [
                    (key, value, [finite(values.get(key)) for values in beside.values()])
                    for key, value in made.items()
                    if is_number(value)
                ],
                "shares": made.get("shares"),
                "reference": found.get("reference_shares"),
            }


def histogram(
    log: Sequence[Row], evaluations: Sequence[Row], data: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How much of the samples each class is, of the newest measurement that says so."""
    found = [
        {"step": row["step"], "shares": row["shares"], "reference": data["class_shares"]}
        for row in log[::-1]
        if are_shares(row.get("shares"))
    ][:1]
    found += [e for e in evaluations if are_shares(e["shares"])]
    if not found:
        return None
    newest = max(reversed(found), key=lambda one: finite(one["step"]) or 0)
    shares, reference = newest["shares"], newest["reference"]
    if not (are_shares(reference) and len(reference) == len(shares)):
        reference = [None] * len(shares)
    names = data["classes"]
    if len(names) != len(shares):
        names = [str(i) for i in range(len(shares))]
    most = max([*shares, *(share for share in reference if share)]) or 1
    bars = list(zip(names, shares, reference, strict=True))
    return {"step": newest["step"], "bars": bars, "most": most}


def are_shares(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(finite(v) is not None for v in value)


# --- files ----------------------------------------------------------------------------------------


def listing(run: RunDir) -> Iterable[dict[str, Any]]:
    """The files of the run with their sizes; folders as one entry."""
    singles = (
        ("generator", run.generator_file), ("best", run.best_file), ("recipe", run.config_file),
        ("manifest", run.manifest_file), ("log", run.log_file), ("film", run.gif_file),
        ("curves", run.curves_file), ("real", run.real_file),
        *(("evaluation", path) for path in sorted(run.path.glob("*.evaluation.json"))),
        *(("nearest", path) for path in sorted(run.path.glob("*.nearest.png"))),
    )  # fmt: skip
    for kind, path in singles:
        if path.is_file():
            yield {"kind": kind, "name": path.name, "num": 1, "bytes": path.stat().st_size}
    for kind, files in (("samples", run.sample_files()), ("checkpoints", run.checkpoint_files())):
        if files:
            size = sum(path.stat().st_size for _, path in files)
            name = f"{files[0][1].parent.name}/"
            yield {"kind": kind, "name": name, "num": len(files), "bytes": size}


# --- several runs ---------------------------------------------------------------------------------


def differences(configs: Sequence[Config]) -> list[tuple[str, list[str]]]:
    """Keys of the recipes in which they differ, and the value of each; empty: it has none."""
    flat = [reader.leaves(reader.to_dict(config)) for config in configs]
    keys = dict.fromkeys(key for leaves in flat for key in leaves)
    table = [(key, [as_text(leaves.get(key)) for leaves in flat]) for key in keys]
    return [(key, values) for key, values in table if len(set(values)) > 1]


def as_text(value: Any) -> str:
    return "" if value is None else str(value)
