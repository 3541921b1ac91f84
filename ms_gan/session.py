"""A recipe and a folder: a run that can go on. The one call that trains.

    from ms_gan import session

    run = session.start("lsgan_mnist")
    run.train()                                    # what `ms-gan train` does
    images, labels = run.sampler.samples(seed=1, num=64)

MindSpore is imported inside the functions: a wrong key is answered before that, and what it reads
at import is set first.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.recipe.registry import Registry
from ms_gan.recipe.schema import Config
from ms_gan.runs import shipped
from ms_gan.runs.progress import Progress
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import provenance, runtime
from ms_gan.system.signals import StopSignals
from ms_gan.version import __version__

if TYPE_CHECKING:
    from ms_gan.data import Dataset
    from ms_gan.runs.headline import Headline
    from ms_gan.runs.sampling import Sampler
    from ms_gan.training.feed import Feed
    from ms_gan.training.state import TrainState
    from ms_gan.training.trainer import Quality

Say = Callable[[str], None]


def never() -> bool:
    return False


def start(
    recipe: Config | str | Path,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    dataset: Dataset | None = None,
    say: Say = print,
    download: Callable[[str, int, int], None] | None = None,
    command: str | None = None,
) -> Session:
    """Read the data and build the nets; nothing is written yet.

    Args:
        recipe: the name of a recipe, its file, or a Config.
        folder: of the run; None: runs/<name of the recipe>. A run that is there already goes on.
        overrides: `key.path=value`, where the recipe is a name or a file.
        dataset: real images in place of those that the recipe names.
        say: receives one-line messages.
        download: receives (file, bytes done, bytes in all or 0).
        command: stands in the manifest as what continues the run.

    Raises:
        UserError: of one line: a recipe, data, a device or a folder that cannot be used.
    """
    config = recipe
    if not isinstance(recipe, Config):
        config = reader.load(reader.find(recipe), overrides)
    config = resolved(config)
    run = RunDir(folder or Path("runs") / config.name)
    run.check(config, resolved)
    prepare(config)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")

    from ms_gan import build, data
    from ms_gan.training.feed import Feed

    device = runtime.set_device(config.runtime.device, say)
    runtime.set_mode(config.runtime.mode)
    if dataset is None:
        dataset = load_data(config, run, say, download)
    check_data(run, dataset)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling
    )
    steps = total_steps(config, batches.steps_per_epoch)
    say(
        f"data: {dataset.name}, {len(dataset)} images {list(dataset.image_shape)} "
        f"({dataset.source})"
    )
    meta = {
        "ms_gan": __version__,
        "data": dataset.name,
        "classes": list(dataset.classes),
        "class_shares": dataset.class_shares.tolist(),
    }
    state = build.build_training(config, dataset.image_shape, dataset.num_classes, meta)
    feed = Feed(batches, state.rows, seed=config.seed)
    return Session(config, run, dataset, state, feed, steps, device, say, download, command)


def prepare(config: Config) -> None:
    """Set what MindSpore reads at import; without effect where it is imported already."""
    convolutions = config.model.name not in runtime.FULLY_CONNECTED
    runtime.limit_instruction_set(convolutions=convolutions, isa=config.runtime.onednn_isa)
    runtime.set_fpmath(config.runtime.onednn_fpmath)


def resolved(config: Config) -> Config:
    """The recipe with all options of its data set and its optimizer, which are checked."""
    from ms_gan import data
    from ms_gan.training.optimizers import OPTIMIZERS

    optimizers = Registry("optimizer", OPTIMIZERS)
    return dataclasses.replace(
        config,
        data=data.DATA.resolve(config.data, data.GIVEN),
        optimizer=optimizers.resolve(config.optimizer, ("lr",)),
    )


def total_steps(config: Config, steps_per_epoch: int) -> int:
    """Generator updates of the whole run."""
    if config.train.steps is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)


def load_data(config: Config, run: RunDir, say: Say, download: Any) -> Dataset:
    """The recipe's data set; for a run that fell back to another one, that one again."""
    from ms_gan import data

    recorded = run.manifest.get("data", {}).get("name")
    name, fallback, options = config.data.name, config.data.fallback, config.data.options
    if fallback and recorded == fallback and name != fallback:
        say(f"data: this run was started on {fallback} and goes on with it")
        known = data.DATA.accepted(fallback)
        name, options = fallback, {k: v for k, v in options.items() if k in known}
    return data.load(name, fallback=fallback, say=say, progress=download, **options)


def check_data(run: RunDir, dataset: Dataset) -> None:
    """Raise RunError where the run was started on other images."""
    recorded = run.manifest.get("data", {})
    if recorded and recorded["md5"] != dataset.md5:
        raise RunError(
            f"{run.path}: was started on other data ({recorded['name']}, {recorded['images']} "
            "images; their md5 differ from today's); choose another folder with --run-dir"
        )


@dataclasses.dataclass
class Session:
    """A run that can go on, made by :func:`start`.

    `steps` is its whole length, `state.step` how far it is, `interrupted` the signal that ended
    the last call of :meth:`train`, or None.
    """

    config: Config
    run: RunDir
    dataset: Dataset
    state: TrainState
    feed: Feed
    steps: int
    device: str
    say: Say
    download: Callable[[str, int, int], None] | None = None
    command: str | None = None
    interrupted: int | None = None

    @property
    def sampler(self) -> Sampler:
        """The generator as it is now, ready to use."""
        return self.state.shown()

    @property
    def headline(self) -> Headline:
        """The one number that stands for the quality of this run."""
        from ms_gan.evaluation.evaluator import DISTANCE

        return DISTANCE

    def train(self, *, stop: Callable[[], bool] = never, progress: Progress | None = None) -> bool:
        """Go on from the newest whole checkpoint; return whether the end was reached.

        Ctrl-C and SIGTERM end it early, with everything saved; the next call goes on.

        Args:
            stop: ends it early too; it is asked before every step.
            progress: shows it; None: a bar on a terminal, plain lines elsewhere.
        """
        from ms_gan.training import trainer

        config, run, state = self.config, self.run, self.state
        progress = progress or Progress(self.steps, sys.stdout)
        with run.open(config):
            self.resume()
            if state.step >= self.steps:
                if not run.drawn:
                    trainer.complete(state, run, config.every.keep, self.headline)
                return True
            run.rewind(state.step)
            run.write_manifest(self.manifest())
            quality = self.quality(progress.line)
            progress.start(state.step)
            with StopSignals() as signals:
                done = trainer.train(
                    state,
                    self.feed,
                    run,
                    steps=self.steps,
                    every=config.every,
                    gallery=lambda sampler: sampler.gallery(config.seed),
                    headline=self.headline,
                    show=progress.show,
                    quality=quality,
                    stop=lambda: signals.received is not None or stop(),
                )
        self.interrupted = signals.received
        return done

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        from ms_gan import build
        from ms_gan.runs.checkpoint import CheckpointError

        for step, path in reversed(self.run.checkpoint_files()):
            if step == self.state.step:
                return  # this process has just saved it
            try:
                build.load_training(path, self.state)
            except CheckpointError as error:
                self.say(f"passed over a broken checkpoint: {error}")
                continue
            self.say(f"continuing at step {step} of {self.steps}")
            return

    def quality(self, say: Say) -> Quality | None:
        """What evaluates while training, if the recipe asks for it and a classifier is shipped."""
        from ms_gan import data
        from ms_gan.evaluation import classifier, monitor

        if self.config.every.evaluate == 0:
            return None
        dataset = self.dataset
        known = data.DATASETS.get(dataset.name)
        file = shipped.CLASSIFIERS.get((known and known.like) or dataset.name)
        net = classifier.load(shipped.ASSETS / file)[0] if file else None
        if net is None or net.image_shape != dataset.image_shape:
            say(
                f"no evaluation while training: no classifier is shipped for {dataset.name} "
                f"{list(dataset.image_shape)}; `ms-gan evaluate` takes one of "
                "`ms-gan train-classifier`"
            )
            return None
        options = self.config.data.options if self.config.data.name == dataset.name else {}
        try:
            train, test = data.split(dataset, **options, say=say, progress=self.download)
        except UserError as error:
            say(f"no evaluation while training: {error}")
            return None
        rows = self.run.read_log()
        return monitor.Monitor(net, train, test, seed=self.config.seed, rows=rows, say=say)

    def manifest(self) -> dict[str, Any]:
        """What one needs to know to repeat the run; every continuation adds a session."""
        process = provenance.process()
        session = {
            "step": self.state.step,
            "command": self.command,
            "device": self.device,
            **process,
            "versions": {"ms_gan": __version__, **process["versions"]},
        }
        dataset = self.dataset
        return {
            "data": {
                "name": dataset.name,
                "source": dataset.source,
                "images": len(dataset),
                "image_shape": list(dataset.image_shape),
                "classes": list(dataset.classes),
                "md5": dataset.md5,
            },
            "sessions": [*self.run.manifest.get("sessions", []), session],
        }
