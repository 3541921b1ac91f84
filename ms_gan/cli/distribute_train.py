"""`ms-gan distribute-train`: one run, trained by several workers together."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import time
from pathlib import Path

from ms_gan import session
from ms_gan.cli import train
from ms_gan.cli.console import command, natural, positive, say
from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import msrun, runtime
from ms_gan.system.msrun import Death, Job, Place
from ms_gan.system.signals import NOBODY_READS, STOPPING, StopSignals

LOOK_EVERY = 0.2  # seconds
ERROR = "ms-gan: "  # how a worker's one line of an error begins


class JobError(UserError, RuntimeError):
    """Workers that ended before the run did."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "distribute-train", help="the same with several workers: msrun starts and joins them"
    )
    parser.add_argument("workers", type=positive, metavar="N", help="workers of the whole run")
    train.add_options(parser)
    own = parser.add_argument_group("where the workers are, as msrun calls it")
    own.add_argument(
        "--local_worker_num", type=positive, metavar="M", help="workers on this machine (N)"
    )
    own.add_argument(
        "--node_rank", type=natural, default=0, metavar="R",
        help="number of this machine, where there are several (0)",
    )  # fmt: skip
    own.add_argument("--master_addr", default="127.0.0.1", help="of machine 0 (%(default)s)")
    own.add_argument(
        "--master_port", type=natural, default=0,
        help=f"of machine 0 (one that is free; with several machines {msrun.PORT})",
    )  # fmt: skip
    own.add_argument(
        "--cluster_time_out", type=positive, default=600, metavar="SECONDS",
        help="in which all workers must have come (%(default)s)",
    )  # fmt: skip
    own.add_argument("--log_dir", type=Path, help="of the logs (<folder of the run>-workers)")
    own.add_argument(
        "--join", choices=("True", "False"), default="True",
        help="wait for the end and show what worker 0 says (%(default)s)",
    )  # fmt: skip
    parser.set_defaults(run=run_distribute_train)


def run_distribute_train(arguments: argparse.Namespace) -> int:
    """Train to the end (0), or to a signal (128 + its number) with everything saved.

    Raises:
        JobError: a worker failed or was killed; the others were ended.
    """
    config = session.resolved(reader.load(reader.find(arguments.config), arguments.overrides))
    session.check_shared(config, arguments.workers)
    place = Place(
        arguments.workers, arguments.local_worker_num or arguments.workers, arguments.node_rank,
        arguments.master_addr, arguments.master_port, arguments.cluster_time_out,
    )  # fmt: skip
    runtime.check_installed()
    joined = arguments.join == "True"
    logs = arguments.log_dir or Path(f"{RunDir.of(config, arguments.run_dir).path}-workers")
    again = command(arguments.words)
    job = Job(
        words(arguments), place, logs, again, cores=cores(place, config.runtime.device),
        join=joined,
    )  # fmt: skip
    say(f"{place.workers} workers, {place.local} of them here; logs: {job.log(place.ranks[0])}, …")
    if joined:
        return Watch(job, again).until_the_end()
    job.process.wait()
    say("they go on by themselves; SIGTERM to any worker ends all, with everything saved")
    return job.process.returncode and 2


def words(arguments: argparse.Namespace) -> list[str]:
    """What each worker is told: `train …`."""
    told = ["train", "--config", arguments.config]
    if arguments.run_dir:
        told += ["--run-dir", arguments.run_dir]
    for option, values in (("--from", arguments.weights), ("--change", arguments.change)):
        for value in values:
            told += [option, value]
    return [str(word) for word in (*told, *arguments.overrides)]


def cores(place: Place, device: str) -> list[list[int]] | None:
    """Cores of the CPU for each worker here: MindSpore's threads wait actively, and would take them
    from each other. None where the device computes, or where there are too few."""
    if device != "CPU" or not hasattr(os, "sched_getaffinity") or not shutil.which("taskset"):
        return None
    here = sorted(os.sched_getaffinity(0))
    each = len(here) // place.local
    return [here[i * each : (i + 1) * each] for i in range(place.local)] if each else None


class Watch:
    """Shows what the first worker here says, hands signals on, and sees when one is missing."""

    def __init__(self, job: Job, again: str):
        self.job, self.again = job, again
        self.shown = 0  # lines
        self.unread = False

    def until_the_end(self) -> int:
        job = self.job
        with HandedOn(job) as signals:
            try:
                while not job.ended() and job.death() is None:
                    self.show()
                    if error_in(job.words_of(job.scheduler_log)):
                        break  # a worker on another machine is gone
                    if self.unread and signals.received is None:
                        signals.wish(NOBODY_READS)
                    signals.hand_on()
                    time.sleep(LOOK_EVERY)
                time.sleep(LOOK_EVERY)  # for the last words
                death = job.death()
                self.show()
            finally:
                if not job.ended():
                    job.end()
        if signals.received is not None:
            return 128 + signals.received
        if death is None and job.process.returncode == 0:
            return 0
        raise JobError(self.why(death))

    def show(self) -> None:
        """What is new in the log of the first worker here, but for its error."""
        lines = self.job.words_of(self.job.log(self.job.place.ranks[0]))
        new, self.shown = lines[self.shown :], len(lines)
        for line in new:
            if not self.unread and not line.startswith((ERROR, STOPPING)):
                try:
                    say(line)
                except BrokenPipeError:
                    self.unread = True

    def why(self, death: Death | None) -> str:
        """One line about the end of a job."""
        job = self.job
        for log in (*map(job.log, job.place.ranks), job.scheduler_log):
            if error := error_in(job.words_of(log)):
                return error
        if death is None:
            return f"msrun failed; its log: {job.said}"
        where = job.log(job.place.ranks[0] if death.rank is None else death.rank)
        return (
            f"{death}; the others were ended; its log: {where}; the same command goes on from the "
            f"newest checkpoint: {self.again}"
        )


def error_in(lines: list[str]) -> str | None:
    """What a process says when it cannot go on, or None."""
    found = (line.removeprefix(ERROR) for line in lines if line.startswith(ERROR))
    return next(found, None)


class HandedOn(StopSignals):
    """A signal is handed on to the workers, which save and end; a second one ends them at once."""

    def __init__(self, job: Job):
        super().__init__()
        self.job, self.told = job, []

    def wish(self, number: int) -> bool:
        first = super().wish(number)
        if not first:
            self.job.end()
        return first

    def hand_on(self) -> None:
        """To the workers that have come since the last time."""
        if self.received is not None:
            number = signal.SIGTERM if self.received == NOBODY_READS else self.received
            self.told += self.job.signal(number, but=self.told)
