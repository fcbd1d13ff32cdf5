"""What keeping freed memory saves: `python tests/benchmarks/heap.py`.

Steps of SGD in one thread, rounds with and without `kept_heap` in turn; the ratio is that of the medians of
the processor's own time, so that other work on the machine counts less.
"""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import timm
import torch
from torch import nn
from torch.nn import functional

from transferzoo.base.heap import kept_heap
from transferzoo.base.processes import one_thread
from transferzoo.models.architectures.resnet import small_resnet50

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 5
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "small_resnet50:width=8, 128 × 1 × 28 × 28": (lambda: small_resnet50(10, 1, 8), (128, 1, 28, 28), 10),
    "resnet50, 16 × 3 × 224 × 224": (lambda: timm.create_model("resnet50"), (16, 3, 224, 224), 1),
}


def main() -> None:
    """Print the processor's time of a step without and with the heap kept, and the ratio."""
    for name, (build, shape, steps) in NETWORKS.items():
        before, after = compared(build, shape, steps)
        print(f"{name}: {before * 1e3:.0f} ms a step, {after * 1e3:.0f} ms kept, ratio {after / before:.2f}")


def compared(build: Callable[[], nn.Module], shape: tuple[int, ...], steps: int) -> tuple[float, float]:
    """Return the seconds of a step of SGD without and with the heap kept."""
    torch.manual_seed(0)
    model = build().to(memory_format=torch.channels_last)
    images = torch.rand(shape).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(shape[0], dtype=torch.long)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    times: dict[bool, list[float]] = {False: [], True: []}
    for kept in (False, True) * ROUNDS:
        with kept_heap() if kept else nullcontext():
            step()  # not timed: what is kept, it allocates
            start = time.process_time()
            for _ in range(steps):
                step()
            times[kept].append((time.process_time() - start) / steps)
    return statistics.median(times[False]), statistics.median(times[True])


if __name__ == "__main__":
    with one_thread():
        main()
