"""Every stream of random numbers of the package, by name.

Each is a pure function of a key, so that no state of a generator has to be saved, and an exact
continuation follows. Nothing else in the package draws random numbers on the host; the global
seed (`runtime.set_seed`) initialises weights alone.
"""

from __future__ import annotations

from enum import Enum

import numpy as np


class Stream(Enum):
    """The streams that follow a seed. Their numbers are for ever: they decide every run.

    LATENTS and ORDER have one number, so the latents that `generate` draws with a seed and the
    order of the first epoch of a run with that seed come from the same bits. No step uses both,
    and to part them would change every run or every picture.
    """

    LATENTS = ("latents", 1)  # of generate, evaluate and the pictures of a run
    ORDER = ("order", 1)  # of the images of an epoch
    TRAINING = ("training", 2)  # latents and other numbers of a step
    SHIFT = ("shift", 3)  # of images that a classifier learns
    GIVEN = ("given", 6)  # where the holes are of images that a trained generator fills
    FLIP = ("flip", 9)  # which images of a batch are mirrored
    DRAW = ("draw", 7)  # images of a batch, with replacement (until 0.1: TRAINING's number)
    PATCHES = ("patches", 10)  # places and directions in which two sets of images are compared

    def __init__(self, title: str, number: int):
        self.title, self.number = title, number


class Choice(Enum):
    """The streams that follow no seed: they choose the same for everybody."""

    SPLIT = 4  # images that are held out where a data set has no test split
    FLOOR = 5  # images that are measured in place of samples
    PAIR = 11  # which images of two sets lie together, where any may with any
    STACK = 12  # which digits are the channels of an image of Stacked MNIST
    STROKES = 13  # the masks that a brush draws


def rng(stream: Stream, seed: int, counter: int = 0) -> np.random.Generator:
    """The random numbers of one step, batch or epoch.

    The key has always three numbers: NumPy fills shorter ones with zeros, so that `[s, 1]` would
    be `[s, 1, 0]`.
    """
    return np.random.default_rng([seed, stream.number, counter])


def fixed(choice: Choice) -> np.random.Generator:
    """Random numbers that are always the same ones."""
    return np.random.default_rng([choice.value, 0, 0])


def chosen(choice: Choice, total: int, num: int = 0) -> np.ndarray:
    """A permutation of `total` rows that is always the same one; `num` makes it another one."""
    return np.random.default_rng([choice.value, num, 0]).permutation(total)
