"""The run directory, the only product of training: the one module that spells its file names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, ConfigError
from ms_gan.system import files


class RunError(UserError, RuntimeError):
    """A run directory that cannot be used."""


class RunDir:
    """Files of one run.

    config.yaml      the resolved recipe
    manifest.json    versions, device, data md5, command, git commit
    log.jsonl        one JSON object per logged step
    samples/         grids of the same latents, <step>.png
    checkpoints/     step_<step>.ckpt: everything that training needs to go on
    generator.ckpt   the generator alone, for generate
    best.ckpt        the same at the step with the smallest distance, where training evaluates
    progress.gif     the grids as a film
    curves.png       losses and scores, distance and coverage
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

    # --- opening --------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        return self.config_file.is_file()

    def check(
        self, config: Config, resolve: Callable[[Config], Config] = lambda config: config
    ) -> None:
        """Raise RunError where this run was made by another recipe, which would spoil it.

        A longer run, other intervals and another device are continuations of the same run.

        Args:
            resolve: fills up what the recipe of the run leaves open, as was done with `config`.
        """
        if not self.exists:
            if self.path.exists() and not self.path.is_dir():
                raise RunError(f"{self.path}: is a file; choose another folder with --run-dir")
            if self.path.is_dir() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise RunError(
                    f"{self.path}: holds files that are not of a run (no config.yaml); "
                    "choose another folder with --run-dir"
                )
            return
        try:
            started = resolve(reader.load(self.config_file))
        except ConfigError as error:  # edited by hand, or of a newer version
            raise RunError(
                f"{self.path}: its config.yaml cannot be used ({error}); "
                "choose another folder with --run-dir"
            ) from None
        changed = reader.differences(
            started,
            config,
            ignore=("train.steps", "train.epochs", "every.", "runtime.", "data.root"),
        )
        if changed:
            raise RunError(
                f"{self.path}: was started with another recipe ({'; '.join(changed)}); "
                "choose another folder with --run-dir"
            )

    @contextmanager
    def open(self, config: Config) -> Iterator[None]:
        """Create the folders, and keep every other process out while the block runs.

        Raises:
            RunError: not writable, or in use.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / ".lock", "a")
        except OSError as error:
            raise self._not_writable(error) from None
        with lock:
            self._keep_others_out(lock)
            try:
                files.write(self.config_file, reader.dump(config))  # first: this makes it a run
                self.samples.mkdir(exist_ok=True)
                self.checkpoints.mkdir(exist_ok=True)
            except OSError as error:
                raise self._not_writable(error) from None
            yield

    def _not_writable(self, error: OSError) -> RunError:
        return RunError(
            f"{self.path}: cannot be written: {error.strerror or error}; "
            "choose another folder with --run-dir"
        )

    def _keep_others_out(self, lock: IO) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{self.path}: another process trains in this folder; "
                "wait for it or choose another folder with --run-dir"
            ) from None

    # --- reading and writing --------------------------------------------------------------------

    @property
    def manifest(self) -> dict[str, Any]:
        """What `write_manifest` wrote; empty where it is missing or broken."""
        try:
            return json.loads(self.manifest_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        files.write(self.manifest_file, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")

    def log(self, step: int, **values: float) -> None:
        """Append one line to log.jsonl."""
        with open(self.log_file, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The whole lines of log.jsonl; a line that a kill has cut is left out."""
        rows = []
        if self.log_file.is_file():
            for line in self.log_file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    continue
        return rows

    def rewind(self, step: int) -> None:
        """Forget what was logged and sampled after `step`: training goes on from there.

        A best.ckpt of a later step stays: training comes to it again, and until then it is the best
        that there is.

        Checkpoints after `step` are those that could not be loaded; they are set aside, since
        :meth:`prune` would keep them in place of the good ones.
        """
        rows = [json.dumps(row) + "\n" for row in self.read_log() if row["step"] <= step]
        files.write(self.log_file, "".join(rows))
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
        """Whether the curves, which are written last, are younger than every checkpoint."""
        if not self.curves_file.is_file():
            return False
        drawn = self.curves_file.stat().st_mtime_ns
        return all(path.stat().st_mtime_ns <= drawn for _, path in self.checkpoint_files())

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` checkpoints, and what killed processes left behind."""
        for _, path in self.checkpoint_files()[:-keep]:
            path.unlink()
        for folder in (self.path, self.samples, self.checkpoints):
            for path in folder.glob(".*.*"):
                if re.fullmatch(r"\..+\.\d+(\.\w+)?", path.name) and path.is_file():
                    path.unlink()  # of files.replacing; other hidden files are the user's


def _numbered(folder: Path, pattern: str) -> list[tuple[int, Path]]:
    found = []
    if folder.is_dir():
        for path in folder.iterdir():
            match = re.fullmatch(pattern, path.name)
            if match:
                found.append((int(match[1]), path))
    return sorted(found)
