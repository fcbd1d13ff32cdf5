"""How many threads a training, and a measurement of what came of it, computes in."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from transferzoo.base.distributed import this_device
from transferzoo.base.processes import one_thread
from transferzoo.training.stream import streams

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transferzoo.zoo.schema import DatasetSpec


def usual_threads(dataset: DatasetSpec) -> AbstractContextManager[None]:
    """Compute in one thread, as attacks do, where images are held in memory; on large ones as PyTorch is set.

    A layer is soon done with small images. Threads that share it wait for each other where another program
    has the processor of one: two took 3 to 15 times as long as one on two busy processors. In one thread the
    weights are also the same whatever number of processors a machine has. Where a GPU computes, threads
    prepare its batches, and stay as they are.

    Args:
        dataset: what is classified, at the size that is trained with.
    """
    return one_thread() if this_device().type == "cpu" and not streams(dataset) else nullcontext()
