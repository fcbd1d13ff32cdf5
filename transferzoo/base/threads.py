"""The same done with several things at a time, by threads that wait for others most of the time."""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

from transferzoo.base.errors import TransferZooError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
R = TypeVar("R")

TICK = 0.2
"""Seconds between two looks at what is done."""
PATIENCE = 1.0
"""Seconds that the threads have to end when nobody waits any more."""


def run_in_threads(
    work: Callable[[T], R], things: Sequence[T], jobs: int, stopped: Event
) -> Iterator[tuple[T, R | TransferZooError] | None]:
    """Do the same with several things at a time.

    An error that is no `TransferZooError` is raised here, whatever the others do. The threads are daemons:
    they do not keep a process from ending that is interrupted.

    Args:
        work: what to do.
        things: with what.
        jobs: how many at a time.
        stopped: is set when nobody waits any more.

    Yields:
        Each thing with what came of it, and None a few times a second in between.
    """
    waiting: SimpleQueue[T] = SimpleQueue()
    done: SimpleQueue[tuple[T, R | BaseException]] = SimpleQueue()
    for thing in things:
        waiting.put(thing)

    def serve() -> None:
        while not stopped.is_set():
            try:
                thing = waiting.get_nowait()
            except Empty:
                return
            try:
                done.put((thing, work(thing)))
            except BaseException as error:
                done.put((thing, error))

    threads = [Thread(target=serve, daemon=True) for _ in range(min(jobs, len(things)))]
    for thread in threads:
        thread.start()
    left = len(things)
    try:
        while left:
            try:
                thing, result = done.get(timeout=TICK)
            except Empty:
                yield None
                continue
            if isinstance(result, BaseException) and not isinstance(result, TransferZooError):
                raise result
            left -= 1
            yield thing, result
    finally:
        stopped.set()
        for thread in threads:
            thread.join(PATIENCE / len(threads))
