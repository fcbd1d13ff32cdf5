"""Running a grid: each cell once those it needs are done, and again where its process dies."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import TYPE_CHECKING

from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from transferzoo.studies.cells import Cell
    from transferzoo.studies.executors import Executor
    from transferzoo.studies.worker import Task

PAUSE = 0.2
"""Seconds until a cell that another command computes is asked for again."""
TRIES = 4
"""How often a cell is tried whose worker process dies."""


def run_grid(
    task: Task,
    cells: Mapping[str, Cell],
    executor: Executor,
    on_done: Callable[[Cell, TransferZooError | None], None],
) -> list[tuple[Cell, TransferZooError]]:
    """Run cells; if one fails, those that need it are skipped, and the others go on.

    A cell that another command computes is left to it, and asked for again every `PAUSE` seconds.

    Args:
        task: of their grid.
        cells: by key; what else they need is there.
        executor: it runs them.
        on_done: called with every cell that is done or has failed.

    Returns:
        The cells that failed, with their errors.
    """
    todo = dict(cells)
    unfinished = set(cells)
    failed: dict[str, TransferZooError] = {}
    running: dict[Future[bool], str] = {}
    deaths: dict[str, int] = {}
    elsewhere: set[str] = set()
    while todo or running:
        ready = [key for key in _ready_cells(todo, unfinished) if key not in elsewhere]
        for key in _cells_to_start(ready, running.values(), deaths, executor):
            running[executor.submit(task, key)] = key
            del todo[key]
        if not running and not elsewhere:
            break  # all the rest needs a cell that failed
        finished = wait(running, PAUSE if elsewhere else None, FIRST_COMPLETED).done if running else set()
        if not finished:
            time.sleep(0 if running else PAUSE)
            elsewhere.clear()
        for future in finished:
            key = running.pop(future)
            error = _cell_error(future, executor)
            if error is None and not future.result():
                todo[key] = cells[key]
                elsewhere.add(key)
                continue
            if isinstance(error, WorkerDiedError):
                deaths[key] = deaths.get(key, 0) + 1
                if deaths[key] < TRIES:
                    todo[key] = cells[key]
                    continue
            if error is None:
                unfinished.remove(key)
            else:
                failed[key] = error
            on_done(cells[key], error)
    return [(cells[key], error) for key, error in failed.items()]


def _ready_cells(todo: Mapping[str, Cell], unfinished: Collection[str]) -> list[str]:
    return [key for key, cell in todo.items() if not any(need in unfinished for need in cell.needs)]


def _cells_to_start(
    ready: list[str], running: Collection[str], suspects: Collection[str], executor: Executor
) -> list[str]:
    """Return the cells to start now; with shared failure, a suspect runs alone, after the others.

    Args:
        ready: those whose needs are done.
        running: those that run.
        suspects: those that ran when a process died, which they may have caused.
        executor: it runs them.
    """
    capacity = executor.capacity - len(running)
    if not executor.shared_failure:
        return ready[:capacity]
    if any(key in suspects for key in running):
        return []
    others = [key for key in ready if key not in suspects]
    return others[:capacity] if others or running else ready[:1]


class WorkerDiedError(TransferZooError):
    """The worker process of a cell died."""


def _cell_error(future: Future[bool], executor: Executor) -> TransferZooError | None:
    """Return the error of a cell, None if it has none; errors other than the user's are raised."""
    try:
        future.result()
    except TransferZooError as error:
        return error
    except Exception as error:
        if not executor.is_worker_death(error):
            raise
        return WorkerDiedError(
            "its worker process has died", got=type(error).__name__, hint="run the same command again"
        )
    return None
