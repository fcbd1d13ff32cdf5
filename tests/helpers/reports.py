"""Reports of runs as files have them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transferzoo.results.tables import tables
from transferzoo.results.writers import csv_lines, formatted, to_json

if TYPE_CHECKING:
    from transferzoo.results.comparisons import Findings


def written(name: str, found: Findings) -> str:
    """Return what a file of that name holds."""
    return formatted(Path(name), to_json(found), csv_lines(found), tables(found))
