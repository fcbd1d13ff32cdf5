"""A table as text, for whatever prints or writes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Mark(Enum):
    """What makes a cell stand out beside its text; each format shows it in its own way, or not at all."""

    BEST = "the highest of its column, of one surrogate and attack"
    POSITIVE = "a significant difference above zero, or a claim that is supported"
    NEGATIVE = "a significant difference below zero, or a claim that is not supported"
    ASIDE = "left out of the means: a white-box target"


class Marked(NamedTuple):
    """The text of a cell, and its marks."""

    text: str
    marks: frozenset[Mark]

    @classmethod
    def where(cls, text: str, holds: Mapping[Mark, bool]) -> Self:
        """Return a cell with those marks that hold."""
        return cls(text, frozenset(mark for mark, true in holds.items() if true))


Cell = str | Marked


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        title: above it.
        columns: headings.
        rows: cells; a cell may have several lines.
        caption: below it.
        marks: (row, column) → the marks of a cell that has any.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    marks: Mapping[tuple[int, int], frozenset[Mark]] = field(default_factory=dict)

    @classmethod
    def of_cells(
        cls, title: str, columns: tuple[str, ...], rows: Sequence[Sequence[Cell]], caption: str = ""
    ) -> Self:
        """Return a table of cells with and without marks."""
        places = {(at, column): cell for at, row in enumerate(rows) for column, cell in enumerate(row)}
        marks = {place: cell.marks for place, cell in places.items() if isinstance(cell, Marked)}
        return cls(
            title,
            columns,
            tuple(tuple(cell.text if isinstance(cell, Marked) else cell for cell in row) for row in rows),
            caption,
            {place: found for place, found in marks.items() if found},
        )

    def has(self, mark: Mark, row: int, column: int) -> bool:
        """Return whether a cell has a mark."""
        return mark in self.marks.get((row, column), ())

    def is_numeric(self, column: int) -> bool:
        """Return whether a column holds numbers alone, which are set to its right."""
        return column > 0 and all(not row[column] or row[column][0] in "0123456789–+-<[" for row in self.rows)


def typeset(text: str) -> str:
    """Return text with a minus before negative numbers, and no line break before a percent sign."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text).replace(" %", "\u00a0%")
