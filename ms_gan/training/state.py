"""What training changes, and what it needs to change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mindspore import Parameter, nn

from ms_gan.runs.sampling import Sampler
from ms_gan.training.cells import copy_parameters
from ms_gan.training.feed import Rows
from ms_gan.training.schedules import settle
from ms_gan.training.updates import Updates


@dataclass
class TrainState:
    """Built by :func:`ms_gan.build.build_training`, changed by the trainer.

    `step` counts generator updates. `sampler` holds the generator that is shown and shipped: the
    moving average, or a copy of the trained generator that :meth:`shown` brings up to date.
    """

    step: int
    updates: Updates  # of AdversarialSteps
    rows: Rows  # what they take
    parameters: list[Parameter]  # all that a checkpoint holds
    generator: nn.Cell
    sampler: Sampler
    averaged: bool
    terms: tuple[str, ...] = ()  # names of the last outputs of an update
    skipped: Sequence[Parameter] = ()  # counters of updates that float16 could not hold

    @property
    def update(self) -> nn.Cell:
        """The Cell that does the next update."""
        return self.updates.at(self.step)

    def settle(self, steps: int) -> None:
        """Tell the ramps how long the run is; without a clock those of D count its own updates."""
        for update in self.updates.all():
            settle(update.train_d, steps * (self.rows.d_steps if update.clock is None else 1))
            settle(update.train_g, steps)

    @property
    def meta(self) -> dict[str, Any]:
        """What goes into every checkpoint."""
        return {**self.sampler.meta, "step": self.step}

    def shown(self) -> Sampler:
        """The generator to show, in inference mode, as it is at this step."""
        if not self.averaged:
            copy_parameters(self.generator, self.sampler.net)
        return dataclasses.replace(self.sampler, meta=self.meta)
