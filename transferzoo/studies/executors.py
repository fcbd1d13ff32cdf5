"""Where the cells of a grid run: in this process, in several of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pipe, get_all_start_methods, get_context
from multiprocessing import connection as connections
from threading import Thread
from typing import TYPE_CHECKING, Protocol

from transferzoo.base.distributed import this_device
from transferzoo.base.errors import TransferZooError
from transferzoo.base.optional import import_optional
from transferzoo.base.plugins import PluginWarning
from transferzoo.base.processes import VISIBLE, own_devices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import BaseContext
    from multiprocessing.sharedctypes import Synchronized

    from transferzoo.studies.worker import Task


class Executor(Protocol):
    """Something that cells are submitted to.

    Attributes:
        capacity: how many cells may run at a time.
        shared_failure: if one process dies, the cells of the others are lost as well.
        same_machine: all cells run on this machine, and so on the files that this process sees.
    """

    capacity: int
    shared_failure: bool
    same_machine: bool

    def submit(self, task: Task, key: str) -> Future[bool]:
        """Start a cell; the result is whether it is done, see `worker.run_cell`."""
        ...

    def is_worker_death(self, error: Exception) -> bool:
        """Return whether a cell's error means that its worker process died."""
        ...

    def close(self) -> None:
        """Stop everything that was started."""
        ...


class InProcessExecutor:
    """Runs cells in this process, as they are submitted."""

    capacity = 1
    shared_failure = True
    same_machine = True

    def is_worker_death(self, error: Exception) -> bool:
        """Return False: if this process dies, nothing asks."""
        return False

    def close(self) -> None:
        """Do nothing: no process was started."""

    def submit(self, task: Task, key: str) -> Future[bool]:
        """See `Executor`."""
        from transferzoo.studies.worker import run_cell

        future: Future[bool] = Future()
        try:
            future.set_result(run_cell(task, key))
        except TransferZooError as error:
            future.set_exception(error)
        return future


class ProcessExecutor:
    """Processes on this machine, one thread each; when one dies, all are replaced.

    Of several GPUs each process has one, in turn, and sees no other.

    Args:
        count: how many.
    """

    shared_failure = True
    same_machine = True

    def __init__(self, count: int) -> None:
        self.capacity = count
        self._safe_path = os.environ.get("PYTHONSAFEPATH")  # given back by `close`
        os.environ["PYTHONSAFEPATH"] = "1"  # workers start in the working folder, which holds no code of ours
        if "forkserver" in get_all_start_methods():  # PyTorch is imported once for all processes
            context = get_context("forkserver")
            context.set_forkserver_preload(["timm", "transferzoo.studies.worker"])
            self._context: BaseContext = context
        else:
            self._context = get_context("spawn")
        self._worker_end, self._parent_end = Pipe(duplex=False)
        self._devices, self._started = own_devices(), self._context.Value("i", 0)
        self._pool = self._start_pool()

    def submit(self, task: Task, key: str) -> Future[bool]:
        """See `Executor`."""
        from transferzoo.studies.worker import run_cell

        try:
            return self._pool.submit(run_cell, task, key)
        except (BrokenProcessPool, ConnectionError, EOFError):  # the last two if the fork server is gone
            self._stop()
            self._pool = self._start_pool()
            return self._pool.submit(run_cell, task, key)

    def is_worker_death(self, error: Exception) -> bool:
        """See `Executor`."""
        return isinstance(error, BrokenProcessPool | CancelledError)

    def _start_pool(self) -> ProcessPoolExecutor:
        given = self._worker_end, self._devices, self._started
        return ProcessPoolExecutor(self.capacity, self._context, initializer=_begin, initargs=given)

    def close(self) -> None:
        """Stop the processes and what they run, and leave the environment as it was."""
        self._stop()
        self._worker_end.close()
        self._parent_end.close()
        if self._safe_path is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = self._safe_path

    def _stop(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(pipe: Connection, devices: Sequence[str], started: Synchronized[int]) -> None:
    """Begin a worker process: with a GPU of its own, deaf to Ctrl-C, and ended when its parent ends.

    Args:
        pipe: its other end is open in the parent process alone.
        devices: from which the process takes its own, before anything asks for one.
        started: how many processes have begun before.
    """
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if devices:
        os.environ[VISIBLE] = devices[number % len(devices)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", PluginWarning)  # the parent process says it
    Thread(target=_exit_after, args=(pipe,), daemon=True).start()


def _exit_after(pipe: Connection) -> None:
    connections.wait([pipe])
    os._exit(1)


class RayExecutor:
    """A Ray cluster; every cell is a task of one processor, and of one GPU if this process has one.

    Args:
        address: of the cluster, as of `ray.init`; "local" starts one on this machine.

    Raises:
        TransferZooError: Ray is not installed, or the cluster cannot be reached.
    """

    shared_failure = False
    same_machine = False

    def __init__(self, address: str) -> None:
        ray = import_optional("ray", "ray", "--ray needs")
        from transferzoo.studies.worker import run_cell

        heard = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False
            )
        except Exception as error:  # Ray raises this very class where a node does not start in time
            raise TransferZooError(
                f"the Ray cluster {address} cannot be reached: {str(error).splitlines()[0]}",
                hint="check --ray ADDRESS, or start one with `ray start --head`",
            ) from None
        signal.signal(signal.SIGTERM, heard)  # Ray's own leaves with a code that says nothing
        self._ray = ray
        resources: dict[str, float] = ray.cluster_resources()
        gpus = int(this_device().type == "cuda")  # without one Ray hides it
        self._remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(run_cell)
        self.capacity = max(1, int(min(resources.get(name, 0) for name in ("CPU", "GPU")[: 1 + gpus])))

    def submit(self, task: Task, key: str) -> Future[bool]:
        """See `Executor`."""
        future: Future[bool] = self._remote.remote(task, key).future()
        return future

    def is_worker_death(self, error: Exception) -> bool:
        """See `Executor`: all of Ray's errors, except those that a cell raised."""
        errors = self._ray.exceptions
        return isinstance(error, errors.RayError) and not isinstance(error, errors.RayTaskError)

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()
