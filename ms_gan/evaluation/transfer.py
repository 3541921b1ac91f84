"""What a translation between two labelled domains is worth to a classifier.

Hoffman et al. 2018 (CyCADA), arXiv:1711.03213, section 4.1: labels of one domain only, a classifier
trained on its images as the translator draws them in the other domain, tested on real images of the
other one. Beside it: the same without translation (the floor), and trained on real images of the
other domain (the ceiling).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ms_gan import data
from ms_gan.evaluation import classifier as clf
from ms_gan.evaluation.evaluator import some_rows
from ms_gan.runs import visualise
from ms_gan.runs.translating import Translator

MOST, EPOCHS = 10_000, 4  # training images; passes over them
WAYS = ("translated", "as it is", "real ones")  # what the classifier is trained on

Parts = tuple[data.Dataset, data.Dataset]  # training and test images of one domain


def possible(a: Parts, b: Parts) -> bool:
    """Whether both domains have the same classes."""
    return a[0].num_classes > 1 and a[0].classes == b[0].classes


def transfer(
    translator: Translator, a: Parts, b: Parts, *, seed: int, say: Callable[[str], None]
) -> dict[str, dict[str, float]]:
    """{"a to b": {one of WAYS: share of b's test images that is read right}, "b to a": …}

    Args:
        translator: of pairs, images of a first.
        a, b: images [N, C, H, W] of the two domains, with the same classes.
        seed: of the classifiers.
    """
    found = {}
    for way, source, target, first in (("a to b", a, b, True), ("b to a", b, a, False)):
        train = source[0].take(some_rows(len(source[0]), min(MOST, len(source[0]))))
        real = target[0].take(some_rows(len(target[0]), min(MOST, len(target[0]))))
        drawn = replace(train, images=translated(translator, train.images, first=first))
        found[way] = {}
        for name, images in zip(WAYS, (drawn, train, real), strict=True):
            net = clf.train(images, epochs=EPOCHS, seed=seed)
            found[way][name] = clf.accuracy(net, target[1])
            say(f"{way}: a classifier of images {name}: {100 * found[way][name]:.1f} % right")
    return found


def translated(translator: Translator, images: np.ndarray, *, first: bool) -> np.ndarray:
    """Images uint8 [N, C, H, W] of the first or of the second domain in the other one, uint8."""
    x = data.to_float(images)
    half = images.shape[1]
    made = translator.made(np.concatenate([x, x], axis=1))  # each half is drawn by itself
    return visualise.to_uint8(made[:, half:] if first else made[:, :half])


def table(found: dict[str, dict[str, float]]) -> str:
    """The shares for people."""
    lines = [f"{'trained on images':<29}" + "".join(f"{way:>12}" for way in WAYS)]
    for way, shares in found.items():
        lines.append(f"{way:<29}" + "".join(f"{100 * shares[name]:>10.1f} %" for name in WAYS))
    return "\n".join(lines)
