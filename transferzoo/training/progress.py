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
        losses: sum of the steps' mean losses, over all processes, as far as they were read.
        hits: images of this process's share that were classified correctly, likewise: a scalar on the CPU.
    """

    steps: int = 0
    losses: float = 0.0
    hits: Tensor = field(default_factory=lambda: torch.zeros(()))

    _unread: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    def add(self, loss: Tensor, hits: Tensor) -> None:
        """Count another step, with scalars on any device: they are not read yet."""
        self.steps += 1
        self._unread.append((loss, hits))

    def read(self) -> list[float]:
        """Add what was not read yet, and return its losses, one a step. A GPU is waited for."""
        if not self._unread:
            return []
        losses, hits = zip(*self._unread, strict=True)
        self._unread = []
        found: list[float] = torch.stack(losses).tolist()
        for loss in found:  # one by one: since Python 3.12 `sum` adds otherwise
            self.losses += loss
        self.hits = self.hits + torch.stack(hits).sum().cpu()
        return found

    @property
    def mean_loss(self) -> float:
        """Over the steps so far, all of them read."""
        return self.losses / self.steps
