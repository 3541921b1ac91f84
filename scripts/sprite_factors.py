"""Which factors of a character a CycleGAN between two tops keeps.

    bash scripts/run_experiment.sh sprite_factors RUN SPRITES

RUN is a run of cyclegan_sprites, SPRITES the folder that the experiment `sprites` made. Each test
character is translated and takes the name of the nearest real picture of the other domain, pixel by
pixel; the share of names that agree in each factor is printed. Beside it: real characters of the
other domain themselves (two may look alike), and characters that are left as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import ms_gan  # noqa: F401  before mindspore
from ms_gan import build, data
from ms_gan.evaluation.metrics import nearest
from ms_gan.evaluation.transfer import translated

FACTORS = ("body", "trousers", "hair", "action", "direction", "frame")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("sprites", type=Path)
    arguments = parser.parse_args()
    translator = build.load_sampler(arguments.run / "generator.ckpt")
    size = translator.image_shape[1]
    sets = {
        domain: data.splits("image_folder", root=arguments.sprites / domain, size=size)
        for domain in "ab"
    }
    print(f"{'':<28}" + "".join(f"{factor:>11}" for factor in (*FACTORS, "all")))
    for source, target in ("ab", "ba"):
        test = sets[source][1]
        known = [np.concatenate([part.images for part in sets[target]])]
        names = [name for part in sets[target] for name in part.names]
        ways = {
            "translated": translated(translator, test.images, first=source == "a"),
            "left as it is": test.images,
            "real ones": sets[target][1].images,
        }
        for way, images in ways.items():
            rows, _ = nearest(flat(known[0]), flat(images))
            kept = [agree(names[row], name) for row, name in zip(rows, test.names, strict=True)]
            shares = np.mean(kept, axis=0)
            line = "".join(f"{100 * share:>9.1f} %" for share in (*shares, shares.mean()))
            print(f"{source} to {target}, {way:<19}{line}")


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 [N, C, H, W] -> float32 [N, C H W] in [-1, 1]."""
    return data.to_float(images).reshape(len(images), -1)


def agree(one: str, other: str) -> list[bool]:
    """For each factor, whether two names say the same."""
    parts = (Path(name).name.split("-")[: len(FACTORS)] for name in (one, other))
    return [a == b for a, b in zip(*parts, strict=True)]


if __name__ == "__main__":
    main()
