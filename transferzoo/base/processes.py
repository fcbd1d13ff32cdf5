"""Work shared among processes of this machine, forked from this one.

Small networks are faster in one thread a process, with as many processes as processors, than in several
threads of one process; on a busy machine by an order of magnitude. A forked process shares the memory of this
one, so that neither images nor modules are loaded again, and it runs no start-up code: nothing is imported
from the working folder.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, TypeVar

from transferzoo.base.distributed import this_device
from transferzoo.base.errors import TransferZooError, UsageError, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

T = TypeVar("T")
R = TypeVar("R")
PATIENCE = 5.0
"""Seconds that a process has to sweep up before it is killed."""
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs a process may use."""
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


def usual_jobs() -> int:
    """Return how many processes work best where nobody says: the processors this one may use, 1 on a GPU.

    1 also where processes are not forked safely, on other systems than Linux.
    """
    if sys.platform != "linux" or this_device().type != "cpu":
        return 1
    return processors()


def check_jobs(jobs: int | None) -> None:
    """Refuse a number of processes that is none; None is as many as work best.

    Raises:
        UsageError: it is below 1.
    """
    if jobs is not None and jobs < 1:
        raise UsageError("the number of processes is out of range", expected="1 or more", got=str(jobs))


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def own_devices() -> list[str]:
    """Return the GPUs that this process may use, as `VISIBLE` names them; none where it computes on a CPU."""
    if this_device().type != "cuda":
        return []
    import torch

    named = os.environ.get(VISIBLE)
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def counting(on_progress: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that adds up what it is called with, and passes the sum on."""
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done)

    return add


def tally(
    costs: Sequence[int], on_progress: Callable[[int], None]
) -> Callable[[tuple[int, int | None]], None]:
    """Return a function that adds up what is done of some items, each once, and passes the sum on.

    It takes the place of an item and what was done of it; None says that another process has done it all.
    """
    done, total = [0] * len(costs), counting(on_progress)

    def add(message: tuple[int, int | None]) -> None:
        place, count = message
        count = costs[place] - done[place] if count is None else count
        done[place] += count
        total(count)

    return add


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread on the CPU; their number changes the last bits of sums, and so of images."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def shares(items: Sequence[T], jobs: int) -> list[Sequence[T]]:
    """Return what each of several processes does of some items, in order: at most as many parts as items."""
    jobs = min(jobs, len(items))
    return [items[number::jobs] for number in range(jobs)]


def starts(count: int, jobs: int, rank: int = 0, size: int = 1) -> list[float]:
    """Return where processes begin that go through the same items, see `claims.unfinished`.

    Args:
        count: of the items.
        jobs: processes of this command at most.
        rank: of this command among those that share the items, from 0.
        size: how many commands these are.
    """
    jobs = max(1, min(jobs, count))
    return [(rank + number / jobs) / size for number in range(jobs)]


def share(
    work: Callable[[T, Callable[[R], None]], None], parts: Sequence[T], on_message: Callable[[R], None]
) -> None:
    """Do several parts of some work, each in a process of its own with one thread; one part in this process.

    Args:
        work: takes a part, and a function that sends a message to this process: progress or results, small
            enough to be pickled.
        parts: what is shared, or where each process begins.
        on_message: called in this process with each message.

    Raises:
        UsageError: there are several parts, and this process computes on a GPU.
        TransferZooError: what `work` raised in a process, or the process was killed.
    """
    if len(parts) <= 1:
        with one_thread():
            for part in parts:
                work(part, on_message)
        return
    if this_device().type != "cpu":
        raise UsageError(
            "processes that are forked cannot share a GPU",
            expected="--jobs 1",
            got=str(len(parts)),
            hint="for a process on each of N GPUs: torchrun --nproc-per-node N -m transferzoo …",
        )
    context = multiprocessing.get_context("fork")
    sys.stdout.flush()
    sys.stderr.flush()
    children: dict[Any, BaseProcess] = {}
    try:
        for part in parts:
            receiver, writer = context.Pipe(duplex=False)
            child = context.Process(target=_be_child, args=(work, part, writer), daemon=True)
            child.start()
            writer.close()
            children[receiver] = child
        open_ones = set(children)
        while open_ones:
            ready: list[Any] = wait(list(open_ones))
            for reader in ready:
                try:
                    message = reader.recv()
                except EOFError:
                    open_ones.discard(reader)
                    _check_end(children[reader])
                    continue
                if isinstance(message, BaseException):
                    raise message
                on_message(message)
    finally:
        _end(list(children.values()))


def _end(children: Sequence[BaseProcess]) -> None:
    """End processes: they may sweep up what they were writing, and are killed where that takes too long.

    They are told again each second: Python notices a signal between two instructions, so that one that comes
    just before a wait in the operating system is noticed after it. Who has heard it hears it no more.
    """
    deadline = time.monotonic() + PATIENCE
    while (alive := [each for each in children if each.is_alive()]) and time.monotonic() < deadline:
        for each in alive:
            each.terminate()
        wait([each.sentinel for each in alive], timeout=1)
    for each in children:
        each.kill()
        each.join()


def _hear(*_: object) -> None:
    """End this process by an exception, so that a file half written is swept away; once, see `_end`."""
    signal.signal(signal.SIGTERM, lambda *_: None)
    raise KeyboardInterrupt


def _check_end(child: BaseProcess) -> None:
    child.join()
    if child.exitcode:
        raise TransferZooError(
            "a process of this command was killed",
            got=f"exit code {child.exitcode}",
            hint="the same command goes on; with --jobs 1 it needs less memory",
        )


def _be_child(work: Callable[[T, Callable[[R], None]], None], part: T, writer: Connection) -> None:
    parent = os.getppid()
    with suppress(KeyboardInterrupt), writer:  # the parent ends, at whatever moment
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends its children
        signal.signal(signal.SIGTERM, _hear)
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            return  # it died before we asked to be told
        try:
            with one_thread():
                work(part, writer.send)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to sweep up
        except TransferZooError as error:
            _tell(writer, error)
        except (Exception, SystemExit) as error:
            _tell(writer, RuntimeError(f"in a process of this command: {reason(error)}"))


def _tell(writer: Connection, error: Exception) -> None:
    """Hand an error on; nothing is left to sweep up, so that the parent may end this process at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    writer.send(error)
