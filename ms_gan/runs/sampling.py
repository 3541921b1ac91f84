"""A generator that is ready to use, and the images that it makes of latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mindspore import Tensor, nn

from ms_gan.runs import visualise
from ms_gan.system import streams
from ms_gan.system.streams import Stream

BATCH = 64  # every forward pass has this size: one compilation, the same bits for any number
STOPS, FRAMES = 8, 12  # latents of a walk, pictures from one to the next
FIXED = 25  # samples in the pictures of a run: 5 x 5, as in the tutorial
FIXED_PER_CLASS, FIXED_CLASSES = 8, 64  # of conditional nets: of each class, of so many at most


class Images(Protocol):
    """Real images: :class:`ms_gan.data.Dataset`."""

    images: np.ndarray  # uint8 [N, C, H, W]
    labels: np.ndarray  # int [N]


@dataclass(frozen=True, eq=False)
class Ready:
    """A generator that is ready to use.

    Args:
        net: the generator, in inference mode.
        image_shape: (C, H, W).
        meta: what its checkpoint says: recipe, step, classes, `class_shares`.
    """

    net: nn.Cell
    image_shape: tuple[int, int, int]
    meta: Mapping[str, Any]

    @property
    def num_classes(self) -> int:
        """Classes that a label may name; 0: the generator is unconditional."""
        return self.net.num_classes

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each class, in the order of the labels; its number where it has no name."""
        names = tuple(self.meta.get("classes") or ())
        if len(names) == self.num_classes:
            return names
        return tuple(str(label) for label in range(self.num_classes))


class Sampler(Ready):
    """A generator of latents with all that is needed to make images: the one place that decides
    which.

    Attributes:
        columns: what each column of the gallery is, where that differs.

    `generate`, `evaluate`, the evaluation while training and the pictures of a run all ask it, so
    they speak of the same images.
    """

    columns = ()

    @property
    def latent_dim(self) -> int:
        return self.net.latent_dim

    def made(self, z: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
        """Images of these latents, float32 [N, C, H, W] in [-1, 1]."""
        return generate(self.net, z, labels, *shares_of(self.net, self.meta))

    def labels(self, num: int, label: int | None = None) -> np.ndarray | None:
        """int32 [num], each class as often as in its training data; None if unconditional.

        Args:
            label: the only class.
        """
        return class_labels(num, self.num_classes, label, self.meta.get("class_shares"))

    def samples(
        self, seed: int, num: int, label: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Images float32 [num, C, H, W] in [-1, 1], and their labels int32 [num] or None.

        The first ones do not depend on `num`.
        """
        parts = list(self.chunks(seed, num, label))
        images, labels = zip(*parts, strict=True)
        return np.concatenate(images), None if labels[0] is None else np.concatenate(labels)

    def chunks(
        self,
        seed: int,
        num: int,
        label: int | None = None,
        *,
        labels: np.ndarray | None = None,
        size: int = 16 * BATCH,
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """The same, at most `size` at a time; what was made before need not be kept.

        Args:
            labels: int32 [num], the class of each image; None: as :meth:`labels` says.
        """
        if labels is None:
            labels = self.labels(num, label)
        rng = streams.rng(Stream.LATENTS, seed)  # in parts it draws the same as at once
        for start in range(0, num, size):
            z = draw(rng, min(size, num - start), self.latent_dim)
            some = None if labels is None else labels[start : start + size]
            yield self.made(z, some), some

    def walk(self, seed: int, label: int | None = None) -> np.ndarray:
        """Images along a closed walk, float32 [STOPS * FRAMES, C, H, W]; the class changes at
        every stop."""
        labels = self.labels(STOPS, label)
        z = interpolation(seed, self.latent_dim)
        return self.made(z, None if labels is None else labels.repeat(FRAMES))

    def gallery(self, seed: int, real: Images | None = None) -> np.ndarray:
        """The picture that shows training at work: always the same latents, some of each class.

        Of many classes, some that lie evenly among them.

        Args:
            real: not looked at.
        """
        num, labels = FIXED, None
        if self.num_classes:
            labels = np.tile(self.shown_classes, FIXED_PER_CLASS)
            num = len(labels)
        images = self.made(latents(seed, num, self.latent_dim), labels)
        return visualise.class_grid(images, labels)

    def real_gallery(self, real: Images) -> np.ndarray | None:
        """Real images in such a picture: as many, of the same classes, from all over the data."""
        if not self.num_classes:
            rows = visualise.evenly(len(real.images), FIXED)
        else:
            known = [np.flatnonzero(real.labels == label) for label in self.shown_classes]
            rows = np.concatenate(
                [own[visualise.evenly(len(own), FIXED_PER_CLASS)] for own in known]
            )
        images = as_float(real.images[rows])
        return visualise.class_grid(images, real.labels[rows] if self.num_classes else None)

    @property
    def shown_classes(self) -> np.ndarray:
        """int32, at most FIXED_CLASSES of them."""
        return visualise.evenly(self.num_classes, FIXED_CLASSES)


def as_float(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]; what is float32 already stays."""
    return images.astype(np.float32) / 127.5 - 1.0 if images.dtype == np.uint8 else images


def latents(seed: int, num: int, latent_dim: int) -> np.ndarray:
    """`num` latent vectors, float32 [num, latent_dim], N(0, 1).

    A function of the seed: the first rows do not depend on `num`.
    """
    return draw(streams.rng(Stream.LATENTS, seed), num, latent_dim)


def draw(rng: np.random.Generator, num: int, latent_dim: int) -> np.ndarray:
    return rng.standard_normal((num, latent_dim), np.float32)


def class_labels(
    num: int,
    num_classes: int,
    label: int | None = None,
    shares: Sequence[float] | None = None,
) -> np.ndarray | None:
    """Labels int32 [num] for a generator of `num_classes`; None if it is unconditional (0).

    Args:
        label: the only class; None: all of them in turn.
        shares: [num_classes], how often each class is due; None: equally often. Whatever `num`
            is, each class stays about as frequent as its share, and the first labels do not depend
            on `num`.
    """
    if num_classes == 0:
        return None
    if label is not None:
        return np.full(num, label, np.int32)
    if shares is None:
        return (np.arange(num) % num_classes).astype(np.int32)
    due, labels = np.zeros(num_classes), np.empty(num, np.int32)
    for i in range(num):
        due += shares
        labels[i] = due.argmax()
        due[labels[i]] -= 1.0
    return labels


def shares_of(net: nn.Cell, meta: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """What each level of a net that is still growing contributes; nothing of all others."""
    growth, step = getattr(net, "growth", None), meta.get("step")
    if growth is None or step is None or growth.grown(step):
        return ()
    return (Tensor(growth.shares(step)),)


def generate(
    generator: nn.Cell,
    z: np.ndarray,
    labels: np.ndarray | None = None,
    *more: Tensor,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Images of the latents, float32 [N, C, H, W] in [-1, 1], BatchNorm in inference mode."""
    images = forward(generator, z, labels, *more, batch_size=batch_size)
    return np.clip(images, -1.0, 1.0)  # MindSpore's tanh kernel leaves [-1, 1] by some 1e-5


def forward(
    net: nn.Cell,
    x: np.ndarray,
    labels: np.ndarray | None = None,
    *more: Tensor,
    batch_size: int = BATCH,
) -> np.ndarray:
    """What a net in inference mode makes of the rows of x.

    The last batch is filled up with zeros, so that the compiled size never changes and no image
    depends on its neighbours.

    Args:
        labels: of the rows, or None.
        more: what the net gets behind the labels.
    """
    net.set_train(False)
    made = []
    for start in range(0, len(x), batch_size):
        inputs = [Tensor(fill(x[start : start + batch_size], batch_size))]
        if labels is not None:
            inputs.append(Tensor(fill(labels[start : start + batch_size], batch_size)))
        elif more:
            inputs.append(None)
        made.append(net(*inputs, *more).asnumpy()[: len(x) - start])
    return np.concatenate(made)


def interpolation(
    seed: int, latent_dim: int, *, stops: int = STOPS, frames: int = FRAMES
) -> np.ndarray:
    """A closed walk through `stops` random latents, float32 [stops * frames, latent_dim]."""
    points = latents(seed, stops, latent_dim).astype(np.float64)
    walk = [
        arc(a, b, t)
        for a, b in zip(points, np.roll(points, -1, axis=0), strict=True)
        for t in np.arange(frames) / frames
    ]
    return np.array(walk, np.float32)


def arc(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """The place t (0: a, 1: b) of the way between two latents, float64 [latent_dim].

    Spherical interpolation keeps the length that Gaussian latents have (White 2016,
    arXiv:1609.04468, section 2.1).
    """
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if np.sin(angle) < 1e-6:  # on one line, as with latent_dim 1: there is no arc
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)


def fill(part: np.ndarray, size: int) -> np.ndarray:
    """Rows of zeros at the end, until there are `size`."""
    return np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
