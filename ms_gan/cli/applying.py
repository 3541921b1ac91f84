"""What `ms-gan apply` does: a generator that receives pictures, on pictures of any size."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ms_gan.cli import holes
from ms_gan.cli.console import called, say, say_replaced, writing_to
from ms_gan.cli.source import generator_file, loaded, titled
from ms_gan.data import finding
from ms_gan.data.found import listed, number
from ms_gan.errors import UsageError, UserError
from ms_gan.system import files
from ms_gan.system.output import shown

NAMED = 3  # pictures that an error names


@dataclass(frozen=True)
class Job:
    """A picture and where the result goes."""

    source: Path
    target: Path


def run(arguments: argparse.Namespace) -> int:
    words = pictures_and_generator(arguments)
    path = generator_file(arguments)
    given = holes.given(arguments)
    jobs = plan(words, arguments.out, masks=[] if given is None else given.files())

    generator = loaded(path, arguments.device)
    from ms_gan import build
    from ms_gan.runs import tiles
    from ms_gan.runs.translating import Translator

    if not isinstance(generator, Translator):
        raise UsageError(
            f"{path}: its generator makes images of latents, not of pictures; expected one that "
            f"receives pictures; images of it: {called('generate', str(path))}"
        )
    work = USES[tiles.receives(generator)](arguments, path, generator, given)
    size = tiles.tile_size(generator)
    if size != generator.image_shape[1:]:
        generator = build.load_sampler(path, size=size)
    say(f"{titled(generator.meta)}: {number(len(jobs), 'picture')} -> {arguments.out}")
    failed = apply_to_all(jobs, lambda job: apply_to(job, generator, work), arguments.out)
    say_replaced(*(job.target for job in jobs))
    if failed:
        names = listed([shown(job.source) for job in failed], NAMED)
        others = "; the others are made" if len(failed) < len(jobs) else ""
        raise UsageError(
            f"{len(failed)} of {len(jobs)} pictures failed: {names}; "
            f"the lines above say why{others}"
        )
    return 0


def pictures_and_generator(arguments: argparse.Namespace) -> list[Path]:
    """The pictures among the words; the generator becomes `arguments.checkpoint`."""
    words = [Path(word) for word in arguments.pictures]
    arguments.checkpoint = None
    if words and (arguments.pretrained is None or words[0].suffix == ".ckpt"):
        arguments.checkpoint = words.pop(0)
    elif not words and arguments.pretrained is None:
        raise UsageError(
            "apply: no generator; expected a .ckpt file or the folder of a run, then pictures; see "
            f"{called('apply', '--help')}"
        )
    first = arguments.checkpoint
    if first is not None and first.is_file() and finding.has_picture_ending(first.name):
        raise UsageError(
            f"{shown(first)}: a picture; expected the generator first, a .ckpt file or the folder "
            "of a run; put it before the pictures, or name one that is shipped with --pretrained"
        )
    if not words:
        raise UsageError(
            f"apply: no picture; expected pictures or folders of pictures after {shown(first)}"
            if first is not None
            else "apply: no picture; expected pictures or folders of pictures"
        )
    return words


# --- which pictures, and where they go ----------------------------------------------------------


def plan(words: list[Path], out: Path, *, masks: Sequence[Path] = ()) -> list[Job]:
    """Each picture with a place of its own below `out`; those of a folder keep their sub-folders.

    Where two would have one name, the later ones are numbered.

    Args:
        masks: what is read besides.

    Raises:
        UsageError: a path that does not exist, a folder without pictures, a result that would
            replace a picture that is read.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{shown(out)}: a file, not a folder; choose another folder with --out")
    found = [pair for word in words for pair in found_in(word, out)]
    taken, jobs = set(), []
    sources = {path.resolve() for path in [*masks, *(source for source, _ in found)]}
    for source, name in dict(found).items():
        target, copy = out / name.with_suffix(".png"), 1
        while str(target).casefold() in taken:  # there are file systems that know no case
            copy += 1
            target = out / name.with_name(f"{name.stem}-{copy}.png")
        taken.add(str(target).casefold())
        if target.resolve() in sources:
            raise UsageError(
                f"{shown(target)}: is a picture that is read, and would be replaced; choose "
                "another folder with --out"
            )
        jobs.append(Job(source, target))
    return jobs


def found_in(word: Path, out: Path) -> list[tuple[Path, Path]]:
    """(picture, its name below `out`) of a picture or of all in a folder, but for those in `out`,
    which an earlier call may have made."""
    if not word.exists():
        raise UsageError(f"{shown(word)}: no such file; expected a picture; correct the path")
    if not word.is_dir():
        return [(word, Path(word.name))]
    own = out.resolve() if out.resolve() != word.resolve() else None
    walk = finding.walk(word)
    pictures = [
        word.joinpath(*file.parts)
        for file in walk.files
        if finding.why_no_picture(word, file) is None
    ]
    pictures = [path for path in pictures if own not in path.resolve().parents]
    if not pictures:
        raise UsageError(
            f"{shown(word)}: a folder without pictures; expected files that Pillow reads, such as "
            ".png, .jpg, .tif; correct the path"
        )
    return [(path, path.relative_to(word)) for path in pictures]


# --- one after the other ------------------------------------------------------------------------


def apply_to_all(jobs: list[Job], one: Callable[[Job], None], out: Path) -> list[Job]:
    """Do all; those that failed. One alone raises its error."""
    failed = []
    with writing_to(out):
        for job in jobs:
            try:
                one(job)
            except UserError as error:
                if len(jobs) == 1:
                    raise
                say(f"{error}")
                failed.append(job)
    return failed


def apply_to(job: Job, generator: Any, work: Callable) -> None:
    """Make one picture and say what was made."""
    from ms_gan.data import picture
    from ms_gan.runs import whole

    read = picture.read(job.source)
    pixels, alpha, said = work(generator, read, job.source)
    profile = read.profile if len(pixels) == len(read.pixels) else None
    job.target.parent.mkdir(parents=True, exist_ok=True)
    files.write(job.target, whole.png(pixels, alpha, profile))
    remarks = "; ".join([*read.remarks, *said])
    before, after = (f"{width}x{height}" for height, width in (read.sides, pixels.shape[1:]))
    remarks = f" ({remarks})" if remarks else ""
    say(f"{shown(job.source)} {before} -> {shown(job.target)} {after}{remarks}")


# --- what a generator is for --------------------------------------------------------------------
# Takes (arguments, path, generator, hole given or None); returns a function (generator of tiles,
# picture, its path) -> (pixels, transparency, what is to be said).


def enlarging(arguments: argparse.Namespace, path: Path, generator: Any, given: Any) -> Callable:
    from ms_gan.runs import whole

    refuse_holes(path, given, "makes pictures larger")
    refuse_to(path, arguments, "makes pictures larger")
    return lambda tiled, read, source: whole.upscale(tiled, read.pixels, read.alpha)


def filling(arguments: argparse.Namespace, path: Path, generator: Any, given: Any) -> Callable:
    from ms_gan.runs import whole

    refuse_to(path, arguments, "fills holes")
    if given is None:
        raise UsageError(
            f"{path}: its generator fills holes; expected where the hole is; give --mask FILE, "
            "--hole COLOUR or --rectangle LEFT,TOP,WIDTH,HEIGHT"
        )

    def work(tiled: Any, read: Any, source: Path) -> Any:
        hole, remarks = given.of(read, source)
        pixels, alpha, said = whole.fill(tiled, read.pixels, read.alpha, hole)
        return pixels, alpha, [*remarks, *said]

    return work


def translating(arguments: argparse.Namespace, path: Path, generator: Any, given: Any) -> Callable:
    from ms_gan.data import image_folder
    from ms_gan.runs import tiles, whole

    refuse_holes(path, given, "translates pictures")
    data = generator.meta["config"]["data"]
    if tiles.receives(generator) == "both":
        if arguments.to is None:
            pair = data.get("pair") or {}
            raise UsageError(
                f"{path}: its generator translates both ways between a ({data.get('name')}) and b "
                f"({pair.get('name')}, data.pair of its recipe); expected which; give --to b for "
                "pictures of a, --to a for pictures of b"
            )
    else:
        refuse_to(path, arguments, "translates one way")
    ground = image_folder.colour(data.get("background"))
    to = arguments.to or "b"
    return lambda tiled, read, source: whole.translate(
        tiled, read.pixels, read.alpha, to=to, background=ground
    )


def refuse_holes(path: Path, given: Any, does: str) -> None:
    if given is not None:
        raise UsageError(
            f"{given.option}: for a generator that fills holes; that of {path} {does}; leave it out"
        )


def refuse_to(path: Path, arguments: argparse.Namespace, does: str) -> None:
    if arguments.to is not None:
        raise UsageError(
            f"--to: for a generator that translates both ways; that of {path} {does}; leave it out"
        )


USES = {
    "low_resolution": enlarging, "masked": filling, "first": translating, "both": translating,
}  # fmt: skip
