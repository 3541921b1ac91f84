"""Where the hole of a picture is, as a person says it: a mask, a colour or a rectangle."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import ImageColor

from ms_gan.data import finding
from ms_gan.data.dataset import data_error
from ms_gan.data.found import listed
from ms_gan.errors import UsageError
from ms_gan.system.output import shown

if TYPE_CHECKING:
    from ms_gan.data.picture import Picture


class Hole:
    """Says where the hole of a picture is."""

    option: ClassVar[str]

    def files(self) -> list[Path]:
        """What is read to know it."""
        return []

    def of(self, picture: Picture, source: Path) -> tuple[np.ndarray, list[str]]:
        """bool [H, W], somewhere but not everywhere, and what is to be said.

        Raises:
            DataError: there is no such hole in the picture.
        """
        raise NotImplementedError


def given(arguments: argparse.Namespace) -> Hole | None:
    """The hole that the options of `apply` say; None if none does.

    Raises:
        UsageError: more than one does, or one cannot be understood.
    """
    said = [f"--{name}" for name in READERS if getattr(arguments, name) is not None]
    if len(said) > 1:
        raise UsageError(f"{' and '.join(said)}: each says where the hole is; give one of them")
    return next(
        (read(getattr(arguments, name)) for name, read in READERS.items() if f"--{name}" in said),
        None,
    )


def checked(hole: np.ndarray, source: Path, option: str, what: str) -> np.ndarray:
    """Refuse a hole that is nowhere or everywhere."""
    if not hole.any():
        wrong, wanted = f"no hole: {what}", "some of it to be filled"
    elif hole.all():
        wrong, wanted = "nothing but a hole", "some of it to be known"
    else:
        return hole
    raise data_error(shown(source), wrong, wanted, f"change {option}")


@dataclass(frozen=True)
class Mask(Hole):
    """Where another picture is not black: a file for all pictures, or one of a folder for each."""

    path: Path
    option = "--mask"

    def files(self) -> list[Path]:
        return list(self.path.iterdir()) if self.path.is_dir() else [self.path]

    def of(self, picture: Picture, source: Path) -> tuple[np.ndarray, list[str]]:
        from ms_gan.data.picture import read

        path = named_like(source, self.path) if self.path.is_dir() else self.path
        mask = read(path)
        if mask.sides != picture.sides:
            (height, width), (wanted_height, wanted_width) = mask.sides, picture.sides
            wrong = f"a mask of {width}x{height} pixels"
            wanted = f"{wanted_width}x{wanted_height}, as {shown(source)} has"
            raise data_error(shown(path), wrong, wanted, "bring it to that size")
        # what a JPEG makes of black is not quite black
        hole = mask.pixels.max(axis=0) > (127 if mask.lossy else 0)
        if mask.alpha is not None:
            hole = hole & (mask.alpha > 0)
        return checked(hole, source, self.option, f"{shown(path)} is black everywhere"), []


def named_like(source: Path, folder: Path) -> Path:
    """The picture of a folder that has the name of another one, whatever their endings."""
    found = sorted(
        path for path in folder.iterdir()
        if path.stem == source.stem and finding.has_picture_ending(path.name)
    )  # fmt: skip
    if len(found) == 1:
        return found[0]
    if found:
        wrong = f"several masks for {source.name}: {listed([path.name for path in found], 3)}"
        raise data_error(shown(folder), wrong, "one", "remove the others")
    wrong, wanted = f"no mask for {shown(source.name)}", f"{shown(source.stem)}.png"
    raise data_error(shown(folder), wrong, wanted, "add it")


@dataclass(frozen=True)
class Colour(Hole):
    """Where the picture has one colour."""

    text: str
    colour: tuple[int, ...]  # red, green, blue, maybe alpha
    option = "--hole"

    def of(self, picture: Picture, source: Path) -> tuple[np.ndarray, list[str]]:
        colour = np.array(self.colour[:3], np.uint8).reshape(3, 1, 1)
        hole = (picture.pixels == colour).all(axis=0)
        if len(self.colour) > 3:
            alpha = 255 if picture.alpha is None else picture.alpha
            hole = hole & (alpha == self.colour[3])
        said = ["a JPEG: pixels nearly of that colour are kept"] if picture.lossy else []
        what = f"no pixel is exactly {self.text}"
        return checked(hole, source, self.option, what), said


@dataclass(frozen=True)
class Rectangle(Hole):
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int
    option = "--rectangle"

    def of(self, picture: Picture, source: Path) -> tuple[np.ndarray, list[str]]:
        height, width = picture.sides
        right, bottom = self.left + self.width, self.top + self.height
        if right > width or bottom > height:
            wrong = f"a hole up to {right},{bottom} in a picture of {width}x{height}"
            raise data_error(shown(source), wrong, "one that lies inside", "change --rectangle")
        hole = np.zeros((height, width), bool)
        hole[self.top : bottom, self.left : right] = True
        return checked(hole, source, self.option, "it is empty"), []


def read_mask(path: Path) -> Mask:
    if not path.exists():
        raise UsageError(f"--mask: {shown(path)}: no such file; expected a picture; correct it")
    return Mask(path)


def read_colour(text: str) -> Colour:
    try:
        return Colour(text, ImageColor.getrgb(text))
    except ValueError:
        raise UsageError(
            f"--hole: {shown(text)} is no colour; expected a name such as magenta, or '#ff00ff'"
        ) from None


def read_rectangle(text: str) -> Rectangle:
    try:
        left, top, width, height = map(int, text.split(","))
    except ValueError:
        left = top = width = height = -1
    if min(left, top) < 0 or min(width, height) < 1:
        raise UsageError(
            f"--rectangle: expected LEFT,TOP,WIDTH,HEIGHT in pixels, such as 40,30,64,48, got "
            f"{shown(text)}"
        )
    return Rectangle(left, top, width, height)


READERS = {"mask": read_mask, "hole": read_colour, "rectangle": read_rectangle}
