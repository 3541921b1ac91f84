"""What is exported: a net with the names, shapes and meaning of what goes in and comes out.

A generator that is made from something else than latents, or any other net, is one more function
here that returns a `Subject`; the formats know no more than this.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mindspore import Tensor, nn, ops

from ms_gan.errors import UsageError
from ms_gan.evaluation import classifier as classifiers
from ms_gan.evaluation.classifier import Classifier
from ms_gan.runs import sampling
from ms_gan.runs.sampling import Sampler
from ms_gan.runs.styles import StyleSampler
from ms_gan.runs.translating import Translator
from ms_gan.system import streams
from ms_gan.system.streams import Stream
from ms_gan.version import __version__

TOLERANCE = 1e-4  # of any number of an output
SEED = 1  # of the inputs on which a file is compared, as `generate` has it by default


@dataclass(frozen=True)
class Port:
    """One input or output of an exported net.

    Args:
        name: by which the file calls it.
        shape: behind N, the number of rows.
        dtype: 'float32' or 'int32'.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def zeros(self, rows: int) -> np.ndarray:
        return np.zeros((rows, *self.shape), self.dtype)


@dataclass(frozen=True, eq=False)
class Subject:
    """A net in inference mode that is to become a file.

    Args:
        net: takes a tensor for each of `inputs`; returns one for each of `outputs`, several as a
            tuple. Whatever it must not leave (the range of the images) is part of it.
        examples: n -> n rows of each input.
        expected: the inputs -> each output, as the package itself makes it.
        about: what is known of the net; lists and numbers are written as JSON.
        tolerance: by which an output of the file may differ from that of the package.
    """

    net: nn.Cell
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    examples: Callable[[int], tuple[np.ndarray, ...]]
    expected: Callable[..., tuple[np.ndarray, ...]]
    about: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = TOLERANCE

    def metadata(self) -> dict[str, str]:
        """What is written into the file beside the net: words as they are, all else as JSON."""
        known = {"ms_gan": __version__, **self.about}
        return {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in known.items()
            if value is not None
        }


class Clipped(nn.Cell):
    """A generator with its images in [-1, 1], as `sampling.generate` returns them."""

    def __init__(self, generator: nn.Cell):
        super().__init__(auto_prefix=False)
        self.generator = generator

    def construct(self, *inputs):
        return ops.clamp(self.generator(*inputs), -1.0, 1.0)


def of_sampler(sampler: Sampler) -> Subject:
    """A generator: latents `z` and, of a conditional one, `labels` -> `images`."""
    labelled, meta = sampler.num_classes > 0, sampler.meta
    if sampling.shares_of(sampler.net, meta):
        raise UsageError("this generator is still growing; train it on to its last level first")

    def examples(num: int) -> tuple[np.ndarray, ...]:
        z = sampling.latents(SEED, num, sampler.latent_dim)
        return (z, sampler.labels(num)) if labelled else (z,)

    def expected(z: np.ndarray, labels: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
        return (sampler.made(z, labels),)

    return Subject(
        net=Clipped(sampler.net).set_train(False),
        inputs=(Port("z", (sampler.latent_dim,)), *([Port("labels", (), "int32")] * labelled)),
        outputs=(Port("images", tuple(sampler.image_shape)),),
        examples=examples,
        expected=expected,
        tolerance=TOLERANCE * tanh_scale(meta),
        about={
            "kind": "generator",
            "recipe": meta["config"]["name"],
            "model": meta["config"]["model"]["name"],
            "step": meta.get("step"),
            "data": meta.get("data"),
            "latents": "N(0, 1)",
            "latent_dim": sampler.latent_dim,
            "image_shape": list(sampler.image_shape),
            "range": [-1, 1],
            "num_classes": sampler.num_classes,
            "classes": list(sampler.classes) if labelled else meta.get("classes"),
        },
    )


def of_translator(translator: Translator) -> Subject:
    """A generator from picture to picture, of the size of its training: `given` -> `images`."""
    meta, config = translator.meta, translator.meta["config"]
    shape = tuple(translator.given.shape)

    def examples(num: int) -> tuple[np.ndarray, ...]:
        rng = streams.rng(Stream.LATENTS, SEED)
        real = rng.uniform(-1, 1, (num, *translator.image_shape)).astype(np.float32)
        return (translator.receive(real, SEED),)

    def expected(given: np.ndarray) -> tuple[np.ndarray, ...]:
        return (translator.made(given),)

    return Subject(
        net=Clipped(translator.net).set_train(False),
        inputs=(Port("given", shape),),
        outputs=(Port("images", tuple(translator.image_shape)),),
        examples=examples,
        expected=expected,
        about={
            "kind": "generator",
            "recipe": config["name"],
            "model": config["model"]["name"],
            "step": meta.get("step"),
            "data": meta.get("data"),
            "receives": config["input"]["name"],
            "given_shape": list(shape),
            "image_shape": list(translator.image_shape),
            "range": [-1, 1],
        },
    )


def tanh_scale(meta: Mapping[str, Any]) -> float:
    """How much the last tanh is stretched: twice where the images are 2 tanh - 1.

    MindSpore's tanh on CPU is wrong by up to 1.0e-4 (at 5), that of ONNX Runtime by 3e-7: images
    of the two differ by up to 9.6e-5, and by twice that there.
    """
    return 2.0 if meta["config"]["model"].get("output") == "unit_tanh" else 1.0


def of_classifier(net: Classifier, meta: Mapping[str, Any]) -> Subject:
    """A classifier: `images` -> `scores`, whose softmax are probabilities, and `features`."""

    def examples(num: int) -> tuple[np.ndarray, ...]:
        rng = streams.rng(Stream.LATENTS, SEED)
        return (rng.uniform(-1, 1, (num, *net.image_shape)).astype(np.float32),)

    def expected(images: np.ndarray) -> tuple[np.ndarray, ...]:
        size = classifiers.BATCH
        full = np.concatenate([images, np.zeros((-len(images) % size, *net.image_shape))])
        parts = [
            net(Tensor(full[i : i + size].astype(np.float32))) for i in range(0, len(full), size)
        ]
        whole = (np.concatenate([p.asnumpy() for p in part]) for part in zip(*parts, strict=True))
        return tuple(part[: len(images)] for part in whole)

    return Subject(
        net=net,
        inputs=(Port("images", tuple(net.image_shape)),),
        outputs=(Port("scores", (net.num_classes,)), Port("features", (net.num_features,))),
        examples=examples,
        expected=expected,
        about={
            "kind": "classifier",
            "data": meta.get("data"),
            "accuracy": meta.get("accuracy"),
            "image_shape": list(net.image_shape),
            "range": [-1, 1],
            "num_classes": net.num_classes,
            "classes": meta.get("classes"),
        },
    )


SUBJECTS = {
    Sampler: of_sampler,
    StyleSampler: of_sampler,
    Translator: of_translator,
}  # what `build.load_sampler` returns -> how it is exported


def of_generator(loaded: Any) -> Subject:
    """Whatever `build.load_sampler` returned."""
    return SUBJECTS[type(loaded)](loaded)
