"""Latents and images: given a generator Cell and a seed, nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindspore import Tensor, nn

BATCH = 64  # every forward pass has this size: one compilation, the same bits for any number
FIXED, TRAINING = 1, 2  # streams of latents that never meet
STOPS, FRAMES = 8, 12  # latents of a walk, pictures from one to the next


def latents(seed: int, num: int, latent_dim: int) -> np.ndarray:
    """`num` latent vectors, float32 [num, latent_dim], N(0, 1).

    A function of the seed: the first rows do not depend on `num`.
    """
    return np.random.default_rng([seed, FIXED]).standard_normal((num, latent_dim), np.float32)


def training_noise(
    seed: int, step: int, num: int, latent_dim: int, draws: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The randomness of one training step, a function of (seed, step).

    Latents float32 [num, latent_dim], N(0, 1); float32 [num] and [num, draws], uniform in [0, 1).
    """
    rng = np.random.default_rng([seed, TRAINING, step])
    return (
        rng.standard_normal((num, latent_dim), np.float32),
        rng.random(num, np.float32),
        rng.random((num, draws), np.float32),
    )


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


def generate(
    generator: nn.Cell, z: np.ndarray, labels: np.ndarray | None = None, *, batch_size: int = BATCH
) -> np.ndarray:
    """Images of the latents, float32 [N, C, H, W] in [-1, 1], BatchNorm in inference mode.

    The last batch is filled up with zeros, so that the compiled size never changes and no image
    depends on its neighbours.
    """
    generator.set_train(False)
    images = []
    for start in range(0, len(z), batch_size):
        part = _fill(z[start : start + batch_size], batch_size)
        inputs = [Tensor(part)]
        if labels is not None:
            inputs.append(Tensor(_fill(labels[start : start + batch_size], batch_size)))
        images.append(generator(*inputs).asnumpy()[: len(z) - start])
    # MindSpore's tanh kernel leaves [-1, 1] by some 1e-5
    return np.clip(np.concatenate(images), -1.0, 1.0)


def interpolation(
    seed: int, latent_dim: int, *, stops: int = STOPS, frames: int = FRAMES
) -> np.ndarray:
    """A closed walk through `stops` random latents, float32 [stops * frames, latent_dim].

    Spherical interpolation keeps the length that Gaussian latents have (White 2016,
    arXiv:1609.04468, section 2.1).
    """
    points = latents(seed, stops, latent_dim).astype(np.float64)
    walk = []
    for a, b in zip(points, np.roll(points, -1, axis=0), strict=True):
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        for t in np.arange(frames) / frames:
            if np.sin(angle) < 1e-6:  # on one line, as with latent_dim 1: there is no arc
                walk.append((1 - t) * a + t * b)
            else:
                walk.append((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle))
    return np.array(walk, np.float32)


def _fill(part: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([part, np.zeros((size - len(part), *part.shape[1:]), part.dtype)])
