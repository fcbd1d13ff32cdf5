"""`transferzoo compare`: techniques at equal cost, each with a step size chosen on validation targets."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError, few
from transferzoo.cli.candidates import CHOSEN, Trials, check_yaml, technique_names
from transferzoo.cli.output import log
from transferzoo.cli.parameters import command
from transferzoo.cli.search_request import STUDY, CompareRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from transferzoo.searches.comparison import Contender, Row
    from transferzoo.studies.schema import Study

IMAGES, CHOOSE_ON = 500, 100
"""How many are attacked, and choose step sizes, unless a user or a study says otherwise."""
PRESETS = "strongest"
"""The suite of presets that take part where all techniques do."""


@command(CompareRequest)
def compare(request: CompareRequest) -> None:
    """Compare techniques at equal cost, each with the step size that suits it on validation targets."""
    from transferzoo.results.writers import check_output
    from transferzoo.searches.comparison import REPORTED_AT, contenders, preset_rows, unchosen
    from transferzoo.searches.comparison_study import check_new
    from transferzoo.studies.result_file import check_results

    names = technique_names(request.technique, request.zoo)
    files = [check_output(path) for path in request.output or []]
    if request.results is not None:
        check_results(request.results)
    _check_save(request)
    base = _base(request)
    trials = _trials(request, base)
    try:
        every = contenders(names, plain=base is None)
        _check_there(request, names, every)
        fixed = preset_rows(() if request.technique else trials.zoo.suites[PRESETS], trials.zoo.presets)
        if base is not None:
            check_new(base, [one.label(REPORTED_AT) for one in every])
        _check_apart(base or _study(request, trials, None, unchosen(every)), trials)
        _compare(request, names, every, fixed, base, trials, files)
    finally:
        trials.executor.close()


def _compare(
    request: CompareRequest,
    names: Sequence[str],
    every: Sequence[Contender],
    fixed: Sequence[Row],
    base: Study | None,
    trials: Trials,
    files: Sequence[Path],
) -> None:
    """Choose the step sizes of contenders, and make and run the study that reports them and what is fixed."""
    from transferzoo.cli.study import complete, read_finished
    from transferzoo.searches.comparison import LEFT_OUT, REPORTED_AT, STEPS, choose, reported
    from transferzoo.searches.comparison_study import study_text
    from transferzoo.studies.attack_tables import standings
    from transferzoo.studies.result_file import RESULTS, SUFFIX
    from transferzoo.studies.store import Store
    from transferzoo.studies.worker import Task

    chosen = choose(every, partial(trials.measure, what="step sizes"))
    rows = list(reported(chosen))
    if lacking := _check_there(request, names, [one for one, _, _ in rows]):
        log(f"Left out, {LEFT_OUT}: {', '.join(lacking)}.")
    rows += fixed
    study = _study(request, trials, base, rows)
    task = Task(study.model_dump_json(), **trials.paths)
    grid = trials.grid(study, log)
    if request.save is not None:
        tried = [one.at(number, step) for one, number in chosen for step in STEPS]
        _save(request.save, study_text(study, trials.how(tried), rows))
    own = request.results or RESULTS / f"{(base or study).name}{SUFFIX}"
    found = read_finished(grid, Store(task.store), own, trials.build)
    missing = found.missing()
    results = complete(task, found, missing, trials.executor, request.results, files, as_json=request.json)
    if request.technique:
        named = [one.label(gradients) for one, gradients, _ in rows if gradients == REPORTED_AT]
        for sentence in standings(results, named, REPORTED_AT):
            log(sentence)


def _study(
    request: CompareRequest,
    trials: Trials,
    base: Study | None,
    rows: Sequence[Row],
) -> Study:
    """Return the study that reports some attacks: beside those of another, or alone."""
    from transferzoo.searches.comparison_study import study_of, with_more
    from transferzoo.studies.entries import ChosenBy

    saved = request.save and request.save.stem
    if base is not None:
        return with_more(base, rows, saved or f"{base.name}, with {' and '.join(request.technique or ())}")
    asked = trials.asked
    return study_of(
        rows,
        name=saved or " and ".join(request.technique or (STUDY,)),
        dataset=asked["dataset"],
        split=asked["split"],
        surrogates=request.surrogate or asked["surrogates"],
        images=request.images or IMAGES,
        chosen_by=ChosenBy(images=trials.images, validators=asked["validators"]),
    )


def _base(request: CompareRequest) -> Study | None:
    """Return the study that techniques are compared beside; None where they are compared with one another.

    Raises:
        UsageError: it is not there, or an option says what the study says.
    """
    from transferzoo.studies.schema import find_study

    if request.alone and not request.technique:
        raise UsageError("--alone is for techniques that are named", expected="names, or no --alone")
    if request.alone or not request.technique:
        if request.beside is not None:
            raise UsageError("--beside is for techniques that are named, without --alone")
        return None
    name = request.beside or STUDY
    study = find_study(name)
    if trained := [label for label, entry in study.surrogates.items() if not entry.model]:
        raise UsageError(
            f"the study '{name}' trains '{trained[0]}'",
            expected="one that attacks from existing models",
            hint="`transferzoo compare --save FILE` makes one",
        )
    said = {
        "--surrogate": request.surrogate,
        "--images": request.images,
        "--dataset": request.dataset,
        "--split": request.split,
    }
    if study.chosen_by is not None:
        said |= {"--choose-on": request.choose_on, "--validator": request.validator}
    for flag, value in said.items():
        if value:
            raise UsageError(
                f"{flag} is the study's '{name}' to say",
                expected="it left out",
                hint="--alone compares those that are named with one another, as you like",
            )
    return study


def _trials(request: CompareRequest, base: Study | None) -> Trials:
    """Return what measures candidates from the first surrogate; beside a study, as its own were chosen."""
    images = request.choose_on or CHOOSE_ON
    if base is None:
        return Trials.of(request, images, request.surrogate and request.surrogate[:1])
    if base.chosen_by is not None:
        images = base.chosen_by.images
    return Trials.of(request, images, [next(iter(base.surrogates.values())).model], base)


def _check_save(request: CompareRequest) -> None:
    check_yaml(request.save, "the study")
    if request.save is None or not request.save.exists():
        return
    if not _text(request.save).startswith(f"# {CHOSEN}"):
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


def _check_apart(study: Study, trials: Trials) -> None:
    """Check that nothing is reported on what has chosen, and that all models of a report are there.

    Raises:
        UsageError: a validation target is a target of the study, or a name is unknown.
    """
    targets = {
        one["name"] for cell in trials.grid(study).cells.values() for one in cell.inputs.get("targets", ())
    }
    validators = trials.asked["validators"]
    if both := sorted(targets & {name.rpartition("/")[2] for name in validators}):
        raise UsageError(
            f"'{both[0]}' is a target that is reported",
            expected="other models as --validator",
            hint="what chooses a step size cannot tell how good it is",
        )


def _check_there(request: CompareRequest, names: Sequence[str], some: Iterable[Contender]) -> list[str]:
    """Return which techniques are in no contender.

    Raises:
        UsageError: none of those that are named is in one.
    """
    from transferzoo.searches.comparison import LEFT_OUT

    shown = {term.partition(":")[0] for one in some for term in one.techniques}
    lacking = [name for name in names if name not in shown]
    if request.technique and len(lacking) == len(names):
        raise UsageError(
            f"{few(lacking)} cannot be compared, {LEFT_OUT}",
            expected="a technique of a single surrogate",
            hint="for one of another kind: --alone -s NAME",
        )
    return lacking
