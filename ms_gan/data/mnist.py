"""The data sets of the MNIST kind: found on disk or downloaded, then read."""

from __future__ import annotations

from collections.abc import Callable

from ms_gan.data.dataset import Dataset, Size, check_fit, data_error, fit
from ms_gan.data.download import DownloadError, Progress, Say, download
from ms_gan.data.idx import read_pair
from ms_gan.data.known import DIGITS, IDX_SETS, expected_files
from ms_gan.data.search import find_files, home_folder


class NotToBeHad(DownloadError):
    """The files are not here and cannot be downloaded; `remedy` says what to do."""

    def __init__(self, reason: str, remedy: str, error: Exception):
        super().__init__(reason)
        self.remedy, self.error = remedy, error


def loader(name: str) -> Callable[..., Dataset]:
    """The function that loads a row of `IDX_SETS`."""

    def load(
        *,
        root: str | None = None,
        size: Size | None = None,
        channels: int | None = None,
        split: str = "train",
        say: Say | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Images and labels in IDX files, MNIST's format.

        Args:
            root: folder that must hold the files; nothing is downloaded. null: the folder in the
                environment variable MS_GAN_DATA, or else ./data, then the user's cache folder;
                downloaded when they are not there.
            size: height and width in pixels, a number or [height, width]; null: 28.
            channels: 1 (grey) or 3 (the same three times); null: 1.
        """
        check_fit(name, size, channels)
        home = home_folder(root)
        try:
            files = find_files(name, split, root, home)
            files = files or download(name, split, home, say, progress)
        except DownloadError as error:
            folder = home / name
            wrong = f"cannot download {name} ({error})"
            remedy = f"put the files into {folder} or set MS_GAN_DATA to their folder"
            instead = ", or use the embedded 'digits'" if IDX_SETS[name].classes == DIGITS else ""
            final = data_error(folder, wrong, expected_files(split), f"{remedy}{instead}")
            raise NotToBeHad(wrong, remedy, final) from None
        return fit(read_pair(name, split, *files), size, channels)

    return load
