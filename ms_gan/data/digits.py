"""The embedded digits: real handwriting without a download."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from ms_gan.data.dataset import Dataset, Size, data_error, fit, md5_of, resize
from ms_gan.data.known import DIGITS

NUM = 1797


def embedded_digits() -> Dataset:
    """The 1,797 8x8 digits inside scikit-learn in the MNIST look: 20x20 in the middle of 28x28."""
    small, labels = held_by_sklearn()
    small = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    blurred = resize(small, 20, Image.Resampling.BICUBIC).astype(np.int32)
    images = np.zeros((len(small), 1, 28, 28), np.uint8)
    # The steeper slope gives strokes and edges as thin and white as MNIST's.
    images[:, 0, 4:24, 4:24] = np.clip(2 * (blurred - 70), 0, 255)
    md5 = {"digits": md5_of(images.tobytes())}
    source = "embedded in scikit-learn (UCI optical recognition of handwritten digits)"
    return Dataset("digits", images, labels.astype(np.int32), DIGITS, source, md5)


def held_by_sklearn() -> tuple[np.ndarray, np.ndarray]:
    """[N, 64], 0 .. 16, and labels [N]: from its file, since to import scikit-learn takes 0.8 s."""
    try:
        package = importlib.util.find_spec("sklearn")
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            table = np.loadtxt(file, np.uint8, delimiter=",")
            return table[:, :-1], table[:, -1]
        from sklearn.datasets import load_digits
    except (ImportError, AttributeError, TypeError):  # it is not there, or removed by half
        remedy = "run `pip install scikit-learn`"
        raise data_error("digits", "no scikit-learn", "it, as it holds them", remedy) from None
    return load_digits(return_X_y=True)


def load(*, size: Size | None = None, channels: int | None = None) -> Dataset:
    """The 1,797 digits inside scikit-learn, as a data set that a recipe names.

    Args:
        size: height and width in pixels, a number or [height, width]; null: 28.
        channels: 1 (grey) or 3 (the same three times); null: 1.
    """
    return fit(embedded_digits(), size, channels)
