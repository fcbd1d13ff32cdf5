"""The images a training needs: small ones in memory, large ones streamed from disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError
from transferzoo.cli.output import log

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets import Batch
    from transferzoo.training.feeds import Feed
    from transferzoo.zoo.schema import DatasetSpec

MEASURED = 5000
"""Images of a streamed data set that the accuracy is measured on."""


def training_images(
    dataset: DatasetSpec, root: Path | None, config: TrainConfig, workers: int | None
) -> tuple[Batch | Feed, Batch | None]:
    """Return training images and those to measure the accuracy on; None, with a note, where there are none.

    Raises:
        DataError: no training images, or they cannot be read.
    """
    from transferzoo.datasets.sources import hub_files
    from transferzoo.sync.inventory import state_of_images
    from transferzoo.training.stream import streams

    if root is None and state_of_images(dataset, "train") == "hub":
        files = ", ".join(f"{file.repo}/{file.file}" for file in hub_files(dataset, "train"))
        log(f"Downloading the training images of {dataset.name} from the Hub: {files}.")
    return _streamed(dataset, root, config, workers) if streams(dataset) else _in_memory(dataset, root)


def _in_memory(dataset: DatasetSpec, root: Path | None) -> tuple[Batch, Batch | None]:
    from transferzoo.datasets.sources import load_split

    train = load_split(dataset, "train", root=root)
    if "test" not in dataset.splits or dataset.shares:  # "test" has the training images too
        return train, None
    try:
        test = load_split(dataset, "test", root=root)
    except DataError as error:
        _unmeasured(str(error))
        return train, None
    if test.images.equal(train.images):  # a folder of classes without train/ and test/ in it
        _unmeasured(f"{root or dataset.name} holds the same images for train and test.")
        return train, None
    return train, test


def _streamed(
    dataset: DatasetSpec, root: Path | None, config: TrainConfig, workers: int | None
) -> tuple[Feed, Batch | None]:
    from transferzoo.training.stream import open_stream, sample

    train = open_stream(dataset, "train", root, config, workers=workers)
    split = next((name for name in ("test", "validation") if name in dataset.splits), None)
    if split is None or dataset.shares:
        return train, None
    try:
        return train, sample(dataset, split, root, MEASURED, apart_from=train, workers=workers)
    except DataError as error:
        _unmeasured(str(error))
        return train, None


def _unmeasured(reason: str) -> None:
    log(f"Note: the accuracy will not be measured: {reason}")
