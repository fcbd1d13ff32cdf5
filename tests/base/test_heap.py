"""What is freed is kept inside the block, and given back after it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import pytest

from helpers.processes import printed

if TYPE_CHECKING:
    from pathlib import Path

MEASURED = """
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import torch

from transferzoo.base.heap import kept_heap


def faulted():
    "Return how many MiB are faulted in while a tensor of 64 comes and goes four times."
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(2**24)
    return (getrusage(RUSAGE_SELF).ru_minflt - before) / 256


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256


with kept_heap():
    with kept_heap():
        for _ in range(4):
            faulted()
    print(faulted())
    held = resident()
print(held - resident())
print(faulted())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is asked")
def test_memory_that_is_freed_is_used_again_inside_the_block_alone(tmp_path: Path) -> None:
    """Also after an inner block, as in a training that crafts."""
    inside, given_back, after = map(float, printed(MEASURED, tmp_path).split())
    assert inside < 16
    assert given_back > 32
    assert after > 48  # the first of the four for sure: a hole may be left in the heap that the others find
