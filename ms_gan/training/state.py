"""What training changes, and what it needs to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mindspore import Parameter, nn

from ms_gan.training.cells import copy_parameters


@dataclass
class TrainState:
    """Built by :func:`ms_gan.build.build_training`, changed by :func:`ms_gan.training.trainer.train`.

    `step` counts generator updates. `sampler` is the generator that is shown and shipped: the
    moving average, or a copy of the trained generator that :meth:`shown` brings up to date.
    """

    step: int
    update: nn.Cell  # an AdversarialStep
    parameters: list[Parameter]  # all that a checkpoint holds
    generator: nn.Cell
    sampler: nn.Cell
    averaged: bool
    num_classes: int  # of conditional nets, which take labels; 0: unconditional
    uniform: bool  # the regularizer wants random numbers from the host
    draws: int  # random numbers that the augmentation wants for each image; 0: none
    latent_dim: int
    meta: dict[str, Any]  # goes into every checkpoint

    def shown(self) -> nn.Cell:
        """The generator to show, in inference mode."""
        if not self.averaged:
            copy_parameters(self.generator, self.sampler)
        return self.sampler
