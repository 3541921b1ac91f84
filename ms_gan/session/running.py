"""A run while it goes on: from a recipe and a folder to trained nets."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.convolution import choice
from ms_gan.errors import UsageError, UserError
from ms_gan.recipe import reader
from ms_gan.recipe.changes import Change, described, foreign
from ms_gan.recipe.schema import Config, ConfigError, Ramp
from ms_gan.runs import board
from ms_gan.runs.progress import Progress, duration, suited
from ms_gan.runs.run_dir import RunDir
from ms_gan.session import asked, images, recorded
from ms_gan.session.recorded import Plan
from ms_gan.system import output, provenance, runtime, workers
from ms_gan.system.output import Say
from ms_gan.system.signals import NOBODY_READS, StopSignals
from ms_gan.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from ms_gan.data import Dataset
    from ms_gan.evaluation.classifier import Classifier
    from ms_gan.runs.board import Board
    from ms_gan.runs.headline import Headline
    from ms_gan.runs.sampling import Sampler
    from ms_gan.training.feed import Ahead, Feed
    from ms_gan.training.state import TrainState
    from ms_gan.training.trainer import Quality

ROLLBACKS = 3  # times that a run goes back after a divergence


def never() -> bool:
    return False


def start(
    recipe: Config | str | Path,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    weights: str | Path | Sequence[str | Path] = (),
    changes: Sequence[str] = (),
    dataset: Dataset | None = None,
    say: Say = output.say,
    download: Callable[[str, int, int], None] | None = None,
    command: str | None = None,
) -> Session:
    """Read the data and build the nets; nothing is written yet.

    Args:
        recipe: the name of a recipe, its file, or a Config.
        folder: of the run; None: runs/<name of the recipe>. A run that is there already goes on.
        overrides: `key.path=value`, where the recipe is a name or a file.
        weights: what a new run starts from: a .ckpt file, a run folder or the name of shipped
            weights; or several files that together hold a generator and a discriminator. A run
            that is there already needs it no more.
        changes: `key.path=value` with which a run that is there already goes on from its newest
            checkpoint; the manifest and the log say so.
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
    config = asked.resolved(config)
    workers.schedule()
    asked.check_shared(config, workers.asked())
    run = RunDir.of(config, folder)
    asked.prepare(config, recorded.convolutions(run), say)
    if config.runtime.tensorboard:
        board.check()
    runtime.import_mindspore(config.runtime.device)
    from ms_gan import build, data
    from ms_gan.training import precision
    from ms_gan.training.feed import Ahead, Feed

    config = build.checked(config)  # a typing mistake is no other recipe
    config, change = recorded.continued(config, run, changes, say)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")
    weights = [weights] if isinstance(weights, str | Path) else list(weights)
    origin = recorded.starting_weights(run, weights, say)
    device = runtime.set_device(config.runtime.device, say)
    if config.runtime.convolutions == choice.ONEDNN and device != "CPU":
        raise ConfigError(
            f"runtime.convolutions: onednn is for CPUs, but the device is {device}; "
            "use auto, or runtime.device=CPU"
        )
    runtime.set_mode(config.runtime.mode)
    if config.runtime.amp and not precision.is_native(config.runtime.amp):
        say(
            f"runtime.amp: {device} multiplies no {config.runtime.amp}; factors are rounded to it "
            "and multiplied in float32, which is not faster"
        )
    if dataset is None:
        with workers.first_before_others():
            dataset = images.load(config, run, say, download)
    images.check(run, dataset, say)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling,
        flip=config.data.flip, share=workers.share(),
    )  # fmt: skip
    plan = recorded.plan(run, config.train.minutes)
    if plan:
        config = asked.with_steps(config, plan["steps"])
    steps = asked.total_steps(config, batches.steps_per_epoch)
    if steps is not None:
        config = dataclasses.replace(config, every=config.every.settled(steps))
    say(f"data: {dataset.described()}")
    recorded.say_length(run, config, plan, steps, say)
    meta = {
        "ms_gan": __version__,
        "data": dataset.name,
        "classes": list(dataset.classes),
        "class_shares": dataset.class_shares.tolist(),
    }
    if origin is not None:
        meta["from"] = origin.sources
    elif "from" in run.manifest:
        meta["from"] = run.manifest["from"]
    if plan:
        meta["plan"] = plan
    state = build.build_training(config, dataset.image_shape, dataset.num_classes, meta)
    if origin is not None:
        for line in build.load_weights(origin, state, config):
            say(f"from {line}")
    feed = Feed(batches, state.rows, seed=config.seed, share=workers.share())
    if device != "CPU":  # whose cores have no time to spare
        feed = Ahead(feed)
    if steps is None and workers.size() > 1:
        raise UsageError(
            "train.minutes: one process measures how many steps fit, and several workers must make "
            "the same; give train.steps"
        )
    if steps is None and state.updates.growth is not None:
        raise UsageError(
            "train.minutes: model.levels says how many steps each level has; give train.steps"
        )
    if change and steps is not None and recorded.newest(run) >= steps:
        raise UsageError(
            f"--change: {run.path} is complete at step {recorded.newest(run)}; give more "
            "train.steps too"
        )
    workers.meet()  # before the first one writes what the others have just read
    return Session(
        config, run, dataset, state, feed, steps, device, say, download, command, change, plan
    )


@dataclasses.dataclass
class Session:
    """A run that can go on, made by :func:`start`.

    `steps` is its whole length (None: `train.minutes` asks to measure it first), `state.step` how
    far it is, `interrupted` the signal that ended the last call of :meth:`train`, or None.
    """

    config: Config
    run: RunDir
    dataset: Dataset
    state: TrainState
    feed: Feed | Ahead
    steps: int | None
    device: str
    say: Say
    download: Callable[[str, int, int], None] | None = None
    command: str | None = None
    change: Change = dataclasses.field(default_factory=dict)
    plan: Plan = dataclasses.field(default_factory=dict)
    interrupted: int | None = None

    @property
    def sampler(self) -> Sampler:
        """The generator as it is now, ready to use."""
        return self.state.shown()

    @functools.cached_property
    def classifier(self) -> Classifier | None:
        """The shipped one that fits these images."""
        from ms_gan import data
        from ms_gan.evaluation import classifier

        known = data.DATASETS.get(self.dataset.name)
        name = (known and known.like) or self.dataset.name
        found = classifier.shipped_for(name, self.dataset.image_shape)
        return found and found[0]

    @functools.cached_property
    def channel_classifier(self) -> Classifier | None:
        """The shipped classifier that reads one channel of these images, where they are stacked."""
        from ms_gan.evaluation import modes

        return modes.shipped_for(self.dataset)

    @property
    def headline(self) -> Headline:
        """The one number that stands for the quality of this run: the one that its log holds; in a
        new run a classifier's, where one fits the images, else that of their patches. Where the
        generator receives pictures, that of its judge."""
        from ms_gan.evaluation import modes
        from ms_gan.evaluation.evaluator import DISTANCE, SLICED
        from ms_gan.evaluation.translation import JUDGES

        if judge := JUDGES.get(self.config.input.name):
            return judge.headline
        if self.channel_classifier:
            return modes.MODE_KL
        log = self.run.read_log()
        for headline in (DISTANCE, SLICED):
            if any(headline.key in row for row in log):
                return headline
        never = self.config.every.evaluate == 0
        return DISTANCE if never or self.classifier else SLICED

    def train(self, *, stop: Callable[[], bool] = never, progress: Progress | None = None) -> bool:
        """Go on from the newest whole checkpoint; return whether the end was reached.

        Ctrl-C, SIGTERM, a hang-up and a reader of the output that goes away end it early, with
        everything saved; the next call goes on.

        Args:
            stop: ends it early too; it is asked before every step.
            progress: shows it; None: a bar on a terminal or in a notebook, plain lines elsewhere.
        """
        from ms_gan.runs import report
        from ms_gan.training import trainer

        if not workers.is_first():
            return self.follow(stop)
        run, state, began = self.run, self.state, time.monotonic()
        progress = progress or suited(self.steps)
        with run.open(self.config, **self.sizes(), say=self.say):
            self.resume()
            trainer.check_equal(state)
            quality = None
            if self.steps is None:
                quality = self.quality(progress.line)
                self.make_plan(quality, began)
            config, progress.total = self.config, self.steps
            if state.step >= self.steps:
                if not run.drawn:
                    self.show_real()
                    trainer.complete(state, run, config.every.keep, self.headline, progress.line)
                return True
            run.rewind(state.step)
            run.write_recipe(config)
            run.write_manifest(self.manifest())
            self.log_changes()
            self.show_real()
            quality = quality or self.quality(progress.line)
            progress.start(state.step, hint=state.step == 0 and not self.plan)
            with StopSignals() as signals, self.watch(progress.line) as watch:
                agreed = workers.Agreement(
                    lambda: signals.received or NOBODY_READS * progress.unread, stop
                )
                while True:
                    try:
                        done = trainer.train(
                            self.state,
                            self.feed,
                            run,
                            steps=self.steps,
                            every=self.config.every,
                            gallery=self.gallery,
                            headline=self.headline,
                            show=progress.show,
                            quality=quality,
                            watch=watch,
                            stop=agreed,
                            say=progress.line,
                        )
                    except trainer.TrainingDiverged as error:
                        if not self.roll_back(error.what, progress.line):
                            report.Report(run, progress.line).write()
                            raise trainer.TrainingDiverged(f"{error}; {self.remedy()}") from None
                        quality = self.quality(progress.line)
                    else:
                        break
        self.interrupted = agreed.signal
        workers.meet()  # the others stay until everything is written
        return done

    def follow(self, stop: Callable[[], bool] = never) -> bool:
        """What :meth:`train` is on all workers but the first: the same updates, and no file."""
        from ms_gan.training import trainer

        self.resume()
        trainer.check_equal(self.state)
        if self.state.step >= self.steps:
            return True
        with StopSignals() as signals:
            agreed = workers.Agreement(lambda: signals.received, stop)
            done = trainer.follow(
                self.state, self.feed, steps=self.steps, every=self.config.every, stop=agreed
            )
        self.interrupted = agreed.signal
        workers.meet()
        return done

    @contextmanager
    def watch(self, say: Say) -> Iterator[Board | None]:
        """What writes event files for TensorBoard, if the recipe asks for it."""
        if not self.config.runtime.tensorboard:
            yield None
            return
        with closing(board.Board(self.run, self.state.step, say)) as watch:
            yield watch

    def show_real(self) -> None:
        """real.png, once: real images, arranged as the samples are."""
        if self.run.real_file.exists():
            return
        from ms_gan.runs import visualise

        picture = self.sampler.real_gallery(self.dataset)
        if picture is not None:
            visualise.save_png(self.run.real_file, picture)

    def gallery(self, sampler: Sampler) -> np.ndarray:
        """The picture of a generator in samples/."""
        return sampler.gallery(self.config.seed, self.dataset)

    def make_plan(self, quality: Quality | None, began: float) -> None:
        """Find out how many steps fit into the minutes; from here on the run has this length.

        Args:
            began: when training began, by the clock from which the minutes count.
        """
        from ms_gan.training import plan

        config, state = self.config, self.state
        seconds = 60 * config.train.minutes
        costs = plan.measure(state, self.feed, self.run, self.gallery, quality, seconds=seconds)
        spent = time.monotonic() - began
        steps = plan.steps_within(seconds - spent, costs, config.every.settled)
        beside = costs.beside(steps, config.every.settled(steps))
        self.plan = {
            "minutes": config.train.minutes,
            "steps": steps,
            "step": round(costs.step, 6),
            "spent": round(spent, 3),
            "beside": round(beside, 3),
        }
        late = spent + steps * costs.step + beside - seconds
        self.say(
            f"plan: {steps:,} steps in {config.train.minutes:g} min: {1000 * costs.step:.3g} ms a "
            f"step; {spent:.1f} s went to compiling and measuring, {beside:.1f} s are kept for "
            "pictures, evaluation and saving"
            + (f"; it will be late by {duration(math.ceil(late))}" if late > 0 else "")
        )
        recorded.say_length(self.run, config, {}, steps, self.say)
        self.config, self.steps = asked.with_steps(config, steps), steps
        if state.step > steps:
            self.say(self.how_far())
        meta = {**state.sampler.meta, "config": reader.to_dict(self.config), "plan": self.plan}
        state.sampler = dataclasses.replace(state.sampler, meta=meta)

    def sizes(self) -> dict[str, int]:
        """Bytes of a checkpoint (`size`), and of all that will be saved at once (`room`)."""
        state, every = self.state, self.config.every
        left = None if self.steps is None else self.steps - recorded.newest(self.run)
        if left is not None and left <= 0:
            return {}
        size = sum(parameter.nbytes for parameter in state.parameters)
        shown = sum(parameter.nbytes for parameter in state.sampler.net.get_parameters())
        saves = every.keep  # at most, where the length is not known yet
        if left is not None:
            saves = max(1, left // every.save) if every.save else 1
        kept = max(0, every.keep - len(self.run.checkpoint_files()))  # that are not there yet
        return {"size": size, "room": size * (min(kept, saves - 1) + 1) + 2 * shown}

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        from ms_gan import build
        from ms_gan.runs.checkpoint import CheckpointError

        broken = []
        for step, path in reversed(self.run.checkpoint_files()):
            if step == self.state.step:
                return  # this process has just saved it
            try:
                build.load_training(path, self.state, functools.partial(self.not_own, step))
            except CheckpointError as error:
                self.say(f"passed over a broken checkpoint: {error}")
                broken.append(path)
                continue
            self.say(self.how_far())
            return
        if self.state.step == 0:
            self.run.check_anew(broken)
            if rows := self.run.read_log():
                self.say(
                    f"nothing was saved before this run ended at step {rows[-1]['step']}: it "
                    "starts at step 0 again"
                )

    def not_own(self, step: int, meta: Mapping[str, Any]) -> str | None:
        """Why a checkpoint is not the one that this run saved at `step`, if it is not."""
        if meta["step"] != step:
            return f"was saved at step {meta['step']}, but is called after step {step}"
        if found := foreign(self.config, meta.get("config"), asked.resolved):
            return f"is of another run ({'; '.join(found)})"
        return None

    def roll_back(self, what: str, say: Say) -> bool:
        """Go back to the newest finite checkpoint, or to the start, with half the learning rates,
        as `--change` does it; whether the recipe wants that and it was not done too often.

        The manifest comes first: a kill in between finds there what has to be done.

        Args:
            what: became infinite or not a number.
        """
        from ms_gan import build
        from ms_gan.training import trainer

        run, records = self.run, recorded.changes(self.run)
        again = sum("diverged" in record for record in records)
        begun = trainer.last_finite(run) is not None
        if self.config.train.on_divergence != "rollback" or again >= ROLLBACKS:
            return False
        if workers.size() > 1:  # the others have gone on
            return False
        if not begun and "from" in self.state.meta:  # its weights are not here any more
            return False
        self.config, change = recorded.halved(self.config)
        meta, shape = self.state.sampler.meta, self.dataset.image_shape
        self.state = build.build_training(self.config, shape, self.dataset.num_classes, meta)
        if begun:
            self.resume()
        step = self.state.step
        record = {"step": step, "changed": change, "diverged": what}
        run.write_manifest({**run.manifest, "changes": [*records, record]})
        run.write_recipe(self.config)
        run.rewind(step)
        self.log_changes()
        say(
            f"warning: {what}: back to step {step} with half the learning rates "
            f"({described(change)}), for the {('first', 'second', 'last')[again]} time"
        )
        return True

    def how_far(self) -> str:
        """A line about the step from which a run goes on."""
        step = self.state.step
        if self.steps is None:
            return f"continuing at step {step}"
        if step > self.steps:
            return (
                f"{self.run.path}: is at step {step} already, more than the {self.steps} that are "
                "asked for; nothing is trained"
            )
        return f"continuing at step {step} of {self.steps}"

    def changes(self) -> list[dict[str, Any]]:
        """What --change changed in this run so far, for the manifest."""
        step = self.state.step
        records = [
            {**record, "step": min(record["step"], step)} for record in recorded.changes(self.run)
        ]
        return records + ([{"step": step, "changed": self.change}] if self.change else [])

    def log_changes(self) -> None:
        """Bring the log up to what the manifest says of changes."""
        logged = [row for row in self.run.read_log() if "changed" in row]
        for record in recorded.changes(self.run)[len(logged) :]:
            why = {"warning": record["diverged"]} if "diverged" in record else {}
            self.run.log(record["step"], changed=record["changed"], **why)
        self.change = {}

    def remedy(self) -> str:
        """How to go on after a divergence."""
        files = self.run.checkpoint_files()
        changed_at = [record["step"] for record in recorded.changes(self.run)]
        if files and changed_at and changed_at[-1] == files[-1][0]:  # tried already, from there
            return (
                f"smaller learning rates did not help: its values may be too large already; remove "
                f"{files[-1][1]} to go on from what is older, or start anew with --run-dir"
            )
        words = []
        for key, lr in (("lr_d", self.config.optimizer.lr_d), ("lr_g", self.config.optimizer.lr_g)):
            now = max(lr.start, lr.end) if isinstance(lr, Ramp) else lr
            words.append(f"optimizer.{key}={now / 10:g}")
        if self.command is None:
            return f"to go on with smaller learning rates: session.start(…, changes={words})"
        options = " ".join(f"--change {word}" for word in words)
        return f"to go on with smaller learning rates: {self.command} {options}"

    def quality(self, say: Say) -> Quality | None:
        """What evaluates while training, if the recipe asks for it, by this run's headline."""
        from ms_gan import data
        from ms_gan.evaluation import modes, monitor, translation

        if self.config.every.evaluate == 0:
            return None
        dataset, headline = self.dataset, self.headline
        given = {"seed": self.config.seed, "rows": self.run.read_log(), "say": say}
        try:
            train, test = self.split(say)
            if headline is modes.MODE_KL:
                return monitor.ModeMonitor(self.channel_classifier, train, **given)
            if judge := translation.JUDGES.get(self.config.input.name):
                judge = judge(self.sampler, train, test, seed=self.config.seed)
                return monitor.PictureMonitor(judge, rows=given["rows"], say=say)
            if headline is monitor.PatchMonitor.headline:
                return monitor.PatchMonitor(*data.halves(dataset, train, test), **given)
            return monitor.Monitor(self.classifier, train, test, **given)
        except UserError as error:
            say(f"no evaluation while training: {error}")
            return None

    def split(self, say: Say) -> tuple[Dataset, Dataset]:
        """Training and test images; those of a split of its own from the same folder first."""
        from ms_gan import data

        recipe, name = self.config.data, self.dataset.name
        if name not in data.DATASETS:
            return data.split(self.dataset)
        known = data.DATA.accepted(name)  # it may stand in for another one
        own = {k: v for k, v in recipe.options.items() if k in known}
        recipe = dataclasses.replace(recipe, name=name, options=own)
        there, folders = images.found_again(recipe, self.dataset.source)
        given = {"match": recipe.match}
        if folders:
            with suppress(UserError):
                return data.split(self.dataset, pair=there.pair, **given, **there.options)
        given |= {"say": say, "progress": self.download}
        return data.split(self.dataset, pair=recipe.pair, **given, **own)

    def manifest(self) -> dict[str, Any]:
        """What one needs to know to repeat the run; every continuation adds a session."""
        process = provenance.process()
        session = {
            "step": self.state.step,
            "steps": self.steps,
            "command": self.command,
            "device": self.device,
            "convolutions": choice.name(),
            **({"workers": workers.size()} if workers.size() > 1 else {}),
            **process,
            "versions": {"ms_gan": __version__, **process["versions"]},
        }
        dataset = self.dataset
        marks = {
            "from": self.state.meta.get("from"),
            "changes": self.changes(),
            "columns": list(self.sampler.columns),
            "plan": self.plan,
        }
        return {
            "data": {
                "name": dataset.name,
                "source": dataset.source,
                "images": len(dataset),
                "image_shape": list(dataset.image_shape),
                "classes": list(dataset.classes),
                "class_shares": dataset.class_shares.round(6).tolist(),
                "md5": dataset.md5,
            },
            **{key: value for key, value in marks.items() if value},
            "sessions": [*self.run.manifest.get("sessions", []), session],
        }
