"""The graphs that are looked at: the step and the generator of every recipe, and the classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindspore import Tensor, nn

from ms_gan import build
from ms_gan.evaluation import classifier
from ms_gan.portability.graphs import Compiled, compiled, together
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config
from ms_gan.system.runtime import set_layers
from ms_gan.training.feed import Feed

BATCH, CLASSES = 8, 10
# Narrow nets: the same primitives in a hundredth of the time. A model that is not here is compiled
# as wide as its recipe says.
NARROW = {
    "gan": ["model.g_widths=[16, 16]", "model.d_widths=[16, 16]"],
    "dcgan": ["model.g_width=4", "model.d_width=4"],
    "dcgan28": ["model.g_width=4", "model.d_width=4"],
    "deep_mlp_conv": ["model.g_widths=[16, 16]", "model.d_widths=[4, 8]"],
    "r3gan": ["model.g_width=8", "model.d_width=8"],
    "progan": ["model.levels=[1, 1]", "model.g_widths=[4, 4]", "model.d_widths=[4, 4]"],
    "stylegan": ["model.g_widths=[4, 4]", "model.d_widths=[4, 4]"],
    "srgan": ["data.size=16", "model.g_width=4", "model.d_width=4"],
    "inpainting": ["model.g_width=4", "model.d_width=4"],
    "pix2pix": ["model.g_width=4", "model.d_width=4"],
    "cyclegan": ["model.g_width=4", "model.d_width=4"],
}


class Noise:
    """Images of no data set, whose values do not matter here."""

    batch_size = BATCH

    def __init__(self, shape: Sequence[int]):
        self.shape = tuple(shape)

    def at(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(BATCH, dtype=np.int32) % CLASSES
        return np.zeros((BATCH, *self.shape), np.float32), labels


def graphs(recipe: str) -> dict[str, Compiled]:
    """'step' and 'generator' of a recipe, its name in configs/ or a file."""
    config = narrow(recipe)
    return {"step": of_step(config), "generator": of_generator(config)}


def narrow(recipe: str, *overrides: str) -> Config:
    """A recipe at smoke size, with MindSpore's own layers, as other devices have them."""
    path = reader.find(recipe)
    sizes = NARROW.get(reader.load(path).model.name, [])
    given = [f"data.batch_size={BATCH}", "runtime.layers=native", *sizes, *overrides]
    return reader.load(path, given)


def of_step(config: Config) -> Compiled:
    """The fused update; where there are several (levels, lazy parts), all of them together."""
    shape = image_shape(config)
    state = build.build_training(config, shape, CLASSES, {})
    given = Feed(Noise(shape), state.rows, seed=0).at(0)
    return together([compiled(update, *given) for update in state.updates.all()])


def of_generator(config: Config) -> Compiled:
    """The generator while it is used."""
    set_layers(config.runtime.layers)
    shape = image_shape(config)
    net = build.frozen(build.build_net(config, "generator", shape, CLASSES))
    given = build.build_input(config, shape).shape or (net.latent_dim,)
    received = [Tensor(np.zeros((BATCH, *given), np.float32))]
    labels = [Tensor(np.zeros(BATCH, np.int32))] * (net.num_classes > 0)
    graphs = [compiled(net, *received, *labels)]
    if hasattr(net, "growth"):  # while it grows it shows several levels
        shares = Tensor(net.growth.shares(0))
        graphs.append(compiled(net, *received, *(labels or [None]), shares))
    return together(graphs)


def image_shape(config: Config) -> tuple[int, int, int]:
    """Of the recipe's images, as far as it says; else those of MNIST. A pair has twice as many
    channels."""
    options = config.data.options
    size = options.get("size") or 28
    height, width = (size, size) if isinstance(size, int) else size
    channels = options.get("channels") or 1
    return channels * (1 if config.data.pair is None else 2), height, width


def of_classifier() -> dict[str, Compiled]:
    """The classifier while it is trained, and while it is used."""
    shape = (1, 28, 28)
    net = classifier.Classifier(image_shape=shape, num_classes=CLASSES)
    images, labels = map(Tensor, Noise(shape).at(0))
    update = nn.TrainOneStepCell(classifier.WithLoss(net), nn.Adam(net.trainable_params()))
    update.set_train()
    trained = compiled(update, images, labels)
    used = classifier.Classifier(image_shape=shape, num_classes=CLASSES).set_train(False)
    return {"classifier's step": trained, "classifier": compiled(used, images)}
