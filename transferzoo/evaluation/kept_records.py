"""The records of a run as its folder has them, which several processes add to at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from transferzoo.attacks.noise import noise_name
from transferzoo.base.claims import claimed
from transferzoo.base.errors import DataError
from transferzoo.evaluation.examples import Predictions, drawn_examples
from transferzoo.evaluation.run_folder import CURVE, NOISE, PREDICTIONS, RECORDS
from transferzoo.results.records import NOISE_SURROGATE, Record, SurrogateAttack

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from transferzoo.attacks.engine import Attack
    from transferzoo.evaluation.job import CraftingTask, Job
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.evaluation.select_images import SelectedImages
    from transferzoo.zoo.schema import ModelSpec

    Row = tuple[SurrogateAttack, int]
    Cell = tuple[SurrogateAttack, int, str]

T = TypeVar("T")


@dataclass(frozen=True)
class Measured:
    """What was measured of a target.

    Attributes:
        records: by file.
        predictions: of the images that people look at.
    """

    records: Mapping[str, list[Record]]
    predictions: list[Predictions]


class KeptRecords:
    """What is measured of a run; a file that another process has written is read again.

    Args:
        job: of the run.
        selected: the images; records of others do not count.
        folder: of the run.
        given: rows of images that others made.

    Attributes:
        rows: of each file.
    """

    def __init__(
        self, job: Job, selected: SelectedImages, folder: RunFolder, given: Sequence[Row] = ()
    ) -> None:
        self._job, self._folder, self._selection = job, folder, folder.selection()
        self.rows = measured_rows(job.crafting_tasks, job.attacks, job.config.curve)
        self.rows[RECORDS] += given
        self._examples = tuple(selected.ids[shown_places(job, selected)].tolist())
        self._known: dict[str, dict[Cell, Record]] = {}
        self._shown: dict[tuple[str, str, str], Predictions] = {}
        self._versions: dict[str, tuple[int, ...] | None] = {}

    def missing(self, target: ModelSpec, pairs: Collection[SurrogateAttack]) -> dict[str, list[Row]]:
        """Return the rows of each file that some pairs have, and that are not measured of a target."""
        self._read()
        return {
            file: [
                row
                for row in rows
                if row[0] in pairs
                and not self._is_known(file, row, target.full_name)
                and not (file == NOISE and target.full_name in self._job.noiseless)
            ]
            for file, rows in self.rows.items()
        }

    def _is_known(self, file: str, row: Row, target: str) -> bool:
        pair, _ = row
        predicted = file != RECORDS or (pair.surrogate, pair.attack, target) in self._shown
        return predicted and (*row, target) in self._known[file]

    def add(self, measured: Measured) -> None:
        """Keep what was measured, beside what others have kept meanwhile."""
        with claimed(self._folder.claim(self._folder.path / RECORDS)):
            self._read()
            if measured.predictions:
                self._shown |= {(one.surrogate, one.attack, one.target): one for one in measured.predictions}
                names = ((pair.surrogate, pair.attack, target) for pair, _, target in self._cells(RECORDS))
                self._folder.save_predictions(self._shown[name] for name in names if name in self._shown)
            for file, records in measured.records.items():
                if records:
                    self._known[file] |= {(r.pair, r.steps, r.target): r for r in records}
                    self._folder.save_records(self._ordered(file), file)
            self._versions = self._found()

    def all(self) -> dict[str, list[Record]]:
        """Return the records that are there, by file and in order."""
        self._read()
        return {file: self._ordered(file) for file in self.rows}

    def _ordered(self, file: str) -> list[Record]:
        return [self._known[file][cell] for cell in self._cells(file) if cell in self._known[file]]

    def _cells(self, file: str) -> list[Cell]:
        return [(*row, target.full_name) for row in self.rows[file] for target in self._job.targets]

    def _found(self) -> dict[str, tuple[int, ...] | None]:
        return {file: self._folder.version(file) for file in (*self.rows, PREDICTIONS)}

    def _read(self) -> None:
        """Read the files that are not as they were when they were read, or written, before."""
        found = self._found()
        for file in self.rows:
            if file not in self._versions or found[file] != self._versions[file]:
                self._known[file] = {
                    (r.pair, r.steps, r.target): r
                    for r in intact(partial(self._folder.records, file))
                    if r.selection == self._selection
                }
        if PREDICTIONS not in self._versions or found[PREDICTIONS] != self._versions[PREDICTIONS]:
            self._shown = {
                (one.surrogate, one.attack, one.target): one
                for one in intact(self._folder.predictions)
                if one.ids == self._examples
            }
        self._versions = found


def intact(read: Callable[[], list[T]]) -> list[T]:
    """Return what a file of the run holds: nothing where it is damaged, so that it is measured again."""
    try:
        return read()
    except DataError:
        return []


def measured_rows(
    tasks: Sequence[CraftingTask], attacks: Sequence[Attack], steps: Sequence[int]
) -> dict[str, list[Row]]:
    """Return the rows of each file of records: what is shown to every target, and after how many steps.

    Args:
        tasks: what is crafted.
        attacks: those that there is random noise beside, also where others made the images.
        steps: after which images are measured too.
    """
    curve = [(t.pair, step) for t in tasks for step in steps if step < t.attack.budget.steps]
    names = dict.fromkeys(noise_name(attack.budget) for attack in attacks)
    noise = [(SurrogateAttack(NOISE_SURROGATE, name), 0) for name in names]
    rows = {RECORDS: [(t.pair, t.attack.budget.steps) for t in tasks], NOISE: noise}
    return {**rows, CURVE: curve} if curve else rows


def shown_places(job: Job, selected: SelectedImages) -> list[int]:
    """Return the places in what is selected of the images that are shown to people."""
    return drawn_examples(selected.labels.tolist(), job.config.seed)
