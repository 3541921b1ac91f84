"""Real images: MNIST and its kin (IDX files), embedded digits, folders of pictures; seeded batches.

Everything is plain numpy. A data set is stored as uint8 and becomes float32 in [-1, 1], the range
of the generator's tanh, one batch at a time.
"""

import os
from pathlib import Path

from ms_gan.data.batches import Batches, to_float
from ms_gan.data.dataset import DataError, Dataset, data_error, fit
from ms_gan.data.digits import embedded_digits
from ms_gan.data.download import DownloadError, Progress, Say, download
from ms_gan.data.idx import read_idx, read_pair
from ms_gan.data.image_folder import pictures_below
from ms_gan.data.known import DATASETS, Known, expected_files
from ms_gan.data.search import find_files, find_idx, home_folder
from ms_gan.recipe.registry import near_miss

__all__ = [
    "DATASETS", "Batches", "DataError", "Dataset", "Known", "find_idx", "load", "read_idx",
    "to_float",
]  # fmt: skip


def load(
    name: str,
    *,
    root: str | os.PathLike | None = None,
    size: int | None = None,
    channels: int | None = None,
    fallback: str | None = None,
    split: str = "train",
    say: Say | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set by its name in `DATASETS`; the MNIST kind is downloaded when not found.

    Args:
        name: 'mnist', 'fashion_mnist', 'kmnist', 'digits' or 'image_folder'.
        root: folder that must hold the data; nothing is downloaded. None: the folder in the
            environment variable MS_GAN_DATA, or else ./data, then the user's cache folder.
        size: height and width in pixels; None: as stored (64 for 'image_folder').
        channels: 1 (grey) or 3 (RGB); None: 1 (3 for 'image_folder').
        fallback: 'digits' to go on with the embedded digits when the download of mnist fails.
        split: 'train' or 'test'; ignored by 'digits' and 'image_folder', which have only one.
        say, progress: receive one-line messages; (file, bytes done, bytes in all or 0).

    Raises:
        DataError: unknown name, bad option, missing or damaged files, failed download.
    """
    _check_options(name, size, channels, fallback, split)
    if name == "image_folder":
        return pictures_below(root, size or 64, channels or 3)
    if name == "digits":
        return fit(embedded_digits(), size, channels)
    home = home_folder(root)
    try:
        files = find_files(name, split, root, home) or download(name, split, home, say, progress)
        dataset = read_pair(name, split, *files)
    except DownloadError as error:
        dataset = _instead(name, split, home / name, fallback, error, say)
    return fit(dataset, size, channels)


def _instead(
    name: str, split: str, folder: Path, fallback: str | None, error: Exception, say: Say | None
) -> Dataset:
    wrong = f"cannot download {name} ({error})"
    remedy = f"put the files into {folder} or set MS_GAN_DATA to their folder"
    if fallback is None or name != "mnist":  # digits stand in for digits only
        remedy += ", or use the embedded 'digits'"
        raise data_error(folder, wrong, expected_files(split), remedy) from None
    digits = embedded_digits()
    if say is not None:
        say(f"{name}: {wrong}; using the {len(digits):,} embedded digits instead; {remedy}")
    return digits


def _check_options(
    name: str, size: int | None, channels: int | None, fallback: str | None, split: str
) -> None:
    if name not in DATASETS:
        wrong = f"no such data set{near_miss(str(name), DATASETS)}"
        raise data_error(name, wrong, f"one of {', '.join(DATASETS)}", "choose one of these")
    if size is not None and (type(size) is not int or size < 1):
        raise data_error(name, f"size {size!r}", "a whole number of pixels >= 1", "change it")
    for option, value, choices in (
        ("channels", channels, (None, 1, 3)),
        ("fallback", fallback, (None, "digits")),
        ("split", split, ("train", "test")),
    ):
        if value not in choices:
            raise data_error(name, f"{option} {value!r}", f"one of {choices}", "change it")
