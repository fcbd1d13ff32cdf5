"""`transferzoo study`: a grid of trainings, attacks and measurements, and the verdicts on its claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.cli.options import DataRoot, Json, Output, ZooFile, complete_studies
from transferzoo.cli.output import log, progress_bar, show, show_json, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.studies.executors import Executor
    from transferzoo.studies.result_file import Results
    from transferzoo.studies.worker import Task
    from transferzoo.zoo.schema import DatasetSpec


def study(
    name: Annotated[
        str, typer.Argument(help="A study of the package, or a YAML file.", autocompletion=complete_studies)
    ],
    data: DataRoot = None,
    store: Annotated[
        Path, typer.Option(metavar="DIR", help="Where trainings and results are saved, for all studies.")
    ] = Path("studies"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine, one thread each.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster instead.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the grid, the cells that are done and how long the rest takes."
        ),
    ] = False,
    results: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write all outcomes, compactly (.jsonl.gz).")
    ] = None,
    output: Output = None,
    json: Json = False,
    zoo: ZooFile = None,
) -> None:
    """Run a study, or go on with it, and print the verdicts on its claims."""
    from transferzoo.results.writers import check_output
    from transferzoo.studies.grid import build_grid
    from transferzoo.studies.preflight import check_architectures, check_images
    from transferzoo.studies.result_file import check_results, collect, write_results
    from transferzoo.studies.schema import find_study
    from transferzoo.studies.store import Store
    from transferzoo.studies.worker import Task
    from transferzoo.zoo.reader import load_zoo, own_file

    if ray is not None and jobs != 1:
        raise UsageError("--jobs and --ray exclude each other", expected="one of the two")
    files = [check_output(path) for path in output or []]
    if results is not None:
        check_results(results)
    records, chosen = load_zoo(zoo), find_study(name)
    root = data and data.expanduser().absolute()
    task = Task(chosen.model_dump_json(), store.absolute(), root, own_file(zoo))
    grid = build_grid(chosen, records, task.root)
    check_architectures(grid, records.dataset(chosen.dataset))
    if dry_run:
        _plan(grid, task, records.dataset(chosen.dataset), jobs, as_json=json)
        return
    cell_store = Store(task.store)
    cell_store.check()
    check_images(
        (c for c in grid.cells.values() if not cell_store.is_done(c)), records.dataset(chosen.dataset), root
    )
    executor: Executor = _executor(jobs, ray)
    try:
        failed = _run(task, grid, executor)
    finally:
        executor.close()
    found = collect(grid, cell_store)
    if results is not None:
        write_results(found, results)
        log(f"Written: {results}")
    if found.outcomes or found.values:
        publish(found, files, as_json=json)
    if failed:
        raise _incomplete(failed, grid)


def publish(found: Results, files: Sequence[Path], *, as_json: bool, brief: bool = False) -> None:
    """Print the results of a study, tables or JSON, on stdout and write them to files.

    Args:
        found: the results.
        files: to write too.
        as_json: print JSON.
        brief: of tables the first alone, the verdicts where there are claims.
    """
    from transferzoo.base.atomic import write_text
    from transferzoo.cli.tables import render
    from transferzoo.results.writers import formatted
    from transferzoo.studies.claims import judge
    from transferzoo.studies.result_file import csv_rows
    from transferzoo.studies.tables import tables, to_json

    verdicts = judge(found)
    shown = tables(found, verdicts)[: 1 if brief else None]
    if as_json:
        show_json(to_json(found, verdicts))
    else:
        show(*(render(table, terminal_width()) for table in shown))
    for path in files:
        write_text(path, formatted(path, to_json(found, verdicts), csv_rows(found), shown))
        log(f"Written: {path}")


def _executor(jobs: int, address: str | None) -> Executor:
    from transferzoo.studies import executors

    if address is not None:
        return executors.RayExecutor(address)
    return executors.ProcessExecutor(jobs) if jobs > 1 else executors.InProcessExecutor()


def _run(task: Task, grid: Grid, executor: Executor) -> list[tuple[Cell, TransferZooError]]:
    """Run the cells that are not done, with a progress bar."""
    from transferzoo.studies.executors import run_grid
    from transferzoo.studies.store import Store

    store = Store(task.store)
    todo = [cell for cell in grid.cells.values() if not store.is_done(cell)]
    if todo:
        log(f"{len(grid.cells) - len(todo)} of {len(grid.cells)} cells are there; {len(todo)} to do.")
    with progress_bar() as bar:
        place = bar.add_task("study", total=len(grid.cells), completed=len(grid.cells) - len(todo), note="")

        def on_done(cell: Cell, error: TransferZooError | None) -> None:
            bar.update(place, advance=1, note=cell.label)
            if error is not None:
                log(f"Failed: {cell.label}: {error}")
            elif bar.disable:
                log(f"Done: {cell.label}")

        return run_grid(task, grid, executor, on_done)


def _plan(grid: Grid, task: Task, dataset: DatasetSpec, jobs: int, *, as_json: bool) -> None:
    """Print the cells to do, and an estimate of how long they take."""
    from transferzoo.base.table import Table
    from transferzoo.cli.tables import render
    from transferzoo.studies.estimate import estimate_seconds
    from transferzoo.studies.preflight import count_images
    from transferzoo.studies.store import Store

    store = Store(task.store)
    todo = {key: cell for key, cell in grid.cells.items() if not store.is_done(cell)}
    trained = any(cell.kind == "train" for cell in todo.values())
    images = grid.study.training_images or (count_images(dataset, task.root) if trained else 0)
    left = estimate_seconds(grid, todo, dataset, images) / jobs
    kinds = list(dict.fromkeys(cell.kind for cell in grid.cells.values()))
    counts = {
        kind: (
            sum(cell.kind == kind for cell in grid.cells.values()),
            sum(cell.kind == kind for cell in todo.values()),
        )
        for kind in kinds
    }
    if as_json:
        cells = [
            {"key": key, "kind": cell.kind, "label": cell.label, "needs": cell.needs, "done": key not in todo}
            for key, cell in grid.cells.items()
        ]
        show_json({"study": grid.study.name, "cells": cells, "estimated_seconds": round(left)})
        return
    rows = tuple(
        (kind, str(every), str(every - missing), str(missing)) for kind, (every, missing) in counts.items()
    )
    estimate = (
        f"About {left:.0f} s ({left / 3600:.1f} h) are left with {jobs} process{'es' if jobs > 1 else ''}."
    )
    title = f"Study {grid.study.name}: {grid.study.about}"
    show(render(Table(title, ("cells", "in all", "done", "to do"), rows, estimate), terminal_width()))


def _incomplete(failed: list[tuple[Cell, TransferZooError]], grid: Grid) -> TransferZooError:
    cell, error = failed[0]
    return TransferZooError(
        f"{len(failed)} of {len(grid.cells)} cells of the study failed, the first being '{cell.label}': "
        f"{str(error).removesuffix('.')}",
        hint="fix the cause and run the same command again; finished cells are kept",
    )
