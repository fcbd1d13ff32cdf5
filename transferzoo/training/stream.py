"""The feed of images that stay on disk: read, augmented and mixed by timm's transforms and loader.

An epoch is a function of its seed alone. The order is drawn for whole batches, and every image is augmented
from a generator seeded by (seed, image), so that neither the number of worker processes nor that of training
processes changes what is seen, and an interrupted run ends with the weights of one that was not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from transferzoo.base.errors import DataError
from transferzoo.base.on_device import carried
from transferzoo.datasets import Batch, disk, shards
from transferzoo.training import pipeline
from transferzoo.training.augment import CPU
from transferzoo.training.feeds import HELD_OUT, left_to_train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets.disk import ImageIndex
    from transferzoo.zoo.schema import DatasetSpec

LARGE = 64
"""Images above this size in pixels are streamed."""
TOGETHER = 16
"""Images of a row group that are drawn at once: few enough to be mixed, enough to read few groups."""
SAMPLE = "transferzoo sample"
"""What seeds the draw of `sample`."""


def streams(dataset: DatasetSpec) -> bool:
    """Return whether a data set is streamed rather than loaded into memory."""
    return dataset.size > LARGE


def open_stream(
    dataset: DatasetSpec, split: str, root: Path | None, config: TrainConfig, *, workers: int | None = None
) -> Stream:
    """Return the feed of a split on disk: class folders, or Parquet files in the Hub's layout.

    Args:
        dataset: what is classified.
        split: one of `dataset.splits`.
        root: the user's own folder or Parquet file; without it, `dataset.splits[split]` is tried in order.
        config: says how images are augmented and how many are held out.
        workers: processes that decode; 0 to decode in this one, None for `pipeline.usual_workers`. The speed
            alone depends on it.

    Raises:
        UnknownNameError: no such split.
        UsageError: an option of the augmentation is wrong, or no image would be left to train on.
        DataError: no images, too few, or what was found cannot be read.
    """
    return Stream(disk.open_index(dataset, split, root), dataset, config, workers)


def sample(
    dataset: DatasetSpec,
    split: str,
    root: Path | None,
    count: int,
    *,
    apart_from: Stream | None = None,
    workers: int | None = None,
) -> Batch:
    """Decode `count` images of a split, always the same, or all where there are no more, to measure with.

    Args:
        dataset: what is classified.
        split: one of `dataset.splits`.
        root: as for `open_stream`.
        count: how many.
        apart_from: what is trained on.
        workers: likewise.

    Returns:
        uint8 (count, C, S, S): resized to 8/7 of S, cropped to the centre; ids are positions in the index.

    Raises:
        UnknownNameError: no such split.
        DataError: they cannot be read, or are those of `apart_from`: a folder of classes holds one split.
    """
    source = disk.open_index(dataset, split, root)
    if apart_from is not None and source.digest == apart_from.identity["index"]:
        raise DataError(f"{root or dataset.name} holds the same images for '{split}' and for training")
    return _decoded(source, _drawn(source, count, SAMPLE), dataset, workers)


class Stream:
    """The feed of images on disk. See `feeds.Feed`.

    Args:
        source: the images.
        dataset: what they are.
        config: `augment` "crop-flip" crops a random part of 8 to 100 % of the area, scales it to the data
            set's size and flips half of the images; "crop" does not flip; "none" is resize and centre crop.
            `auto_augment` is timm's policy on top, `mixup` and `cutmix` mix neighbours of a batch.
        workers: processes that decode, each two batches ahead; 0 for none, None for `pipeline.usual_workers`.

    Raises:
        UsageError: an option of the augmentation is wrong, or no image would be left to train on.
        DataError: fewer images than a batch has, or a held-out image cannot be read.
    """

    def __init__(
        self, source: ImageIndex, dataset: DatasetSpec, config: TrainConfig, workers: int | None
    ) -> None:
        count = len(source.labels)
        seen_as = dataset.model_dump(mode="json", include={"classes", "mean", "std", "size"})
        self.identity: dict[str, Any] = {"n": count, "index": source.digest, **seen_as}
        self._source, self._dataset, self._workers = source, dataset, workers
        self._batch_size = config.batch_size
        self._transform = pipeline.training(config, dataset)
        self._mixup = pipeline.mixing(config, dataset)
        self.count = left_to_train(count, config)
        held = _drawn(source, config.validation, HELD_OUT)
        self._kept = np.setdiff1d(np.arange(count), held, assume_unique=True)
        self.held = _decoded(source, held, dataset, workers) if config.validation else None

    def epoch(
        self, seed: int, rank: int, size: int, skip: int = 0, device: torch.device = CPU
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Feed.epoch`; every process sees a contiguous part of each batch.

        Raises:
            UsageError: images are mixed and the part has an odd number of them.
            DataError: an image cannot be read.
        """
        batch, share = self._batch_size, self._batch_size // size
        order = self._order(seed)[: self.count // batch * batch].reshape(-1, batch)
        rows = order[skip:, rank * share : (rank + 1) * share].reshape(-1)
        view = pipeline.View(self._source, rows, self._dataset.channels, seed)
        loader = pipeline.data_loader(view, self._transform, self._dataset, share, self._workers)
        for number, batch_read in enumerate(pipeline.batches(loader), skip):
            pixels, labels = (carried(values, device) for values in batch_read)
            if self._mixup:
                yield pipeline.mixed(self._mixup, pixels, labels, seed, number)
            else:
                yield pipeline.floats(pixels), labels

    def _order(self, seed: int) -> NDArray[np.int64]:
        """Return the images of an epoch in random order.

        Row groups are shuffled, then images within windows of `shards.WINDOW` bytes of them, so that a worker
        need not keep more; images that are read one by one are shuffled all together.
        """
        generator, source = np.random.default_rng(seed), self._source
        groups = generator.permutation(len(source.sizes))
        window = np.empty_like(groups)
        window[groups] = source.sizes[groups].cumsum() // shards.WINDOW
        key = generator.permutation(self.count)
        place = window[source.bounds.searchsorted(self._kept, side="right") - 1]
        return self._kept[np.lexsort((key, place))]


def _drawn(source: ImageIndex, count: int, purpose: str) -> NDArray[np.int64]:
    """Draw images, the same for every call, sorted: at most `TOGETHER` of a row group if groups suffice."""
    total = len(source.labels)
    generator = np.random.default_rng(list(purpose.encode()))
    group = source.bounds.searchsorted(np.arange(total), side="right") - 1
    key = generator.permutation(total)
    within = np.lexsort((key, group))
    place = np.empty(total, np.int64)
    place[within] = np.arange(total) - source.bounds[group[within]]
    shuffled = generator.permutation(len(source.sizes))[group]
    return np.sort(np.lexsort((place, shuffled, place // TOGETHER))[:count])


def _decoded(source: ImageIndex, rows: NDArray[np.int64], dataset: DatasetSpec, workers: int | None) -> Batch:
    """Decode images with the evaluation transform."""
    images = torch.empty((len(rows), dataset.channels, dataset.size, dataset.size), dtype=torch.uint8)
    loader = pipeline.data_loader(
        pipeline.View(source, rows, dataset.channels, 0), pipeline.plain(dataset), dataset, 64, workers
    )
    done = 0
    for pixels, _ in pipeline.batches(loader):
        images[done : done + len(pixels)] = pixels
        done += len(pixels)
    return Batch(images, torch.from_numpy(source.labels[rows]), torch.from_numpy(rows))
