"""A small classifier of the data at hand; its last hidden layer is where the metrics compare.

Its accuracy is not the aim; features that tell one digit's shape from another's are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindspore import Tensor, nn, ops

from ms_gan import data
from ms_gan.convolution.layers import Conv2d
from ms_gan.errors import UserError
from ms_gan.runs import checkpoint, shipped
from ms_gan.system import program, streams
from ms_gan.system.runtime import set_seed
from ms_gan.system.streams import Stream
from ms_gan.training.schedules import RampSchedule

BATCH = 250  # images of a forward pass: one compilation, the same bits for any number
HOST_BATCH = 50  # of a NumPy pass: its patches stay in the cache
TRAINING_BATCH = 128
SHIFT = 2  # pixels to each side, while training


class ClassifierError(UserError, ValueError):
    """A classifier, or data for one, that cannot be used."""


class Classifier(nn.Cell):
    """Blocks of convolution, pooling, BatchNorm and ReLU until 4x4 or less, then two dense layers.

    Args:
        image_shape: (C, H, W).
        num_classes: K, at least 2.
        widths: channels of the blocks; the last is that of all further ones.
        features: d, the width of the last hidden layer.

    Inputs: float32 [N, C, H, W] in [-1, 1]. Outputs: scores float32 [N, K], features float32
    [N, d], not negative.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        widths: tuple[int, ...] = (16, 48, 96),
        features: int = 96,
    ):
        super().__init__()
        previous, height, width = image_shape
        layers: list[nn.Cell] = []
        while min(height, width) > 1 and (max(height, width) > 4 or not layers):
            channels = widths[min(len(layers) // 4, len(widths) - 1)]
            kernel = 3 if layers else 5
            layers += [
                Conv2d(previous, channels, kernel, pad_mode="same"), nn.MaxPool2d(2, 2),
                nn.BatchNorm2d(channels), nn.ReLU(),
            ]  # fmt: skip
            previous, height, width = channels, height // 2, width // 2
        self.body = nn.SequentialCell(*layers)
        self.hidden = nn.Dense(previous * height * width, features)
        self.head = nn.Dense(features, num_classes)
        self.image_shape, self.num_classes, self.num_features = image_shape, num_classes, features

    def construct(self, x):
        features = ops.relu(self.hidden(self.body(x).reshape((x.shape[0], -1))))
        return self.head(features), features


class WithLoss(nn.Cell):
    """Mean cross-entropy of a classifier; inputs: x [N, C, H, W], labels int32 [N]."""

    def __init__(self, classifier: nn.Cell):
        super().__init__(auto_prefix=False)
        self.classifier = classifier
        self.loss = nn.CrossEntropyLoss()

    def construct(self, x, labels):
        return self.loss(self.classifier(x)[0], labels)


def shifted(x: np.ndarray, rng: np.random.Generator, most: int = SHIFT) -> np.ndarray:
    """Each image [C, H, W] of x moved by up to `most` pixels; the edge is repeated."""
    height, width = x.shape[2:]
    wide = np.pad(x, ((0, 0), (0, 0), (most, most), (most, most)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (height, width), axis=(2, 3))
    down, right = rng.integers(0, 2 * most + 1, (2, len(x)))
    return windows[np.arange(len(x)), :, down, right]


# --- training and using it ----------------------------------------------------------------------


def train(
    dataset: data.Dataset,
    *,
    epochs: int,
    seed: int = 0,
    lr: float = 3e-3,
    show: Callable[[str], None] = lambda line: None,
) -> Classifier:
    """A classifier of the data set's classes, in inference mode.

    Adam with a cosine to 0, images shifted by up to two pixels; no image of a test set is seen,
    not even to choose the best epoch.

    Raises:
        ClassifierError: the data set has fewer than two classes.
    """
    if dataset.num_classes < 2:
        raise ClassifierError(
            f"{dataset.name}: has no classes; expected labels (or pictures in sub-folders)"
        )
    set_seed(seed)
    classifier = Classifier(image_shape=dataset.image_shape, num_classes=dataset.num_classes)
    batches = data.Batches(dataset, min(TRAINING_BATCH, len(dataset)), seed=seed)
    steps = epochs * batches.steps_per_epoch
    optimizer = nn.Adam(classifier.trainable_params(), learning_rate=RampSchedule(lr, 0.0, steps))
    update = nn.TrainOneStepCell(WithLoss(classifier), optimizer)
    update.set_train()
    start, losses = time.monotonic(), []
    for index in range(steps):
        x, labels = batches.at(index)
        x = shifted(x, streams.rng(Stream.SHIFT, seed, index))
        losses.append(update(Tensor(x), Tensor(labels)))
        if len(losses) == batches.steps_per_epoch:
            loss = np.mean([float(value.asnumpy()) for value in losses])
            epoch = (index + 1) // batches.steps_per_epoch
            show(f"epoch {epoch}/{epochs}: loss {loss:.4f}, {time.monotonic() - start:.0f} s")
            losses = []
    classifier.set_train(False)
    return classifier


def predict(
    classifier: Classifier, images: np.ndarray, *, host: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 [N, d] and probabilities float32 [N, K] of images.

    Args:
        images: float [N, C, H, W] in [-1, 1], or uint8, 0 to 255.
        host: compute with NumPy: the same but for rounding, and as fast where MindSpore's
            convolutions are not (`runtime.limit_instruction_set`).

    Raises:
        ClassifierError: another shape, another range, NaN.
    """
    _check_images(classifier, images)
    forward, size = (_on_host, HOST_BATCH) if host else (_on_device, BATCH)
    features, probabilities = [], []
    for start in range(0, len(images), size):
        x = images[start : start + size]
        x = data.to_float(x) if x.dtype == np.uint8 else x.astype(np.float32)
        scores, hidden = forward(classifier, x)
        features.append(hidden)
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities.append(p / p.sum(axis=1, keepdims=True))
    return np.concatenate(features), np.concatenate(probabilities)


def _on_device(classifier: Classifier, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    full = np.concatenate([x, np.zeros((BATCH - len(x), *x.shape[1:]), np.float32)])
    scores, features = (part.asnumpy()[: len(x)] for part in classifier(Tensor(full)))
    return scores, features


def _on_host(classifier: Classifier, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Classifier.construct` in NumPy, channels last; a convolution is one matrix product."""
    x = x.transpose(0, 2, 3, 1)
    for cell in classifier.body:
        num, height, width, _ = x.shape
        if isinstance(cell, nn.Conv2d):
            weight = cell.weight.asnumpy().transpose(2, 3, 1, 0)  # [k, k, C, C']
            k = len(weight)
            wide = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
            patches = np.concatenate(
                [wide[:, i : i + height, j : j + width] for i in range(k) for j in range(k)], axis=3
            )
            product = patches.reshape(-1, patches.shape[3]) @ weight.reshape(-1, weight.shape[3])
            x = product.reshape(num, height, width, -1)
        elif isinstance(cell, nn.MaxPool2d):
            height, width = height // 2 * 2, width // 2 * 2
            x = np.maximum(x[:, 0:height:2, :width], x[:, 1:height:2, :width])
            x = np.maximum(x[:, :, 0::2], x[:, :, 1::2])
        elif isinstance(cell, nn.BatchNorm2d):
            scale = cell.gamma.asnumpy() / np.sqrt(cell.moving_variance.asnumpy() + cell.eps)
            x *= scale.astype(np.float32)
            x += cell.beta.asnumpy() - cell.moving_mean.asnumpy() * scale.astype(np.float32)
        else:
            x = np.maximum(x, 0)
    x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    hidden, head = classifier.hidden, classifier.head
    features = np.maximum(x @ hidden.weight.asnumpy().T + hidden.bias.asnumpy(), 0)
    return features @ head.weight.asnumpy().T + head.bias.asnumpy(), features


def _check_images(classifier: Classifier, images: np.ndarray) -> None:
    wanted = list(classifier.image_shape)
    if images.ndim != 4 or list(images.shape[1:]) != wanted or len(images) == 0:
        raise ClassifierError(
            f"images: have the shape {list(images.shape)}; the classifier takes [N, "
            f"{', '.join(map(str, wanted))}]"
        )
    if images.dtype == np.uint8:
        return
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ClassifierError("images: hold NaN or infinity; expected values in [-1, 1]")
    if low < -1.001 or high > 1.001:
        raise ClassifierError(f"images: values {low:g} to {high:g}; expected [-1, 1]")
    if low >= 0:
        raise ClassifierError(
            f"images: values {low:g} to {high:g}, none below 0; expected [-1, 1], -1 is black"
        )


def accuracy(classifier: Classifier, dataset: data.Dataset) -> float:
    """Share of the images whose most probable class is the right one."""
    answers = predict(classifier, dataset.images)[1].argmax(axis=1)
    return float(np.mean(answers == dataset.labels))


def doubt(accuracy: float, dataset: data.Dataset) -> str | None:
    """What to say of a classifier that is hardly better than a guess; None: it is better.

    The guess is the most frequent class of these images. Better is what exceeds it by two standard
    deviations of so many images, and by a tenth of what there is to gain.

    Args:
        accuracy: of the classifier, on these images.
    """
    chance, num = float(dataset.class_shares.max(initial=0)), len(dataset)
    if accuracy - chance > max(2 * np.sqrt(chance * (1 - chance) / num), 0.1 * (1 - chance)):
        return None
    return (
        f"the classifier is right for {100 * accuracy:.1f} % of {num:,} test images, hardly better "
        f"than chance (always the most frequent class: {100 * chance:.1f} %)"
    )


# --- files --------------------------------------------------------------------------------------


def save(path: str | Path, classifier: Classifier, meta: Mapping[str, Any]) -> None:
    """One .ckpt file with what is needed to use it: image shape, classes, and `meta`."""
    own = {
        "kind": "classifier",
        "image_shape": list(classifier.image_shape),
        "num_classes": classifier.num_classes,
    }
    checkpoint.save(path, classifier.get_parameters(), {**own, **meta})


def load(path: str | Path) -> tuple[Classifier, dict[str, Any]]:
    """A classifier in inference mode from its file; the shipped ones are checked by their sha256.

    Raises:
        CheckpointError: not a classifier of this package, or a shipped one that was changed.
    """
    arrays, meta = checkpoint.load(path)
    if meta is None or meta.get("kind") != "classifier":
        raise checkpoint.CheckpointError(
            f"{path}: not a classifier; make one with {program.called('train-classifier')}"
        )
    classifier = Classifier(image_shape=tuple(meta["image_shape"]), num_classes=meta["num_classes"])
    checkpoint.restore(classifier.get_parameters(), arrays, path)
    classifier.set_train(False)
    return classifier, meta


def shipped_for(
    name: str, image_shape: tuple[int, int, int]
) -> tuple[Classifier, dict[str, Any]] | None:
    """The shipped classifier of a data set, if there is one and it takes such images; `load`ed."""
    file = shipped.CLASSIFIERS.get(name)
    if file is None:
        return None
    net, meta = load(shipped.ASSETS / file)
    return (net, meta) if net.image_shape == tuple(image_shape) else None
