"""The checkpoints that MindSpore's two GAN tutorials leave, as checkpoints of this package."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Tutorial:
    """A row of `TUTORIALS`.

    Args:
        title: for people.
        generator, discriminator: match the beginning of a name of theirs; what follows stands
            behind `generator.model.` or `discriminator.model.` here.
        described: (arrays by their names here) -> the recipe, a dict, and the image shape.
        note: what a person should know about its images.
    """

    title: str
    generator: str
    discriminator: str
    described: Callable[[Arrays], tuple[dict[str, Any], list[int]]]
    note: str = ""

    def renamed(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """The arrays of this kind by their names here."""
        found = {}
        for name, array in arrays.items():
            for role in ("generator", "discriminator"):
                match = re.match(getattr(self, role), name)
                if match:
                    found[f"{role}.model.{name[match.end() :]}"] = array
        return found


def of_mlp(arrays: Arrays) -> tuple[dict[str, Any], list[int]]:
    """Digits of 28x28 and the defaults of every recipe."""
    return {"name": "tutorial"}, [1, 28, 28]


def of_dcgan(arrays: Arrays) -> tuple[dict[str, Any], list[int]]:
    """Pictures of the size, and nets of the widths, that the kernels show."""
    made = kernels(arrays, "generator")  # [in, out, 4, 4], from the latents to the image
    judged = kernels(arrays, "discriminator")  # [out, in, 4, 4], from the image to the score
    model: dict[str, Any] = {"name": "dcgan", "output": "unit_tanh"}
    if made:
        model |= {"latent_dim": made[0][0], "g_width": made[-1][0]}
    if judged:
        model |= {"d_width": judged[0][0]}
    channels = made[-1][1] if made else judged[0][1]
    size = 2 ** (len(made or judged) + 1)  # 5 layers make 64x64
    return {"name": "dcgan_tutorial", "model": model}, [channels, size, size]


def kernels(arrays: Arrays, role: str) -> list[tuple[int, ...]]:
    """Shapes of the kernels of a net, the first layer's first."""
    found = {
        int(name.split(".")[2]): array.shape
        for name, array in arrays.items()
        if name.startswith(f"{role}.") and array.ndim == 4
    }
    return [found[layer] for layer in sorted(found)]


# What their update_parameters_name left: `optim_ggeneratormodel.0.weight` and, of parameters that
# are not trained, `generatormodel.3.moving_mean`; `optim_g.generator.0.weight`.
TUTORIALS = (
    Tutorial(
        "MindSpore's tutorial GAN Image Generation",
        r"(optim_g\.?)?(generator\.?)?model\.",
        r"(optim_d\.?)?discriminator\.?model\.",
        of_mlp,
    ),
    Tutorial(
        "MindSpore's tutorial Generating Cartoon Head Portrait via DCGAN",
        r"(optim_g\.?)?generator\.(?=\d+\.)",
        r"(optim_d\.?)?discriminator\.(?=\d+\.)",
        of_dcgan,
        note="it was trained on images in [0, 1]; what its tanh makes below 0 is black, as there",
    ),
)


def recognised(arrays: Arrays) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays by their names here, and what a checkpoint of this package would say; or None."""
    for tutorial in TUTORIALS:
        renamed = tutorial.renamed(arrays)
        if renamed:
            recipe, shape = tutorial.described(renamed)
            said = {"tutorial": tutorial.title, "note": tutorial.note}
            return renamed, {"config": recipe, "image_shape": shape, "num_classes": 0, **said}
    return None
