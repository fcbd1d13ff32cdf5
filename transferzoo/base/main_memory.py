"""How much main memory there is."""

from __future__ import annotations

import os
from pathlib import Path


def main_memory() -> int:
    """Return the bytes of this machine's memory, or those this process's control group may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else ""
    return min(memory, int(text)) if text.isdigit() else memory
