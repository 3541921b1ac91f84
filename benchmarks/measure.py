"""What every child does alike: read its arguments, take times, print one line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.systems import SYSTEMS

# The parent says when it started the process; by hand, the clock starts here.
STARTED = float(os.environ.get("BENCHMARK_STARTED", time.time()))
GROUPS = 20  # values of one measurement, where there is time for as many
DEVICES = ("CPU", "GPU")
# 'cpu': the time that this process computes, instead of the time that passes.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]


def parser(description: str) -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=description)
    options.add_argument("system", choices=SYSTEMS)
    return with_options(options)


def with_options(options: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Those that every child has."""
    options.add_argument("--budget", type=float, default=4.0, help="seconds to measure (4)")
    options.add_argument("--device", choices=DEVICES, default="CPU", help="what computes (CPU)")
    return options


def since_start() -> float:
    """Seconds since the process was started."""
    return time.time() - STARTED


def milliseconds(
    update: Callable[[], Any], wait: Callable[[Any], Any], budget: float
) -> list[float]:
    """Times of one update in ms, each the mean of a group that ends with a wait.

    The first update, which may compile, is behind. Two more warm up; groups follow until the budget
    is spent, at least two. Where the first takes longer than the budget, it is the only one.
    """

    def timed(count: int) -> float:
        start = clock()
        for _ in range(count):
            output = update()
        wait(output)
        return (clock() - start) / count

    first = timed(1)
    if first >= budget:
        return [1e3 * first]
    group = max(1, round(budget / timed(1) / GROUPS))
    end = clock() + budget
    times = []
    while len(times) < 2 or clock() < end:
        times.append(1e3 * timed(group))
    return times


def peak_mib() -> float:
    """The largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if platform.system() == "Darwin" else peak / 2**10


def threads() -> str:
    """How many this process has started; MindSpore keeps a pool of which not all compute."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("Threads:"))
    except (OSError, StopIteration):
        return "unknown"


def instruction_set(device: str) -> str:
    """What computes: a GPU, or a CPU and what oneDNN may use in this process."""
    if device != "CPU":
        return device
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA")
    return f"oneDNN {limit or 'not limited'}"


def report(**values: Any) -> None:
    """The child's result, the last line of its output."""
    print(json.dumps(values), flush=True)
