"""A study before it runs: its cells, what they take, and how wide its intervals will be; without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.base.durations import duration
from transferzoo.base.errors import TransferZooError
from transferzoo.base.table import Table
from transferzoo.studies.expected import as_json, expectations, expectations_table
from transferzoo.studies.grid import build_grid
from transferzoo.studies.result_file import RESULTS, SUFFIX, read_results
from transferzoo.studies.schema import built_in, read_study
from transferzoo.studies.tables import sharing_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.evaluation.queries import Queries
    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.studies.expected import Expectation
    from transferzoo.studies.finished import Finished
    from transferzoo.zoo.reader import Zoo


@dataclass(frozen=True)
class Plan:
    """What is known of a study before it runs.

    Attributes:
        grid: the study's.
        missing: cells to run.
        seconds: that they take, roughly.
        jobs: processes.
        expected: of the claims.
        shared: study of the package → surrogates of this one whose trainings it has as well.
        queries: images that served targets and functions are asked about.
    """

    grid: Grid
    missing: Mapping[str, Cell]
    seconds: float
    jobs: int
    expected: Sequence[Expectation]
    shared: Mapping[str, Sequence[str]]
    queries: Sequence[Queries] = ()

    def tables(self) -> list[Table]:
        """Return the table of cells, and that of claims if there are any."""
        cells = self.grid.cells.values()
        kinds = dict.fromkeys(cell.kind for cell in cells)
        every = {kind: sum(cell.kind == kind for cell in cells) for kind in kinds}
        todo = {kind: sum(cell.kind == kind for cell in self.missing.values()) for kind in kinds}
        rows = tuple(
            (kind, str(every[kind]), str(every[kind] - todo[kind]), str(todo[kind])) for kind in kinds
        )
        caption = (
            f"About {duration(self.seconds)} are left with {self.jobs} "
            f"process{'es' if self.jobs > 1 else ''}.{sharing_sentence(self.shared)}"
        )
        caption += "".join(f" {one.target} is asked about {one.in_all:,} images." for one in self.queries)
        study = self.grid.study
        table = Table(
            f"Study {study.name}: {study.about}", ("cells", "in all", "done", "to do"), rows, caption
        )
        return [table, *([expectations_table(self.expected)] if self.expected else [])]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        cells = [
            {
                "key": key,
                "kind": cell.kind,
                "label": cell.label,
                "needs": cell.needs,
                "done": key not in self.missing,
            }
            for key, cell in self.grid.cells.items()
        ]
        return {
            "study": self.grid.study.name,
            "cells": cells,
            "estimated_seconds": round(self.seconds),
            **({"queries": [one.to_json() for one in self.queries]} if self.queries else {}),
            "claims": [as_json(one) for one in self.expected],
            "shares_trainings_with": {name: list(surrogates) for name, surrogates in self.shared.items()},
        }


def make_plan(
    found: Finished,
    missing: Mapping[str, Cell],
    zoo: Zoo,
    root: Path | None,
    attacked: int,
    seconds: float,
    jobs: int,
    queries: Sequence[Queries] = (),
) -> Plan:
    """Return what is known of a study before it runs.

    Args:
        found: what is finished of it.
        missing: cells to run.
        zoo: names are resolved in it.
        root: the user's own images, as of `--data`.
        attacked: how many images are attacked.
        seconds: that the cells take.
        jobs: processes.
        queries: images that served targets and functions are asked about.

    Raises:
        DataError: records of an earlier study cannot be read.
    """
    study = found.grid.study
    files = [RESULTS / f"{name}{SUFFIX}" for name in (study.name, *study.earlier)]
    records = [found.results(), *(read_results(path) for path in files if path.is_file())]
    expected = expectations(found.grid, attacked, records)
    return Plan(found.grid, missing, seconds, jobs, expected, _shared(found.grid, zoo, root), queries)


def _shared(grid: Grid, zoo: Zoo, root: Path | None) -> dict[str, tuple[str, ...]]:
    """Return the studies of the package that have trainings of a study, and of which of its surrogates."""
    found: dict[str, tuple[str, ...]] = {}
    if not any(point.train for point in grid.points):
        return found
    for name, path in built_in().items():
        other = read_study(path)
        if name == grid.study.name or other.dataset != grid.study.dataset:
            continue
        try:
            surrogates = grid.shares(build_grid(other, zoo, root))
        except TransferZooError:
            continue  # it cannot run with this zoo or these images, so nothing can be shared
        if surrogates:
            found[name] = surrogates
    return found
