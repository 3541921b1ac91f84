"""MindSpore's launcher `msrun`, started and watched: N workers of one command, a log for each."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_gan.errors import UsageError
from ms_gan.system.program import STARTED

PORT = 8118  # msrun's own
MSRUN = "from mindspore.parallel.cluster.run import main; main()"
NOISE = re.compile(r"\[(INFO|WARNING)\] [A-Z_]+\(\d+,")  # of MindSpore's cluster, at every start
DIED = re.compile(r"Worker process (\d+) exit with exception. Error code: (-?\d+)")


def greeting(rank: int, size: int) -> str:
    """The first line of a worker's log, by which :meth:`Job.processes` knows the process."""
    return f"worker {rank} of {size}, process {os.getpid()}"


GREETING = re.compile(r"worker (\d+) of \d+, process (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where the workers are.

    Args:
        workers: of the whole run.
        local: of them, on this machine.
        node: number of this machine, 0 that of the first workers.
        address: of machine 0.
        port: there; 0: any free one.
        patience: seconds in which all must have come.
    """

    workers: int
    local: int
    node: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    patience: int = 600

    def __post_init__(self):
        if self.local > self.workers or self.workers % self.local:
            raise UsageError(
                f"--local_worker_num: {self.local} workers on each machine do not make "
                f"{self.workers}; expected a divisor of {self.workers}"
            )
        if not 0 <= self.node < self.machines:
            raise UsageError(
                f"--node_rank: expected 0 to {self.machines - 1}, the number of this machine, "
                f"got {self.node}"
            )
        if self.port > 65535:
            raise UsageError(f"--master_port: expected at most 65535, got {self.port}")
        if self.machines > 1 and self.address in ("127.0.0.1", "localhost"):
            raise UsageError(
                f"--master_addr: {self.machines} machines need the address of the first one, as "
                f"all of them reach it, got {self.address}"
            )

    @property
    def machines(self) -> int:
        return self.workers // self.local

    @property
    def ranks(self) -> range:
        """Of the workers on this machine."""
        return range(self.node * self.local, (self.node + 1) * self.local)


@dataclass(frozen=True)
class Death:
    """How a worker ended: its rank, or None where it did not come so far, and its exit code."""

    rank: int | None
    code: int

    def __str__(self) -> str:
        who = "a worker" if self.rank is None else f"worker {self.rank}"
        if self.code >= 0:
            return f"{who} failed (exit code {self.code})"
        with suppress(ValueError):
            return f"{who} was ended by {signal.Signals(-self.code).name}"
        return f"{who} was ended by signal {-self.code}"


class Job:
    """The workers of one machine, started by `msrun`.

    Args:
        words: of the command `python -m ms_gan …` that each of them runs.
        place: how many, and where.
        logs: folder of worker_0.log, …, scheduler.log and msrun.log.
        command: what a person typed, for messages of the workers.
        cores: of the CPU, a list for each worker on this machine; None: they are not bound.
    """

    def __init__(
        self,
        words: Sequence[str],
        place: Place,
        logs: Path,
        command: str,
        *,
        cores: Sequence[Sequence[int]] | None = None,
        join: bool = True,
    ):
        self.place, self.logs = place, logs
        logs.mkdir(parents=True, exist_ok=True)
        self.scheduler_log = logs / "scheduler.log"
        for path in (*(self.log(rank) for rank in place.ranks), self.scheduler_log):
            path.unlink(missing_ok=True)  # of the last time
        self.said = logs / "msrun.log"
        port = place.port or (free_port() if place.machines == 1 else PORT)
        options = {
            "worker_num": place.workers, "local_worker_num": place.local,
            "node_rank": place.node, "master_addr": place.address, "master_port": port,
            "cluster_time_out": place.patience, "log_dir": logs, "join": join,
            "tail_worker_log": place.workers,  # of none: every log would be copied into msrun.log
        }  # fmt: skip
        told, environment = launched(options, ["-m", "ms_gan", *words], cores)
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                told, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env={**environment, "PYTHONUNBUFFERED": "1", STARTED: command},
                start_new_session=True,
            )  # fmt: skip

    def log(self, rank: int) -> Path:
        return self.logs / f"worker_{rank}.log"

    def processes(self) -> dict[int, int]:
        """process -> rank, of the workers that have said so in their logs."""
        found = {}
        for rank in self.place.ranks:
            with suppress(OSError):
                for match in GREETING.finditer(self.log(rank).read_text(errors="replace")):
                    found[int(match[2])] = int(match[1])
        return found

    def signal(self, number: int, but: Collection[int] = ()) -> list[int]:
        """Send a signal to the workers of this machine that have come so far; their processes.

        Args:
            but: processes that have it already.
        """
        processes = [process for process in self.processes() if process not in but]
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)
        return processes

    def death(self) -> Death | None:
        """The worker for whose end msrun ended the others, if there was one."""
        match = DIED.search(self.said.read_text(errors="replace"))
        return match and Death(self.processes().get(int(match[1])), int(match[2]))

    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> None:
        """End what is still there of it: workers, scheduler, msrun."""
        self.signal(signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def words_of(self, log: Path) -> list[str]:
        """The lines of a log, without MindSpore's noise."""
        with suppress(OSError):
            lines = log.read_text(errors="replace").splitlines()
            return [line for line in lines if line.strip() and not NOISE.match(line)]
        return []


def launched(
    options: Mapping[str, Any], words: Sequence[str], cores: Sequence[Sequence[int]] | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command with which msrun starts this Python several times, and its environment.

    Args:
        options: of msrun.
        words: behind `python`.
        cores: of the CPU, a list for each worker on this machine; None: they are not bound.
    """
    options = dict(options)
    if cores:
        # As ranges of one, which msrun of every version reads.
        ranges = ([f"{core}-{core}" for core in own] for own in cores)
        options["bind_core"] = json.dumps({f"device{i}": own for i, own in enumerate(ranges)})
    python = Path(sys.executable)
    name = "python" if python.with_name("python").exists() else "python3"  # msrun knows both
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    told = [f"--{key}={value}" for key, value in options.items()]
    return [sys.executable, "-c", MSRUN, *told, name, *words], {**os.environ, "PATH": path}


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
