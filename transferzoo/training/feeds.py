"""Where training images come from: the contract of a feed, and the feed of images in memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

import torch

from transferzoo.base.errors import DataError, UsageError
from transferzoo.base.on_device import carried
from transferzoo.training.augment import CPU, Augmenter
from transferzoo.training.pipeline import mixed, mixing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec


class Feed(Protocol):
    """Hands out batches of training images.

    Attributes:
        count: images an epoch; what does not fill a batch is left out.
        held: images held out for validation, None where none were asked for.
        identity: what the result of a training depends on, for its fingerprint.
    """

    count: int
    held: Batch | None
    identity: dict[str, Any]

    def epoch(
        self, seed: int, rank: int, size: int, skip: int = 0, device: torch.device = CPU
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's share of every batch of an epoch.

        Args:
            seed: of the order and the augmentation.
            rank: of this process, 0..size-1.
            size: number of processes; together they see every batch whole.
            skip: batches to leave out at the beginning; the others are as they would be.
            device: where the batches are wanted. Images go there in 8 bits, and it is not waited for.

        Yields:
            Images in [0, 1], float32 (B, C, H, W), and targets: classes int64 (B,), or probabilities
            float32 (B, K); both on `device`.
        """
        ...


class Memory:
    """The feed of a data set that fits into memory. See `Feed`.

    Args:
        data: all images of the training split.
        dataset: what they are.
        config: says how they are augmented and how many are held out.

    Raises:
        UsageError: a policy of augmentation, which is for streamed images only, or no image would be left to
            train on.
        DataError: fewer images than a batch has.
    """

    def __init__(self, data: Batch, dataset: DatasetSpec, config: TrainConfig) -> None:
        if config.auto_augment:
            raise UsageError(
                f"the images of '{dataset.name}' are too small for auto_augment",
                expected="a data set that is streamed",
                hint="leave it out",
            )
        self.identity = _digest(data, dataset)
        self.count = left_to_train(len(data), config)
        data, self.held = hold_out(data, config.validation)
        self._batch_size = config.batch_size
        self._augmenter = Augmenter(data.images, config.augment)
        self._mixup = mixing(config, dataset)
        self._labels = data.labels

    def epoch(
        self, seed: int, rank: int, size: int, skip: int = 0, device: torch.device = CPU
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Feed.epoch`; order, augmentation and mixture are drawn for whole batches, whoever sees them.

        All images are kept on the device, so that no batch has to go there; draws alone do.

        Raises:
            UsageError: images are mixed and the part has an odd number of them.
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.count, generator=generator)
        share = self._batch_size // size
        part = slice(rank * share, (rank + 1) * share)
        starts = range(0, self.count - self._batch_size + 1, self._batch_size)
        for number, start in enumerate(starts):
            chosen = order[start : start + self._batch_size]
            if number < skip:
                self._augmenter.batch(chosen, generator, slice(0), device)  # its draws alone
                continue
            images = self._augmenter.batch(chosen, generator, part, device)
            labels = carried(self._labels[chosen[part]], device)
            if self._mixup:
                yield mixed(self._mixup, images, labels, seed, number)
            else:
                yield images.float() / 255, labels


HELD_OUT = "transferzoo validation"
"""What seeds the draw of validation images: not the run's seed, so that runs can be compared."""


def left_to_train(count: int, config: TrainConfig) -> int:
    """Return how many of the images of a training set are trained on.

    Raises:
        UsageError: none would be.
        DataError: fewer than a batch has.
    """
    if config.validation >= count > 0:
        raise UsageError(
            "too many validation images",
            expected=f"fewer than the {count} of the training set",
            got=str(config.validation),
            hint="lower --validation",
        )
    left = count - config.validation
    if left < config.batch_size:
        batch = f"at least one batch ({config.batch_size})"
        raise DataError("too few training images", expected=batch, got=str(left))
    return left


def hold_out(data: Batch, count: int) -> tuple[Batch, Batch | None]:
    """Split images into those to train on and `count` to validate with, the same at every call."""
    if not count:
        return data, None
    seed = int.from_bytes(hashlib.sha256(HELD_OUT.encode()).digest()[:7], "big")
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    kept, held = order[count:].sort().values, order[:count].sort().values
    return data.select(kept), data.select(held)


def _digest(data: Batch, dataset: DatasetSpec) -> dict[str, Any]:
    state = hashlib.sha256(data.images.contiguous().numpy().tobytes())
    state.update(data.labels.numpy().tobytes())
    seen_as = dataset.model_dump(mode="json", include={"classes", "mean", "std"})
    return {"n": len(data), "sha256": state.hexdigest(), **seen_as}
