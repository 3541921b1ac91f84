"""Which factors of a character follow the coarse styles of a StyleGAN, and which the fine ones.

    bash scripts/run_experiment.sh style_mixing RUN SPRITES [--pairs 500] [--truncation 1.0]

RUN is a run of stylegan_sprites, SPRITES the folder that the experiment `sprites` made. Two latents
give two characters; for every cut, a third one has the styles of the first up to there and those
of the second behind it. Each of the three takes the name of the nearest real picture, pixel by
pixel. Of the pairs that differ in a factor, the share is printed in which the mixture has that of
the first (coarse); in brackets the share in which it has that of the second (fine). The rest has
neither.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import ms_gan  # noqa: F401  before mindspore
from ms_gan import build, data
from ms_gan.evaluation.metrics import nearest
from ms_gan.runs import sampling

FACTORS = ("body", "trousers", "hair", "action", "direction", "frame", "top")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("sprites", type=Path)
    parser.add_argument("--pairs", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--truncation", type=float, default=1.0, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the latents (%(default)s)")
    arguments = parser.parse_args()
    sampler = build.load_sampler(arguments.run / "generator.ckpt").truncated(arguments.truncation)
    size = sampler.image_shape[1]
    train, _ = data.splits("image_folder", root=arguments.sprites / "all", size=size)
    known = flat(data.to_float(train.images))
    names = np.array([Path(name).stem.split("-") for name in train.names])

    def read(images: np.ndarray) -> np.ndarray:
        """The factors of images, as words [N, factors]."""
        rows, _ = nearest(known, flat(images))
        return names[rows]

    pairs = arguments.pairs
    w = sampler.w(sampling.latents(arguments.seed, 2 * pairs, sampler.latent_dim))
    first, second = w[:pairs], w[pairs:]
    coarse, fine = read(sampler.images(first)), read(sampler.images(second))
    differ = coarse != fine
    print(f"{pairs} pairs, truncation {arguments.truncation}; layers of the first: its share (that "
          "of the second), %")  # fmt: skip
    print(f"{'cut':>3}" + "".join(f"{factor:>11}" for factor in FACTORS))
    for cut in range(sampler.layers + 1):
        mixed = read(sampler.mixed(first, second, cut))
        shares = [
            [100 * np.mean(mixed[rows, i] == source[rows, i]) for source in (coarse, fine)]
            for i, rows in enumerate(differ.T)
        ]
        print(f"{cut:>3}" + "".join(f"{f'{a:.0f} ({b:.0f})':>11}" for a, b in shares))


def flat(images: np.ndarray) -> np.ndarray:
    """[N, C, H, W] -> [N, C H W]"""
    return images.reshape(len(images), -1)


if __name__ == "__main__":
    main()
