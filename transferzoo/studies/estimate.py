"""Estimate of the time that the rest of a grid takes, from a short benchmark of each architecture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from transferzoo.attacks.composition import compose
from transferzoo.base.attack_config import AttackSpec
from transferzoo.base.processes import one_thread
from transferzoo.base.train_config import TrainConfig
from transferzoo.minimizers import read_rule
from transferzoo.models.load import load_classifier
from transferzoo.studies.entries import DerivedDatasetEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.zoo.schema import DatasetSpec

BATCH, LEAST_SECONDS = 64, 0.3
"""Images of a benchmarked pass, and the least time of a benchmark."""
SHARPNESS_PASSES = 150
"""Passes of each image in a measurement of sharpness, roughly."""


def estimate_seconds(
    grid: Grid, todo: Mapping[str, Cell], dataset: DatasetSpec, training_images: int, attacked: int
) -> float:
    """Return how long cells will take in one process: passes of images, by the time that one takes.

    Args:
        grid: of the cells.
        todo: the cells that are not done.
        dataset: of the study.
        training_images: how many there are.
        attacked: how many images there are to attack.
    """
    speeds: dict[str, float] = {}
    total = 0.0
    for cell in todo.values():
        key, passes = _passes(cell, grid, training_images, attacked)
        if key not in speeds:
            speeds[key] = _pass_seconds(key, grid, dataset)
        total += passes * speeds[key]
    return total


def _passes(cell: Cell, grid: Grid, training_images: int, attacked: int) -> tuple[str, float]:
    """Return a cell's architecture, or its model's digest, and the passes of images that it takes."""
    inputs = cell.inputs
    if cell.kind == "train":
        config = TrainConfig(**inputs["config"])
        rule = read_rule(config.minimizer)
        extra = config.adversarial.steps if config.adversarial else 0
        images = training_images - config.validation
        return config.architecture, config.epochs * images * (rule.passes + extra)
    model = inputs.get("surrogate") or inputs["model"]
    key = _architecture(model, grid)
    if cell.kind == "attack":
        attack = AttackSpec(**inputs["attack"])
        return key, min(inputs["count"], attacked) * compose(attack.techniques).cost(attack.steps, 1)
    steps = DerivedDatasetEntry.of_cell(inputs).steps if cell.kind == "derive" else SHARPNESS_PASSES
    return key, float(inputs["count"] * steps)


def _architecture(model: Mapping[str, Any], grid: Grid) -> str:
    if "cell" in model:
        return str(grid.cells[model["cell"]].inputs["config"]["architecture"])
    return str(model["digest"])


def _pass_seconds(key: str, grid: Grid, dataset: DatasetSpec) -> float:
    """Return the seconds of a forward and backward pass of one image, in one thread; of several the fastest.

    Whatever else the machine does makes passes slower, never faster.
    """
    from transferzoo.models.build import create

    if key in grid.models:
        model: torch.nn.Module = load_classifier(grid.models[key], dataset)
    else:
        model = create(key, dataset)[0].to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, dataset.channels, dataset.size, dataset.size)
    labels = torch.zeros(BATCH, dtype=torch.int64)
    with one_thread():
        functional.cross_entropy(model(images), labels).backward()  # warms up
        times: list[float] = []
        while sum(times) < LEAST_SECONDS:
            started = time.monotonic()
            functional.cross_entropy(model(images), labels).backward()
            times.append(time.monotonic() - started)
        return min(times) / BATCH
