"""How long a training takes, from a few of its steps on noise."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from transferzoo.base.distributed import Team
from transferzoo.training.augment import CPU
from transferzoo.training.loop import Loop
from transferzoo.training.threads import usual_threads
from transferzoo.training.untrained import untrained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec

PIXELS = 128 * 32 * 32
"""Of the images of a step, roughly: large images are timed in small batches."""
LEAST_SECONDS = 1.0
"""How long is timed, after a step that warms up."""


def step_seconds(config: TrainConfig, dataset: DatasetSpec, start: Path | None) -> float:
    """Return how long a step takes on this machine, if it stays as busy as it is now.

    Steps are made as the training makes them, with its model, minimizer, precision and threads, in one
    process and without torch.compile. Reading and augmenting images is left out.

    Args:
        config: the training.
        dataset: what is classified.
        start: checkpoint that is fine-tuned; None for fresh weights.

    Raises:
        UsageError: the model cannot be built, or options exclude each other.
    """
    size = max(2, min(config.batch_size, PIXELS // dataset.size**2))
    size = max(1, size // config.micro_batch) * config.micro_batch if config.micro_batch else size
    timed = {"batch_size": size, "compile": False, "collect": None, "learning_rate": 1e-9}  # noise diverges
    noise = _Noise(dataset, size)
    team = Team()
    with usual_threads(dataset):
        classifier = untrained(config, dataset, start).classifier.to(team.device)
        classifier.to(memory_format=torch.channels_last)
        loop = Loop(config.model_copy(update=timed), classifier, noise, team)
        loop.read_every = 1  # each step is timed by itself, so that a GPU must have done it
        loop.epoch(0, lambda at: None, lambda number: None)
    return sum(noise.seconds) / len(noise.seconds) * config.batch_size / size


class _Noise:
    """A feed of batches of noise, that times what is done with them.

    Args:
        dataset: what they stand for.
        size: images a batch.

    Attributes:
        seconds: of each step, the first aside.
    """

    held: Batch | None = None

    def __init__(self, dataset: DatasetSpec, size: int) -> None:
        self.identity: dict[str, Any] = {}
        self.count = 1000 * size
        self.seconds: list[float] = []
        self._shape = (size, dataset.channels, dataset.size, dataset.size)
        self._classes = len(dataset.classes)

    def epoch(
        self, seed: int, rank: int, size: int, skip: int = 0, device: torch.device = CPU
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the same batch until enough is known."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(self._shape, generator=generator).to(device)
        labels = torch.randint(0, self._classes, self._shape[:1], generator=generator).to(device)
        yield images, labels
        while sum(self.seconds) < LEAST_SECONDS:
            started = time.monotonic()
            yield images, labels
            self.seconds.append(time.monotonic() - started)
