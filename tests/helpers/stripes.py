"""A made-up data set of three kinds of stripes, small enough to train on in a second, and runs on it."""

from __future__ import annotations

import gc
import os
import resource
import signal
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from transferzoo.base.train_config import TrainConfig
from transferzoo.datasets import Batch
from transferzoo.minimizers import Minimizer
from transferzoo.training.trainer import train
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.training.trainer import Progress
    from transferzoo.zoo.schema import DatasetSpec

SIZE = 12
ZOO = """
datasets:
  stripes:
    classes: [lying, standing, chequered]
    channels: 1
    size: 12
    mean: [0.5]
    std: [0.25]
    splits: {train: ["local:/nowhere"], test: ["local:/nowhere"]}
    attack: {split: test, epsilon: 80/255, steps: 5, images: 40, batch_size: 16}
    licence: MIT
    origin: tests/helpers/stripes.py
"""

MORE = """
  bricks:
    classes: [one, two, three, four]
    channels: 1
    size: 12
    mean: [0.5]
    std: [0.25]
    splits: {train: ["local:/nowhere"], test: ["local:/nowhere"]}
    attack: {split: test, epsilon: 16/255}
    licence: MIT
    origin: tests/helpers/stripes.py
"""
"""Another data set, of four classes, to follow `ZOO`."""

TINY: dict[str, Any] = {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}
"""Arguments of timm's resnet18 that make it small."""


def spec(folder: Path) -> DatasetSpec:
    """Return the data set, read from a zoo file written into `folder`."""
    file = folder / "stripes.yaml"
    file.write_text(ZOO)
    return load_zoo(file).dataset("stripes")


def draw(count: int, seed: int) -> Batch:
    """Draw noisy stripes, two pixels wide, of random phase: uint8 (count, 1, 12, 12)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    noise = torch.randint(0, 120, (count, SIZE, SIZE), generator=generator)
    phase = torch.randint(0, 4, (count, 1, 1), generator=generator)
    band = (torch.arange(SIZE) + phase) // 2 % 2
    lying, standing = band.transpose(1, 2).expand(-1, -1, SIZE), band.expand(-1, SIZE, -1)
    patterns = torch.stack([lying, standing, lying ^ standing], 1)
    pattern = patterns[torch.arange(count), labels]
    images = (pattern * 130 + noise).to(torch.uint8)
    return Batch(images[:, None], labels, torch.arange(count))


def config(**changes: object) -> TrainConfig:
    """Return a configuration that learns the stripes in about a second."""
    values: dict[str, Any] = {
        "dataset": "stripes",
        "architecture": "small_vgg:width=4",
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 0.1,
        **changes,
    }
    return TrainConfig.of(**values)


def validators(folder: Path) -> dict[str, Path]:
    """Train two validation targets; return their full names and folders."""
    judges = {"stripes/one": folder / "one", "stripes/two": folder / "two"}
    for seed, place in enumerate(judges.values(), 7):
        train(config(seed=seed), spec(folder), draw(160, seed), None, place)
    return judges


def stop_at(step: int) -> Callable[[Progress], None]:
    """Return what interrupts a training after a step, as `on_progress`."""

    def watch(at: Progress) -> None:
        if at.step == step:
            raise KeyboardInterrupt

    return watch


def save_every_step(patch: pytest.MonkeyPatch) -> None:
    """Let trainings keep their state after every step, however long that takes."""
    patch.setattr("transferzoo.training.resume.SAVE_SECONDS", 0.0)
    patch.setattr("transferzoo.training.resume.SAVE_SHARE", float("inf"))


def write_idx(folder: Path, stem: str, batch: Batch) -> None:
    """Write images and labels as IDX files."""
    folder.mkdir(exist_ok=True)
    for kind, values in (("images", batch.images[:, 0]), ("labels", batch.labels)):
        head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        content = head + values.to(torch.uint8).numpy().tobytes()
        (folder / f"{stem}-{kind}-idx{values.ndim}-ubyte").write_bytes(content)


def begin_process(output: Path) -> None:
    """Begin a forked process: what it says goes to `output`.out and `output`.err.

    Garbage is not looked for among what it was forked with, whose memory would be copied for that.
    """
    gc.freeze()
    for stream, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)


def run_command(arguments: list[str], output: Path, fate: str, *, every_step: bool = False) -> None:
    """Be the process of a command line; what it says goes to `output`.out and `output`.err.

    Args:
        arguments: what follows `transferzoo`.
        output: where the two files go.
        fate: when this process is killed: "before" or "after" the first file it saved takes its place,
            "after 3" for the third one, "step 5" after its fifth step; "limit 9" lets it write no file
            longer than 9 bytes; "" lets it run.
        every_step: whether a training keeps its state after every step.
    """
    begin_process(output)
    moment, _, number = fate.partition(" ")
    countdown = iter(range(int(number or 1) - 1, -1, -1))
    replace, step = os.replace, Minimizer.step

    def die_in_time() -> None:
        if next(countdown) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def replace_and_die(*paths: Any) -> None:
        if moment == "before":
            die_in_time()
        replace(*paths)
        if moment == "after":
            die_in_time()

    def step_and_die(*arguments: Any) -> Any:
        loss = step(*arguments)
        die_in_time()
        return loss

    if moment == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), int(number)))
    elif moment == "step":
        Minimizer.step = step_and_die  # type: ignore[method-assign, assignment]
    elif moment:
        os.replace = replace_and_die  # type: ignore[assignment]
    if every_step:
        save_every_step(pytest.MonkeyPatch())
    sys.argv = ["transferzoo", *arguments]
    from transferzoo.cli.app import main

    main()
