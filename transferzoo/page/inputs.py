"""The arguments of a report, resolved: run folders, studies of the package, result files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.base.errors import DataError, TransferZooError, UnknownNameError, UsageError
from transferzoo.evaluation.run_folder import CURVE, NOISE, open_run
from transferzoo.results.comparisons import Findings, rows_of
from transferzoo.results.records import SurrogateAttack
from transferzoo.studies.result_file import RESULTS, SUFFIX, read_results, with_shared
from transferzoo.studies.schema import built_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.records import Record, Visibility
    from transferzoo.studies.result_file import Results


@dataclass(frozen=True)
class RunGroup:
    """Runs that share their tables: one data set and target class rule, and no two runs with the same row.

    Attributes:
        folders: where they are.
        findings: of all of them.
    """

    folders: tuple[RunFolder, ...]
    findings: Findings


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made of.

    Attributes:
        runs: grouped by what fits one table.
        studies: their results.
        left_out: why a folder of several is left out, a sentence each.
    """

    runs: tuple[RunGroup, ...]
    studies: tuple[Results, ...]
    left_out: tuple[str, ...]


def read_inputs(names: Sequence[str]) -> ReportInputs:
    """Resolve and read the arguments of a report.

    Of several names, folders that hold no run or an unfinished one are left out, so that `runs/*` reports
    what there is.

    Args:
        names: of a study, whose results the package has, or paths of result files and of run folders.
            The name of a study goes before a folder of that name.

    Raises:
        UnknownNameError: nothing of that name.
        TransferZooError: nothing else than folders that are left out.
        DataError: something cannot be read, or the package has no results of a study.
    """
    runs: list[RunFolder] = []
    studies: list[Results] = []
    left_out: list[TransferZooError] = []
    for name in names:
        if (file := _results_file(name)) is not None:
            studies.append(with_shared(read_results(file)))
            continue
        try:
            runs.append(open_run(Path(name)))
        except DataError:
            raise
        except TransferZooError as error:
            left_out.append(error)
    if left_out and not runs and not studies:
        raise left_out[0]
    return ReportInputs(_group_runs(runs), tuple(studies), tuple(map(str, left_out)))


def _group_runs(runs: Sequence[RunFolder]) -> tuple[RunGroup, ...]:
    """Add every run to the first group whose table it fits into."""
    groups: list[tuple[list[RunFolder], list[Record]]] = []
    for run in runs:
        records = run.records()
        for folders, others in groups:
            if _share_a_table([*others, *records]):
                folders.append(run)
                others += records
                break
        else:
            groups.append(([run], records))
    return tuple(RunGroup(tuple(folders), merge_findings(folders)) for folders, _ in groups)


def _share_a_table(records: Sequence[Record]) -> bool:
    if len({(record.dataset, record.targeted) for record in records}) > 1:
        return False
    try:
        rows_of(records)
    except UsageError:
        return False
    return True


def merge_findings(runs: Sequence[RunFolder]) -> Findings:
    """Return the findings of all runs as one.

    Runs on the same images share their noise, and what is said of a row's perturbations.
    """
    noise = {
        (r.attack, r.target, r.selection, r.seed, r.targeted): r for run in runs for r in run.records(NOISE)
    }
    visible: dict[SurrogateAttack, Visibility] = {}
    for line in (line for run in runs for line in run.visibility()):
        pair = SurrogateAttack(line.surrogate, line.attack)
        if pair not in visible or visible[pair].lacks_ssim:
            visible[pair] = line
    return Findings(
        [record for run in runs for record in run.records()],
        [record for run in runs for record in run.records(CURVE)],
        {source: value for run in runs for source, value in run.seconds().items()},
        list(visible.values()),
        list(noise.values()),
    )


def _results_file(name: str) -> Path | None:
    """Return the result file that a name stands for, None for a run folder.

    Raises:
        UnknownNameError: nothing of that name.
        DataError: the package has no results of a study.
    """
    known = {path.name.removesuffix(SUFFIX): path for path in RESULTS.glob(f"*{SUFFIX}")}
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        return None
    if name in built_in():
        raise DataError(
            f"the package has no results of the study '{name}'",
            hint=f"run `transferzoo study {name} --results FILE{SUFFIX}` and report that file",
        )
    written = "a folder that `transferzoo attack` wrote, a file that `transferzoo study --results` wrote"
    raise UnknownNameError("run or study", name, known, others=written)
