"""Running a grid: each cell once those it needs are done, in this process, several, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pipe, get_all_start_methods, get_context
from multiprocessing import connection as connections
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from transferzoo.base.errors import TransferZooError
from transferzoo.base.optional import import_optional
from transferzoo.studies.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext

    from transferzoo.studies.cells import Cell, Grid
    from transferzoo.studies.worker import Task

TRIES = 4
"""How often a cell is begun whose process dies."""


class Workers(Protocol):
    """What cells are handed to.

    Attributes:
        room: how many may be under way.
        one_fate: where a process dies, what the others do is lost as well.
    """

    room: int
    one_fate: bool

    def submit(self, task: Task, key: str) -> Future[None]:
        """Have a cell done."""
        ...

    def lost(self, error: Exception) -> bool:
        """Return whether a cell's error says that its process is gone."""
        ...

    def close(self) -> None:
        """Let everything go that was started."""
        ...


def run(
    task: Task, grid: Grid, workers: Workers, on_done: Callable[[Cell, TransferZooError | None], None]
) -> list[tuple[Cell, TransferZooError]]:
    """Do the cells that are not done; one that fails leaves out those that need it, and the others go on.

    Args:
        task: what the grid belongs to.
        grid: the cells.
        workers: who does them.
        on_done: called with every cell that is done or has failed.

    Returns:
        The cells that failed, with what was wrong.
    """
    store = Store(task.store)
    todo = {key: cell for key, cell in grid.cells.items() if not store.has(cell)}
    done = grid.cells.keys() - todo.keys()
    failed: dict[str, TransferZooError] = {}
    running: dict[Future[None], str] = {}
    deaths: dict[str, int] = {}
    while todo or running:
        for key in _next(_ready(todo, done), running.values(), deaths, workers):
            running[workers.submit(task, key)] = key
            del todo[key]
        if not running:
            break  # what is left needs a cell that failed
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            key = running.pop(future)
            error = _error(future, workers)
            if isinstance(error, WorkerDiedError):
                deaths[key] = deaths.get(key, 0) + 1
                if deaths[key] < TRIES:
                    todo[key] = grid.cells[key]
                    continue
            if error is None:
                done = done | {key}
            else:
                failed[key] = error
            on_done(grid.cells[key], error)
    return [(grid.cells[key], error) for key, error in failed.items()]


def _ready(todo: Mapping[str, Cell], done: Collection[str]) -> list[str]:
    return [key for key, cell in todo.items() if all(need in done for need in cell.needs)]


def _next(
    ready: list[str], running: Collection[str], suspects: Collection[str], workers: Workers
) -> list[str]:
    """Return the cells to begin now: of workers that share one fate, a suspect gets all, after the others.

    Args:
        ready: those that can be begun.
        running: those under way.
        suspects: those that were under way when a process died, by their own fault or not.
        workers: who does them.
    """
    room = workers.room - len(running)
    if not workers.one_fate:
        return ready[:room]
    if any(key in suspects for key in running):
        return []
    innocent = [key for key in ready if key not in suspects]
    return innocent[:room] if innocent or running else ready[:1]


class WorkerDiedError(TransferZooError):
    """The process that did a cell is gone."""


def _error(future: Future[None], workers: Workers) -> TransferZooError | None:
    """Return what went wrong with a cell, None if nothing did; other errors than a user's are raised."""
    try:
        future.result()
    except TransferZooError as error:
        return error
    except Exception as error:
        if not workers.lost(error):
            raise
        return WorkerDiedError(
            "the process that did it has died", got=type(error).__name__, hint="run the same command again"
        )
    return None


class Here:
    """This process: a cell is done when it has been handed over."""

    room = 1
    one_fate = True

    def lost(self, error: Exception) -> bool:
        """Return False: nothing is left that could ask if this process is gone."""
        return False

    def close(self) -> None:
        """Do nothing: no process was started."""

    def submit(self, task: Task, key: str) -> Future[None]:
        """See `Workers`."""
        from transferzoo.studies.worker import perform

        future: Future[None] = Future()
        try:
            perform(task, key)
            future.set_result(None)
        except TransferZooError as error:
            future.set_exception(error)
        return future


class Processes:
    """Processes on this machine, one thread each; when one dies, all are replaced.

    Args:
        count: how many.
    """

    one_fate = True

    def __init__(self, count: int) -> None:
        self.room = count
        if "forkserver" in get_all_start_methods():  # which has PyTorch ready for every process
            context = get_context("forkserver")
            context.set_forkserver_preload(["timm", "transferzoo.studies.worker"])
            self._context: BaseContext = context
        else:
            self._context = get_context("spawn")
        self._alive, self._kept = Pipe(duplex=False)
        self._pool = self._started()

    def submit(self, task: Task, key: str) -> Future[None]:
        """See `Workers`."""
        from transferzoo.studies.worker import perform

        try:
            return self._pool.submit(perform, task, key)
        except (BrokenProcessPool, ConnectionError, EOFError):  # the last two if the fork server is gone
            self._stop()
            self._pool = self._started()
            return self._pool.submit(perform, task, key)

    def lost(self, error: Exception) -> bool:
        """See `Workers`."""
        return isinstance(error, BrokenProcessPool | CancelledError)

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.room, self._context, initializer=_depend_on_the_first, initargs=(self._alive,)
        )

    def close(self) -> None:
        """Let the processes go; what they are doing is stopped."""
        self._stop()
        self._alive.close()
        self._kept.close()

    def _stop(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _depend_on_the_first(alive: Connection) -> None:
    """Let the first process alone answer Ctrl-C, and end with it, however it ends.

    Args:
        alive: a pipe whose other end the first process holds, and no other.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    connections.wait([alive])
    os._exit(1)


class Ray:
    """A Ray cluster; every cell is a task of one processor.

    Args:
        address: of the cluster, as `ray.init` takes it; "local" starts one on this machine.

    Raises:
        TransferZooError: Ray is not installed, or the cluster cannot be reached.
    """

    one_fate = False

    def __init__(self, address: str) -> None:
        ray = import_optional("ray", "ray", "--ray needs")
        from transferzoo.studies.worker import perform

        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
            )
        except Exception as error:  # Ray raises this very class where a node does not start in time
            raise TransferZooError(
                f"the Ray cluster {address} cannot be reached: {str(error).splitlines()[0]}",
                hint="check --ray ADDRESS, or start one with `ray start --head`",
            ) from None
        self._ray = ray
        resources: dict[str, float] = ray.cluster_resources()
        self._remote = ray.remote(num_cpus=1, max_retries=0)(perform)
        self.room = max(1, int(resources.get("CPU", 1)))

    def submit(self, task: Task, key: str) -> Future[None]:
        """See `Workers`."""
        future: Future[None] = self._remote.remote(task, key).future()
        return future

    def lost(self, error: Exception) -> bool:
        """See `Workers`; Ray's errors say so, but for those of a cell itself."""
        errors = self._ray.exceptions
        return isinstance(error, errors.RayError) and not isinstance(error, errors.RayTaskError)

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()
