"""progress.gif and curves.png, drawn from what lies in a run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ms_gan.runs import visualise
from ms_gan.runs.headline import Headline
from ms_gan.runs.run_dir import RunDir
from ms_gan.system import runtime

FRAMES, PIXELS = 300, 150_000_000  # of a film, at most: pictures, and pixels of all of them
SIDE = 2000  # larger pictures are made smaller
UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def draw(run: RunDir, headline: Headline, say: Callable[[str], None] = lambda line: None) -> bool:
    """The samples as a film, captioned with the headline where it was measured; the curves.

    Args:
        say: receives a line for what is left out.

    Returns:
        Whether all was drawn: where matplotlib cannot be loaded there are no curves.
    """
    log = run.read_log()
    values = {row["step"]: row[headline.key] for row in log if headline.key in row}
    captions = {
        step: f"step {step}" + (f"  {headline.said(values[step], 1)}" if step in values else "")
        for step, _ in run.sample_files()
    }
    draw_film(run, captions, say)
    try:
        visualise.save_curves(run.curves_file, log, headline)
    except runtime.MatplotlibError as error:
        say(f"no {run.curves_file}: {error}")
        return False
    return True


def draw_film(run: RunDir, captions: dict[int, str], say: Callable[[str], None]) -> None:
    """At most some hundred pictures, evenly chosen, the first and the last one always."""
    sizes = {entry: size_of(entry[1]) for entry in run.sample_files()}
    found = [entry for entry, size in sizes.items() if size is not None]
    for _, path in (entry for entry, size in sizes.items() if size is None):
        say(f"{path}: cannot be read as a picture; the film goes on without it")
    if not found:
        return
    size = fitting(sizes[found[-1]])
    num = min(FRAMES, len(found), max(2, PIXELS // (size[0] * size[1])))
    chosen = [found[i] for i in visualise.evenly(len(found), num)]
    if num < len(found):
        say(f"{run.gif_file} shows {num} of {len(found):,} pictures, evenly chosen")
    visualise.save_gif(run.gif_file, Film(chosen, captions, size, say), pause=2000)


class Film(Sequence):
    """The frames of a film, each read when it is asked for; all of them have the size given.

    Args:
        pictures: (step, file) of each.
        captions: by step.
        size: (width, height) of each frame without its caption; others are made to fit into it.
        say: receives a line for a picture that is damaged, which is black.
    """

    def __init__(
        self,
        pictures: Sequence[tuple[int, Path]],
        captions: dict[int, str],
        size: tuple[int, int],
        say: Callable[[str], None],
    ):
        self.pictures, self.captions, self.size, self.say = pictures, captions, size, say
        self.mode = "L" if all(is_grey(path) for _, path in pictures) else "RGB"

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> np.ndarray:
        step, path = self.pictures[index]
        try:
            with Image.open(path) as file:
                picture = framed(file.convert(self.mode), self.size)
        except UNREADABLE:  # cut off behind its head
            self.say(f"{path}: damaged; it is black in the film")
            picture = Image.new(self.mode, self.size)
        return visualise.captioned(np.asarray(picture), self.captions[step])


def size_of(path: Path) -> tuple[int, int] | None:
    """(width, height) of a picture; None where the file is none."""
    try:
        with Image.open(path) as file:
            return file.size
    except UNREADABLE:
        return None


def is_grey(path: Path) -> bool:
    with Image.open(path) as file:
        return file.mode in ("1", "L")


def fitting(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a frame for a picture of that size: no side is longer than `SIDE`."""
    factor = -(-max(size) // SIDE)
    return size[0] // factor or 1, size[1] // factor or 1


def framed(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in a frame of that size, made smaller or larger only where it has another one."""
    if picture.size == size:
        return picture
    scale = min(size[0] / picture.width, size[1] / picture.height)
    own = [max(1, round(side * scale)) for side in picture.size]
    frame = Image.new(picture.mode, size)
    frame.paste(picture.resize(own), ((size[0] - own[0]) // 2, (size[1] - own[1]) // 2))
    return frame
