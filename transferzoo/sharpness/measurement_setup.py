"""What the loss is measured on: images of a split, and the settings that all measurements share."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.base.digests import tensors_digest
from transferzoo.base.environment import versions

if TYPE_CHECKING:
    import torch

    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec

BATCH_NORM_IMAGES = 1000
"""Images of the split that batch norm's statistics are recomputed from."""


@dataclass(frozen=True)
class MeasurementSetup:
    """Images and settings that all measurements of a command share.

    Attributes:
        dataset: of the models.
        split: of the images.
        data: all images of the split.
        count: how many are sampled at most.
        seed: of the sample, and of all random vectors.
        batch_size: images at a time.
    """

    dataset: DatasetSpec
    split: str
    data: Batch
    count: int
    seed: int
    batch_size: int

    @cached_property
    def images(self) -> Batch:
        """The sampled images, in order."""
        return self.data.select(sorted(self._sample(self.count)))

    @cached_property
    def batch_norm_images(self) -> torch.Tensor:
        """The images that batch norm's statistics are recomputed from, uint8 (N, C, H, W), in random order.

        Batches of one class, as files in a folder a class make them, would have too little variance.
        """
        return self.data.select(self._sample(BATCH_NORM_IMAGES)).images

    def _sample(self, count: int) -> list[int]:
        """Return places of images, in random order."""
        return random.Random(self.seed).sample(range(len(self.data)), min(count, len(self.data)))

    @property
    def content(self) -> dict[str, Any]:
        """All that results depend on, except models and options."""
        return {
            "dataset": self.dataset.name,
            "split": self.split,
            "images": len(self.images),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "data": {
                "n": len(self.data),
                "sha256": tensors_digest(self.data.images, self.data.labels, self.data.ids),
            },
            "versions": versions("scipy"),
        }
