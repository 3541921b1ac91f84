"""Super-resolution of whole pictures, as papers measure it: Set5, Set14, BSD100.

A picture is cut to a multiple of the scale, made smaller with Pillow's bicubic filter, enlarged by
the generator, and compared with itself on the brightness Y, without a border as wide as the scale.
The numbers of a set are means over its pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ms_gan.data import finding, to_float
from ms_gan.data.classes import arrange
from ms_gan.data.dataset import data_error, existing_folder
from ms_gan.evaluation import pyramid, restoration
from ms_gan.objectives.resize import enlarged
from ms_gan.runs import visualise
from ms_gan.runs.whole import grey
from ms_gan.system.output import shown

LISTED = 20  # pictures that get a line of their own

Restore = Callable[[np.ndarray], np.ndarray]


def files(root: str | None) -> tuple[Path, list[finding.Parts]]:
    """The folder, and the paths of its test pictures below it; of all, where none are apart.

    Raises:
        DataError: no folder, no picture in it.
    """
    if root is None:
        remedy = "set --data-root FOLDER"
        raise data_error("image_folder", "no root", "a folder of pictures", remedy)
    folder = existing_folder(root, "data root")
    found = finding.walk(folder)
    names = [file.parts for file in found.files if finding.why_no_picture(folder, file) is None]
    if not names:
        raise data_error(shown(folder), "no pictures", "pictures", "correct the folder")
    order = arrange(names, found.folders)
    if order.has_test:
        order = arrange(names, found.folders, "test")
    return folder, order.pictures


class Whole:
    """Gathers the numbers of one picture after the other.

    Args:
        scale: how many times the generator enlarges.
        channels: 1 (of the brightness alone) or 3.
    """

    def __init__(self, scale: int, *, channels: int):
        self.scale, self.channels = scale, channels
        self.rows: list[tuple[dict[str, float], dict[str, float]]] = []

    @property
    def num(self) -> int:
        return len(self.rows)

    def add(self, image: np.ndarray, restore: Restore) -> tuple[dict[str, float], dict[str, float]]:
        """The numbers of one picture: of what the generator makes, and of bicubic enlargement.

        Args:
            image: uint8 [1 or 3, H, W], grey or colour.
            restore: float32 [C, h, w] -> [C, H, W], both in [-1, 1].
        """
        height, width = (side - side % self.scale for side in image.shape[1:])
        true = in_channels(image, self.channels)[:, :height, :width]
        small = np.stack([_smaller(plane, self.scale) for plane in true])
        true, small = (to_float(x)[None] for x in (true, small))
        made = restore(small[0])[None]
        bicubic = enlarged(small, (height, width))
        found = measure(made, true, self.scale), measure(bicubic, true, self.scale)
        self.rows.append(found)
        return found

    def means(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """The numbers of the generator, and {"bicubic": its numbers}."""
        made, bicubic = (
            {key: float(np.mean([row[i][key] for row in self.rows])) for key in self.rows[0][i]}
            for i in range(2)
        )
        return made, {"bicubic": bicubic}


def _smaller(plane: np.ndarray, scale: int) -> np.ndarray:
    height, width = plane.shape
    size = (width // scale, height // scale)
    return np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC))


def measure(made: np.ndarray, true: np.ndarray, scale: int) -> dict[str, float]:
    """How near enlarged pictures [N, C, H, W] are to the true ones, means over them."""
    y, real = (restoration.brightness(x, scale) for x in (made, true))
    patches = [pyramid.patches(visualise.to_uint8(x), seed=0)[:1] for x in (true, made)]
    return {
        "psnr": float(restoration.psnrs(y, real).mean()),
        "ssim": float(restoration.ssim(y, real).mean()),
        "detail": restoration.fine_energy(y) / max(restoration.fine_energy(real), 1e-9),
        "patches": float(pyramid.distances(*patches, seed=0)[0]),
    }


def in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [1 or 3, H, W] as grey or as colour, by Pillow's weights."""
    if len(image) == channels:
        return image
    return np.repeat(image, 3, axis=0) if channels == 3 else grey(image)
