"""From images on disk to batches, with timm's transforms and loader."""

from __future__ import annotations

import math
import mmap
import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from timm.data.loader import create_loader
from timm.data.mixup import Mixup
from timm.data.transforms_factory import create_transform
from torch.utils.data import Dataset

from transferzoo.base.errors import DataError, UsageError
from transferzoo.base.processes import processors
from transferzoo.datasets import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor
    from torch.utils.data import DataLoader

    from transferzoo.base.train_config import TrainConfig
    from transferzoo.datasets.disk import ImageIndex
    from transferzoo.zoo.schema import DatasetSpec

    Transform = Callable[[Any], NDArray[np.uint8] | Tensor]
    Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


MOST_WORKERS = 16
"""Each holds two batches ahead."""


def usual_workers() -> int:
    """Return how many processes read images where nobody says: one a processor, at most `MOST_WORKERS`.

    Processes that a launcher started on this machine share its processors.
    """
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    sharing = int(here) if here.isdecimal() else 1
    return min(MOST_WORKERS, max(1, processors() // max(1, sharing)))


class View(Dataset[Any]):
    """Images of a source in a given order, as timm's loader wants them.

    Args:
        source: the images.
        rows: which, int64 (N,).
        channels: 1 or 3.
        seed: of the augmentation, together with the image.
    """

    def __init__(self, source: ImageIndex, rows: NDArray[np.int64], channels: int, seed: int) -> None:
        self._source, self._rows, self._channels, self._seed = source, rows, channels, seed
        self.transform: Transform | None = None  # set by `load`

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> tuple[Tensor, int] | str:
        """Return (uint8 pixels (C, S, S), label).

        What cannot be read gives the sentence of an error, which an exception would lose on its way from a
        worker.
        """
        row = int(self._rows[position])
        assert self.transform is not None
        try:
            image = disk.picture(self._source, row, self._channels)
        except DataError as error:
            return str(error)
        with seeded(self._seed, row):
            return torch.as_tensor(self.transform(image)), int(self._source.labels[row])


def data_loader(
    view: View, transform: Transform, dataset: DatasetSpec, size: int, workers: int | None
) -> DataLoader[Any]:
    """Return timm's loader of a view, in the view's own order.

    Args:
        view: the images.
        transform: Pillow image → uint8 (C, S, S).
        dataset: gives channels and size.
        size: images a batch; the last may be smaller.
        workers: processes that decode, 0 for none; None for `usual_workers`.
    """
    loader: DataLoader[Any] = create_loader(
        view,  # type: ignore[arg-type]  # nothing more is asked of it
        (dataset.channels, dataset.size, dataset.size),
        size,
        use_prefetcher=False,
        num_workers=usual_workers() if workers is None else workers,
        persistent_workers=False,
        collate_fn=_collated,
    )
    view.transform = transform  # training ones: as a training loader timm's would shuffle
    loader.generator = torch.Generator()  # instead of a draw from the global one
    return loader


def _collated(items: Sequence[tuple[Tensor, int] | str]) -> tuple[Tensor, Tensor] | str:
    """Return uint8 (B, C, S, S), channels-last in memory, and int64 (B,); or the first error's sentence."""
    images, labels = [], []
    for item in items:
        if isinstance(item, str):
            return item
        images.append(item[0].permute(1, 2, 0))
        labels.append(item[1])
    room = _room((len(images), *images[0].shape), torch.uint8, images[0].device)
    return torch.stack(images, out=room).permute(0, 3, 1, 2), torch.tensor(labels)


def batches(loader: Iterable[tuple[Tensor, Tensor] | str]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a loader, uint8 (B, C, S, S) and int64 (B,).

    Raises:
        DataError: an image cannot be read, or a worker was killed.
    """
    try:
        for batch in loader:
            if isinstance(batch, str):
                raise DataError(batch.removesuffix("."))
            yield batch
    except RuntimeError as error:  # what PyTorch raises for a worker that was killed
        raise DataError(
            f"reading images failed ({str(error).splitlines()[0].removesuffix('.')})",
            hint="try fewer --workers, each needs memory",
        ) from error


def training(config: TrainConfig, dataset: DatasetSpec) -> Transform:
    """Return timm's training transform.

    Raises:
        UsageError: timm cannot read `auto_augment`, or it stands beside `augment` "none".
    """
    if config.augment == "none":
        if config.auto_augment:
            raise UsageError(
                "a policy of augmentation without augmentation",
                expected="augment crop or crop-flip",
                got=f"augment none and auto_augment {config.auto_augment}",
            )
        return plain(dataset)
    try:
        made: Transform = create_transform(
            dataset.size,
            is_training=True,
            hflip=0.5 if config.augment == "crop-flip" else 0.0,
            color_jitter=0.0,
            auto_augment=config.auto_augment or None,
            mean=dataset.mean,
            std=dataset.std,
            use_prefetcher=True,
        )
    except (AssertionError, ValueError, LookupError, AttributeError):  # timm's parser has no error of its own
        raise UsageError(
            "option 'auto_augment' is wrong",
            expected="timm's notation, as in rand-m9-mstd0.5",
            got=f"'{config.auto_augment}'",
        ) from None
    return made


def plain(dataset: DatasetSpec) -> Transform:
    """Return timm's evaluation transform: the shorter side to 8/7 of the size, then the centre."""
    made: Transform = create_transform(dataset.size, use_prefetcher=True)
    return made


def mixing(config: TrainConfig, dataset: DatasetSpec) -> Mix | None:
    """Return timm's Mixup and CutMix, None where neither is asked for; the loss smooths labels, not they."""
    if not config.mixup and not config.cutmix:
        return None
    made: Mix = Mixup(  # type: ignore[no-untyped-call]
        config.mixup, config.cutmix, label_smoothing=0.0, num_classes=len(dataset.classes)
    )
    return made


def floats(pixels: Tensor) -> Tensor:
    """Return uint8 pixels (B, C, S, S) as float32 in [0, 1], channels-last in memory."""
    channels_last = pixels.permute(0, 2, 3, 1)
    room = _room(channels_last.shape, torch.float32, pixels.device)
    return room.copy_(channels_last).div_(255).permute(0, 3, 1, 2)


def _room(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return an empty tensor, on a CPU in memory that is mapped for it alone.

    Batches of some megabytes from glibc's heap leave gaps that the next does not fit into, and the process
    grows by hundreds of megabytes.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    count = math.prod(shape)
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(*shape)


def mixed(mix: Mix, pixels: Tensor, labels: Tensor, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """Mix images 0 and 1, 2 and 3, …: the same pairs whatever part of a batch a process sees.

    timm's mixes the first image with the last, the second with the last but one, and so on.

    Args:
        mix: timm's.
        pixels: uint8 (B, C, S, S), an even number of them; they are mixed on their device.
        labels: int64 (B,), on the same device.
        seed: of the epoch; with `number` it is what the share of a batch is drawn by.
        number: of the batch in the epoch.

    Returns:
        Images in [0, 1], float32 (B, C, S, S), and probabilities, float32 (B, K).

    Raises:
        UsageError: an odd number of images.
    """
    count = len(pixels)
    if count % 2:
        raise UsageError(
            "images cannot be mixed in pairs",
            expected="an even number of them a process",
            got=f"{count}",
            hint="change --batch-size, or leave out --mixup and --cutmix",
        )
    places = torch.arange(count, device=pixels.device)
    there = torch.cat([places[0::2], places[1::2].flip(0)])
    back = there.argsort()
    with seeded(seed, number, 1):
        images, targets = mix(floats(pixels[there]), labels[there])
    images = images.permute(0, 2, 3, 1)
    room = _room(images.shape, images.dtype, images.device)
    return torch.index_select(images, 0, back, out=room).permute(0, 3, 1, 2), targets[back]


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seed what timm's transforms draw from, the global generators of three libraries, for a while."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
