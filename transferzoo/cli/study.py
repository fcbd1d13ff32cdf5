"""`transferzoo study`: a grid of trainings, attacks and measurements, and the verdicts on its claims."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.cli.completion import complete_studies
from transferzoo.cli.grids import executor_of, run_cells
from transferzoo.cli.options import (
    RESULTS,
    AllowCode,
    DataSetImages,
    Json,
    Output,
    Plugins,
    ResultFile,
    ZooFile,
)
from transferzoo.cli.output import log, show_json
from transferzoo.cli.tables import print_tables, publish_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.studies.executors import Executor
    from transferzoo.studies.finished import Finished
    from transferzoo.studies.result_file import Results
    from transferzoo.studies.store import Store
    from transferzoo.studies.worker import Task
    from transferzoo.zoo.reader import Zoo


def study(
    name: Annotated[
        str, typer.Argument(help="A study of the package, or a YAML file.", autocompletion=complete_studies)
    ],
    data: DataSetImages = None,
    store: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Where trainings and results are saved, for all studies.",
            rich_help_panel=RESULTS,
        ),
    ] = Path("studies"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine, one thread each.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on a Ray cluster instead.", show_default=False),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what is done, how long the rest takes and how wide intervals will be."
        ),
    ] = False,
    results: ResultFile = None,
    ignore_records: Annotated[
        bool, typer.Option("--ignore-records", help="Compute also what the package's records have.")
    ] = False,
    output: Output = None,
    json: Json = False,
    zoo: ZooFile = None,
    allow_code: AllowCode = False,
    plugin: Plugins = None,
) -> None:
    """Run a study, or go on with it, and print the verdicts on its claims."""
    from transferzoo.base import plugins
    from transferzoo.datasets.sources import measured
    from transferzoo.results.writers import check_output
    from transferzoo.studies.grid import build_grid
    from transferzoo.studies.preflight import check_architectures, check_attacks, check_images
    from transferzoo.studies.result_file import RESULTS, SUFFIX, check_results
    from transferzoo.studies.schema import find_study
    from transferzoo.studies.store import Store
    from transferzoo.studies.worker import Task
    from transferzoo.zoo.reader import load_zoo, own_file

    if ray is not None and jobs != 1:
        raise UsageError("--jobs and --ray exclude each other", expected="one of the two")
    files = [check_output(path) for path in output or []]
    if results is not None:
        check_results(results)
    chosen = find_study(name)
    root = data and data.expanduser().absolute()
    records = measured(load_zoo(zoo), chosen.dataset, chosen.split, root)
    task = Task(
        chosen.model_dump_json(),
        store.absolute(),
        root,
        own_file(zoo),
        plugins.files(),
        allow_code=allow_code,
    )
    build = partial(build_grid, zoo=records, root=task.root, allow_code=allow_code)
    grid = build(chosen, notify=log)
    check_attacks(chosen, records)
    check_architectures(grid, records.dataset(chosen.dataset))
    cell_store = Store(task.store)
    cell_store.check()
    own = None if ignore_records else results or RESULTS / f"{name}{SUFFIX}"
    found = read_finished(grid, cell_store, own, build)
    missing = found.missing()
    if dry_run:
        _plan(found, missing, task, records, jobs, as_json=json)
        return
    check_images(missing.values(), records.dataset(chosen.dataset), root)
    executor = executor_of(jobs, ray)
    try:
        complete(task, found, missing, executor, results, files, as_json=json)
    finally:
        executor.close()


def complete(
    task: Task,
    found: Finished,
    missing: Mapping[str, Cell],
    executor: Executor,
    results: Path | None,
    files: Sequence[Path],
    *,
    as_json: bool,
) -> Results:
    """Run the cells of a study that are missing, publish what there is then, and return it.

    Args:
        task: of the study.
        found: what is finished of it.
        missing: what is not.
        executor: it runs the cells.
        results: file of the results that is kept up to date; None for none.
        files: to write the tables to.
        as_json: print JSON.

    Raises:
        UsageError: the file of results has records that would be lost.
        TransferZooError: a cell failed.
    """
    from transferzoo.studies.result_file import with_shared, write_results

    if results is not None:
        found.check_keeps(results)
    try:
        failed = run_cells(task, found, missing, executor, results)
    except BaseException:  # Ctrl-C too: cells may have ended since the file was written last
        if results is not None:
            write_results(found.results(), results)
        raise
    all_found = found.results()
    if results is not None:
        write_results(all_found, results)
        log(f"Written: {results}")
    if all_found.outcomes or all_found.values:
        publish(with_shared(all_found), files, as_json=as_json)
    if failed:
        raise _incomplete(failed, found.grid)
    return all_found


def read_finished(grid: Grid, store: Store, own: Path | None, build: Callable[..., Grid]) -> Finished:
    """Return what is finished of a grid: in the store, and in result files, the package's and the own.

    Args:
        grid: the grid.
        store: the store.
        own: file of the study's results, which may be absent; None to use no result files at all.
        build: see `why_unknown`.
    """
    from transferzoo.studies.finished import Finished, RecordedCells
    from transferzoo.studies.result_file import RESULTS, SUFFIX, read_results
    from transferzoo.studies.unknown_records import why_unknown

    if own is None:
        return Finished(grid, store, RecordedCells())
    paths = dict.fromkeys([*sorted(RESULTS.glob(f"*{SUFFIX}")), own])
    files = {path: read_results(path) for path in paths if path.is_file()}
    found = Finished(grid, store, RecordedCells.of(files.values()))
    if own in files and (strangers := found.strangers(files[own])):
        why = why_unknown(files[own], grid, build)
        log(f"Not used: {strangers} of {len(files[own].lines)} records in {own}: {why}.")
    return found


def publish(found: Results, files: Sequence[Path], *, as_json: bool) -> None:
    """Print the results of a study, tables or JSON, on stdout and write them to files.

    Args:
        found: the results.
        files: to write too.
        as_json: print JSON.
    """
    from transferzoo.studies.claims import judge
    from transferzoo.studies.result_file import csv_rows
    from transferzoo.studies.tables import tables, to_json

    verdicts = judge(found)
    shown = tables(found, verdicts)
    content, lines = partial(to_json, found, verdicts), partial(csv_rows, found)
    publish_tables(shown, content, lines, files, as_json=as_json)


def _plan(
    found: Finished, missing: Mapping[str, Cell], task: Task, zoo: Zoo, jobs: int, *, as_json: bool
) -> None:
    """Print the cells to do, how long they take, and how wide the intervals of claims will be."""
    from transferzoo.studies.estimate import estimate_seconds
    from transferzoo.studies.plan import make_plan
    from transferzoo.studies.preflight import count_attacked, count_images
    from transferzoo.studies.queries import expected_queries

    dataset, grid = zoo.dataset(found.grid.study.dataset), found.grid
    trained = any(cell.kind == "train" for cell in missing.values())
    images = grid.study.training_images or (count_images(dataset, task.root) if trained else 0)
    attacked = count_attacked(grid.study, dataset, task.root)
    queries = expected_queries(grid, missing.values(), dataset, task.root)
    seconds = estimate_seconds(grid, missing, dataset, images, attacked)
    seconds += sum(one.seconds or 0 for one in queries)
    plan = make_plan(found, missing, zoo, task.root, attacked, seconds / jobs, jobs, queries)
    if as_json:
        show_json(plan.to_json())
    else:
        print_tables(*plan.tables())


def _incomplete(failed: list[tuple[Cell, TransferZooError]], grid: Grid) -> TransferZooError:
    cell, error = failed[0]
    return TransferZooError(
        f"{len(failed)} of {len(grid.cells)} cells of the study failed, the first being '{cell.label}': "
        f"{str(error).removesuffix('.')}",
        hint="fix the cause and run the same command again; finished cells are kept",
    )
