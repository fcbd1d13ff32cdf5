"""What is freed is kept inside the block, and given back after it."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch

from transferzoo.base.heap import kept_heap

PAGE = resource.getpagesize()
SIZE = 64 * 2**20
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")


def faults(times: int = 4) -> int:
    """Return how many pages are faulted in while a large tensor comes and goes."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(SIZE // 4)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Return the bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def test_memory_that_is_freed_is_used_again_inside_the_block_alone() -> None:
    """Also after an inner block, as in a training that crafts."""
    with kept_heap():
        with kept_heap():
            faults()
        assert faults() < SIZE / PAGE / 10
        held = resident()
    assert resident() < held - SIZE / 2
    assert faults() > SIZE / PAGE / 10
