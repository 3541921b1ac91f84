"""How evenly pictures change along ways between latents: perceptual path length, in own units.

    bash scripts/run_experiment.sh path_length RUN [RUN …] [--classifier FILE] [--pairs 2000]

Karras et al. 2019, arXiv:1812.04948, section 4.1. A way leads from one latent to another: an arc
in z, and, where a generator has styles, a straight line in w. At a random place t of it, the
squared distance between the pictures of t and of t + 0.01, divided by 0.01 squared, is the squared
speed of the picture. It is printed divided by the squared distance of the pictures at both ends, on
average: 1 is a change along a straight line at one speed, more are detours and jumps. Distances are
those of pixels, and of a classifier's features where one is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import ms_gan  # noqa: F401  before mindspore
from ms_gan import build
from ms_gan.evaluation import classifier
from ms_gan.runs import sampling
from ms_gan.runs.sampling import Sampler

STEP = 1e-2
Images = Callable[[np.ndarray], np.ndarray]  # places of a space [N, d] -> images
Way = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # from, to, share [N, 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--classifier", type=Path, help="a file of train-classifier")
    parser.add_argument("--pairs", type=int, default=2000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of latents and places (%(default)s)")
    arguments = parser.parse_args()
    judges = {"pixels": lambda images: images.reshape(len(images), -1)}
    if arguments.classifier:
        judge, _ = classifier.load(arguments.classifier)
        judges["features"] = lambda images: classifier.predict(judge, images)[0]
    print(
        f"{arguments.pairs} ways; squared speed, of the squared distance of the ends: mean, median"
    )
    for run in arguments.runs:
        sampler = build.load_sampler(run / "generator.ckpt" if run.is_dir() else run)
        for space, places, way, images in spaces(sampler, arguments.seed, arguments.pairs):
            share = np.random.default_rng(arguments.seed).random((arguments.pairs, 1))
            shares = (np.zeros_like(share), np.ones_like(share), share, share + STEP)
            pictures = [images(way(*places, at).astype(np.float32)) for at in shares]
            for name, seen in judges.items():
                first, last, here, next_ = (seen(some).astype(np.float64) for some in pictures)
                ends = ((first - last) ** 2).sum(axis=1).mean()
                speeds = ((next_ - here) ** 2).sum(axis=1) / STEP**2 / ends
                print(f"{run}  {space}  {name:<9} {speeds.mean():8.2f} {np.median(speeds):8.2f}")


def spaces(
    sampler: Sampler, seed: int, pairs: int
) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray], Way, Images]]:
    """Name, both ends of the ways, the way, and what makes pictures, of each space."""
    z = sampling.latents(seed, 2 * pairs, sampler.latent_dim)
    labels = sampler.labels(pairs)
    yield "z", (z[:pairs], z[pairs:]), arc, lambda places: sampler.made(places, labels)
    if hasattr(sampler, "w"):
        both = sampler.labels(2 * pairs) if labels is None else np.tile(labels, 2)
        w = sampler.w(z, both)
        yield "w", (w[:pairs], w[pairs:]), line, sampler.images


def line(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return (1.0 - share) * a + share * b


def arc(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """As `generate --format gif` walks."""
    return np.array([sampling.arc(*ends) for ends in zip(a, b, share[:, 0], strict=True)])


if __name__ == "__main__":
    main()
