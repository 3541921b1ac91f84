"""Folders of composed characters from the sheets of the Liberated Pixel Cup, for three recipes.

    bash scripts/run_experiment.sh sprites SHEETS OUT [--frames 44]

SHEETS holds body/, bottomwear/, topwear/, hair/ and shoes/ with six sheets (shoes: 1.png) each. A
character has one of six bodies, trousers, tops and hair, 1,296 in all, and moves in 88 frames
(spell, walk, slash; four directions). One character of six is held out for test/.

Written are pictures of 64x64 pixels whose names say all factors but the top:
    OUT/all/{train,test}    every top, for inpainting_sprites and stylegan_sprites
    OUT/classes/{train,test}    the same in a folder for each hair and direction, for a classifier
    OUT/a/{train,test}      top 0, for cyclegan_sprites
    OUT/b/{train,test}      top 5, the same characters in the same frames
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = ("body", "bottomwear", "topwear", "hair")
ROWS = {"spell": (0, 7), "walk": (8, 9), "slash": (12, 6)}  # first row of a sheet, frames
DIRECTIONS = ("back", "left", "front", "right")
SIDE, KINDS, HELD_OUT = 64, 6, 6
TOPS = {"a": 0, "b": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=44, help="of each character (%(default)s)")
    arguments = parser.parse_args()
    sheets = read(arguments.sheets)
    frames = [
        (action, direction, frame)
        for action, (_, count) in ROWS.items()
        for direction in range(len(DIRECTIONS))
        for frame in range(count)
    ]
    characters = list(itertools.product(range(KINDS), repeat=3))  # body, trousers, hair
    rng = np.random.default_rng(0)
    out = rng.permutation(len(characters))[: len(characters) // HELD_OUT]
    written = dict.fromkeys(("all", "classes", *TOPS), 0)
    for number, (body, trousers, hair) in enumerate(characters):
        split = "test" if number in out else "train"
        chosen = rng.permutation(len(frames))[: arguments.frames]
        for place, row in enumerate(chosen):
            action, direction, frame = frames[row]
            name = (
                f"body{body}-trousers{trousers}-hair{hair}-{action}-{DIRECTIONS[direction]}-{frame}"
            )
            for folder, top in TOPS.items():
                image = compose(sheets, (body, trousers, top, hair), frames[row])
                save(image, arguments.out / folder / split / f"{name}.png")
                written[folder] += 1
            top = place % KINDS
            image = compose(sheets, (body, trousers, top, hair), frames[row])
            kind = f"hair{hair}-{DIRECTIONS[direction]}"
            for folder in (Path("all", split), Path("classes", split, kind)):
                save(image, arguments.out / folder / f"{name}-top{top}.png")
                written[folder.parts[0]] += 1
    counts = ", ".join(f"{count:,} in {folder}/" for folder, count in written.items())
    print(f"{counts} of {arguments.out}; {len(out)} of {len(characters)} characters are in test/")


def read(folder: Path) -> dict[str, list[np.ndarray]]:
    """The sheets, uint8 [H, W, 4] each, by part."""
    wanted = {part: [f"{part}/{i}.png" for i in range(KINDS)] for part in PARTS}
    wanted["shoes"] = ["shoes/1.png"]
    missing = [name for names in wanted.values() for name in names if not (folder / name).is_file()]
    if missing:
        raise SystemExit(f"sprites: {folder / missing[0]}: no such file; expected the LPC sheets")
    return {
        part: [np.asarray(Image.open(folder / name).convert("RGBA")) for name in names]
        for part, names in wanted.items()
    }


def compose(
    sheets: dict[str, list[np.ndarray]], kinds: tuple[int, ...], frame: tuple[str, int, int]
) -> np.ndarray:
    """One character in one frame on black, uint8 [64, 64, 3]."""
    action, direction, number = frame
    top, left = SIDE * (ROWS[action][0] + direction), SIDE * number
    layers = [sheets[part][kind] for part, kind in zip(PARTS, kinds, strict=True)]
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for sheet in (*layers, sheets["shoes"][0]):
        cut = sheet[top : top + SIDE, left : left + SIDE].astype(np.float32)
        alpha = cut[..., 3:] / 255
        image = image * (1 - alpha) + cut[..., :3] * alpha
    return np.round(image).astype(np.uint8)


def save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


if __name__ == "__main__":
    main()
