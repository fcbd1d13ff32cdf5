"""Images of a split in memory: which of them, and within which bounds."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError
from transferzoo.datasets.pixels import decode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import OnProgress
    from transferzoo.datasets.pixels import Fit
    from transferzoo.zoo.schema import DatasetSpec

MOST_BYTES = 8 * 2**30
"""Bytes of pixels that are held at once: some 57,000 images of ImageNet."""


def rows_of(count: int, spec: DatasetSpec, split: str) -> list[int]:
    """Return the images of a split that are read, in order: all, or `spec.at_most` of them.

    Those are drawn, the same for every run, so that runs with other seeds choose among the same candidates.

    Args:
        count: how many images the split has.
        spec: the data set.
        split: its name.
    """
    most = spec.at_most.get(split, count)
    drawn = random.Random(f"images of {spec.name}/{split}")
    return list(range(count)) if count <= most else sorted(drawn.sample(range(count), most))


def stacked(
    encoded: Iterable[tuple[bytes | Path, str]],
    count: int,
    spec: DatasetSpec,
    fit: Fit,
    on_progress: OnProgress,
) -> Tensor:
    """Decode images, one after the other.

    Args:
        encoded: images and what names them in an error; see `pixels.decode`.
        count: how many, N.
        spec: gives channels and size.
        fit: what is done with images of another size.
        on_progress: called with the number of images done, and of all.

    Returns:
        uint8 (N, spec.channels, spec.size, spec.size).

    Raises:
        DataError: they would need more than `MOST_BYTES`, or one cannot be decoded.
    """
    import numpy as np
    import torch

    shape = (count, spec.channels, spec.size, spec.size)
    if (size := spec.channels * spec.size**2 * count) > MOST_BYTES:
        raise DataError(
            f"{count:,} images of '{spec.name}' do not fit into memory",
            expected=f"at most {MOST_BYTES:,} bytes",
            got=f"{size:,}",
            hint="give a folder with fewer (--data), or let the zoo file draw some (at_most)",
        )
    images = np.empty(shape, dtype=np.uint8)
    for place, (content, where) in enumerate(encoded):
        images[place] = decode(content, spec, where, fit)
        on_progress(place + 1, count)
    return torch.from_numpy(images)
