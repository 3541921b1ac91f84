"""This project's training path: the objects and the order of `ms-gan train`.

Measured are the first step after the start of the process, the bare update on prepared tensors,
and `trainer.train` itself with its data and its log. With `--parts` also what does not happen at
every step: log, samples, checkpoint and the film at the end, each once.

    python -m benchmarks.ours mlp [--parts]
"""

from __future__ import annotations

import dataclasses
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure
from benchmarks.systems import SYSTEMS


class Reached(Exception):
    """Leaves the training loop at a logged step."""


class Loop:
    """Calls of `trainer.train` on one state, as a session makes them."""

    def __init__(self, session):
        from ms_gan.runs.progress import Progress

        self.session, self.config = session, session.config
        self.run, self.state, self.feed = session.run, session.state, session.feed
        self.steps = session.steps
        self.progress = Progress(self.steps, io.StringIO())
        self.progress.start(0)

    def until(self, last: int, every) -> list[tuple[int, float]]:
        """Train until step `last` is logged; (step, time) of every log, when its values are here.

        `every.log` must divide `last`.
        """
        from ms_gan.training import trainer

        seen = []

        def show(step, values, *, last: bool = False):
            self.progress.show(step, values, last=last)
            seen.append((step, time.perf_counter()))
            if step >= end:
                raise Reached

        end = last
        try:
            trainer.train(
                self.state, self.feed, self.run, steps=self.steps, every=every,
                gallery=self.gallery, headline=self.session.headline, show=show,
            )  # fmt: skip
        except Reached:
            pass
        return seen

    def gallery(self, sampler):
        return sampler.gallery(self.config.seed)

    def host_part(self):
        """What the host makes for a step: images, latents, tensors."""
        return self.feed.at(self.state.step)


def main() -> None:
    options = measure.parser(__doc__.splitlines()[0])
    options.add_argument("--parts", action="store_true", help="measure log, samples, saves too")
    arguments = options.parse_args()
    folder = tempfile.mkdtemp(prefix="ms_gan_benchmark_")
    try:
        run_all(arguments, Path(folder) / "run")
    finally:
        shutil.rmtree(folder)


def run_all(arguments, folder: Path) -> None:
    from ms_gan import session
    from ms_gan.recipe import reader

    system = SYSTEMS[arguments.system]
    overrides = [*system.overrides, f"runtime.device={arguments.device}"]
    config = reader.load(reader.find(system.recipe), overrides)
    session.prepare(config)
    before = time.perf_counter()
    import mindspore

    imported = time.perf_counter() - before
    made = session.start(config, folder, say=lambda line: None)
    run, state = made.run, made.state
    with run.open(made.config):
        run.write_manifest(made.manifest())
        loop = Loop(made)
        loop.until(1, dataclasses.replace(made.config.every, log=1))
        first = measure.since_start() - imported
        inputs = loop.host_part()
        bare = measure.milliseconds(lambda: state.update(*inputs), wait, arguments.budget)
        peak = measure.peak_mib()
        result = {
            "bare_ms": bare,
            "step_ms": [in_the_loop(loop, bare, arguments.budget)],
            "first_step_s": first,
            "import_s": imported,
            "data_ms": measure.milliseconds(loop.host_part, wait_not, min(1.0, arguments.budget)),
            "peak_mib": peak,
        }
        if arguments.parts:
            result["parts"] = parts(loop, inputs, bare)
        result["peak_with_all_mib"] = measure.peak_mib()
    measure.report(
        **result,
        data=made.dataset.name,
        threads=measure.threads(),
        instruction_set=measure.instruction_set(arguments.device),
        versions={"mindspore": mindspore.__version__},
    )


def in_the_loop(loop: Loop, bare: list[float], budget: float) -> float:
    """ms per step of `trainer.train`, between the first log and the last one.

    Logs at the recipe's interval where the budget allows it; samples and saves are parts().
    """
    step = sorted(bare)[len(bare) // 2] / 1e3
    window = max(1, min(loop.config.every.log, int(budget / step / 2)))
    windows = 1 + max(1, int(budget / step / window))
    start = -(-(loop.state.step + 1) // window)  # the first log is the clock's start
    every = dataclasses.replace(loop.config.every, log=window, sample=0, save=0)
    seen = loop.until((start + windows - 1) * window, every)
    (first, started), (last, ended) = seen[0], seen[-1]
    return 1e3 * (ended - started) / (last - first)


def parts(loop: Loop, inputs: tuple, bare: list[float]) -> dict[str, float]:
    """Seconds of each part of a run, over the whole recipe, and its share of the time in %.

    Samples and saves are timed after a first one, which compiles; the film is made of as many
    pictures and log lines as the whole recipe leaves.
    """
    from ms_gan.runs import film, visualise
    from ms_gan.training import trainer

    state, run, every, steps = loop.state, loop.run, loop.config.every, loop.steps
    outputs = state.update(*inputs)
    wait(outputs)

    def log():
        values = trainer.read(outputs, state, run)
        run.log(state.step, **values)
        values["images_per_second"] = 0.0
        loop.progress.show(state.step, values)

    def sample():
        visualise.save_png(run.sample_file(0), loop.gallery(state.shown()))

    def save():
        trainer.save_all(state, run, every.keep)

    seconds = {
        "data": steps * timed(loop.host_part),
        "log": times(steps, every.log) * timed(log),
        "samples": times(steps, every.sample) * timed(sample),
        "checkpoints": times(steps, every.save) * timed(save),
    }
    for i in range(1, times(steps, every.sample)):
        shutil.copy(run.sample_file(0), run.sample_file(i))
    row = run.read_log()[-1]
    rows = [{**row, "step": i} for i in range(times(steps, every.log))]
    for values in rows[len(run.read_log()) :]:
        run.log(values.pop("step"), **values)
    seconds["film"] = timed(lambda: film.draw(run, loop.session.headline), once=True)
    training = steps * sorted(bare)[len(bare) // 2] / 1e3
    everything = training + sum(seconds.values())
    return {
        "seconds": seconds,
        "training_s": training,
        "share_percent": {name: 100 * s / everything for name, s in seconds.items()},
    }


def times(steps: int, every: int) -> int:
    """How often something happens; 0 means only at the end."""
    return max(1, steps // every) if every else 1


def timed(part: Callable[[], object], *, once: bool = False) -> float:
    """Seconds of a part, the median of three after a first one."""
    taken = []
    for _ in range(1 if once else 4):
        start = time.perf_counter()
        part()
        taken.append(time.perf_counter() - start)
    return taken[0] if once else sorted(taken[1:])[1]


def wait(outputs: tuple) -> None:
    outputs[1].asnumpy()  # G's loss comes last


def wait_not(outputs: tuple) -> None:
    pass


if __name__ == "__main__":
    main()
