"""How far a training run is."""

from __future__ import annotations

from dataclasses import dataclass


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
