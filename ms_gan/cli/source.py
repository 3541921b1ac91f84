"""Which generator a command is about: a file, a run, or one that comes with the package."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ms_gan.cli.console import called
from ms_gan.errors import UsageError
from ms_gan.runs import shipped
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import runtime


def add_generator(
    parser: argparse.ArgumentParser, shipped_ones: Iterable[str] = shipped.GENERATORS
) -> None:
    """The arguments that :func:`generator_file` reads."""
    parser.add_argument(
        "checkpoint", nargs="?", type=Path, metavar="CKPT_OR_RUN",
        help="a .ckpt file or the folder of a run; without it, a shipped generator",
    )  # fmt: skip
    parser.add_argument(
        "--pretrained", choices=list(shipped_ones),
        help="which shipped generator (mnist, the best one, which takes --label)",
    )  # fmt: skip


def add_truncation(parser: argparse.ArgumentParser) -> None:
    """The argument that :func:`truncated` reads."""
    parser.add_argument(
        "--truncation", type=share, metavar="PSI",
        help="of a StyleGAN: bring styles nearer to their mean, 0.7: more typical images that vary "
        "less (1: as they are)",
    )  # fmt: skip


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 2.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 2, got {text}")
    return value


def loaded(path: Path, device: str) -> Any:
    """What `build.load_sampler` makes of a file, on a device."""
    runtime.import_mindspore(device)
    from ms_gan import build

    runtime.set_device(device)
    runtime.set_mode("graph")
    return build.load_sampler(path)


def of_latents(path: Path, device: str, why: str = "") -> Any:
    """The same, if it makes images of latents; else the error says `why` that is wanted."""
    sampler = loaded(path, device)
    from ms_gan.runs.translating import Translator

    if isinstance(sampler, Translator):
        raise UsageError(
            f"{path}: its generator makes pictures of pictures, not of latents; {why}give it "
            f"pictures: {called('apply', str(path))} PICTURE…"
        )
    return sampler


def titled(meta: Mapping[str, Any]) -> str:
    """The recipe of a generator and how long it was trained, where that is known."""
    trained = f" after {meta['step']} steps" if "step" in meta else ""
    return f"{meta['config']['name']}{trained}"


def truncated(sampler: Any, psi: float | None, path: Path) -> Any:
    """The generator with its styles nearer to their mean, where that was asked."""
    return sampler if psi is None else styled(sampler, "--truncation", path).truncated(psi)


def styled(sampler: Any, option: str, path: Path) -> Any:
    """The generator, if it has styles."""
    from ms_gan.runs.styles import StyleSampler

    if not isinstance(sampler, StyleSampler):
        raise UsageError(
            f"{option}: the generator in {path} has no styles; leave it out or use a StyleGAN "
            "(configs/stylegan_sprites.yaml)"
        )
    return sampler


def generator_file(arguments: argparse.Namespace) -> Path:
    """The file that was asked for; without one, the best generator that comes with the package."""
    path, name = arguments.checkpoint, arguments.pretrained
    if path is None:
        known = shipped.GENERATORS | shipped.TRANSLATORS
        return shipped.ASSETS / known[name or "mnist"]
    if name is not None:
        raise UsageError(f"--pretrained {name}: there is a checkpoint too, {path}; give one")
    return of_run(path) if path.is_dir() else path


def of_run(path: Path) -> Path:
    """The generator of a run folder; UsageError where there is none, with the runs below it."""
    run = RunDir(path)
    if run.generator_file.is_file():
        return run.generator_file
    if run.exists:
        raise UsageError(f"{path}: this run has saved no generator yet; go on with its training")
    below = ", ".join(str(p.parent) for p in sorted(path.glob(f"*/{run.generator_file.name}")))
    if below:
        raise UsageError(f"{path}: is no run, but holds some; give one of them: {below}")
    raise UsageError(f"{path}: holds no run; expected a folder of `train`, or a .ckpt file")
