"""What one training step receives, and how its rows lie. The only place that says so."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mindspore import Tensor

from ms_gan.system import streams
from ms_gan.system.streams import Stream
from ms_gan.system.workers import ALONE, Share


@dataclass(frozen=True)
class Rows:
    """How the rows of a step lie: the fused step slices by it, the feed fills by it.

    Args:
        batch: images of one discriminator update.
        d_steps: discriminator updates per generator update.
        same_latents: G is updated with the latents of the last D update; otherwise `batch` more
            rows of latents follow.
        latents: normal numbers of an image; 0: the generator receives none.
        numbers: widths of the blocks of uniform numbers of an image, one block for each part that
            may want some, the regularizer's first.
        labelled: the generator takes labels.
    """

    batch: int
    d_steps: int = 1
    same_latents: bool = True
    latents: int = 0
    numbers: tuple[int, ...] = ()
    labelled: bool = False

    @property
    def real(self) -> int:
        """Rows of real images, of labels and of uniform numbers."""
        return self.batch * self.d_steps

    @property
    def made(self) -> int:
        """Rows of latents."""
        return self.real + (0 if self.same_latents else self.batch)


class Images(Protocol):
    """Real images: :class:`ms_gan.data.Batches`."""

    batch_size: int

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


class Feed:
    """The tensors of step k, a pure function of (seed, k): nothing has to be saved to continue.

    Args:
        images: batch number i is that of the i-th discriminator update.
        rows: of the state that is trained.
        seed: of latents and uniform numbers.
        share: of a worker: the numbers of all workers are drawn, and it gets its rows of them, so
            that a run does not depend on how many share it.

    Raises:
        ValueError: the batches are not of the size that the step takes.
    """

    def __init__(self, images: Images, rows: Rows, *, seed: int, share: Share = ALONE):
        if images.batch_size != rows.batch:
            raise ValueError(
                f"batches of {images.batch_size} images, but the step takes {rows.batch}"
            )
        self.images, self.rows, self.seed, self.share = images, rows, seed, share
        self.drawn = replace(rows, batch=rows.batch * share.size)

    def at(self, step: int) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What `AdversarialStep.construct` takes: real, z, labels, numbers; None for what it lacks.

        float32 [real, C, H, W] in [-1, 1]; float32 [made, latents], N(0, 1); int32 [real];
        float32 [real, K], uniform in [0, 1).
        """
        rows, drawn = self.rows, self.drawn
        parts = [self.images.at(step * rows.d_steps + i) for i in range(rows.d_steps)]
        real, labels = (one_array(part) for part in zip(*parts, strict=True))
        rng = streams.rng(Stream.TRAINING, self.seed, step)
        z = rng.standard_normal((drawn.made, rows.latents), np.float32)
        # The first block is drawn even where nobody wants it: so it was from the first version on,
        # and runs of then continue.
        numbers = [
            rng.random((drawn.made, width or int(i == 0)), np.float32)[: drawn.real, :width]
            for i, width in enumerate(rows.numbers)
        ]
        return (
            Tensor(real),
            Tensor(self.own(z)) if rows.latents else None,
            Tensor(labels) if rows.labelled else None,
            Tensor(self.own(np.concatenate(numbers, axis=1))) if sum(rows.numbers) else None,
        )

    def own(self, drawn: np.ndarray) -> np.ndarray:
        """This worker's rows of what was drawn for each update, one block for each."""
        if self.share.size == 1:
            return drawn
        blocks = drawn.reshape(-1, self.drawn.batch, drawn.shape[1])
        return blocks[:, self.share.of(self.drawn.batch)].reshape(-1, drawn.shape[1])


class Ahead:
    """A feed that makes the next step's tensors while the device computes this one's.

    For devices that leave the host's cores idle; what it gives is what the feed gives.

    Args:
        feed: is asked by one thread alone, for one step at a time.
    """

    def __init__(self, feed: Feed):
        self.feed = feed
        self._thread = ThreadPoolExecutor(1, "ms_gan-feed")
        self._next: tuple[int, Future] | None = None

    def at(self, step: int) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """As :meth:`Feed.at`; what that raises is raised here."""
        known = self._next is not None and self._next[0] == step
        made = self._next[1] if known else self._thread.submit(self.feed.at, step)
        self._next = (step + 1, self._thread.submit(self.feed.at, step + 1))
        return made.result()


def one_array(parts: tuple[np.ndarray, ...]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
