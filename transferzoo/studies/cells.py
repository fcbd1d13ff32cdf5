"""Cells: what a study has to compute, each named by all that its result depends on.

A cell's key is the fingerprint of its inputs; those that another cell makes stand there by that cell's key.
So the whole grid is known before anything is computed, and equal cells of two studies are one.
Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.base.frozen_model import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.studies.schema import Study

FORMAT = 2
"""Raised when the same inputs of a cell come to mean something else."""


@dataclass(frozen=True)
class Cell:
    """Something to compute.

    Attributes:
        kind: name in `work.WORK`.
        what: all that the result depends on, as JSON has it; other cells by key.
        needs: keys of the cells that come before.
        label: what a user calls it.
    """

    kind: str
    what: Mapping[str, Any]
    needs: tuple[str, ...]
    label: str

    @cached_property
    def key(self) -> str:
        """What names it, 16 hexadecimal digits."""
        return fingerprint({"format": FORMAT, "kind": self.kind, "what": self.what})[:16]


@dataclass(frozen=True)
class Point:
    """A surrogate with certain weights, and the cells that measure it.

    Attributes:
        surrogate: its name in the study.
        seed: of its training; 0 for a model that existed.
        epoch: 1..E, "last" or "selected".
        train: key of its training; None for a model that existed.
        attacks: spec as the study writes it → key.
        robust: key of the attack on itself; None where it is not measured.
        sharpness: key; None where it is not measured.
    """

    surrogate: str
    seed: int
    epoch: int | str
    train: str | None
    attacks: Mapping[str, str]
    robust: str | None
    sharpness: str | None


@dataclass(frozen=True)
class Grid:
    """All of a study.

    Attributes:
        study: the study.
        cells: by key; a cell stands behind those it needs.
        points: what is measured.
        places: digest of a model that exists → its folder on this machine.
    """

    study: Study
    cells: Mapping[str, Cell]
    points: tuple[Point, ...]
    places: Mapping[str, Path]
