"""What training changes, and what it needs to change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mindspore import Parameter, nn

from ms_gan.runs.sampling import Sampler
from ms_gan.training.cells import copy_parameters
from ms_gan.training.feed import Rows


@dataclass
class TrainState:
    """Built by :func:`ms_gan.build.build_training`, changed by the trainer.

    `step` counts generator updates. `sampler` holds the generator that is shown and shipped: the
    moving average, or a copy of the trained generator that :meth:`shown` brings up to date.
    """

    step: int
    update: nn.Cell  # an AdversarialStep
    rows: Rows  # what it takes
    parameters: list[Parameter]  # all that a checkpoint holds
    generator: nn.Cell
    sampler: Sampler
    averaged: bool
    terms: tuple[str, ...] = ()  # names of the last outputs of the update

    @property
    def meta(self) -> dict[str, Any]:
        """What goes into every checkpoint."""
        return {**self.sampler.meta, "step": self.step}

    def shown(self) -> Sampler:
        """The generator to show, in inference mode."""
        if not self.averaged:
            copy_parameters(self.generator, self.sampler.net)
        return self.sampler
