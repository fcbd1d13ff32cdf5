"""`transferzoo search`: the strongest attack at a given cost, chosen on validation targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import UsageError
from transferzoo.base.table import Table
from transferzoo.cli.grids import executor_of, run_cells
from transferzoo.cli.output import log, show, show_json, terminal_width
from transferzoo.cli.parameters import command
from transferzoo.cli.search_request import SearchRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from transferzoo.searches.moves import Candidate
    from transferzoo.searches.search import Round
    from transferzoo.studies.executors import Executor
    from transferzoo.zoo.reader import Zoo


@command(SearchRequest)
def search(request: SearchRequest) -> None:
    """Search the strongest attack at a cost, on validation targets, and print it as a preset."""
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.searches.measured import curve_of
    from transferzoo.searches.presets import check_place, preset_lines, save_preset
    from transferzoo.searches.search import search as run_search

    names = list(request.technique or TECHNIQUES)
    for name in names:
        TECHNIQUES[name]  # or it is said, before anything runs
    check_place(request.save, request.name)
    rounds = _rounds(request)
    try:
        best, rate = run_search(names, request.max_gradients, rounds.measure, rounds.on_round)
        curve = rounds.measure(curve_of(best))
    finally:
        rounds.executor.close()
    lines = preset_lines(request.name, best, curve, rounds.how)
    if request.json:
        show_json(_as_json(request.name, best, rate, curve, rounds))
    else:
        show(*_tables(rounds, curve), "\n".join(["attacks:", *lines]))
    log(
        f"{best.name} fools {' and '.join(rounds.asked['validators'])} with {100 * rate:.1f} % of the images "
        "that it was chosen on; expect less of others."
    )
    if request.save is not None:
        save_preset(request.save, lines)
        log(
            f"Written: {request.save}. Next: `transferzoo attack --zoo {request.save} -a {request.name}`, on "
            "the targets."
        )


def _rounds(request: SearchRequest) -> _Rounds:
    """Return what measures the rounds of a search.

    Raises:
        UsageError: a name is unknown, there is no surrogate or no validation target, or an option is wrong.
    """
    from transferzoo.base import plugins
    from transferzoo.base.processes import usual_jobs
    from transferzoo.datasets.sources import measured
    from transferzoo.studies.store import Store
    from transferzoo.zoo.reader import load_zoo, own_file

    if request.ray is not None and request.jobs is not None:
        raise UsageError("--jobs and --ray exclude each other", expected="one of the two")
    records = load_zoo(request.zoo)
    dataset = request.dataset or records.default_dataset
    root = request.data and request.data.expanduser().absolute()
    store = request.store.absolute()
    Store(store).check()
    asked = {
        "dataset": dataset,
        "split": request.split,
        "surrogates": request.surrogate or [_default_surrogate(records, dataset)],
        "validators": request.validator or _validators(records, dataset),
        "images": request.images,
    }
    paths = {
        "store": store,
        "root": root,
        "zoo": own_file(request.zoo),
        "plugins": plugins.files(),
        "allow_code": request.allow_code,
    }
    jobs = usual_jobs() if request.jobs is None else request.jobs
    executor = executor_of(jobs, request.ray)
    return _Rounds(measured(records, dataset, request.split, root), asked, paths, executor)


@dataclass
class _Rounds:
    """The rounds of a search: each the study of its candidates.

    Attributes:
        zoo: names are resolved in it.
        asked: arguments of `round_of`.
        paths: fields of `Task`, the study aside.
        executor: it runs the cells.
        done: the rounds so far.
        failed: candidates that could not be measured → why.
    """

    zoo: Zoo
    asked: Mapping[str, Any]
    paths: Mapping[str, Any]
    executor: Executor
    done: list[Round] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """What the preset was chosen by, in a sentence."""
        number = sum(len(one.rates) for one in self.done)
        return (
            f"Chosen among {number} attacks on {self.asked['images']} images of {self.asked['dataset']}, "
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

    def on_round(self, one: Round) -> None:
        """Keep a round and tell of it."""
        self.done.append(one)
        log(
            f"Round {len(self.done)}, {one.move}: {len(one.rates)} attacks tried; "
            f"{'best' if one.improved else 'no gain; still'} {one.best.name}, {100 * one.rate:.1f} %."
        )


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


def _tables(rounds: _Rounds, curve: Mapping[Candidate, float]) -> list[RenderableType]:
    """Return the rounds, and what the attack reaches at less cost."""
    from transferzoo.cli.tables import render

    steps = Table(
        "Search",
        ("round", "move", "tried", "best attack so far", "success"),
        tuple(
            (str(number), one.move, str(len(one.rates)), one.best.name, f"{100 * one.rate:.1f}")
            for number, one in enumerate(rounds.done, 1)
        ),
        rounds.how + " Mean success in %.",
    )
    points = Table(
        "Success by cost",
        ("gradients", "steps", "success"),
        tuple((str(one.gradients), str(one.steps), f"{100 * rate:.1f}") for one, rate in curve.items()),
        "The attack that was found, with fewer steps, on the same images; in %.",
    )
    return [render(table, terminal_width()) for table in (steps, points)]


def _as_json(
    name: str, best: Candidate, rate: float, curve: Mapping[Candidate, float], rounds: _Rounds
) -> dict[str, Any]:
    entry = best.entry
    return {
        "name": name,
        "attack": {"spec": "+".join(best.techniques), "step": entry.step, "steps": entry.steps},
        "gradients": best.gradients,
        "success": rate,
        "curve": [{"gradients": one.gradients, "success": value} for one, value in curve.items()],
        **{key: rounds.asked[key] for key in ("dataset", "surrogates", "validators", "images")},
        "rounds": [
            {
                "move": one.move,
                "best": one.best.name,
                "success": one.rate,
                "tried": {candidate.name: value for candidate, value in one.rates.items()},
            }
            for one in rounds.done
        ],
        "failed": rounds.failed,
    }
