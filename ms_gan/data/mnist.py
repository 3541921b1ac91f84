"""The data sets of the MNIST kind: found on disk or downloaded, then read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ms_gan.data.dataset import DataError, Dataset, Size, check_fit, data_error, fit, sides
from ms_gan.data.download import DownloadError, Progress, download
from ms_gan.data.idx import read_pair
from ms_gan.data.known import DIGITS, IDX_SETS, expected_files, file_names
from ms_gan.data.search import find_files, home_folder
from ms_gan.system.output import Say


class NotToBeHad(DownloadError):
    """The files are not here and cannot be downloaded; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str, error: Exception):
        super().__init__(reason)
        self.remedy, self.error = remedy, error


def not_here(name: str, split: str, home: Path) -> DataError:
    """What is said of files that nobody can download."""
    origin = f" ({IDX_SETS[name].origin})"
    wrong = f"no {name} files, and they are not downloaded{origin}"
    remedy = f"put {file_names(split)[0]}.gz and the others into it or set MS_GAN_DATA"
    return data_error(home / name, wrong, expected_files(split), remedy)


def loader(name: str) -> Callable[..., Dataset]:
    """The function that loads a row of `IDX_SETS`."""

    def load(
        *,
        root: str | None = None,
        size: Size | None = None,
        channels: int | None = None,
        margin: int = 0,
        split: str = "train",
        say: Say | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Images and labels in IDX files, MNIST's format.

        Args:
            root: folder that must hold the files; nothing is downloaded. null: the folder in the
                environment variable MS_GAN_DATA, or else ./data, then the user's cache folder,
                then /usr/share/datasets; when they are not there, they are downloaded (not usps).
            size: height and width in pixels, a number or [height, width]; null: 28 (usps: 16).
            channels: 1 (grey) or 3 (the same three times); null: 1.
            margin: black pixels at each side, within the size: MNIST's digits have 4 of 28.
        """
        check_fit(name, size, channels)
        check_margin(name, size, margin)
        home = home_folder(root)
        try:
            files = find_files(name, split, root, home)
            if files is None and not IDX_SETS[name].mirrors:
                raise not_here(name, split, home)
            files = files or download(name, split, home, say, progress)
        except DownloadError as error:
            folder = home / name
            wrong = f"cannot download {name} ({error})"
            remedy = f"put the files into {folder} or set MS_GAN_DATA to their folder"
            instead = ", or use the embedded 'digits'" if IDX_SETS[name].classes == DIGITS else ""
            final = data_error(folder, wrong, expected_files(split), f"{remedy}{instead}")
            raise NotToBeHad(wrong, remedy, final) from None
        return framed(read_pair(name, split, *files), size, channels, margin)

    return load


def check_margin(name: str, size: Size | None, margin: int) -> None:
    """DataError for a margin that leaves nothing of an image."""
    if margin < 0 or (margin and (size is None or 2 * margin >= min(sides(size)))):
        wanted = "0, or with a data.size less than half of it"
        raise data_error(name, f"margin {margin}", wanted, "change it")


def framed(dataset: Dataset, size: Size | None, channels: int | None, margin: int) -> Dataset:
    """Images of the size and the channels asked for, black at each side."""
    if margin:
        size = tuple(side - 2 * margin for side in sides(size))
    dataset = fit(dataset, size, channels)
    if margin:
        around = [(0, 0), (0, 0), (margin, margin), (margin, margin)]
        dataset = replace(dataset, images=np.pad(dataset.images, around))
    return dataset
