"""A generator from picture to picture that is ready to use, and what it makes of real images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mindspore import Tensor

from ms_gan.runs import visualise
from ms_gan.runs.sampling import BATCH, Images, Ready, as_float, fill, generate
from ms_gan.system import streams
from ms_gan.system.streams import Stream

SHOWN, ACROSS = 8, 2  # images in the pictures of a run, side by side


class Given(Protocol):
    """What the generator receives: an :class:`ms_gan.objectives.inputs.Input`."""

    numbers: int
    shown: tuple[str, ...]

    def __call__(self, real: Tensor, z: None, numbers: Tensor | None) -> Tensor: ...

    def columns(self, real: Any, received: Any, made: Any) -> tuple[np.ndarray, ...]: ...


@dataclass(frozen=True, eq=False)
class Translator(Ready):
    """A generator that receives pictures.

    Args:
        given: the Cell that makes what the generator receives of real images.
    """

    given: Given

    def receive(self, real: np.ndarray, seed: int) -> np.ndarray:
        """What the generator receives of these images, float32 [N, ...].

        Args:
            real: uint8 [N, C, H, W], or float32 in [-1, 1].
            seed: of the numbers that it draws, such as the places of holes; those of the first
                images do not depend on how many there are.
        """
        real = as_float(real)
        rng = streams.rng(Stream.GIVEN, seed)
        width, received = self.given.numbers, []
        numbers = rng.random((len(real), width), np.float32)
        for start in range(0, len(real), BATCH):
            rows = slice(start, start + BATCH)
            some = Tensor(fill(numbers[rows], BATCH)) if width else None
            received.append(self.given(Tensor(fill(real[rows], BATCH)), None, some).asnumpy())
        return np.concatenate(received)[: len(real)]

    def made(self, received: np.ndarray) -> np.ndarray:
        """What the generator makes of it, float32 [N, C, H, W] in [-1, 1]."""
        return generate(self.net, received)

    def gallery(self, seed: int, real: Images) -> np.ndarray:
        """The picture that shows training at work: what it receives of some images, what it makes
        of that, and the truth where there is one."""
        rows = np.linspace(0, len(real.images) - 1, SHOWN).round().astype(int)
        images = as_float(real.images[rows])
        received = self.receive(images, seed)
        columns = self.given.columns(images, received, self.made(received))
        return visualise.side_by_side(columns, across=ACROSS)

    def real_gallery(self, real: Images) -> None:
        """The gallery has the real images."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What stands in each column of the gallery."""
        return self.given.shown * ACROSS
