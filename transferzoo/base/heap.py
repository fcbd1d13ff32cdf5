"""What PyTorch frees on a CPU, kept for the next step instead of being given back to the system.

The allocator of glibc maps large blocks one by one and unmaps them when they are freed, so that every step
of a training faults its activations in anew; `tests/benchmarks/heap.py` prints what that costs.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3)
_KEPT = {_TRIM_THRESHOLD: -1, _MMAP_MAX: 0}
_USUAL = {_TRIM_THRESHOLD: 64 * 2**20, _MMAP_THRESHOLD: 32 * 2**20, _MMAP_MAX: 65536}
"""What glibc arrives at by itself where large blocks are freed."""
_lock = threading.Lock()
_blocks = 0


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep what is freed in this process until the last such block ends; nothing happens without glibc.

    No value that is computed depends on it. The memory of some tensors more is held: one that is freed may be
    a little too small for the next of its size. Blocks may be nested, and in several threads.
    """
    global _blocks
    with _lock:
        _blocks += 1
        if _blocks == 1:
            _set(_KEPT)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                _set(_USUAL)
                if (libc := _glibc()) is not None:
                    libc.malloc_trim(0)


@cache
def _glibc() -> Any | None:
    """Return the C library, if it is glibc."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(parameters: dict[int, int]) -> None:
    if (libc := _glibc()) is not None:
        for parameter, value in parameters.items():
            libc.mallopt(parameter, value)
