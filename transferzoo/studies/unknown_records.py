"""Why records of a result file are of no cell of a study's grid, where another grid shows it.

A key says nothing of what it is made of; but the file has its study, and the grid that has the keys is found
by trying. Nothing here imports torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.environment import ARITHMETIC, Environment
from transferzoo.base.errors import TransferZooError
from transferzoo.studies.digests import files_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transferzoo.studies.cells import Grid
    from transferzoo.studies.result_file import Results

MACHINES = (("cpu", "highest"), ("cuda", "highest"), ("cuda", "highest+tf32"))
"""How machines compute: kind of device and math, as of `Environment`."""
FOLDERS = 8
"""Folders in that of the images that may be meant instead: where there are more they are classes."""
ANY = "of other images, another configuration, arithmetic or kind of device"


def why_unknown(file: Results, grid: Grid, build: Callable[..., Grid]) -> str:
    """Return what the records are of that are of no cell, and what to do.

    Args:
        file: the records.
        grid: the grid.
        build: `build_grid` but for the study, the machine and the digests.
    """
    unknown = {line.cell for line in file.lines} - grid.cells.keys()

    def has(digests: Mapping[Path, str] = grid.digests, machine: Environment | None = None) -> bool:
        return unknown <= build(file.study, digests=digests, machine=machine).cells.keys()

    try:
        if has():
            return "of another configuration of the study; choose another --results for this one"
        for root in grid.digests:
            for place in sorted(path for path in root.glob("*") if path.is_dir())[:FOLDERS]:
                if has({root: files_digest(place)}):
                    return f"of the same images, named otherwise; give --data {place}"
        for device, math in MACHINES:
            if has(machine=Environment(ARITHMETIC, device, math)):
                return f"of another kind of device, {device} ({math}); here they are computed anew"
    except TransferZooError:  # the file's study names what is not here
        pass
    return ANY
