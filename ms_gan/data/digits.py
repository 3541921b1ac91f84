"""The embedded digits: real handwriting without a download."""

import numpy as np
from PIL import Image

from ms_gan.data.dataset import Dataset, Size, data_error, fit, md5_of, resize
from ms_gan.data.known import DIGITS

NUM = 1797


def embedded_digits() -> Dataset:
    """The 1,797 8x8 digits inside scikit-learn in the MNIST look: 20x20 in the middle of 28x28."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        remedy = "run `pip install scikit-learn`"
        raise data_error("digits", "no scikit-learn", "it, as it holds them", remedy) from None
    small, labels = load_digits(return_X_y=True)  # float64 [N, 64], 0 .. 16
    small = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    blurred = resize(small, 20, Image.Resampling.BICUBIC).astype(np.int32)
    images = np.zeros((len(small), 1, 28, 28), np.uint8)
    # The steeper slope gives strokes and edges as thin and white as MNIST's.
    images[:, 0, 4:24, 4:24] = np.clip(2 * (blurred - 70), 0, 255)
    md5 = {"digits": md5_of(images.tobytes())}
    source = "embedded in scikit-learn (UCI optical recognition of handwritten digits)"
    return Dataset("digits", images, labels.astype(np.int32), DIGITS, source, md5)


def load(*, size: Size | None = None, channels: int | None = None) -> Dataset:
    """The 1,797 digits inside scikit-learn, as a data set that a recipe names.

    Args:
        size: height and width in pixels, a number or [height, width]; null: 28.
        channels: 1 (grey) or 3 (the same three times); null: 1.
    """
    return fit(embedded_digits(), size, channels)
