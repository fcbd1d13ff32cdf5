"""Running the cells of a grid from the command line: in this process, several or on Ray, with progress."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.cli.output import log, progress_bar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.base.errors import TransferZooError
    from transferzoo.studies.cells import Cell
    from transferzoo.studies.executors import Executor
    from transferzoo.studies.finished import Finished
    from transferzoo.studies.worker import Task

WRITE_EVERY = 60
"""Seconds after which the file of results is written again, once a cell is done."""


def executor_of(jobs: int, address: str | None) -> Executor:
    """Return what cells are submitted to: a Ray cluster, so many processes, or this one.

    Args:
        jobs: processes.
        address: of a Ray cluster, which is used instead.

    Raises:
        TransferZooError: Ray is not installed, or the cluster cannot be reached.
    """
    from transferzoo.studies import executors

    if address is not None:
        return executors.RayExecutor(address)
    return executors.ProcessExecutor(jobs) if jobs > 1 else executors.InProcessExecutor()


def run_cells(
    task: Task,
    found: Finished,
    missing: Mapping[str, Cell],
    executor: Executor,
    results: Path | None = None,
    what: str = "study",
) -> list[tuple[Cell, TransferZooError]]:
    """Run the cells that are missing, with a progress bar.

    Args:
        task: of the grid.
        found: what is finished of it.
        missing: cells to run.
        executor: it runs them.
        results: file of the results that is kept up to date; None for none.
        what: what they are of, a word or two beside the bar.

    Returns:
        The cells that failed, with their errors.
    """
    from transferzoo.studies.result_file import write_results
    from transferzoo.studies.running import run_grid

    if executor.same_machine:
        task = replace(task, digests=tuple(found.grid.digests.items()))
    count = len(found.grid.cells)
    written = time.monotonic()
    if missing:
        log(f"{what.capitalize()}: {count - len(missing)} of {count} cells are there; {len(missing)} to do.")
    with progress_bar() as bar:
        place = bar.add_task(what, total=count, completed=count - len(missing), note="")

        def on_done(cell: Cell, error: TransferZooError | None) -> None:
            nonlocal written
            bar.update(place, advance=1, note=cell.label)
            if error is not None:
                log(f"Failed: {cell.label}: {error}")
            elif bar.disable:
                log(f"Done: {cell.label}")
            if results is not None and time.monotonic() - written > WRITE_EVERY:
                write_results(found.results(), results)
                written = time.monotonic()

        return run_grid(task, missing, executor, on_done)
