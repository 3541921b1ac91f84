"""Weights that a new run starts from: where they are, what is in them, whether they fit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import mindspore as ms
from mindspore import Parameter

from ms_gan.runs import checkpoint, shipped
from ms_gan.runs.checkpoint import CheckpointError
from ms_gan.runs.run_dir import RunDir
from ms_gan.system.output import Say

NETS = ("generator", "discriminator", "average")
LISTED = 8  # what does not fit is named up to here


@dataclass(frozen=True)
class Weights:
    """What one or more checkpoints hold of a generator, a discriminator and an average.

    Args:
        arrays: by name, `generator.…`, `discriminator.…`, `average.…`.
        metas: of each net, what its file says: recipe, image shape, classes.
        sources: for the manifest: given, file, sha256, recipe, step of each file.
        optimizers: whether there was the state of optimizers too, which is left out.
    """

    arrays: dict[str, np.ndarray]
    metas: dict[str, Mapping[str, Any]]
    sources: list[dict[str, Any]]
    optimizers: bool = False

    @property
    def meta(self) -> Mapping[str, Any]:
        """What the file of the generator says."""
        return self.metas["generator"]

    @property
    def where(self) -> str:
        return " and ".join(near(source["file"]) for source in self.sources)

    def has(self, net: str) -> bool:
        return any(name.startswith(f"{net}.") for name in self.arrays)

    def put(
        self, parameters: Iterable[Parameter], image_shape: Sequence[int], *, pack: int = 1
    ) -> str:
        """Give them to the nets of a new run; say in one line what was taken and what was not.

        Weights of grey images are spread over the three channels of a run in colour: its first
        images are the same, in grey.

        Args:
            parameters: of the run; those of optimizers are passed over.
            image_shape: of the run, [C, H, W].
            pack: images that its discriminator judges at once.

        Raises:
            CheckpointError: lists names and shapes that do not fit; nothing was changed.
        """
        wanted = {p.name: p for p in parameters if net_of(p.name) in NETS}
        if not self.has("discriminator"):
            wanted = {k: p for k, p in wanted.items() if net_of(k) != "discriminator"}
        averaged = any(net_of(name) == "average" for name in wanted)
        offered = self.offered(averaged)
        own = self.meta.get("image_shape") or [0]
        to_colour = own[0] == 1 and image_shape[0] == 3 and list(own[1:]) == list(image_shape[1:])
        if to_colour and pack == 1:
            offered = {
                name: in_colour(name, array, wanted[name].shape) if name in wanted else array
                for name, array in offered.items()
            }
        if wrong := misfits(wanted, offered):
            made = self.meta.get("config", {}).get("model", {"name": "gan"})
            flow = yaml.safe_dump(made, default_flow_style=True, sort_keys=False, width=10**6)
            raise CheckpointError(
                f"{self.where}: does not fit this recipe: {listed(wrong)}; these weights are of "
                f"'model={flow.strip()}' and images {own}; change the recipe or take others"
            )
        if found := checkpoint.not_finite(self.arrays):
            raise checkpoint.NotFinite(f"{self.where}: {found}")
        for name, parameter in wanted.items():
            parameter.set_data(ms.Tensor(offered[name], parameter.dtype))
        return self.said(averaged, to_colour)

    def offered(self, averaged: bool) -> dict[str, np.ndarray]:
        """The arrays for a run with or without an average, which may start at the generator."""
        if not averaged:
            return {k: v for k, v in self.arrays.items() if net_of(k) != "average"}
        if self.has("average"):
            return self.arrays
        start = {
            k.replace("generator.", "average.", 1): v
            for k, v in self.arrays.items()
            if net_of(k) == "generator"
        }
        return self.arrays | start

    def said(self, averaged: bool, to_colour: bool) -> str:
        taken = [net for net in NETS if self.has(net) and (averaged or net != "average")]
        parts = [f"{self.described()}: {', '.join(taken)}"]
        if not self.has("discriminator"):
            parts.append("no discriminator is in it: D starts anew")
        if self.has("average") and not averaged:
            parts.append("its average is left out, since train.ema_decay is 0")
        if to_colour:
            parts.append("the weights of its one channel are spread over three")
        parts.append(f"optimizers start anew{', its own are left out' * self.optimizers}")
        return "; ".join(parts)

    def described(self) -> str:
        return " and ".join(
            near(source["file"])
            + (f" ({source['recipe']}" + after(source.get("step")) + ")") * bool(source["recipe"])
            for source in self.sources
        )


def after(step: int | None) -> str:
    return "" if step is None else f" after {step} steps"


def near(file: str) -> str:
    """The path as a person would type it here."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def net_of(name: str) -> str:
    return name.partition(".")[0]


def in_colour(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a net for grey images as one of the same net for colour, if it is that kind.

    G makes three equal channels; D sees their mean.
    """
    axes = [i for i, (a, b) in enumerate(zip(array.shape, shape, strict=False)) if a != b]
    if array.ndim != len(shape) or len(axes) != 1:
        return array
    axis = axes[0]
    if shape[axis] != 3 * array.shape[axis]:
        return array
    spread = np.concatenate([array] * 3, axis)
    return spread / 3 if net_of(name) == "discriminator" else spread


def misfits(wanted: Mapping[str, Parameter], offered: Mapping[str, np.ndarray]) -> list[str]:
    """What is missing, has another shape, or has no place, one entry each.

    An average repeats its generator, so it is named where that fits alone.
    """
    trained, theirs = (
        {k: v for k, v in side.items() if net_of(k) != "average"} for side in (wanted, offered)
    )
    if (trained, theirs) != (wanted, offered) and (wrong := misfits(trained, theirs)):
        return wrong
    shapes = {name: list(array.shape) for name, array in offered.items()}
    wrong = [
        f"{name} is {shapes[name]}, expected {list(p.shape)}"
        for name, p in wanted.items()
        if name in shapes and shapes[name] != list(p.shape)
    ]
    wrong += [f"{name} is missing" for name in wanted if name not in shapes]
    wrong += [
        f"{name} {shape} has no place" for name, shape in shapes.items() if name not in wanted
    ]
    return wrong


def listed(entries: Sequence[str]) -> str:
    more = len(entries) - LISTED
    return ", ".join(entries[:LISTED]) + (f", and {more} more" if more > 0 else "")


def find(source: str | Path, say: Say = lambda line: None) -> Path:
    """The file that is meant: of a run its newest whole checkpoint, or weights that are shipped.

    Args:
        source: a .ckpt file, a run folder, or a name of :data:`ms_gan.runs.shipped.GENERATORS`.
        say: receives a line for each checkpoint that is passed over.
    """
    path = Path(source)
    if str(source) in shipped.GENERATORS and not (path.is_file() or RunDir(path).exists):
        return shipped.ASSETS / shipped.GENERATORS[str(source)]
    if not path.is_dir():
        if not path.exists():
            raise CheckpointError(
                f"{path}: no such file; expected a .ckpt file, a run folder or one of "
                f"{', '.join(shipped.GENERATORS)}"
            )
        return path
    run = RunDir(path)
    for _, file in reversed(run.checkpoint_files()):
        try:
            arrays, _ = checkpoint.load(file)
        except CheckpointError as error:
            say(f"passed over a broken checkpoint: {error}")
            continue
        if found := checkpoint.not_finite(arrays):
            say(f"passed over {file}: {found}")
            continue
        return file
    if run.generator_file.is_file():
        return run.generator_file
    raise CheckpointError(
        f"{path}: a folder without a checkpoint that can be used; expected a run folder or a "
        ".ckpt file"
    )


def read(sources: Sequence[str | Path], say: Say = lambda line: None) -> Weights:
    """The weights of one file, or of several that together hold both nets.

    Raises:
        CheckpointError: a file that is none, no generator among them, or a net in two of them.
    """
    arrays: dict[str, np.ndarray] = {}
    metas: dict[str, Mapping[str, Any]] = {}
    described, optimizers = [], False
    for source in sources:
        path = find(source, say)
        found, own = checkpoint.load_known(path)
        optimizers = optimizers or any(net_of(name).startswith("optimizer_") for name in found)
        found = {name: array for name, array in found.items() if net_of(name) in NETS}
        if twice := {net_of(name) for name in found} & {net_of(name) for name in arrays}:
            first = near(described[0]["file"])
            raise CheckpointError(f"{path}: holds a {min(twice)}, as {first} does; give only one")
        arrays |= found
        metas |= dict.fromkeys(map(net_of, found), own)
        described.append(
            {
                "given": str(Path(source).absolute()),
                "file": str(path.absolute()),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "recipe": own.get("config", {}).get("name"),
                "step": own.get("step"),
            }
        )
    weights = Weights(arrays, metas, described, optimizers)
    if not weights.has("generator"):
        held = "a discriminator alone" if weights.has("discriminator") else "no net of a GAN"
        raise CheckpointError(f"{weights.where}: holds {held}; expected a generator")
    return weights


def are_those(sources: Sequence[str | Path], recorded: Sequence[Mapping[str, Any]]) -> bool:
    """Whether these are the weights that a manifest names: the same places, or the same bytes."""
    if len(sources) != len(recorded):
        return False
    return all(
        str(Path(source).absolute()) == record["given"]
        or hashlib.sha256(find(source).read_bytes()).hexdigest() == record["sha256"]
        for source, record in zip(sources, recorded, strict=True)
    )


def read_again(recorded: Sequence[Mapping[str, Any]]) -> Weights:
    """The weights that a manifest names, if their files are still what they were.

    Raises:
        CheckpointError: they are gone or were changed.
    """
    files = [record["file"] for record in recorded]
    weights = read(files)
    for record, source in zip(recorded, weights.sources, strict=True):
        if record["sha256"] != source["sha256"]:
            raise CheckpointError(
                f"{near(source['file'])}: not what this run was started from (another sha256); "
                "start anew with another folder"
            )
    return replace(weights, sources=list(recorded))
