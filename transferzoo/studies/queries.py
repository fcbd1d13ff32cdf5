"""How many images the existing targets of a study are asked about, where each counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.datasets.sources import load_split
from transferzoo.evaluation.queries import Queries, timed
from transferzoo.evaluation.select_images import next_look
from transferzoo.models.download import loadable
from transferzoo.studies.digests import split_root

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.zoo.schema import DatasetSpec


def expected_queries(
    grid: Grid, todo: Iterable[Cell], dataset: DatasetSpec, root: Path | None
) -> list[Queries]:
    """Return how many images each served target, and each function, is asked about; a function is timed.

    Every attack shows a target the adversarial images and random noise; clean ones it sees once.

    Args:
        grid: has the models.
        todo: the cells that are not done.
        dataset: of the study.
        root: the user's own images, as of `--data`.

    Raises:
        DataError: the images are not there, or damaged.
        ModelError: a function's own code fails.
    """
    found: dict[str, Queries] = {}
    asked = {digest: model for digest, model in grid.models.items() if loadable(model).takes_queries()}
    if not asked:
        return []
    split = grid.study.split or dataset.attack.split
    images = load_split(dataset, split, root=split_root(dataset, split, root))
    for cell in todo:
        for digest in (one.get("digest") for one in cell.inputs.get("targets", ())):
            if digest not in asked:
                continue
            count = int(cell.inputs["count"])
            clean, shown = min(next_look(0, 0, count), len(images)), min(count, len(images))
            before = found.get(digest, Queries(asked[digest].full_name, 0, 0, 0))
            found[digest] = replace(
                before, clean=clean, adversarial=before.adversarial + shown, noise=before.noise + shown
            )
    return [
        counts if asked[digest].source.is_served else timed(counts, asked[digest], dataset, images)
        for digest, counts in found.items()
    ]
