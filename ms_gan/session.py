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
from ms_gan.recipe.changes import Change, changed, described, foreign, is_record, repeated
from ms_gan.recipe.registry import Registry
from ms_gan.recipe.schema import Config, ConfigError, Data, Ramp, settled
from ms_gan.runs import board
from ms_gan.runs.progress import Progress, duration, suited
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import output, provenance, runtime, workers
from ms_gan.system.signals import NOBODY_READS, StopSignals
from ms_gan.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from ms_gan.data import Dataset
    from ms_gan.evaluation.classifier import Classifier
    from ms_gan.runs.board import Board
    from ms_gan.runs.headline import Headline
    from ms_gan.runs.sampling import Sampler
    from ms_gan.runs.weights import Weights
    from ms_gan.training.feed import Ahead, Feed
    from ms_gan.training.state import TrainState
    from ms_gan.training.trainer import Quality

Say = Callable[[str], None]
Plan = dict[str, Any]  # minutes, steps, and what was measured for them, in seconds
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
    config = resolved(config)
    workers.schedule()
    check_shared(config, workers.asked())
    run = RunDir.of(config, folder)
    prepare(config, recorded_convolutions(run), say)
    if config.runtime.tensorboard:
        board.check()
    runtime.import_mindspore(config.runtime.device)
    from ms_gan import build, data
    from ms_gan.training import precision
    from ms_gan.training.feed import Ahead, Feed

    config = build.checked(config)  # a typing mistake is no other recipe
    config, change = continued(config, run, changes, say)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")
    weights = [weights] if isinstance(weights, str | Path) else list(weights)
    origin = starting_weights(run, weights, say)
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
            dataset = load_data(config, run, say, download)
    check_data(run, dataset, say)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling,
        flip=config.data.flip, share=workers.share(),
    )  # fmt: skip
    plan = recorded_plan(run, config.train.minutes)
    if plan:
        config = with_steps(config, plan["steps"])
    steps = total_steps(config, batches.steps_per_epoch)
    if steps is not None:
        config = dataclasses.replace(config, every=config.every.settled(steps))
    say(f"data: {dataset.described()}")
    say_length(run, config, plan, steps, say)
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
    if change and steps is not None and newest(run) >= steps:
        raise UsageError(
            f"--change: {run.path} is complete at step {newest(run)}; give more train.steps too"
        )
    workers.meet()  # before the first one writes what the others have just read
    return Session(
        config, run, dataset, state, feed, steps, device, say, download, command, change, plan
    )


def prepare(config: Config, began: str | None = None, say: Say = output.say) -> None:
    """Set what MindSpore reads at import; without effect where it is imported already.

    Args:
        began: :func:`recorded_convolutions` of the run.

    Raises:
        Unavailable: `runtime.convolutions: onednn` cannot be had here.
    """
    wanted, isa = config.runtime.convolutions, config.runtime.onednn_isa
    convolutions = config.model.name not in runtime.FULLY_CONNECTED
    on_cpu = config.runtime.device in ("auto", "CPU")
    if wanted == "auto" and not (convolutions and on_cpu and config.runtime.amp is None):
        wanted = began = choice.NATIVE
    choice.use(choice.chosen(wanted, began=began, isa=isa, say=say))
    native = convolutions and choice.library_in_use() is None
    runtime.limit_instruction_set(convolutions=native, isa=isa)
    runtime.set_fpmath(config.runtime.onednn_fpmath)


def recorded_convolutions(run: RunDir) -> str | None:
    """Which convolutions a run used last, as :func:`choice.name` says; None: it is new."""
    sessions = run.manifest.get("sessions")
    if not sessions:
        return None
    last = sessions[-1] if isinstance(sessions, list) else None
    found = last.get("convolutions") if isinstance(last, dict) else None
    return found if found in choice.NAMES else choice.NATIVE


def check_shared(config: Config, size: int) -> None:
    """Raise ConfigError where so many workers cannot share the training of a recipe."""
    batch, least = config.data.batch_size, size * max(config.train.pack, 2)
    if size > 1 and (batch % (size * config.train.pack) or batch < least):
        whole = size * config.train.pack
        packed = f", {config.train.pack} packed together (train.pack)" * (config.train.pack > 1)
        raise ConfigError(
            f"data.batch_size: {batch} images for {size} workers{packed}; expected a multiple of "
            f"{whole}, at least {least}; change it or the number of workers"
        )
    if size > 1 and config.train.history:
        raise ConfigError(
            f"train.history: {config.train.history} with {size} workers: each would keep images of "
            "its own, and a checkpoint holds those of one; expected 0; set it or use one worker"
        )


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


def continued(config: Config, run: RunDir, words: Sequence[str], say: Say) -> tuple[Config, Change]:
    """The recipe as the run goes on with it, and what `words` of --change change in it.

    Raises:
        RunError: the run was made by another recipe.
        UsageError: there is no run yet.
        ConfigError: a key that cannot change.
    """
    if not run.exists:
        run.check(config, resolved)
        if words:
            raise UsageError(
                f"--change: there is no run in {run.path} yet; give {' '.join(words)} by itself"
            )
        return config, {}
    given, records = config, recorded_changes(run)
    config, lines = repeated(given, records, resolved)
    new, change = changed(config, words, resolved)
    if change:
        with suppress(RunError):  # a kill came between the recipe and the manifest
            run.check(new, resolved)
            return new, change
    written = config
    if records and "diverged" in records[-1]:
        with suppress(RunError):  # a kill came between the manifest and the recipe
            run.check(before := repeated(given, records[:-1], resolved)[0], resolved)
            written = before
    run.check(written, resolved)
    for line in lines:
        say(line)
    if change:
        say(f"--change: {described(change)}")
    return new, change


def halved(config: Config) -> tuple[Config, Change]:
    """The recipe with half of both learning rates, and what that changes in it."""

    def half(lr: float | Ramp) -> float | Ramp:
        if isinstance(lr, Ramp):
            return dataclasses.replace(lr, start=lr.start / 2, end=lr.end / 2)
        return lr / 2

    before = config.optimizer
    now = dataclasses.replace(before, lr_d=half(before.lr_d), lr_g=half(before.lr_g))
    new = dataclasses.replace(config, optimizer=now)
    trees = [reader.to_dict(recipe)["optimizer"] for recipe in (config, new)]
    return new, {f"optimizer.{key}": [tree[key] for tree in trees] for key in ("lr_d", "lr_g")}


def recorded_changes(run: RunDir) -> list[dict[str, Any]]:
    """`{"step": k, "changed": Change}` of the manifest, without what somebody has edited."""
    return [record for record in run.manifest.get("changes", []) if is_record(record)]


def starting_weights(run: RunDir, sources: Sequence[str | Path], say: Say) -> Weights | None:
    """What the run starts from, read; None where it goes on from a checkpoint of its own.

    Raises:
        RunError: it was started from other weights, or from none.
        CheckpointError: weights that cannot be used.
    """
    recorded = [
        source
        for source in run.manifest.get("from", [])
        if {"given", "file", "sha256"} <= set(source)
    ]
    begun = bool(run.checkpoint_files())
    if not sources and (begun or not recorded):
        return None
    from ms_gan.runs import weights

    if sources and (recorded or begun):
        if not recorded or not weights.are_those(sources, recorded):
            of = " and ".join(source["file"] for source in recorded)
            started = f"was started from {of}" if of else "was not started from weights"
            raise RunError(
                f"{run.path}: {started}; leave --from out to continue it, or choose "
                "another folder with --run-dir"
            )
    if begun:
        return None
    return weights.read_again(recorded) if recorded else weights.read(sources, say)


def newest(run: RunDir) -> int:
    """The step of the newest checkpoint; 0 where there is none."""
    return max((step for step, _ in run.checkpoint_files()), default=0)


def recorded_plan(run: RunDir, minutes: float | None) -> Plan:
    """What this run planned when it was asked for so many minutes; empty where it did not."""
    if minutes is None:
        return {}
    plans = [run.manifest.get("plan")]
    if "sessions" not in run.manifest:  # lost; its checkpoints hold it as well
        plans += [checkpoint_plan(path) for _, path in reversed(run.checkpoint_files())]
    for plan in plans:
        if isinstance(plan, dict) and plan.get("minutes") == minutes:
            if type(plan.get("steps")) is int and plan["steps"] > 0:
                return plan
    return {}


def checkpoint_plan(path: Path) -> Any:
    """The plan that a checkpoint holds, whatever that is; None where it holds none."""
    from ms_gan.runs import checkpoint

    with suppress(checkpoint.CheckpointError):
        return (checkpoint.load(path)[1] or {}).get("plan")
    return None


def with_steps(config: Config, steps: int) -> Config:
    """The recipe of a run that was asked for minutes, once its steps are known."""
    train = dataclasses.replace(config.train, steps=steps, epochs=None, minutes=None)
    return dataclasses.replace(config, train=train, every=config.every.settled(steps))


def total_steps(config: Config, steps_per_epoch: int) -> int | None:
    """Generator updates of the whole run; None: they are planned when training begins."""
    if config.train.steps is not None or config.train.minutes is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)


def say_length(run: RunDir, config: Config, plan: Plan, steps: int | None, say: Say) -> None:
    """Say how a run that goes on has its length, where that is no matter of course."""
    if plan:
        say(f"plan: {steps:,} steps in {plan['minutes']:g} min, as was measured when it began")
    if steps is None or not newest(run) or settled(config, 1) == settled(config, 10**6):
        return
    with suppress(ConfigError):
        before = reader.load(run.config_file).train.steps
        if before not in (None, steps):
            say(
                "the ramps of this recipe are shares of the run: they follow its length, which was "
                f"{before:,} steps and is now {steps:,}"
            )


def load_data(config: Config, run: RunDir, say: Say, download: Any) -> Dataset:
    """The recipe's data set; for a run that fell back to another one, that one again.

    Where the recipe does not say in which folder it is, that in which the run found it comes first,
    also when MS_GAN_DATA names another one today.
    """
    from ms_gan import data

    begun = run.manifest.get("data", {})
    recorded = begun.get("name")
    name, fallback, options = config.data.name, config.data.fallback, config.data.options
    given = {"match": config.data.match, "say": say, "progress": download}
    if recorded == name:
        fallback = None  # it goes on with what it was started on
        there, folders = found_again(config.data, begun.get("source"))
        if folders:
            with suppress(UserError):
                dataset = data.load(name, pair=there.pair, **given, **there.options)
                if dataset.md5 == begun.get("md5"):
                    where = " and ".join(map(str, folders))
                    say(f"data: in {where}, where this run was started on them")
                    return dataset
    other = data.stand_in(name, fallback)
    if other is not None and recorded == other:
        say(f"data: this run was started on {other} and goes on with it")
        known = data.DATA.accepted(other)
        name, options = other, {k: v for k, v in options.items() if k in known}
    return data.load(name, fallback=fallback, pair=config.data.pair, **given, **options)


def found_again(recipe: Data, source: Any) -> tuple[Data, list[Path]]:
    """The section `data` of a recipe with the folders in which a run found its data, where the
    recipe names none; and those folders."""
    folders = []
    for index, part in enumerate((recipe, recipe.pair)):
        folder = folder_of(source, index)
        if part is None or folder is None or part.options.get("root", "") is not None:
            continue
        folders.append(folder)
        part = dataclasses.replace(part, options={**part.options, "root": str(folder)})
        recipe = dataclasses.replace(recipe, pair=part) if index else part
    return recipe, folders


def folder_of(source: Any, index: int = 0) -> Path | None:
    """The folder that the `source` of a data set names, which holds all splits, if it is there.

    Args:
        index: 1: that of the second set, where two are joined.
    """
    from ms_gan.data.pairs import JOINT

    sources = str(source).split(JOINT)
    text = sources[index].partition(" in ")[2] if index < len(sources) else ""
    folder = Path(text)
    if not text or not folder.is_dir():
        return None
    return folder.parent if folder.name in ("raw", "train", "test") else folder


def check_data(run: RunDir, dataset: Dataset, say: Say) -> None:
    """Raise RunError where the run was started on other images."""
    recorded = run.manifest.get("data", {})
    md5 = recorded.get("md5")
    if md5 is None and run.checkpoint_files():
        say(
            f"{run.manifest_file}: does not say which data this run was started on; it goes on "
            f"with {dataset.name}"
        )
    if md5 is not None and md5 != dataset.md5:
        raise RunError(
            f"{run.path}: was started on other data ({recorded.get('name')}, "
            f"{recorded.get('images')} images, {recorded.get('source')}; their md5 differ from "
            "today's); choose another folder with --run-dir"
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
        say_length(self.run, config, {}, steps, self.say)
        self.config, self.steps = with_steps(config, steps), steps
        if state.step > steps:
            self.say(self.how_far())
        meta = {**state.sampler.meta, "config": reader.to_dict(self.config), "plan": self.plan}
        state.sampler = dataclasses.replace(state.sampler, meta=meta)

    def sizes(self) -> dict[str, int]:
        """Bytes of a checkpoint (`size`), and of all that will be saved at once (`room`)."""
        state, every = self.state, self.config.every
        left = None if self.steps is None else self.steps - newest(self.run)
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
        if found := foreign(self.config, meta.get("config"), resolved):
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

        run, records = self.run, recorded_changes(self.run)
        again = sum("diverged" in record for record in records)
        begun = trainer.last_finite(run) is not None
        if self.config.train.on_divergence != "rollback" or again >= ROLLBACKS:
            return False
        if workers.size() > 1:  # the others have gone on
            return False
        if not begun and "from" in self.state.meta:  # its weights are not here any more
            return False
        self.config, change = halved(self.config)
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
        recorded = recorded_changes(self.run)
        records = [{**record, "step": min(record["step"], step)} for record in recorded]
        return records + ([{"step": step, "changed": self.change}] if self.change else [])

    def log_changes(self) -> None:
        """Bring the log up to what the manifest says of changes."""
        logged = [row for row in self.run.read_log() if "changed" in row]
        for record in recorded_changes(self.run)[len(logged) :]:
            why = {"warning": record["diverged"]} if "diverged" in record else {}
            self.run.log(record["step"], changed=record["changed"], **why)
        self.change = {}

    def remedy(self) -> str:
        """How to go on after a divergence."""
        files = self.run.checkpoint_files()
        changed_at = [record["step"] for record in recorded_changes(self.run)]
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
        there, folders = found_again(recipe, self.dataset.source)
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
