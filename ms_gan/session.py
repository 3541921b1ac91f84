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
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_gan.errors import UsageError, UserError
from ms_gan.recipe import reader
from ms_gan.recipe.changes import Change, changed, described, is_record, repeated
from ms_gan.recipe.registry import Registry
from ms_gan.recipe.schema import Config, Data, Ramp
from ms_gan.runs.progress import Progress
from ms_gan.runs.run_dir import RunDir, RunError
from ms_gan.system import output, provenance, runtime
from ms_gan.system.signals import NOBODY_READS, StopSignals
from ms_gan.version import __version__

if TYPE_CHECKING:
    from ms_gan.data import Dataset
    from ms_gan.evaluation.classifier import Classifier
    from ms_gan.runs.headline import Headline
    from ms_gan.runs.sampling import Sampler
    from ms_gan.runs.weights import Weights
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
    run = RunDir(folder or Path("runs") / config.name)
    prepare(config)
    runtime.import_mindspore(config.runtime.device)
    from ms_gan import build, data
    from ms_gan.training.feed import Feed

    config = build.checked(config)  # a typing mistake is no other recipe
    config, change = continued(config, run, changes, say)
    say(f"ms_gan {__version__}: {config.name} -> {run.path}")
    weights = [weights] if isinstance(weights, str | Path) else list(weights)
    origin = starting_weights(run, weights, say)
    device = runtime.set_device(config.runtime.device, say)
    runtime.set_mode(config.runtime.mode)
    if dataset is None:
        dataset = load_data(config, run, say, download)
    check_data(run, dataset, say)
    batches = data.Batches(
        dataset, config.data.batch_size, seed=config.seed, sampling=config.data.sampling,
        flip=config.data.flip,
    )  # fmt: skip
    steps = total_steps(config, batches.steps_per_epoch)
    say(f"data: {dataset.described()}")
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
    state = build.build_training(config, dataset.image_shape, dataset.num_classes, meta)
    if origin is not None:
        for line in build.load_weights(origin, state, config):
            say(f"from {line}")
    feed = Feed(batches, state.rows, seed=config.seed)
    if change and newest(run) >= steps:
        raise UsageError(
            f"--change: {run.path} is complete at step {newest(run)}; give more train.steps too"
        )
    return Session(config, run, dataset, state, feed, steps, device, say, download, command, change)


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
    config, lines = repeated(config, recorded_changes(run), resolved)
    new, change = changed(config, words, resolved)
    if change:
        with suppress(RunError):  # a kill came between the recipe and the manifest
            run.check(new, resolved)
            return new, change
    run.check(config, resolved)
    for line in lines:
        say(line)
    if change:
        say(f"--change: {described(change)}")
    return new, change


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


def total_steps(config: Config, steps_per_epoch: int) -> int:
    """Generator updates of the whole run."""
    if config.train.steps is not None:
        return config.train.steps
    return max(1, config.train.epochs * steps_per_epoch // config.train.d_steps)


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
    change: Change = dataclasses.field(default_factory=dict)
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
            progress: shows it; None: a bar on a terminal, plain lines elsewhere.
        """
        from ms_gan.training import trainer

        config, run, state = self.config, self.run, self.state
        progress = progress or Progress(self.steps)
        with run.open(config, **self.sizes(), say=self.say):
            self.resume()
            if state.step >= self.steps:
                if not run.drawn:
                    trainer.complete(state, run, config.every.keep, self.headline, progress.line)
                return True
            run.rewind(state.step)
            run.write_recipe(config)
            run.write_manifest(self.manifest())
            self.log_changes()
            quality = self.quality(progress.line)
            progress.start(state.step)
            with StopSignals() as signals:
                try:
                    done = trainer.train(
                        state,
                        self.feed,
                        run,
                        steps=self.steps,
                        every=config.every,
                        gallery=lambda sampler: sampler.gallery(config.seed, self.dataset),
                        headline=self.headline,
                        show=progress.show,
                        quality=quality,
                        stop=lambda: signals.received or progress.unread or stop(),
                        say=progress.line,
                    )
                except trainer.TrainingDiverged as error:
                    raise trainer.TrainingDiverged(f"{error}; {self.remedy()}") from None
        self.interrupted = signals.received or (NOBODY_READS if progress.unread else None)
        return done

    def sizes(self) -> dict[str, int]:
        """Bytes of a checkpoint (`size`), and of all that will be saved at once (`room`)."""
        state, every = self.state, self.config.every
        left = self.steps - newest(self.run)
        if left <= 0:
            return {}
        size = sum(parameter.nbytes for parameter in state.parameters)
        shown = sum(parameter.nbytes for parameter in state.sampler.net.get_parameters())
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
                build.load_training(path, self.state)
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

    def how_far(self) -> str:
        """A line about the step from which a run goes on."""
        step = self.state.step
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
            self.run.log(record["step"], changed=record["changed"])
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
            "command": self.command,
            "device": self.device,
            **process,
            "versions": {"ms_gan": __version__, **process["versions"]},
        }
        dataset = self.dataset
        marks = {"from": self.state.meta.get("from"), "changes": self.changes()}
        return {
            "data": {
                "name": dataset.name,
                "source": dataset.source,
                "images": len(dataset),
                "image_shape": list(dataset.image_shape),
                "classes": list(dataset.classes),
                "md5": dataset.md5,
            },
            **{key: value for key, value in marks.items() if value},
            "sessions": [*self.run.manifest.get("sessions", []), session],
        }
