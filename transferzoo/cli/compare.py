"""`transferzoo compare`: techniques at equal cost, each with a step size chosen on validation targets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.cli.candidates import CHOSEN, Trials
from transferzoo.cli.output import log
from transferzoo.cli.parameters import command
from transferzoo.cli.search_request import STUDY, CompareRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.searches.comparison import Choice, Contender
    from transferzoo.studies.cells import Grid
    from transferzoo.studies.schema import Study

IMAGES = 500
PRESET = "strong"
"""The preset that takes part where all techniques do."""


@command(CompareRequest)
def compare(request: CompareRequest) -> None:
    """Compare techniques at equal cost, each with the step size that suits it on validation targets."""
    from transferzoo.attacks.techniques import TECHNIQUES
    from transferzoo.cli.study import complete, read_finished
    from transferzoo.results.writers import check_output
    from transferzoo.searches.comparison import (
        REPORTED_AT,
        STEPS,
        check_new,
        choose,
        contenders,
        reported,
        study_of,
        study_text,
        with_more,
    )
    from transferzoo.studies.grid import build_grid
    from transferzoo.studies.result_file import RESULTS, SUFFIX, check_results
    from transferzoo.studies.store import Store
    from transferzoo.studies.worker import Task

    names = list(request.technique or TECHNIQUES)
    for name in names:
        TECHNIQUES[name]  # or it is said, before anything runs
    files = [check_output(path) for path in request.output or []]
    if request.results is not None:
        check_results(request.results)
    _check_save(request)
    base = _base(request)
    trials = _trials(request, base)
    try:
        presets = {} if request.technique else {PRESET: trials.zoo.presets[PRESET].spec}
        every = contenders(names, presets, plain=base is None)
        if base is not None:
            check_new(base, [one.label(REPORTED_AT) for one in every])
        chosen = choose(every, trials.measure)
        rows = list(reported(chosen))
        _tell_left_out(names, rows)
        if base is not None:
            study = with_more(base, rows)
        else:
            asked = {key: trials.asked[key] for key in ("dataset", "split")}
            surrogates = request.surrogate or trials.asked["surrogates"]
            name = request.save.stem if request.save else STUDY
            study = study_of(rows, name=name, surrogates=surrogates, images=request.images or IMAGES, **asked)
        task = Task(study.model_dump_json(), **trials.paths)
        grid = build_grid(study, trials.zoo, task.root, notify=log, allow_code=task.allow_code)
        _check_apart(grid, trials.asked["validators"])
        if request.save is not None:
            tried = [one.at(number, step) for one, number in chosen for step in STEPS]
            _save(request.save, study_text(study, trials.how(tried), rows))
        found = read_finished(grid, Store(task.store), request.results or RESULTS / f"{study.name}{SUFFIX}")
        complete(task, found, found.missing(), trials.executor, request.results, files, as_json=request.json)
    finally:
        trials.executor.close()


def _base(request: CompareRequest) -> Study | None:
    """Return the study that techniques are compared beside; None for none.

    Raises:
        UsageError: it is not there, or an option says what the study says.
    """
    from transferzoo.studies.schema import built_in, find_study

    if request.alone or not request.technique:
        if request.beside is not None:
            raise UsageError("--beside is for techniques that are named, without --alone")
        return None
    name = request.beside or (STUDY if STUDY in built_in() else None)
    if name is None:
        return None
    for flag, value in (
        ("--surrogate", request.surrogate),
        ("--images", request.images),
        ("--dataset", request.dataset),
        ("--split", request.split),
    ):
        if value:
            raise UsageError(
                f"{flag} is the study's '{name}' to say",
                expected="it left out",
                hint="--alone compares those that are named with one another, as you like",
            )
    return find_study(name)


def _trials(request: CompareRequest, base: Study | None) -> Trials:
    """Return what measures candidates: from the first surrogate alone."""
    if base is not None:
        first = next(iter(base.surrogates.values())).model
        return Trials.of(request, request.choose_on, base.dataset, [first])
    return Trials.of(request, request.choose_on, request.dataset, request.surrogate and request.surrogate[:1])


def _check_save(request: CompareRequest) -> None:
    from transferzoo.results.writers import check_file

    if request.save is None:
        return
    if request.save.suffix not in (".yaml", ".yml"):
        raise UsageError(f"cannot write the study to {request.save}", expected="a name in .yaml")
    check_file(request.save, "--save")
    if request.save.exists() and not _text(request.save).startswith(f"# {CHOSEN}"):
        raise UsageError(f"{request.save} is there already", expected="a new file")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _save(path: Path, text: str) -> None:
    """Write the study; a file that says the same stays, since the command was interrupted then.

    Raises:
        UsageError: another study is there.
    """
    from transferzoo.base.atomic import write_text

    if path.exists():
        if _text(path) == text:
            return
        raise UsageError(
            f"{path} is there already and says something else",
            expected="a new file",
            hint="with another --save the choice is not measured again",
        )
    write_text(path, text)
    log(f"Written: {path}")


def _check_apart(grid: Grid, validators: Sequence[str]) -> None:
    """Check that nothing is reported on what has chosen.

    Raises:
        UsageError: a validation target is a target of the study.
    """
    targets = {one["name"] for cell in grid.cells.values() for one in cell.inputs.get("targets", ())}
    if both := sorted(targets & {name.rpartition("/")[2] for name in validators}):
        raise UsageError(
            f"'{both[0]}' is a target that is reported",
            expected="other models as --validator",
            hint="what chooses a step size cannot tell how good it is",
        )


def _tell_left_out(names: Sequence[str], rows: Sequence[tuple[Contender, int, Choice]]) -> None:
    """Say which techniques have no row, and why that can be."""
    from transferzoo.searches.comparison import REPORTED_AT

    shown = {term.partition(":")[0] for one, _, _ in rows for term in one.techniques}
    if lacking := [name for name in names if name not in shown]:
        log(
            f"Left out, since a step costs more than {REPORTED_AT} gradients, or they need several "
            f"surrogates or one of another kind: {', '.join(lacking)}."
        )
