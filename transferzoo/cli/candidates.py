"""Attacks that are tried on validation targets, as cells: what `search` and `compare` choose by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.cli.grids import executor_of, run_cells

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transferzoo.cli.search_request import CandidatesRequest
    from transferzoo.searches.moves import Candidate
    from transferzoo.studies.executors import Executor
    from transferzoo.zoo.reader import Zoo

CHOSEN = "Chosen among"


@dataclass(frozen=True)
class Trials:
    """What measures candidates.

    Attributes:
        zoo: names are resolved in it.
        asked: arguments of `round_of`.
        paths: fields of `Task`, the study aside.
        executor: it runs the cells.
        failed: candidates that could not be measured → why.
    """

    zoo: Zoo
    asked: Mapping[str, Any]
    paths: Mapping[str, Any]
    executor: Executor
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        request: CandidatesRequest,
        images: int,
        dataset: str | None = None,
        surrogates: Sequence[str] | None = None,
    ) -> Trials:
        """Return what measures candidates as a user asks.

        Args:
            request: what was asked.
            images: how many choose.
            dataset: its name; None for the zoo's default.
            surrogates: names; None for the data set's default.

        Raises:
            UsageError: a name is unknown, there is no surrogate or no validation target, or an option is
                wrong.
        """
        from transferzoo.base import plugins
        from transferzoo.base.processes import usual_jobs
        from transferzoo.datasets.sources import measured
        from transferzoo.studies.store import Store
        from transferzoo.zoo.reader import load_zoo, own_file

        if request.ray is not None and request.jobs is not None:
            raise UsageError("--jobs and --ray exclude each other", expected="one of the two")
        records = load_zoo(request.zoo)
        dataset = dataset or records.default_dataset
        root = request.data and request.data.expanduser().absolute()
        store = request.store.absolute()
        Store(store).check()
        asked = {
            "dataset": dataset,
            "split": request.split,
            "surrogates": surrogates or [_default_surrogate(records, dataset)],
            "validators": request.validator or _validators(records, dataset),
            "images": images,
        }
        paths = {
            "store": store,
            "root": root,
            "zoo": own_file(request.zoo),
            "plugins": plugins.files(),
            "allow_code": request.allow_code,
        }
        jobs = usual_jobs() if request.jobs is None else request.jobs
        return cls(
            measured(records, dataset, request.split, root), asked, paths, executor_of(jobs, request.ray)
        )

    def how(self, candidates: Iterable[Candidate]) -> str:
        """Return what one of some candidates was chosen by, in a sentence; equal attacks count once."""
        return (
            f"{CHOSEN} {len({one.attack for one in candidates})} attacks on {self.asked['images']} images of "
            f"{self.asked['dataset']}, "
            f"from {' and '.join(self.asked['surrogates'])} on {' and '.join(self.asked['validators'])}."
        )

    def measure(self, candidates: Sequence[Candidate]) -> dict[Candidate, float]:
        """Return the success of those candidates that can be measured."""
        from transferzoo.searches.measured import rates, round_of
        from transferzoo.studies.finished import Finished, RecordedCells
        from transferzoo.studies.grid import build_grid
        from transferzoo.studies.store import Store
        from transferzoo.studies.worker import Task

        study = round_of(candidates, **self.asked)
        task = Task(study.model_dump_json(), **self.paths)
        grid = build_grid(study, self.zoo, task.root, allow_code=task.allow_code)
        found = Finished(grid, Store(task.store), RecordedCells())
        for cell, error in run_cells(task, found, found.missing(), self.executor, what="search"):
            self.failed[cell.label] = str(error)
        return rates(candidates, found.results())


def _default_surrogate(zoo: Zoo, dataset: str) -> str:
    found = zoo.dataset(dataset).surrogate
    if not found:
        raise UsageError(f"'{dataset}' has no default surrogate", expected="--surrogate MODEL")
    return found


def _validators(zoo: Zoo, dataset: str) -> list[str]:
    from transferzoo.zoo.selection import listed

    found = [model.name for model in listed(zoo, "all", dataset, "validator")]
    if not found:
        raise UsageError(
            f"'{dataset}' has no validation targets to choose by",
            expected="one or more --validator MODEL",
            hint="name models that no report has as targets",
        )
    return found
