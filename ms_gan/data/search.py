"""Where the IDX files of a data set are: the folders looked into, in any common layout."""

import itertools
import os
import re
from pathlib import Path

from ms_gan.data.dataset import data_error, existing_folder
from ms_gan.data.known import IDX_SETS, STEMS, expected_files
from ms_gan.system.files import cache_folder

SYSTEM = Path("/usr/share/datasets")  # of Debian's packages, such as dataset-fashion-mnist


def find_idx(
    root: str | os.PathLike, split: str, *, name: str = "mnist", unnamed: bool = True
) -> tuple[Path, Path] | None:
    """Find the image and the label file of a split in or below a folder; raw before `.gz`.

    A sub-folder with the data set's name comes first; a root named after another data set is not
    taken for this one.

    Args:
        root: the data set's own folder or its parent, in any layout: flat, train/ test/, raw/.
        split: 'train' or 'test'.
        name: the data set, in any common spelling of its folder (FashionMNIST, fashion-mnist …).
        unnamed: whether files in a root that bears no data set's name count.

    Returns:
        (images, labels), or None when there is no such pair.
    """
    root = Path(root)
    if not root.is_dir():
        return None
    try:
        bases = [child for child in sorted(root.iterdir()) if _named_after(child) == name]
    except OSError as error:
        wrong = f"cannot be listed ({error.strerror})"
        raise data_error(root, wrong, "a readable folder", "check its rights") from None
    owner = _owner(root)
    if owner == name or (owner is None and unnamed):
        bases.append(root)
    for folder in (base / part for base in bases for part in ("", "raw", split)):
        pair = _idx_file(folder, split, "images", 3), _idx_file(folder, split, "labels", 1)
        if all(pair):
            return pair
    return None


def _idx_file(folder: Path, split: str, what: str, ndim: int) -> Path | None:
    for ending, stem, joint in itertools.product(("", ".gz"), STEMS[split], "-."):
        path = folder / f"{stem}-{what}{joint}idx{ndim}-ubyte{ending}"
        if path.is_file():
            return path
    return None


def _named_after(folder: Path) -> str | None:
    plain = re.sub("[^a-z0-9]", "", folder.name.lower())
    return next((name for name, known in IDX_SETS.items() if plain in known.folders), None)


def _owner(root: Path) -> str | None:
    """The data set that a folder is named after; raw/, train/ and test/ belong to their parent."""
    root = root.resolve()
    inner = root.name in ("raw", "train", "test")
    return _named_after(root.parent if inner else root)


def home_folder(root: str | os.PathLike | None) -> Path:
    """The folder where the data is or, without `root`, will be."""
    if root is not None:
        return existing_folder(root, "data root")
    if given := os.environ.get("MS_GAN_DATA"):
        return existing_folder(given, "MS_GAN_DATA")
    return cache_folder()


def find_files(
    name: str, split: str, root: str | os.PathLike | None, home: Path
) -> tuple[Path, Path] | None:
    """The files of a split in `home`, which a given `root` makes the only place; None: nowhere."""
    if root is not None:
        files = find_idx(home, split, name=name)
        if files is None:
            other = _owner(home) if _owner(home) != name else None
            named = f", it is named after {other}" if other else ""
            wanted = f"{expected_files(split)} in it or in {split}/, raw/, {name}/ below it"
            instead = "download" if IDX_SETS[name].mirrors else "look in the usual folders"
            remedy = f"correct the root, or leave it out to {instead}"
            raise data_error(home, f"no {name} files of split '{split}'{named}", wanted, remedy)
        return files
    folders = [home] if os.environ.get("MS_GAN_DATA") else [Path("data"), home]
    # Files in a folder without a name are taken for MNIST, never for another set: the wrong
    # pictures in silence are worse than a download.
    unnamed = IDX_SETS[name].unnamed
    found = (
        find_idx(folder, split, name=name, unnamed=unnamed and folder != SYSTEM)
        for folder in (*folders, SYSTEM)
    )
    return next(filter(None, found), None)
