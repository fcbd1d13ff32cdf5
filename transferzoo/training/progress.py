"""How far a training run is: what the user is told, and what an unfinished epoch has summed up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """How far a training run is.

    Attributes:
        epoch: the current one, from 1.
        epochs: of the whole run.
        step: steps done in all.
        steps: steps of the whole run.
        loss: mean over the epoch so far.
        accuracy: on the augmented training images of the epoch so far, in [0, 1].
        images_per_second: of the epoch so far.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Position:
    """Where the state that is kept of a training stands.

    Attributes:
        step: steps done.
        steps: of the whole run.
        epoch: of the last step, from 1.
        epochs: of the whole run.
        folder: that holds the state: the checkpoint, or the sub-folder of a radius.
    """

    step: int
    steps: int
    epoch: int
    epochs: int
    folder: Path


@dataclass
class EpochSums:
    """What an epoch has summed up.

    Attributes:
        steps: that were made.
        losses: sum of the steps' mean losses, over all processes.
        hits: images of this process's share that were classified correctly, a scalar.
    """

    steps: int = 0
    losses: float = 0.0
    hits: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, loss: float, hits: Tensor) -> None:
        """Count another step."""
        self.steps, self.losses, self.hits = self.steps + 1, self.losses + loss, self.hits + hits

    @property
    def mean_loss(self) -> float:
        """Over the steps so far."""
        return self.losses / self.steps
