"""What is finished of a grid: cells of the store, and cells that result files hold.

A result file is a safer home than a store, and can be committed: with it, a study whose store is gone
computes only what is missing. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.studies.entries import ACCURACY, GRADIENTS, MOVED, NOISE, OF_ATTACK, ROBUST
from transferzoo.studies.result_file import (
    CURVE,
    SHARPNESS,
    Outcomes,
    Results,
    Training,
    Value,
    read_results,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from transferzoo.studies.cells import Cell, Grid, GridPoint
    from transferzoo.studies.store import Store

    Lines = Sequence[Outcomes | Value]
    Measured = tuple[str, int | str]
    """A measure, and the epoch of a training's curve, "" of what other cells measure."""


@dataclass(frozen=True)
class RecordedCells:
    """Cells that result files hold; whatever study and surrogate a file is about, equal keys are one cell.

    Attributes:
        outcomes: key of an attack → target → its outcomes.
        values: key → what the cell measured.
        versions: key → versions of the packages that it was done with.
    """

    outcomes: Mapping[str, Mapping[str, Outcomes]] = field(default_factory=dict)
    values: Mapping[str, Mapping[Measured, float]] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[Results]) -> RecordedCells:
        """Return the cells of result files; lines without a key are of none."""
        outcomes: dict[str, dict[str, Outcomes]] = {}
        values: dict[str, dict[Measured, float]] = {}
        versions: dict[str, Mapping[str, str]] = {}
        for file in files:
            for one in file.outcomes:
                outcomes.setdefault(one.cell, {})[one.target] = one
            for value in file.values:
                epoch = value.epoch if value.measure in CURVE else ""
                values.setdefault(value.cell, {})[value.measure, epoch] = value.value
            versions |= {line.cell: file.versions for line in file.lines}
        for found in (outcomes, values, versions):
            found.pop("", None)
        return cls(outcomes, values, versions)


@dataclass(frozen=True)
class Finished:
    """What is finished of a grid.

    Attributes:
        grid: the grid.
        store: cells that were computed here.
        recorded: cells of result files.
    """

    grid: Grid
    store: Store
    recorded: RecordedCells

    def missing(self) -> dict[str, Cell]:
        """Return the cells to compute, in order: those that are not finished, and what these need.

        A training whose measurements are all finished needs not be there.
        """
        wanted = [key for point in self.grid.points for key, lines in self._cells(point) if not lines]
        missing: set[str] = set()
        while wanted:
            key = wanted.pop()
            if key not in missing and not self.store.is_done(self.grid.cells[key]):
                missing.add(key)
                wanted += self.grid.cells[key].needs
        return {key: cell for key, cell in self.grid.cells.items() if key in missing}

    def results(self) -> Results:
        """Return what is finished."""
        outcomes: list[Outcomes] = []
        values: list[Value] = []
        trainings: dict[Training, None] = {}
        for point in self.grid.points:
            found = [line for _, lines in self._cells(point) for line in lines]
            outcomes += [line for line in found if isinstance(line, Outcomes)]
            values += [line for line in found if isinstance(line, Value)]
            if found and point.train:
                trainings[Training(point.surrogate, point.seed, point.train)] = None
        return Results(self.grid.study, tuple(outcomes), tuple(values), self._versions(), tuple(trainings))

    def strangers(self, file: Results) -> int:
        """Return how many lines of a result file are of no cell of the grid."""
        return sum(line.cell not in self.grid.cells for line in file.lines)

    def check_keeps(self, path: Path) -> None:
        """Check that a result file may be overwritten: that all its lines are of finished cells.

        Raises:
            UsageError: some would be lost.
            DataError: there is something else.
        """
        if not path.exists():
            return
        file, found = read_results(path), self.results()
        kept = {line.cell for line in found.lines}
        lost = [line for line in file.lines if line.cell not in kept]
        if lost:
            raise UsageError(
                f"{path} has records that this run would lose",
                expected="those of finished cells of this study",
                got=f"{len(lost)} others",
                hint="choose another --results, or delete it",
            )

    def _versions(self) -> dict[str, str]:
        """Return the versions that all cells were done with."""
        found: dict[str, set[str]] = {}
        for key, cell in self.grid.cells.items():
            versions = self.store.versions(cell.kind, key) or self.recorded.versions.get(key, {})
            for package, version in versions.items():
                found.setdefault(package, set()).update(version.split(", "))
        return {package: ", ".join(sorted(versions)) for package, versions in sorted(found.items())}

    def _cells(self, point: GridPoint) -> Iterator[tuple[str, Lines]]:
        """Yield the key of every cell that measures a point with what it found; nothing if it has to run."""
        for attack, key in point.attacks.items():
            if found := self._outcomes(point, attack, key):
                measured = self._values(point, "attack", key, _of_attack)
                yield key, [*found, *(value for value in measured if value.measure in OF_ATTACK)]
            else:
                yield key, []
        for key in list(point.attacks.values())[:1]:
            measured = self._values(point, "attack", key, _accuracy)
            yield key, [value for value in measured if value.measure == ACCURACY]
        if point.robust:
            yield point.robust, self._values(point, "attack", point.robust, _robust_accuracy)
        if point.sharpness:
            yield point.sharpness, self._values(point, "sharpness", point.sharpness, _sharpness)
        if point.train and isinstance(point.epoch, int):
            yield point.train, self._values(point, "train", point.train, partial(_curve, point.epoch))

    def _outcomes(self, point: GridPoint, attack: str, key: str) -> list[Outcomes]:
        place = (point.surrogate, point.seed, point.epoch, attack)
        if (result := self.store.result("attack", key)) is not None:
            return [
                Outcomes(*place, one["target"].partition("/")[2], one["white_box"], one["outcomes"], key)
                for one in result["records"]
            ]
        return [
            Outcomes(*place, one.target, one.white_box, one.outcomes, key)
            for one in self.recorded.outcomes.get(key, {}).values()
        ]

    def _values(
        self, point: GridPoint, kind: str, key: str, read: Callable[[Mapping[str, Any]], Mapping[str, float]]
    ) -> list[Value]:
        if (result := self.store.result(kind, key)) is not None:
            found = read(result)
        else:
            recorded = self.recorded.values.get(key, {})
            found = {measure: value for (measure, at), value in recorded.items() if at in ("", point.epoch)}
        return [
            Value(point.surrogate, point.seed, point.epoch, measure, value, key)
            for measure, value in found.items()
        ]


def _accuracy(attack: Mapping[str, Any]) -> dict[str, float]:
    return {ACCURACY: attack["records"][0]["surrogate_accuracy"]}


def _of_attack(attack: Mapping[str, Any]) -> dict[str, float]:
    """Return the measures of `OF_ATTACK` that a cell has."""
    records = attack["records"]
    white = {one["target"] for one in records if one["white_box"]}
    noise = [one["rate"] for one in attack.get("noise", ()) if one["target"] not in white]
    return {
        GRADIENTS: float(records[0]["gradients"]),
        **({MOVED: attack[MOVED]} if MOVED in attack else {}),
        **({NOISE: fmean(noise)} if noise else {}),
    }


def _robust_accuracy(attack: Mapping[str, Any]) -> dict[str, float]:
    (record,) = attack["records"]
    return {ROBUST: record["surrogate_accuracy"] * (1 - record["rate"])}


def _sharpness(measured: Mapping[str, Any]) -> dict[str, float]:
    return {f"{SHARPNESS}.{measure}": value for measure, value in measured.items()}


def _curve(epoch: int, trained: Mapping[str, Any]) -> dict[str, float]:
    line = trained["curve"][epoch - 1]
    return {measure: line[measure] for measure in CURVE if measure in line}
