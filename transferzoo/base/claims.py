"""Work that processes share through a folder: each item is taken, when its turn comes, by whoever is free.

A claim is a lock on a file (`filelock`): the system's own, which ends with the process that has it, however
that ends; where a file system has no locks, a marker that names process and host, which counts no longer once
that process of this host is gone (another host's stays until it is removed by hand). Nothing but time depends
on it: whether an item is done its own files tell, which are whole or absent, and who does one that another
did leaves the same bytes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")


@contextmanager
def claimed(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Give whether this process has a claim, and let go of it after the block.

    Args:
        path: of the file, whose folder is made; where it cannot be written there are no claims to respect.
        wait: until another process lets go of it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "flock not supported")  # the marker does
            lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def unfinished(
    items: Sequence[T],
    claim: Callable[[T], Path],
    is_done: Callable[[T], bool],
    start: float = 0.0,
    on_done: Callable[[T], None] = lambda item: None,
) -> Iterator[T]:
    """Yield items that nobody has done, each while this process has its claim, until all are done.

    What others have claimed is waited for at the end, and yielded then where it is not done.

    Args:
        items: what is to be done.
        claim: where the claim of one lies.
        is_done: whether one is done.
        start: which part of them other processes come to last, in [0, 1): where this one begins.
        on_done: called with each that another process has done.
    """
    first = int(start * len(items))
    left: Sequence[T] = [*items[first:], *items[:first]]
    for wait in (False, True):
        busy = []
        for item in left:
            with claimed(claim(item), wait=wait) as ours:
                if not ours:
                    busy.append(item)
                elif is_done(item):
                    on_done(item)
                else:
                    yield item
        left = busy
