"""How much slower networks learn in several threads than in one: `python tests/benchmarks/threads.py`, a few
minutes.

Forward and backward passes of the networks that `attack --surrogate auto` trains, on noise of the size and in
batches as it does, once as the machine is and once with a busy loop on each processor. It is what
`training/threads.py` decides by.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from transferzoo.models.build import create
from transferzoo.training.adaptations import FRESH
from transferzoo.training.own_data import PIXELS
from transferzoo.zoo.reader import load_zoo

BATCH, SECONDS = 32, 3.0
"""Images a step, and how long is timed, at least one step after the first."""
LOOP = [sys.executable, "-c", "while True: pass"]


def step_seconds(architecture: str, threads: int) -> float:
    """Return how long a forward and a backward pass of a batch take."""
    dataset = load_zoo().dataset("cifar10").model_copy(update={"size": PIXELS})
    torch.set_num_threads(threads)
    model = create(architecture, dataset)[0].to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, PIXELS, PIXELS).to(memory_format=torch.channels_last)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    times = list[float]()
    while sum(times[1:]) < SECONDS:
        started = time.monotonic()
        cross_entropy(model(images), labels).backward()
        times.append(time.monotonic() - started)
    return sum(times[1:]) / len(times[1:])


def main() -> None:
    processors = len(os.sched_getaffinity(0))
    print(f"{processors} processors, load {os.getloadavg()[0]:.1f}; seconds a step of {BATCH} images")
    for title, loops in (("as the machine is", 0), ("busy loops on all", processors)):
        others = [subprocess.Popen(LOOP) for _ in range(loops)]
        try:
            for architecture in FRESH:
                one, several = (step_seconds(architecture, threads) for threads in (1, processors))
                print(
                    f"{title}: {architecture}: one thread {one:.3f}, {processors} threads {several:.3f}, "
                    f"{several / one:.1f} times as long",
                    flush=True,
                )
        finally:
            for other in others:
                other.kill()
                other.wait()


if __name__ == "__main__":
    main()
