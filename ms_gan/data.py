"""Real images: MNIST and its kin (IDX files), embedded digits, folders of pictures; seeded batches.

Everything is plain numpy. A data set is stored as uint8 and becomes float32 in [-1, 1], the range
of the generator's tanh, one batch at a time.
"""

import contextlib
import difflib
import gzip
import hashlib
import http.client
import io
import itertools
import os
import re
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

try:
    import fcntl
except ImportError:  # Windows: downloads of several processes at once are not serialised
    fcntl = None

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
TIMEOUT = 10.0  # seconds without a byte before a mirror is given up

_STEMS = {"train": ("train",), "test": ("t10k", "test")}
_DIGITS = tuple("0123456789")
_ORDER_TAG, _DRAW_TAG = 1, 2  # keep the two samplings' random streams apart


class DataError(ValueError):
    """For the user, in one line: `path: what is wrong; what was expected; what to do`."""


class _DownloadError(Exception):
    """No mirror delivered; the text says why, mirror by mirror."""


def _error(where: object, wrong: str, expected: str, remedy: str) -> DataError:
    return DataError(" ".join(f"{where}: {wrong}; expected {expected}; {remedy}".splitlines()))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images in memory, with their labels and where they came from."""

    name: str
    images: np.ndarray = field(repr=False)  # uint8 [N, C, H, W]
    labels: np.ndarray = field(repr=False)  # int32 [N]; all 0 when there are no classes
    classes: tuple[str, ...]  # names by label; () when unlabelled
    source: str  # for people
    md5: dict[str, str]  # file name -> md5 of the stored file

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 when unlabelled."""
        return len(self.classes)


@dataclass(frozen=True)
class Known:
    """A row of `DATASETS`: how a data set is recognised on disk and where it is downloaded."""

    classes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()  # lower case, letters and digits only
    mirrors: tuple[str, ...] = ()  # each ends with a slash
    md5: dict[str, str] = field(default_factory=dict)  # of the files as the mirrors serve them


DATASETS = {
    "mnist": Known(
        classes=_DIGITS,
        folders=("mnist", "mnistdata"),
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": Known(
        classes=(
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        folders=("fashionmnist", "fashion"),
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        md5={
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "kmnist": Known(
        classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        folders=("kmnist", "kuzushijimnist"),
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        md5={
            "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
        },
    ),
    "digits": Known(classes=_DIGITS),
    "image_folder": Known(),
}


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
        fallback: 'digits' to go on with the embedded digits when the download fails.
        split: 'train' or 'test'; ignored by 'digits' and 'image_folder', which have only one.
        say, progress: receive one-line messages; (file, bytes done, bytes in all or 0).

    Raises:
        DataError: unknown name, bad option, missing or damaged files, failed download.
    """
    _check_options(name, size, channels, fallback, split)
    if name == "image_folder":
        return _load_folder(root, size or 64, channels or 3)
    if name == "digits":
        return _fit(_load_digits(), size, channels)
    home = _home(root)
    try:
        files = _find(name, split, root, home) or _download(name, split, home, say, progress)
        dataset = _read_pair(name, split, *files)
    except _DownloadError as error:
        dataset = _instead(name, split, home / name, fallback, error, say)
    return _fit(dataset, size, channels)


def _instead(
    name: str, split: str, folder: Path, fallback: str | None, error: Exception, say: Say | None
) -> Dataset:
    wrong = f"cannot download {name} ({error})"
    remedy = f"put the files into {folder} or set MS_GAN_DATA to their folder"
    if fallback is None:
        remedy += ", or use the embedded 'digits'"
        raise _error(folder, wrong, _expected(split), remedy) from None
    digits = _load_digits()
    if say is not None:
        say(f"{name}: {wrong}; using the {len(digits):,} embedded digits instead; {remedy}")
    return digits


def _check_options(
    name: str, size: int | None, channels: int | None, fallback: str | None, split: str
) -> None:
    if name not in DATASETS:
        near = difflib.get_close_matches(str(name), DATASETS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "choose one of these"
        raise _error(name, "no such data set", f"one of {', '.join(DATASETS)}", hint)
    if size is not None and (type(size) is not int or size < 1):
        raise _error(name, f"size {size!r}", "a whole number of pixels >= 1", "change it")
    for option, value, choices in (
        ("channels", channels, (None, 1, 3)),
        ("fallback", fallback, (None, "digits")),
        ("split", split, ("train", "test")),
    ):
        if value not in choices:
            raise _error(name, f"{option} {value!r}", f"one of {choices}", "change it")


# ---- IDX files: reading ------------------------------------------------------------------------


def read_idx(path: str | os.PathLike, *, ndim: int | None = None) -> np.ndarray:
    """Read an IDX file of bytes, raw or gzipped (told by its content, not its name).

    Args:
        path: the file.
        ndim: number of dimensions it must have; None: 1 (labels) or 3 (images).

    Returns:
        uint8 [N] or [N, H, W].

    Raises:
        DataError: unreadable, empty, not IDX, truncated, too long or a damaged gzip stream.
    """
    again = "copy or download it again"
    content = _content(Path(path))
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise _error(path, f"damaged gzip file ({error})", "a whole one", again) from None
    magics = {1: b"\0\0\x08\x01", 3: b"\0\0\x08\x03"}
    expected = [magic for n, magic in magics.items() if ndim in (None, n)]
    if content[:4] not in expected:
        found = f"it begins with {content[:4].hex()}" if content else "it is empty"
        magic = f"magic number {' or '.join(magic.hex() for magic in expected)}"
        raise _error(path, f"not the IDX file looked for, {found}", magic, again)
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    size = start + int(np.prod(shape, dtype=object))  # dtype: a hostile header must not wrap round
    if len(content) != size:
        wrong = "truncated" if len(content) < size else "trailing bytes"
        raise _error(path, f"{wrong}, {len(content)} bytes", f"{size} by its header", again)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        wrong = f"cannot be read ({error.strerror})"
        raise _error(path, wrong, "a file", "check the path and its rights") from None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _read_pair(name: str, split: str, images: Path, labels: Path) -> Dataset:
    classes = DATASETS[name].classes
    x, y = read_idx(images, ndim=3), read_idx(labels, ndim=1)
    if len(x) != len(y) or not x.size:
        wrong = f"{len(x)} images but {len(y)} labels in {labels.name}"
        raise _error(images, wrong, "as many, at least one", "take both from one source")
    if y.max() >= len(classes):
        wanted = f"0 to {len(classes) - 1} in {name}"
        raise _error(labels, f"label {y.max()}", wanted, "use the files of this data set")
    md5 = {path.name: _md5(_content(path)) for path in (images, labels)}
    source = f"{split} files in {images.parent}"
    return Dataset(name, x[:, None], y.astype(np.int32), classes, source, md5)


# ---- IDX files: searching ----------------------------------------------------------------------


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
        raise _error(root, wrong, "a readable folder", "check its rights") from None
    owner = _owner(root)
    if owner == name or (owner is None and unnamed):
        bases.append(root)
    for folder in (base / part for base in bases for part in ("", "raw", split)):
        pair = _idx_file(folder, split, "images", 3), _idx_file(folder, split, "labels", 1)
        if all(pair):
            return pair
    return None


def _idx_file(folder: Path, split: str, what: str, ndim: int) -> Path | None:
    for ending, stem, joint in itertools.product(("", ".gz"), _STEMS[split], "-."):
        path = folder / f"{stem}-{what}{joint}idx{ndim}-ubyte{ending}"
        if path.is_file():
            return path
    return None


def _named_after(folder: Path) -> str | None:
    plain = re.sub("[^a-z0-9]", "", folder.name.lower())
    return next((name for name, known in DATASETS.items() if plain in known.folders), None)


def _owner(root: Path) -> str | None:
    """The data set that a folder is named after; raw/, train/ and test/ belong to their parent."""
    root = root.resolve()
    inner = root.name in ("raw", "train", "test")
    return _named_after(root.parent if inner else root)


def _home(root: str | os.PathLike | None) -> Path:
    """The folder where the data is or, without `root`, will be."""
    given, origin = root, "data root"
    if given is None:
        given, origin = os.environ.get("MS_GAN_DATA") or None, "MS_GAN_DATA"
    if given is None:
        return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "ms_gan"
    folder = Path(os.path.expanduser(given))
    if not folder.is_dir():
        raise _error(folder, "no such folder", f"the {origin}", "correct or create it")
    return folder


def _find(
    name: str, split: str, root: str | os.PathLike | None, home: Path
) -> tuple[Path, Path] | None:
    if root is not None:
        files = find_idx(home, split, name=name)
        if files is None:
            other = _owner(home) if _owner(home) != name else None
            named = f", it is named after {other}" if other else ""
            wanted = f"{_expected(split)} in it or in {split}/, raw/, {name}/ below it"
            remedy = "correct the root, or leave it out to download"
            raise _error(home, f"no {name} files of split '{split}'{named}", wanted, remedy)
        return files
    folders = [home] if os.environ.get("MS_GAN_DATA") else [Path("data"), home]
    # Files in a folder without a name are taken for MNIST, never for another set: the wrong
    # pictures in silence are worse than a download.
    found = (find_idx(folder, split, name=name, unnamed=name == "mnist") for folder in folders)
    return next(filter(None, found), None)


def _expected(split: str) -> str:
    stem = _STEMS[split][0]
    return f"{stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte (also .gz)"


# ---- IDX files: downloading --------------------------------------------------------------------


def _download(
    name: str, split: str, home: Path, say: Say | None, progress: Progress | None
) -> tuple[Path, Path]:
    known, folder = DATASETS[name], home / name
    if say is not None:
        say(f"{name}: downloading to {folder}")
    files = [folder / file for file in known.md5 if file.startswith(_STEMS[split][0])]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock"):
            for file in files:
                if not file.exists():  # else another process was faster
                    _fetch(file, known, progress)
    except OSError as error:
        raise _DownloadError(f"cannot write: {error.strerror}") from None
    images, labels = files
    return images, labels


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One process at a time, so that a half file has one writer; freed by the system on a crash."""
    with path.open("a") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(target: Path, known: Known, progress: Progress | None) -> None:
    """Try the mirrors in turn; the next one, or the next run, resumes what one left unfinished."""
    part = target.with_name(target.name + ".part")
    reasons = []
    for mirror in known.mirrors:
        try:
            _fetch_from(mirror + target.name, part, known.md5[target.name], progress)
        except (OSError, http.client.HTTPException) as error:
            plain = type(error) is urllib.error.URLError  # its own text only wraps the reason's
            reasons.append(f"{urlsplit(mirror).netloc}: {error.reason if plain else error}")
        else:
            os.replace(part, target)  # atomic: a file under its own name is always whole
            return
    raise _DownloadError(" ".join(", ".join(reasons).splitlines()))


def _fetch_from(url: str, part: Path, md5: str, progress: Progress | None) -> None:
    resumed = part.exists()
    _receive(url, part, progress)
    if _md5(part.read_bytes()) != md5:
        part.unlink()
        if not resumed:
            raise OSError("wrong md5")
        _fetch_from(url, part, md5, progress)  # the old half may be to blame, not this mirror


def _receive(url: str, part: Path, progress: Progress | None) -> None:
    """Bring `part` to its full length, from where it ends if the server can."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        reply = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and done:  # nothing after `done`: it was whole already
            return
        raise
    with reply:
        if reply.status != 206:
            done = 0
        total = done + int(reply.headers["Content-Length"] or -done)  # 0: unknown
        with part.open("ab" if done else "wb") as file:
            while block := reply.read(1 << 16):
                done += file.write(block)
                if progress is not None:
                    progress(part.stem, done, total)
    if done < total:
        raise OSError(f"cut off after {done} of {total} bytes")


# ---- digits and picture folders ----------------------------------------------------------------


def _load_digits() -> Dataset:
    """The 1,797 8x8 digits inside scikit-learn in the MNIST look: 20x20 in the middle of 28x28."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        remedy = "run `pip install scikit-learn`"
        raise _error("digits", "no scikit-learn", "it, as it holds them", remedy) from None
    small, labels = load_digits(return_X_y=True)  # float64 [N, 64], 0 .. 16
    small = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    blurred = _resize(small, 20, Image.Resampling.BICUBIC).astype(np.int32)
    images = np.zeros((len(small), 1, 28, 28), np.uint8)
    # The steeper slope gives strokes and edges as thin and white as MNIST's.
    images[:, 0, 4:24, 4:24] = np.clip(2 * (blurred - 70), 0, 255)
    md5 = {"digits": _md5(images.tobytes())}
    source = "embedded in scikit-learn (UCI optical recognition of handwritten digits)"
    return Dataset("digits", images, labels.astype(np.int32), _DIGITS, source, md5)


def _resize(images: np.ndarray, size: int, method: Image.Resampling) -> np.ndarray:
    """uint8 [N, H, W] -> [N, size, size]."""
    resized = np.empty((len(images), size, size), np.uint8)
    for row, image in zip(resized, images, strict=True):
        row[:] = Image.fromarray(image).resize((size, size), method)
    return resized


def _fit(dataset: Dataset, size: int | None, channels: int | None) -> Dataset:
    """Bring grey images [N, 1, H, W] to the size and the number of channels asked for."""
    images = dataset.images
    if size is not None and images.shape[2:] != (size, size):
        images = _resize(images[:, 0], size, Image.Resampling.BILINEAR)[:, None]
    return replace(dataset, images=np.repeat(images, 3, axis=1) if channels == 3 else images)


def _load_folder(root: str | os.PathLike | None, size: int, channels: int) -> Dataset:
    """Every picture below a folder; first-level sub-folders are classes if all lie in one."""
    if root is None:
        raise _error("image_folder", "no root", "a folder of pictures", "set the data root")
    root = _home(root)
    names = sorted(
        path.relative_to(root)
        for path in root.rglob("*")
        if path.suffix.lower() in ENDINGS and path.is_file()
    )
    names = [n for n in names if not any(part.startswith(".") for part in n.parts)]
    if not names:
        raise _error(root, "no pictures", f"files in {', '.join(ENDINGS)}", "correct the root")
    images = np.empty((len(names), channels, size, size), np.uint8)
    digest = hashlib.md5(usedforsecurity=False)
    for row, name in zip(images, names, strict=True):
        content = _content(root / name)
        digest.update(os.fsencode(name.as_posix()) + b"\0" + content)
        row[:] = _picture(root / name, content, size, channels)
    tops = [name.parts[0] for name in names]
    classes = tuple(sorted(set(tops)))
    if len(classes) < 2 or any(len(name.parts) == 1 for name in names):
        classes = ()
    labels = np.array([classes.index(top) if classes else 0 for top in tops], np.int32)
    md5 = {root.resolve().name: digest.hexdigest()}
    return Dataset("image_folder", images, labels, classes, f"pictures in {root}", md5)


def _picture(path: Path, content: bytes, size: int, channels: int) -> np.ndarray:
    """Decode one picture, turned upright, its largest centred square scaled: uint8 [C, size, size].

    What is transparent becomes black, the background of the other data sets.
    """
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if picture.mode.startswith("I"):  # 16 bits: Pillow would cut at 255 instead of scaling
            picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
        if "A" in picture.getbands() or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
            picture = Image.alpha_composite(black, picture)
        picture = picture.convert("L" if channels == 1 else "RGB")
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        wanted, remedy = "a whole PNG, JPEG, BMP or WebP", "repair or remove it"
        raise _error(path, f"unreadable picture ({reason})", wanted, remedy) from None
    return np.asarray(picture).reshape(size, size, channels).transpose(2, 0, 1)


# ---- batches -----------------------------------------------------------------------------------


def to_float(images: np.ndarray) -> np.ndarray:
    """uint8 0 .. 255 of any shape -> float32 in [-1, 1]."""
    x = images.astype(np.float32)
    x /= 127.5
    x -= 1
    return x


class Batches:
    """The batches of a training run as a pure function of (seed, index): nothing to save on stop.

    Args:
        dataset: the images.
        batch_size: images per batch, 1 .. len(dataset).
        seed: whole number >= 0.
        sampling: 'shuffle': every epoch is a new permutation, its last partial batch dropped;
            'random': every batch is drawn uniformly with replacement.

    Raises:
        DataError: a bad batch_size, seed or sampling.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *, seed: int, sampling: str = "shuffle"):
        samplings = ("shuffle", "random")
        for wrong, good, expected in (
            (f"batch_size {batch_size}", 1 <= batch_size <= len(dataset), f"1 to {len(dataset)}"),
            (f"seed {seed}", seed >= 0, "a number >= 0"),
            (f"sampling {sampling!r}", sampling in samplings, f"one of {samplings}"),
        ):
            if not good:
                raise _error(dataset.name, wrong, expected, "change it")
        self.dataset, self.batch_size = dataset, batch_size
        self.seed, self.sampling = seed, sampling
        self.steps_per_epoch = len(dataset) // batch_size
        self._current: tuple[int, np.ndarray] | None = None  # epoch and its order

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Batch number `index` >= 0: float32 [B, C, H, W] in [-1, 1] and int32 [B]."""
        if index < 0:
            raise _error(self.dataset.name, f"batch {index}", "a number >= 0", "change it")
        rows = self._drawn(index) if self.sampling == "random" else self._shuffled(index)
        return to_float(self.dataset.images[rows]), self.dataset.labels[rows]

    def _drawn(self, index: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, _DRAW_TAG, index])
        return rng.integers(len(self.dataset), size=self.batch_size)

    def _shuffled(self, index: int) -> np.ndarray:
        epoch, step = divmod(index, self.steps_per_epoch)
        current = self._current
        if current is None or current[0] != epoch:
            rng = np.random.default_rng([self.seed, _ORDER_TAG, epoch])
            current = self._current = (epoch, rng.permutation(len(self.dataset)))
        return current[1][step * self.batch_size : (step + 1) * self.batch_size]
