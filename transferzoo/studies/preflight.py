"""Checks before the first cell of a study: images can be loaded, architectures built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import resolve
from transferzoo.datasets.sources import load_split
from transferzoo.models.build import create
from transferzoo.studies.digests import split_root

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.studies.schema import Study
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec


def check_architectures(grid: Grid, dataset: DatasetSpec) -> None:
    """Build every architecture of a grid once, so that errors are reported before anything runs.

    Raises:
        UsageError: one cannot be built.
    """
    trained = (cell.inputs["config"] for cell in grid.cells.values() if cell.kind == "train")
    for architecture in dict.fromkeys(config["architecture"] for config in trained):
        create(architecture, dataset)


def check_attacks(study: Study, zoo: Zoo) -> None:
    """See that the attacks of a study can be used, before anything runs.

    Raises:
        UsageError: one cannot.
    """
    for entry in (*study.attacks, *([study.robust] if study.robust else [])):
        spec = resolve(zoo, study.dataset, entry.spec, entry.said)
        compose(spec.techniques).check_use(spec.exact, targeted=False)


def check_images(cells: Iterable[Cell], dataset: DatasetSpec, root: Path | None) -> None:
    """Load the images that cells read once, so that missing ones are reported once, before anything runs.

    Raises:
        DataError: they are not there, or damaged.
    """
    read = [cell.inputs["split"] if cell.kind == "attack" else "train" for cell in cells]
    for split in dict.fromkeys(read):
        load_split(dataset, split, root=split_root(dataset, split, root))


def count_images(dataset: DatasetSpec, root: Path | None) -> int:
    """Return how many training images there are."""
    return len(load_split(dataset, "train", root=split_root(dataset, "train", root)))


def count_attacked(study: Study, dataset: DatasetSpec, root: Path | None) -> int:
    """Return how many images a study attacks: as many as it says, or all that there are.

    Raises:
        DataError: they are not there, or damaged.
    """
    split = study.split or dataset.attack.split
    there = len(load_split(dataset, split, root=split_root(dataset, split, root)))
    return min(study.images or dataset.attack.images, there)
