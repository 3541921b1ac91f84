"""The run directory, the only product of training: the one module that spells its file names."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.recipe.changes import AS_BEFORE, may_change
from ms_gan.recipe.schema import Config, ConfigError, settled
from ms_gan.system import files


class RunError(UserError, RuntimeError):
    """A run directory that cannot be used."""


ELSEWHERE = "choose another folder with --run-dir"
NUMBERS = (  # that every row of the trainer has
    "loss_d", "loss_g", "real_score", "fake_score", "d_real", "d_fake", "images_per_second",
    "real_spread", "fake_spread",
)  # fmt: skip
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Of what kind the values of the manifest are, where nobody has edited it; lists are of objects.
KINDS = {"data": dict, "sessions": list, "changes": list, "from": list, "drawn": int, "plan": dict}


class RunDir:
    """Files of one run.

    config.yaml      the resolved recipe
    manifest.json    versions, device, data md5, command, git commit
    log.jsonl        one JSON object per logged step
    samples/         grids of the same latents, <step>.png
    real.png         real images in such a grid, where the generator receives latents
    checkpoints/     step_<step>.ckpt: everything that training needs to go on
    generator.ckpt   the generator alone, for generate
    best.ckpt        the same at the step with the smallest distance, where training evaluates
    progress.gif     the grids as a film
    curves.png       losses and scores, distance and coverage
    report.html      all of this as one page
    tensorboard/     event files, where they are asked for
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.manifest_file = self.path / "manifest.json"
        self.log_file = self.path / "log.jsonl"
        self.samples = self.path / "samples"
        self.checkpoints = self.path / "checkpoints"
        self.generator_file = self.path / "generator.ckpt"
        self.best_file = self.path / "best.ckpt"
        self.gif_file = self.path / "progress.gif"
        self.curves_file = self.path / "curves.png"
        self.real_file = self.path / "real.png"
        self.report_file = self.path / "report.html"
        self.board = self.path / "tensorboard"

    @classmethod
    def of(cls, config: Config, folder: str | Path | None = None) -> RunDir:
        """Where a recipe is trained: in the folder that was named, else in one of its own name."""
        return cls(folder or Path("runs") / config.name)

    # --- opening --------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return os.path.isfile(self.config_file)

    def check(
        self, config: Config, resolve: Callable[[Config], Config] = lambda config: config
    ) -> None:
        """Raise RunError where this run was made by another recipe, which would spoil it.

        A longer run, other intervals and another device are continuations of the same run. So is a
        ramp in shares that began as the same ramp in steps.

        Args:
            resolve: fills up what the recipe of the run leaves open, as was done with `config`.
        """
        try:
            if not self.exists:
                self._check_new()
                return
        except OSError as error:
            raise self._refusal(error) from None
        try:
            started = resolve(reader.load(self.config_file))
        except ConfigError as error:  # edited by hand, or of a newer version
            raise RunError(
                f"{self.path}: its config.yaml cannot be used ({error}); "
                "choose another folder with --run-dir"
            ) from None
        steps = started.train.steps
        if steps is not None and reader.differences(started, config, ignore=AS_BEFORE):
            started, config = settled(started, steps), settled(config, steps)
        changed = reader.differences(started, config, ignore=AS_BEFORE)
        if changed:
            on = all(may_change(difference.partition(":")[0]) for difference in changed)
            raise RunError(
                f"{self.path}: was started with another recipe ({'; '.join(changed)}); "
                f"{'go on with --change KEY=VALUE, or ' * on}go on as it is with --config "
                f"{self.config_file}, or choose another folder with --run-dir, "
                f"with --from {self.path} to start there from these weights"
            )

    def _check_new(self) -> None:
        """Raise RunError where a new run would come among files that are not its own."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: is a file; {ELSEWHERE}")
        if not self.path.is_dir():
            return
        names = {p.name for p in self.path.iterdir() if not p.name.startswith(".")}
        if names & {self.checkpoints.name, self.generator_file.name, self.log_file.name}:
            raise RunError(
                f"{self.path}: holds a run without its config.yaml; put it back, or {ELSEWHERE}"
            )
        if names:
            raise RunError(
                f"{self.path}: holds files that are not of a run (no config.yaml); {ELSEWHERE}"
            )

    def check_anew(self, broken: Sequence[Path] = ()) -> None:
        """Raise RunError where training would begin at 0 again in a run that was saved before.

        Args:
            broken: its checkpoints, none of which could be loaded.
        """
        sessions = [session.get("step") for session in self.manifest.get("sessions", [])]
        later = [step for step in sessions if isinstance(step, int) and step > 0]
        marks = [p for p in (self.generator_file, self.gif_file, self.curves_file) if p.exists()]
        if not (broken or marks or later):
            return
        steps = [step for step, _ in self.sample_files()] + [row["step"] for row in self.read_log()]
        until = f" to step {max(steps)}" if any(steps) else ""
        missing = f"{self.checkpoints} holds none"
        if broken:
            missing = f"none of those in {self.checkpoints} can be read"
        raise RunError(
            f"{self.path}: was trained{until}, but has no checkpoint to go on from: {missing}; "
            f"put one back, or {ELSEWHERE}, or delete this one to train anew"
        )

    @contextmanager
    def open(
        self,
        config: Config,
        *,
        size: int = 0,
        room: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ) -> Iterator[None]:
        """Create the folders, and keep every other process out while the block runs.

        What would refuse a checkpoint after hours refuses it here: one is tried.

        Args:
            config: written down where the run is new.
            size: bytes of a checkpoint.
            room: bytes that all that is saved will take, beside what is there.
            say: receives a line where the file system keeps no locks.

        Raises:
            RunError: not writable, no room, or in use.
        """
        is_new = not os.path.lexists(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self._lock_file()
        except OSError as error:
            raise self._refusal(error) from None
        with lock:
            self._keep_others_out(lock, say)
            try:
                self.sweep()
                self._try(config, size, room)
            except (OSError, RunError) as error:
                if is_new:  # leave nothing behind
                    with suppress(OSError):
                        Path(lock.name).unlink()
                        self.path.rmdir()
                if isinstance(error, RunError):
                    raise
                raise self._refusal(error, size) from None
            yield

    def _try(self, config: Config, size: int, room: int) -> None:
        """Do in small what a save will do; OSError where it will not do."""
        for path in (
            *(self.config_file, self.manifest_file, self.log_file, self.generator_file),
            *(self.best_file, self.gif_file, self.curves_file, self.real_file, self.report_file),
            *self.samples.glob("[0-9]*.png"),
            *self.checkpoints.glob("step_*.ckpt"),
        ):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        files.trial(self.path, size)
        disk = shutil.disk_usage(self.path)
        if disk.free < room and disk.total > 0:  # some network disks say nothing but 0
            raise RunError(
                f"{self.path}: {disk.free:,} bytes are free, what will be saved takes {room:,}; "
                f"make room, keep fewer checkpoints (every.keep), or {ELSEWHERE}"
            )
        if not self.exists:
            self.write_recipe(config)  # first: this makes it a run
        for folder in (self.samples, self.checkpoints):
            folder.mkdir(exist_ok=True)
        files.trial(self.samples)
        files.trial(self.checkpoints, size)

    def _refusal(self, error: OSError, size: int = 0) -> RunError:
        """An error of the file system as one line that says what to do."""
        path = Path(error.filename or self.path)
        if path.name.startswith("."):  # of a file that nobody knows
            path = path.parent
        if error.errno in NO_ROOM:
            return RunError(
                f"{path}: no room for a checkpoint of {size:,} bytes: {error.strerror}; make room, "
                f"or {ELSEWHERE}"
            )
        why = f"cannot be written: {error.strerror or error}"
        if os.path.islink(path) and not os.path.exists(path):
            why = f"is a link to {os.readlink(path)}, which is not there"
        elif error.errno == errno.EEXIST:
            why = "is a file where a folder should be"
        elif error.errno == errno.EISDIR:
            why = "is a folder where a file should be"
        return RunError(f"{path}: {why}; {ELSEWHERE}")

    def _lock_file(self) -> IO:
        path = self.path / ".lock"
        try:
            return open(path, "a")
        except PermissionError:  # copied from elsewhere without the right to write
            return open(path)

    def _keep_others_out(self, lock: IO, say: Callable[[str], None]) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{self.path}: another process trains in this folder; wait for it or {ELSEWHERE}"
            ) from None
        except OSError as error:  # network disks without a lock server, FUSE …
            say(
                f"{self.path}: this file system keeps no locks ({error.strerror}): take care that "
                "no second process trains in this folder"
            )

    # --- reading and writing --------------------------------------------------------------------

    @property
    def manifest(self) -> dict[str, Any]:
        """What `write_manifest` wrote; empty where it is missing or broken.

        What somebody has edited into another kind is left out: see `KINDS`.
        """
        try:
            found = json.loads(self.manifest_file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(found, dict):
            return {}
        for key, kind in KINDS.items():
            if key in found and not isinstance(found[key], kind):
                del found[key]
            elif kind is list and key in found:
                found[key] = [item for item in found[key] if isinstance(item, dict)]
        return found

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        files.write(self.manifest_file, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def write_recipe(self, config: Config) -> None:
        files.write(self.config_file, reader.dump(config))

    def log(self, step: int, **values: float) -> None:
        """Append one line to log.jsonl."""
        try:
            with open(self.log_file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:  # a full disk names no file
            error.filename = error.filename or str(self.log_file)
            raise

    def read_log(self) -> list[dict[str, Any]]:
        """The rows of log.jsonl, each with its step.

        Lines that are none are left out, and values that the trainer would not have written.
        """
        rows = (row for _, row in self._log_lines() if is_row(row))
        return [{k: v for k, v in row.items() if is_value(k, v)} for row in rows]

    def _log_lines(self) -> Iterator[tuple[str, Any]]:
        """(line, what it holds) of log.jsonl; a line that a kill has cut is left out."""
        if self.log_file.is_file():
            text = self.log_file.read_text(encoding="utf-8-sig", errors="replace")
            for line in text.splitlines():
                with suppress(ValueError, RecursionError):
                    yield line, json.loads(line)

    def rewind(self, step: int) -> None:
        """Forget what was logged and sampled after `step`: training goes on from there.

        A best.ckpt of a later step stays: training comes to it again, and until then it is the best
        that there is.

        Checkpoints after `step` are those that could not be loaded; they are set aside, since
        :meth:`prune` would keep them in place of the good ones.
        """
        lines = [
            f"{line}\n" for line, row in self._log_lines() if not is_row(row) or row["step"] <= step
        ]
        files.write(self.log_file, "".join(lines))
        for file_step, path in self.sample_files():
            if file_step > step:
                path.unlink()
        for file_step, path in self.checkpoint_files():
            if file_step > step:
                path.replace(path.with_suffix(".refused"))

    def sample_file(self, step: int) -> Path:
        return self.samples / f"{step:07d}.png"

    def sample_files(self) -> list[tuple[int, Path]]:
        return _numbered(self.samples, r"(\d+)\.png")

    def checkpoint_file(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:07d}.ckpt"

    def checkpoint_files(self) -> list[tuple[int, Path]]:
        """(step, path), oldest first."""
        return _numbered(self.checkpoints, r"step_(\d+)\.ckpt")

    @property
    def drawn(self) -> bool:
        """Whether film, curves and page, made last, are those of the newest checkpoint."""
        files = (self.curves_file, self.report_file, self.generator_file)
        made = all(file.is_file() for file in files)
        newest = max((step for step, _ in self.checkpoint_files()), default=None)
        return made and newest is not None and self.manifest.get("drawn") == newest

    def note_drawn(self, step: int) -> None:
        """Remember of which step these are; times of files say it only until a copy."""
        self.write_manifest({**self.manifest, "drawn": step})

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` checkpoints, and what killed processes left behind."""
        for _, path in self.checkpoint_files()[:-keep]:
            path.unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed processes left behind; no other one may be at work."""
        for folder in (self.path, self.samples, self.checkpoints):
            for path in folder.glob(".*.*"):
                if re.fullmatch(r"\..+\.\d+(\.\w+)?", path.name) and path.is_file():
                    path.unlink()  # of files.replacing; other hidden files are the user's


def is_row(row: Any) -> bool:
    """Whether a line of a log is of the trainer, and not of somebody else."""
    return isinstance(row, dict) and type(row.get("step")) is int


def is_value(key: str, value: Any) -> bool:
    """Whether the log may hold it: numbers; a text as a warning; lists and such of other keys."""
    if isinstance(value, int | float):
        return not isinstance(value, bool)
    return key == "warning" if isinstance(value, str) else key not in NUMBERS


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    found = []
    if folder.is_dir():
        for path in folder.iterdir():
            match = re.fullmatch(pattern, path.name)
            if match and not path.is_dir():
                found.append((int(match[1]), path))
    return sorted(found)
