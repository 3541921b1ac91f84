"""Milliseconds of a full adversarial update: this project, the tutorial's way, PyTorch, the floor.

    bash scripts/run_benchmark.sh [--systems mlp] [--recipes srgan_x2] [--rounds 5] [--device GPU]

Systems are trained in every way, recipes in this project's alone. Every way runs in a process of
its own, in turn, `--rounds` times. Prints two tables and writes JSON with every value. Run it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import measure
from benchmarks.floor import update_operations
from benchmarks.systems import CHANNELS, SYSTEMS

WAYS = {  # name -> (what it is, its child)
    "ours": ("ms_gan", ("benchmarks.ours",)),
    "tutorial": ("MindSpore, as the tutorial", ("benchmarks.tutorial",)),
    "torch": ("PyTorch", ("benchmarks.pytorch",)),
    "compile": ("PyTorch, torch.compile", ("benchmarks.pytorch", "--compile")),
}
LIMIT = 1200.0  # seconds for one child
SLOW = 60.0  # seconds; a child that needs more has SLOW_ROUNDS rounds, and the table says so
SLOW_ROUNDS = 2
MISSING = "–"

Rounds = list[dict[str, Any]]  # of one system: way -> what its child reported


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--systems", nargs="*", choices=SYSTEMS, default=list(SYSTEMS))
    options.add_argument("--recipes", nargs="*", default=list(CHANNELS), help="names in configs/")
    options.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options.add_argument("--rounds", type=int, default=5, help="processes of each way (5)")
    measure.with_options(options)
    options.add_argument("--out", type=Path, default=Path("benchmark.json"))
    arguments = options.parse_args()
    if arguments.rounds < 1 or not arguments.budget > 0:
        options.error("--rounds and --budget must be positive")
    if not arguments.out.resolve().parent.is_dir():
        options.error(f"--out: {arguments.out.resolve().parent}: no such folder")
    results = measure_all(arguments)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if results["systems"]:
        print(table(results))
    if results["recipes"]:
        print(table_of_recipes(results))
    print("", *notes(results), sep="\n")
    print(f"all values: {arguments.out}")
    return 0


# --- running ------------------------------------------------------------------------------------


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every child of every round, and what one must know to read the values."""
    with_torch = importlib.util.find_spec("torch") is not None
    if not with_torch:
        say("PyTorch: not installed, not measured (pip install 'ms_gan[benchmark]')")
    ways = [way for way in arguments.ways if with_torch or WAYS[way][1][0] != "benchmarks.pytorch"]
    libraries = ("mindspore", "torch") if with_torch else ("mindspore",)
    systems: dict[str, Rounds] = {name: [] for name in arguments.systems}
    recipes: dict[str, Rounds] = {name: [] for name in arguments.recipes}
    floor = []
    given = ("--budget", arguments.budget, "--device", arguments.device)
    for number in range(arguments.rounds):
        label = f"round {number + 1} of {arguments.rounds}"
        floor.append({})
        for library in libraries:
            result = child(("benchmarks.floor", "--library", library), given)
            floor[-1][library] = result
            say(f"{label}: matrix product, {library}: {shown(result, 'gflops', 'GFLOP/s')}")
        for name in arguments.systems:
            systems[name].append({})
            turn = number % len(ways)
            for way in ways[turn:] + ways[:turn]:  # another one is first in every round
                slow = any(one.get(way, {}).get("process_s", 0) > SLOW for one in systems[name])
                if slow and number >= SLOW_ROUNDS:
                    continue
                if way == "tutorial" and not SYSTEMS[name].tutorial:
                    continue
                module, *words = WAYS[way][1]
                parts = ("--parts",) if way == "ours" and number == 0 else ()
                result = child((module, name, *words, *parts), given)
                systems[name][-1][way] = result
                say(f"{label}: {name}, {way}: {shown(result, 'step_ms', 'ms')}")
        for name in arguments.recipes:
            result = child(("benchmarks.recipes", name), given)
            recipes[name].append({"ours": result})
            say(f"{label}: {name}: {shown(result, 'step_ms', 'ms')}")
    return {
        "machine": machine(),
        "device": arguments.device,
        "rounds": arguments.rounds,
        "budget_s": arguments.budget,
        "torch": with_torch,
        "floor": floor,
        "systems": systems,
        "recipes": recipes,
        "summary": {name: summary(name, systems[name], floor) for name in systems},
    }


def child(words: Iterable[str], given: Iterable[Any]) -> dict[str, Any]:
    """What one process reports; {'error': …} where it fails."""
    command = [sys.executable, "-m", *map(str, (*words, *given))]
    started = time.time()
    environment = {**os.environ, "BENCHMARK_STARTED": repr(started)}
    if environment.pop("MS_GAN_SET_ISA", None):  # set by this project, not by the user
        environment.pop("ONEDNN_MAX_CPU_ISA", None)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {LIMIT:.0f} s"}
    lines = done.stdout.splitlines()
    try:
        return {**json.loads(lines[-1]), "process_s": time.time() - started}
    except (IndexError, ValueError):
        text = done.stderr.strip().splitlines() or ["no output"]
        return {"error": f"exit code {done.returncode}: {text[-1][:300]}"}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def shown(result: dict[str, Any], key: str, unit: str) -> str:
    if "error" in result:
        return result["error"]
    value = result[key]
    return f"{median(value) if isinstance(value, list) else value:.1f} {unit}"


def machine() -> dict[str, Any]:
    """CPU, what it can do and what may be used of it."""
    facts = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    flags = facts.get("flags", facts.get("Features", "")).split()
    known = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")
    variables = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": facts.get("model name", platform.processor() or platform.machine()),
        "instructions": [flag for flag in known if flag in flags],
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


# --- reading ------------------------------------------------------------------------------------


def summary(name: str, rounds: Rounds, floor: Rounds) -> dict[str, Any]:
    """Median, smallest and largest of everything the table shows; None where not measured."""
    operations = update_operations(SYSTEMS[name])
    rates = [[r["gflops"] for r in one.values() if "gflops" in r] for one in floor]
    floor_ms = [operations / max(rate) / 1e6 if rate else None for rate in rates]

    def of(way: str, key: str) -> list[float | None]:
        values = [one.get(way, {}).get(key) for one in rounds]
        return [median(v) if isinstance(v, list) else v for v in values]

    def fastest(key: str) -> list[float | None]:
        """Of PyTorch eager and compiled, the one with the smaller median time."""
        ways = [w for w in ("torch", "compile") if spread(of(w, "step_ms"))]
        return of(min(ways, key=lambda w: spread(of(w, "step_ms"))["median"]), key) if ways else []

    train, bare = of("ours", "step_ms"), of("ours", "bare_ms")
    memory = of("ours", "peak_mib")
    values = {
        "tutorial / ours": divided(of("tutorial", "step_ms"), train),
        "ours / PyTorch": divided(train, fastest("step_ms")),
        "ours / floor": divided(train, floor_ms),
        "bare / PyTorch": divided(bare, fastest("step_ms")),
        "bare / floor": divided(bare, floor_ms),
        "memory / PyTorch": divided(memory, fastest("peak_mib")),
        "ours": train,
        "bare": bare,
        **{way: of(way, "step_ms") for way in WAYS if way != "ours"},
        "floor": floor_ms,
        "data": of("ours", "data_ms"),
        "first step": of("ours", "first_step_s"),
        "first step, torch": of("torch", "first_step_s"),
        "memory": memory,
        "memory, torch": fastest("peak_mib"),
    }
    result = {key: spread(value) for key, value in values.items()}
    result["operations"] = operations
    result["parts"] = next(
        (one["ours"]["parts"] for one in rounds if "parts" in one.get("ours", {})), None
    )
    return result


def divided(above: list, below: list) -> list[float]:
    """Round by round, so that what disturbs a whole round cancels."""
    pairs = zip(above, below, strict=False)
    return [a / b for a, b in pairs if a is not None and b is not None]


def spread(values: list) -> dict[str, Any] | None:
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"median": median(values), "min": min(values), "max": max(values), "values": values}


# --- showing ------------------------------------------------------------------------------------


def table(results: dict[str, Any]) -> str:
    """A column for each system, ratios first."""
    summaries = results["summary"]
    systems = [SYSTEMS[name] for name in summaries]
    torch = results["torch"]

    def row(title: str, cell: Callable[[Any, dict[str, Any]], str]) -> list[str]:
        cells = (cell(SYSTEMS[name], values) for name, values in summaries.items())
        return [title, *cells]

    def of(title: str, key: str, form: str) -> list[str]:
        missing = MISSING if torch or "PyTorch" not in title else "not measured"
        return row(title, lambda system, values: ranged(values[key], form, missing))

    def images(key: str):
        def cell(system, values):
            found = values[key]
            return f"{1e3 * system.batch / found['median']:,.0f}" if found else MISSING

        return cell

    def part(key: str):
        def cell(system, values):
            shares = values["parts"] and values["parts"]["share_percent"]
            if not shares:
                return MISSING
            return f"{sum(shares.values()) if key == 'all' else shares[key]:.2f}"

        return cell

    def planned(system, values):
        """Ten minutes without the start and without what the update's time does not hold."""
        if not (values["ours"] and values["parts"] and values["first step"]):
            return MISSING
        shares = values["parts"]["share_percent"]
        beside = sum(shares[name] for name in ("samples", "checkpoints", "film")) / 100
        seconds = (600 - values["first step"]["median"]) * (1 - beside)
        return f"{max(1, 1e3 * seconds / values['ours']['median']):,.0f}"

    rows = [
        ["median (min–max)", *(f"{s.title}, batch {s.batch}" for s in systems)],
        [],
        ["ratios"],
        of("tutorial's way / ms_gan train", "tutorial / ours", ".2f"),
        of("ms_gan train / PyTorch, the faster", "ours / PyTorch", ".2f"),
        of("ms_gan train / floor", "ours / floor", ".2f"),
        of("ms_gan bare step / PyTorch, the faster", "bare / PyTorch", ".2f"),
        of("ms_gan bare step / floor", "bare / floor", ".2f"),
        of("peak memory / PyTorch, the faster", "memory / PyTorch", ".2f"),
        [],
        ["ms for a full update"],
        of("ms_gan train, with data and log", "ours", ".1f"),
        of("ms_gan bare step", "bare", ".1f"),
        of("tutorial's way, with data", "tutorial", ".1f"),
        of("PyTorch eager", "torch", ".1f"),
        of("PyTorch torch.compile", "compile", ".1f"),
        of("floor", "floor", ".1f"),
        [],
        ["images/s"],
        row("ms_gan train, with data and log", images("ours")),
        row("ms_gan bare step", images("bare")),
        row("tutorial's way, with data", images("tutorial")),
        row("PyTorch eager", images("torch")),
        row("PyTorch torch.compile", images("compile")),
        [],
        ["beside the update, ms_gan"],
        of("data of a step alone, ms", "data", ".2f"),
        of("start to first step without imports, s", "first step", ".1f"),
        of("the same, PyTorch eager, s", "first step, torch", ".1f"),
        of("peak memory, MiB", "memory", ".0f"),
        of("the same, PyTorch, the faster, MiB", "memory, torch", ".0f"),
        row("% of training: log", part("log")),
        row("% of training: samples", part("samples")),
        row("% of training: checkpoints", part("checkpoints")),
        row("% of training: film and curves", part("film")),
        row("% of training: all, with data", part("all")),
        [],
        ["this machine's plan"],
        row("steps in train.minutes=10", planned),
    ]
    return aligned(rows)


def table_of_recipes(results: dict[str, Any]) -> str:
    """A row for each recipe."""
    rows = [
        [
            "bare step of a recipe", "batch", "ms", "images/s", "first step, s", "peak memory, MiB",
            "steps in train.minutes=10",
        ],
    ]  # fmt: skip
    for name, rounds in results["recipes"].items():
        found = [one["ours"] for one in rounds if "error" not in one["ours"]]
        if not found:
            rows.append([name, *6 * [MISSING]])
            continue
        batch = found[0]["batch"]
        ms, first, peak = (
            spread([one[key] for one in found]) for key in ("step_ms", "first_step_s", "peak_mib")
        )
        rows.append(
            [
                name, str(batch), ranged(ms, ".1f", MISSING), f"{1e3 * batch / ms['median']:,.0f}",
                ranged(first, ".1f", MISSING), ranged(peak, ".0f", MISSING),
                f"{max(1, 1e3 * (600 - first['median']) / ms['median']):,.0f}",
            ]
        )  # fmt: skip
    return aligned(rows)


def aligned(rows: list[list[str]]) -> str:
    widths = [max(len(r[i]) for r in rows if len(r) > i) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=False)).rstrip() for r in rows]
    return "\n".join(["", *lines])


def ranged(found: dict[str, Any] | None, form: str, missing: str) -> str:
    if found is None:
        return missing
    low, high = (format(found[key], form) for key in ("min", "max"))
    return f"{found['median']:{form}} ({low}–{high})"


def notes(results: dict[str, Any]) -> list[str]:
    """Machine, versions, threads, instruction sets, failures."""
    found = results["machine"]
    environment = " ".join(f"{k}={v}" for k, v in found["environment"].items())
    libraries = {name for one in results["floor"] for name in one}
    rates = {
        name: spread([one.get(name, {}).get("gflops") for one in results["floor"]])
        for name in sorted(libraries)
    }
    lines = [
        f"{found['cpu']}, {found['cores']} cores, {' '.join(found['instructions'])}; "
        f"{found['system']}, Python {found['python']}; {environment or 'no settings'}",
        f"{results['device']}, {results['rounds']} rounds of one process each; threads and "
        "instruction set as each library chooses; shares are of the whole recipe",
        "matrix product 2048^3, GFLOP/s: "
        + ", ".join(f"{name} {ranged(rate, '.0f', MISSING)}" for name, rate in rates.items()),
    ]
    said = set()
    for name, rounds in {**results["systems"], **results["recipes"]}.items():
        for way, (title, _) in WAYS.items():
            reports = [one[way] for one in rounds if way in one]
            if 0 < len(reports) < len(rounds):
                said.add(f"{title} ({name}): {len(reports)} rounds only, of over {SLOW:.0f} s each")
            for found in reports:
                if "error" in found:
                    said.add(f"{title} ({name}): {found['error']}")
                    continue
                versions = " ".join(f"{k} {v}" for k, v in found["versions"].items())
                said.add(
                    f"{title} ({name}): {versions}; threads: {found['threads']}; "
                    f"{found['instruction_set']}"
                )
    return lines + sorted(said)


if __name__ == "__main__":
    sys.exit(main())
