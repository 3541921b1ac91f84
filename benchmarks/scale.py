"""Several workers: an update of N workers on a core each, measured; of many devices, modelled.

Measured is weak scaling: every worker has the recipe's batch to itself, so the batch of the run
grows with the workers, and without the exchange an update would take as long as one worker's.

    python -m benchmarks.scale measure mlp dcgan28 --workers 1 2 --rounds 5
    python -m benchmarks.scale model
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.systems import SYSTEMS

GROUPS, UPDATES = 5, 20  # of one process; equal on all workers, which wait for each other


# --- measured -------------------------------------------------------------------------------------


def child(name: str, out: Path) -> None:
    """One worker: the medians of its times, written by the first one."""
    import numpy as np

    from ms_gan import session
    from ms_gan.data import Dataset
    from ms_gan.recipe import reader
    from ms_gan.system import workers

    system, size = SYSTEMS[name], workers.asked()
    overrides = [
        *system.overrides, f"data.batch_size={system.batch * size}", "runtime.device=CPU",
        "data.name=digits", f"name=scale{os.getpid()}",
    ]  # fmt: skip
    overrides = [word for word in overrides if not word.startswith("data.batch_size=64")]
    pictures = np.random.default_rng(0).integers(0, 256, (4096, 1, system.size, system.size))
    noise = Dataset(
        "noise", pictures.astype(np.uint8), np.arange(4096, dtype=np.int32) % 10,
        tuple("0123456789"), "", {},
    )  # fmt: skip
    config = reader.load(reader.find(system.recipe), overrides)
    made = session.start(config, out.parent / "run", dataset=noise, say=lambda line: None)
    state, feed = made.state, made.feed
    inputs = feed.at(0)
    grads = tuple(weight.value() for cell in nets(state) for weight in cell.weights)
    reduce = whole_exchange(state)
    times = {
        "update": timed(lambda: state.update(*inputs)),
        "feed": timed(lambda: feed.at(3)),
        "exchange": timed(lambda: reduce(grads)) if size > 1 else (0.0, 0.0),
        "weights": trained(state),
    }
    if workers.is_first():
        out.write_text(json.dumps(times))
    workers.meet()


def nets(state):
    return state.update.train_d, state.update.train_g


def trained(state) -> list[int]:
    return [sum(weight.size for weight in cell.weights) for cell in nets(state)]


def whole_exchange(state):
    """Both all-reduces of an update as a Cell of their own."""
    from ms_gan.training.reducing import MeanOverWorkers

    return MeanOverWorkers([weight for cell in nets(state) for weight in cell.weights])


def timed(call) -> tuple[float, float]:
    """ms of one call, and ms that the cores of this process worked; medians of groups that end with
    a wait. The first two calls compile and warm."""
    groups = []
    for group in range(-1, GROUPS):
        start, worked = time.perf_counter(), time.process_time()
        for _ in range(UPDATES if group >= 0 else 2):
            output = call()
        output[0].asnumpy()
        ended = time.perf_counter() - start, time.process_time() - worked
        if group >= 0:
            groups.append([1e3 * seconds / UPDATES for seconds in ended])
    return tuple(map(statistics.median, zip(*groups, strict=True)))


def measured(name: str, size: int) -> dict:
    """Times of one process, or of several that msrun starts, each on one core."""
    from ms_gan.system import msrun

    with tempfile.TemporaryDirectory(prefix="ms_gan_scale_") as folder:
        out = Path(folder) / "times.json"
        words = ["-m", "benchmarks.scale", "child", name, "--out", str(out)]
        if size == 1:
            bound = ["taskset", "-c", "0"] if shutil.which("taskset") else []
            command, environment = [*bound, sys.executable, *words], None
        else:
            options = {
                "worker_num": size, "local_worker_num": size, "master_port": msrun.free_port(),
                "log_dir": f"{folder}/logs", "join": True, "tail_worker_log": size,
            }  # fmt: skip
            command, environment = msrun.launched(options, words, [[i] for i in range(size)])
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if not out.is_file():
            raise SystemExit(f"{name}, {size} workers: failed\n{done.stdout}{done.stderr}")
        return json.loads(out.read_text())


def measure(names: list[str], sizes: list[int], rounds: int) -> None:
    found = {(name, size): [] for name in names for size in sizes}
    for _ in range(rounds):
        for key in found:
            found[key].append(measured(*key))
    parts = ("update", "exchange", "feed")
    print(f"| | workers | {' | '.join(f'{part}, ms | its work' for part in parts)} | MB |")
    print(f"|---|---|{'---|' * 2 * len(parts)}---|")
    for (name, size), times in found.items():
        cells = [span(part, which, times) for part in parts for which in (0, 1)]
        mb = 4 * sum(times[0]["weights"]) / 1e6 if size > 1 else 0
        print(f"| {SYSTEMS[name].title} | {size} | {' | '.join(cells)} | {mb:.2f} |")


def span(part: str, which: int, times: list[dict]) -> str:
    values = [time[part][which] for time in times]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


# --- modelled -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """What one device sends and receives.

    Args:
        bytes_per_s: in one direction.
        seconds: until a message arrives.
    """

    bytes_per_s: float
    seconds: float


MACHINE = 8  # devices
INSIDE = Link(100e9, 5e-6)
BETWEEN = Link(25e9, 10e-6)  # 200 Gbit/s for each device
NORMAL = 9e-9  # seconds for a normal number on the host: `python -m benchmarks.scale normals`
UPDATES_MS = {"mlp": 4.1, "dcgan28": 5.8, "r3gan": 21.5, "dcgan64": 12.0}  # docs/devices.md, H100


def weights(name: str) -> list[int]:
    """Numbers that D and G train."""
    from ms_gan import build, session
    from ms_gan.recipe import reader
    from ms_gan.system import runtime

    system = SYSTEMS[name]
    config = reader.load(reader.find(system.recipe), system.overrides)
    runtime.import_mindspore()
    runtime.set_mode("graph")
    shape = (1, system.size, system.size)
    return trained(build.build_training(session.resolved(config), shape, 10, {}))


def ring(size: int, count: int, link: Link) -> float:
    """Seconds of an all-reduce in a ring: 2 (N - 1) messages of an N-th each."""
    return 2 * (count - 1) * (link.seconds + size / count / link.bytes_per_s)


def exchange(size: int, devices: int) -> float:
    """Seconds of an all-reduce: in each machine, then each device with its like in the others."""
    machines = max(1, devices // MACHINE)
    return ring(size, min(devices, MACHINE), INSIDE) + ring(size // MACHINE, machines, BETWEEN)


def model(devices: list[int]) -> None:
    print("| | bytes exchanged for an update | devices | exchange, ms | latents, ms | efficiency |")
    print("|---|---|---|---|---|---|")
    for name, ms in UPDATES_MS.items():
        sizes = [4 * count for count in weights(name)]
        system = SYSTEMS[name]
        for count in devices:
            waits = 1e3 * sum(exchange(size, count) for size in sizes)
            latents = 1e3 * NORMAL * system.batch * system.latent_dim * count
            share = ms / (max(ms + waits, latents))
            print(
                f"| {system.title} | {sum(sizes):,} | {count:,} | {waits:.2f} | {latents:.1f} "
                f"| {share:.0%} |"
            )


def normals() -> None:
    """What a normal number costs on the host."""
    import numpy as np

    rng = np.random.default_rng(0)
    times = []
    for _ in range(9):
        start = time.process_time()
        rng.standard_normal((10_000, 100), np.float32)
        times.append((time.process_time() - start) / 1e6)
    print(f"{1e9 * statistics.median(times):.1f} ns for a normal number")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("measure", "model", "normals", "child"))
    options.add_argument("systems", nargs="*", default=["mlp"])
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options.add_argument("--devices", type=int, nargs="+", default=[8, 1024])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--out", type=Path)
    arguments = options.parse_args()
    if arguments.what == "measure":
        measure(arguments.systems, arguments.workers, arguments.rounds)
    elif arguments.what == "model":
        model(arguments.devices)
    elif arguments.what == "normals":
        normals()
    else:
        child(arguments.systems[0], arguments.out)


if __name__ == "__main__":
    main()
