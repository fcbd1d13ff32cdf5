"""Cells: the computations of a study, each identified by all that its result depends on.

A cell's key is the fingerprint of its inputs; those that another cell computes are given by that cell's
key. So the whole grid is known before anything is computed, and equal cells of two studies are one.
Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.base.frozen_model import fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transferzoo.base.environment import Environment
    from transferzoo.studies.schema import Study
    from transferzoo.zoo.schema import ModelSpec

SCHEMA = 3
"""Raised when stores come to keep something else, or the same inputs of a cell get another meaning."""


@dataclass(frozen=True)
class Cell:
    """One computation.

    Attributes:
        kind: name in `worker.CELL_FUNCTIONS`.
        inputs: what it is computed from, as JSON; other cells by key, options unless at their default.
        environment: how it is computed.
        needs: keys of the cells that come before.
        label: its name for users.
    """

    kind: str
    inputs: Mapping[str, Any]
    environment: Environment
    needs: tuple[str, ...]
    label: str

    @cached_property
    def key(self) -> str:
        """Fingerprint of all that the result depends on, 16 hexadecimal digits."""
        machine = self.environment._asdict()
        content = {"schema": SCHEMA, "kind": self.kind, "inputs": self.inputs, "environment": machine}
        return fingerprint(content)[:16]


@dataclass(frozen=True)
class GridPoint:
    """A surrogate with certain weights, and the cells that measure it.

    Attributes:
        surrogate: its name in the study.
        seed: of its training; 0 for an existing model.
        epoch: 1..E, "last" or "selected".
        train: key of its training; None for an existing model.
        attacks: name, or spec as the study writes it → key; none where sharpness alone is measured.
        robust: key of the attack on itself; None if it is not measured.
        sharpness: key; None if it is not measured.
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
        cells: by key, each after those it needs.
        points: the surrogates that are measured.
        models: digest of an existing model → the model, on this machine.
        digests: the user's own images → their digest.
    """

    study: Study
    cells: Mapping[str, Cell]
    points: tuple[GridPoint, ...]
    models: Mapping[str, ModelSpec]
    digests: Mapping[Path, str] = field(default_factory=dict)

    def shares(self, other: Grid) -> tuple[str, ...]:
        """Return the surrogates that have a training in common with another study."""
        return tuple(
            dict.fromkeys(
                point.surrogate for point in self.points if point.train and point.train in other.cells
            )
        )
