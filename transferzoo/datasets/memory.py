"""Images of a split in memory: which of them, and within which bounds."""

from __future__ import annotations

import mmap
import multiprocessing
import random
from itertools import islice
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError
from transferzoo.base.processes import counting, share, shares, usual_jobs
from transferzoo.datasets.pixels import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.datasets import OnProgress
    from transferzoo.datasets.pixels import Fit
    from transferzoo.zoo.schema import DatasetSpec

MOST_BYTES = 8 * 2**30
"""Bytes of pixels that are held at once: some 57,000 images of ImageNet."""
AT_ONCE = 2**26
"""Bytes of pixels between two forks; what is encoded is held for these alone."""
ALONE = 2**24
"""Bytes of pixels that are decoded in this process; for more, others are forked: some two seconds of work."""
TOLD = 200
"""Images between two reports of progress."""


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
    """Decode images, many of them in as many processes as there are processors.

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
    one = spec.channels * spec.size**2
    if (size := one * count) > MOST_BYTES:
        raise DataError(
            f"{count:,} images of '{spec.name}' do not fit into memory",
            expected=f"at most {MOST_BYTES:,} bytes",
            got=f"{size:,}",
            hint="give a folder with fewer (--data), or let the zoo file draw some (at_most)",
        )
    shared = mmap.mmap(-1, max(size, 1))  # forked processes write into the same memory
    images = np.frombuffer(shared, np.uint8, size).reshape(shape)

    def fill(part: Sequence[tuple[int, tuple[bytes | Path, str]]], tell: Callable[[int], None]) -> None:
        for start in range(0, len(part), TOLD):
            some = part[start : start + TOLD]
            for place, (content, where) in some:
                images[place] = decode(content, spec, where, fit)
            tell(len(some))

    told = counting(lambda done: on_progress(done, count))
    alone = size < ALONE or multiprocessing.current_process().daemon  # such a process may not fork
    numbered = enumerate(encoded)
    while some := list(islice(numbered, max(1, AT_ONCE // one))):
        share(fill, shares(some, 1 if alone else usual_jobs()), told)
    return torch.from_numpy(images)
