"""What the arguments of a report name: run folders, studies of the package, files of results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.errors import DataError, TransferZooError
from transferzoo.findings import Findings
from transferzoo.runs import CURVE, open_run
from transferzoo.studies.results import SUFFIX, read_results
from transferzoo.studies.spec import built_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.runs import RunFolder
    from transferzoo.studies.results import Results

RESULTS = Path(__file__).parent.parent / "studies" / "results"
"""Results of the package's own studies."""


@dataclass(frozen=True)
class Opened:
    """What is reported.

    Attributes:
        runs: run folders.
        found: what they found together; None without runs.
        studies: results.
    """

    runs: tuple[RunFolder, ...]
    found: Findings | None
    studies: tuple[Results, ...]


def open_all(names: Sequence[str]) -> Opened:
    """Read what names stand for.

    Args:
        names: of a study, whose results the package has, or paths of files of results and of run folders.
            The name of a study goes before a folder of that name.

    Raises:
        TransferZooError: nothing of that name, or a run that is not finished.
        DataError: something cannot be read, or the package has no results of a study.
    """
    runs: list[RunFolder] = []
    studies: list[Results] = []
    for name in names:
        if (file := _results(name)) is None:
            runs.append(open_run(Path(name)))
        else:
            studies.append(read_results(file))
    return Opened(tuple(runs), together(runs) if runs else None, tuple(studies))


def together(runs: Sequence[RunFolder]) -> Findings:
    """Return what runs found, as one."""
    return Findings(
        [record for run in runs for record in run.records()],
        [record for run in runs for record in run.records(CURVE)],
        {source: value for run in runs for source, value in run.seconds().items()},
        [line for run in runs for line in run.visibility()],
    )


def _results(name: str) -> Path | None:
    """Return the file of results that a name stands for, None for a run folder."""
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
    raise TransferZooError(
        f"{name} is not a run folder, nor a file, nor a study",
        expected="a folder that `transferzoo attack` wrote, a file that `transferzoo study --results` wrote"
        + (f", or one of {', '.join(sorted(known))}" if known else ""),
    )
