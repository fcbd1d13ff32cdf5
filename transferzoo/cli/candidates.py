"""Attacks that are tried on validation targets, as cells: what `search` and `compare` choose by."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.cli.grids import executor_of, run_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.cli.search_request import CandidatesRequest
    from transferzoo.searches.moves import Candidate
    from transferzoo.studies.cells import Grid
    from transferzoo.studies.executors import Executor
    from transferzoo.studies.schema import Study
    from transferzoo.zoo.reader import Zoo

CHOSEN = "Chosen among"


def technique_names(given: Sequence[str] | None, zoo: Path | None) -> list[str]:
    """Return the names of techniques that a user gives, in whatever spelling, all where none is given.

    Args:
        given: names.
        zoo: the user's own zoo file.

    Raises:
        UnknownNameError: one is no name.
        UsageError: one is a composition, has options, or is a preset.
    """
    from transferzoo.attacks.configure import without_aliases
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.zoo.reader import load_zoo

    records = load_zoo(zoo)
    names = []
    for said in given or TECHNIQUES:
        terms = tuple(without_aliases(said, records))
        if len(terms) != 1 or terms[0].options or terms[0].name in {*records.presets, *records.suites}:
            raise UsageError(
                f"'{said}' is no single technique by its defaults",
                expected="a technique of `transferzoo list attacks`",
                hint="`attack -a ONE -a OTHER --max-gradients 50` compares presets and compositions",
            )
        TECHNIQUES[terms[0].name]
        names.append(terms[0].name)
    return names


def check_yaml(path: Path | None, what: str) -> None:
    """Check that a file that `--save` names is YAML by its name, and can be written.

    Raises:
        UsageError: it has another ending.
        TransferZooError: it is a folder, or its folder cannot be written.
    """
    from transferzoo.results.writers import check_file

    if path is None:
        return
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"cannot write {what} to {path}", expected="a name in .yaml")
    check_file(path, "--save")


@dataclass(frozen=True)
class Trials:
    """What measures candidates.

    Attributes:
        zoo: names are resolved in it.
        asked: arguments of `round_of`.
        paths: fields of `Task`, the study aside.
        executor: it runs the cells.
        failed: candidates that could not be measured → why.
        counted: how many images the others were measured on.
        digests: of the user's own images, which are read once for all grids.
    """

    zoo: Zoo
    asked: Mapping[str, Any]
    paths: Mapping[str, Any]
    executor: Executor
    failed: dict[str, str] = field(default_factory=dict)
    counted: set[int] = field(default_factory=set)
    digests: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        request: CandidatesRequest,
        images: int,
        surrogates: Sequence[str] | None,
        base: Study | None = None,
    ) -> Trials:
        """Return what measures candidates as a user asks.

        Args:
            request: what was asked.
            images: how many choose.
            surrogates: names; None for the data set's default.
            base: a study that says data set, split and validation targets instead; None for none.

        Raises:
            UsageError: a name is unknown, there is no surrogate or no validation target, or an option is
                wrong.
        """
        from transferzoo.base import plugins
        from transferzoo.base.processes import usual_jobs
        from transferzoo.datasets.sources import measured
        from transferzoo.models.resolve import select_models
        from transferzoo.models.unlisted_options import UnlistedOptions
        from transferzoo.studies.store import Store
        from transferzoo.zoo.reader import load_zoo, own_file

        if request.ray is not None and request.jobs is not None:
            raise UsageError("--jobs and --ray exclude each other", expected="one of the two")
        records = load_zoo(request.zoo)
        options = UnlistedOptions(allow_code=request.allow_code)
        split = base.split if base else request.split
        dataset = (base.dataset if base else request.dataset) or records.default_dataset
        said = base.chosen_by.validators if base and base.chosen_by else request.validator
        crafted_on = surrogates or [_default_surrogate(records, dataset)]
        chosen_by = said or _validators(records, dataset)
        select_models(records, crafted_on, dataset, "surrogate", options)
        select_models(records, chosen_by, dataset, "validator", options)
        root = request.data and request.data.expanduser().absolute()
        store = request.store.absolute()
        Store(store).check()
        asked = {
            "dataset": dataset,
            "split": split,
            "surrogates": crafted_on,
            "validators": list(chosen_by),
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
        return cls(measured(records, dataset, split, root), asked, paths, executor_of(jobs, request.ray))

    @property
    def images(self) -> int:
        """How many images choose: as many as are asked for, until it is known that fewer are there."""
        return min(self.counted, default=self.asked["images"])

    def how(self, candidates: Iterable[Candidate]) -> str:
        """Return what one of some candidates was chosen by, in a sentence; equal attacks count once."""
        return (
            f"{CHOSEN} {len({one.attack for one in candidates})} attacks on {self.images} images of "
            f"{self.asked['dataset']}, "
            f"from {' and '.join(self.asked['surrogates'])} on {' and '.join(self.asked['validators'])}."
        )

    def measure(self, candidates: Sequence[Candidate], what: str = "search") -> dict[Candidate, float]:
        """Return the success of those candidates that can be measured; `what` as of `run_cells`.

        Raises:
            UsageError: a surrogate has the weights of all validators.
            TransferZooError: none can be, nor could any before.
        """
        from transferzoo.searches.measured import rates, round_of
        from transferzoo.studies.finished import Finished, RecordedCells
        from transferzoo.studies.store import Store
        from transferzoo.studies.worker import Task

        study = round_of(candidates, **self.asked)
        task, grid = Task(study.model_dump_json(), **self.paths), self.grid(study)
        found = Finished(grid, Store(task.store), RecordedCells())
        for cell, error in run_cells(task, found, found.missing(), self.executor, what=what):
            self.failed[cell.label] = str(error)
        results = found.results()
        if measured := rates(candidates, results):
            self.counted.update(one.n for one in results.outcomes)
        if not self.counted:
            why = next(iter(self.failed.values()), "its cells are not done")
            raise TransferZooError(f"no attack could be measured: {why.removesuffix('.')}")
        return measured

    @property
    def build(self) -> Callable[..., Grid]:
        """`build_grid`, of a study of theirs."""
        from transferzoo.studies.grid import build_grid

        root, allow_code = self.paths["root"], self.paths["allow_code"]
        return partial(build_grid, zoo=self.zoo, root=root, allow_code=allow_code)

    def grid(self, study: Study, notify: Callable[[str], None] = lambda _: None) -> Grid:
        """Return the grid of a study of theirs, see `build_grid`."""
        grid = self.build(study, notify=notify, digests=self.digests)
        self.digests.update(grid.digests)
        return grid


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
