"""`ms-gan train`: a recipe to a run directory."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from ms_gan.cli.console import CONFIGS, DownloadProgress, command, git_commit, say
from ms_gan.cli.progress import Progress
from ms_gan.recipe import config as cfg
from ms_gan.recipe.config import Config, ConfigError
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import runtime
from ms_gan.version import __version__

DEFAULT_CONFIG = CONFIGS / "default.yaml"
FIXED_SAMPLES = 25  # 5 x 5, as in the tutorial
FIXED_PER_CLASS = 8  # of conditional nets: one row a class


def add_parser(commands: argparse._SubParsersAction) -> None:
    train = commands.add_parser("train", help="train a recipe; the same command again continues")
    train.add_argument(
        "-c", "--config", type=Path, default=DEFAULT_CONFIG, help="a recipe (%(default)s)"
    )
    train.add_argument("--run-dir", type=Path, help="folder of the run (runs/<name of the recipe>)")
    train.add_argument("--dry-run", action="store_true", help="check and show the recipe only")
    train.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="for example train.epochs=12"
    )
    train.set_defaults(run=run_train)


def run_train(arguments: argparse.Namespace) -> int:
    config = cfg.load(find_config(arguments.config), arguments.overrides)
    run = RunDir(arguments.run_dir or Path("runs") / config.name)
    run.check(config)
    runtime.limit_instruction_set(
        convolutions=config.model.name not in runtime.FULLY_CONNECTED, isa=config.runtime.onednn_isa
    )
    runtime.set_fpmath(config.runtime.onednn_fpmath)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")

    from ms_gan import build, data
    from ms_gan.training import trainer

    device = runtime.set_device(config.runtime.device, say)
    runtime.set_mode(config.runtime.mode)
    dataset = load_data(config, run)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling
    )
    steps = total_steps(config, batches.steps_per_epoch)
    shape = list(dataset.image_shape)
    say(f"data: {dataset.name}, {len(dataset)} images {shape} ({dataset.source})")
    state = build.build_training(
        config, dataset.image_shape, dataset.num_classes,
        {
            "ms_gan": __version__, "data": dataset.name, "classes": list(dataset.classes),
            "class_shares": dataset.class_shares.tolist(),
        },
    )  # fmt: skip
    if arguments.dry_run:
        say(cfg.dump(config).rstrip())
        say(build.summary(state))
        return 0
    with run.open(config):
        resume(run, state, steps)
        if state.step >= steps:
            if not run.drawn:
                trainer.complete(state, run, config.every.keep)
            return finished(run, state.step)
        run.rewind(state.step)
        again = command(arguments.words)
        run.write_manifest(manifest(run, dataset, device, state.step, again))
        done, received = train(config, run, state, batches, steps)
        if done:
            return finished(run, state.step)
        say(f"interrupted at step {state.step} of {steps}; everything is saved")
        say(f"to continue: {again}")
        return 128 + received


def find_config(path: Path) -> Path:
    """A path as given; else the same beside the project's configs/, or a name in it."""
    for place in (path, CONFIGS.parent / path, CONFIGS / f"{path}.yaml"):
        if place.is_file():
            return place
    known = ", ".join(sorted(recipe.stem for recipe in CONFIGS.glob("*.yaml")))
    raise ConfigError(f"{path}: no such recipe; there are {known}")


def load_data(config: Config, run: RunDir) -> Any:
    """The recipe's data set; for a run that fell back to another one, that one again."""
    from ms_gan import data

    recorded = run.manifest.get("data", {})
    name, fallback = config.data.name, config.data.fallback
    if fallback and recorded.get("name") == fallback:
        name, fallback = fallback, None
        say(f"data: this run was started on {name} and goes on with it")
    dataset = data.load(
        name, root=None if name == "digits" else config.data.root, size=config.data.size,
        channels=config.data.channels, fallback=fallback, say=say, progress=DownloadProgress(),
    )  # fmt: skip
    if recorded and recorded["md5"] != dataset.md5:
        raise RunError(
            f"{run.path}: was started on other data ({recorded['name']}, {recorded['images']} "
            "images; their md5 differ from today's); choose another folder with --run-dir"
        )
    return dataset


def total_steps(config: Config, steps_per_epoch: int) -> int:
    if config.train.steps is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)


def resume(run: RunDir, state: Any, steps: int) -> None:
    """Go on from the newest whole checkpoint, if there is one."""
    from ms_gan import build
    from ms_gan.runs.checkpoint import CheckpointError

    for step, path in reversed(run.checkpoint_files()):
        try:
            build.load_training(path, state)
        except CheckpointError as error:
            say(f"passed over a broken checkpoint: {error}")
            continue
        say(f"continuing at step {step} of {steps}")
        return


def train(
    config: Config, run: RunDir, state: Any, batches: Any, steps: int
) -> tuple[bool, int | None]:
    """Train with a progress bar; return whether the end was reached, and the signal if not."""
    from ms_gan.runs import sampling
    from ms_gan.training import trainer

    progress = Progress(steps, sys.stdout)
    monitor = build_monitor(config, run, batches.dataset, progress.line)
    progress.start(state.step)
    shown = state.num_classes * FIXED_PER_CLASS or FIXED_SAMPLES
    with StopSignals() as signals:
        done = trainer.train(
            state,
            batches,
            run,
            seed=config.seed,
            steps=steps,
            d_steps=config.train.d_steps,
            same_latents=config.train.same_latents,
            every=config.every,
            fixed_latents=sampling.latents(config.seed, shown, state.latent_dim),
            show=progress.show,
            monitor=monitor,
            stop=lambda: signals.received is not None,
        )
    return done, signals.received


def build_monitor(config: Config, run: RunDir, dataset: Any, say: Any) -> Any:
    """What evaluates while training, if the recipe asks for it and a shipped classifier fits."""
    from ms_gan import data
    from ms_gan.evaluation import classifier, monitor

    if config.every.evaluate == 0:
        return None
    file = classifier.SHIPPED.get("mnist" if dataset.name == "digits" else dataset.name)
    net = classifier.load(classifier.ASSETS / file)[0] if file else None
    if net is None or net.image_shape != dataset.image_shape:
        say(
            f"no evaluation while training: no classifier is shipped for {dataset.name} "
            f"{list(dataset.image_shape)}; `ms-gan evaluate` takes one of `ms-gan train-classifier`"
        )
        return None
    options = {"size": config.data.size, "channels": config.data.channels}
    try:
        train, test = classifier.split(
            dataset, root=config.data.root, **options, say=say, progress=DownloadProgress()
        )
    except data.DataError as error:
        say(f"no evaluation while training: {error}")
        return None
    return monitor.Monitor(net, train, test, seed=config.seed, rows=run.read_log(), say=say)


class StopSignals:
    """Remember SIGINT and SIGTERM instead of dying of them; a second one interrupts at once.

    MindSpore turns a SIGINT that arrives while a graph runs into a SIGTERM.
    """

    def __init__(self):
        self.received: int | None = None

    def __enter__(self) -> StopSignals:
        self.previous = {s: signal.signal(s, self.handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def handle(self, number: int, frame: Any) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def __exit__(self, *error: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)


def finished(run: RunDir, step: int) -> int:
    script = os.environ.get("MS_GAN_SCRIPT")
    program = ["ms-gan", "generate"]
    if script:
        program = ["bash", str(Path(script).with_name("run_generate.sh"))]
    say(f"complete at step {step}: {run.gif_file}, {run.curves_file}, {run.sample_file(step)}")
    if best := best_line(run):
        say(best)
    say(f"new images: {shlex.join([*program, str(run.generator_file)])}")
    say("train longer with train.steps=…, or anew with --run-dir")
    return 0


def best_line(run: RunDir) -> str | None:
    """Which evaluation of the log best.ckpt comes from."""
    from ms_gan.evaluation.monitor import DISTANCE

    rows = [row for row in run.read_log() if DISTANCE in row]
    if not rows or not run.best_file.is_file():
        return None
    best = min(rows, key=lambda row: row[DISTANCE])
    return (
        f"best at step {best['step']}: distance {best[DISTANCE]:.2f} (floor {best['floor']:.2f}): "
        f"{run.best_file}"
    )


def manifest(run: RunDir, dataset: Any, device: str, step: int, again: str) -> dict[str, Any]:
    """What one needs to know to repeat the run; every continuation adds a session."""
    import numpy

    import mindspore

    session = {
        "step": step,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": again,
        "git_commit": git_commit(),
        "versions": {
            "ms_gan": __version__,
            "mindspore": mindspore.__version__,
            "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "device": device,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA", "not limited"),
        "onednn_fpmath": os.environ.get(runtime.FPMATH_VARIABLE, "STRICT"),
    }
    return {
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            "images": len(dataset),
            "image_shape": list(dataset.image_shape),
            "classes": list(dataset.classes),
            "md5": dataset.md5,
        },
        "sessions": [*run.manifest.get("sessions", []), session],
    }
