"""Tables on the terminal, where wide ones are cut into blocks of columns that fit, and in files."""

from __future__ import annotations

import re
from textwrap import fill
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from transferzoo.base.atomic import write_text
from transferzoo.base.table import Mark
from transferzoo.cli.output import log, show, show_json, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rich.console import JustifyMethod, RenderableType

    from transferzoo.base.table import Table

_STYLES = {Mark.BEST: "bold", Mark.POSITIVE: "green", Mark.NEGATIVE: "red", Mark.ASIDE: "dim"}
"""Mark → how the terminal shows it; Rich leaves colours out where NO_COLOR is set, and all in a pipe."""
_PADDING = 3
_SENTENCE = 28
"""Columns that a folded sentence takes at least."""
_KEPT = "\xa0"
"""A space at which no line is broken."""


def print_tables(*tables: Table) -> None:
    """Print tables on stdout, as wide as the terminal."""
    width = terminal_width()
    show(*(render(table, width) for table in tables))


def publish_tables(
    tables: Sequence[Table],
    content: Callable[[], object],
    lines: Callable[[], Sequence[Mapping[str, object]]],
    files: Sequence[Path],
    *,
    as_json: bool,
) -> None:
    """Print tables, or JSON, on stdout, and write the same to files.

    Args:
        tables: for people.
        content: gives what JSON has.
        lines: gives those of a CSV file.
        files: each of one of the formats of `writers.formatted`.
        as_json: print JSON.

    Raises:
        TransferZooError: a file cannot be written.
    """
    from transferzoo.results.writers import formatted

    if as_json:
        show_json(content())
    else:
        print_tables(*tables)
    for path in files:
        write_text(path, formatted(path, content(), lines(), tables))
        log(f"Written: {path}")


def render(table: Table, width: int) -> RenderableType:
    """Return a table for a terminal of `width` columns.

    The first column is repeated in every block; a column too wide for the terminal alone is folded. Before a
    table is cut its widest column is folded, where words stay whole.
    """
    widths = [
        _width([heading, *(row[i] for row in table.rows)]) + _PADDING
        for i, heading in enumerate(table.columns)
    ]
    widest = widths.index(max(widths))
    left = width - 1 - sum(widths) + widths[widest]
    if widths[widest] > left >= max(_SENTENCE, _longest_word(table, widest) + _PADDING):
        return _grouped(table, [_block(table, list(range(len(widths))), fits=False, folded=widest)], width)
    blocks: list[list[int]] = [[]]
    used = widths[0]
    for column in range(1, len(widths)):
        if blocks[-1] and used + widths[column] > width - 1:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(column)
        used += widths[column]
    parts: list[RenderableType] = []
    for block in blocks:
        columns = [0, *block]
        parts.append(_block(table, columns, fits=sum(widths[column] for column in columns) < width))
    return _grouped(table, parts, width)


def _grouped(table: Table, parts: list[RenderableType], width: int) -> Group:
    caption = Text(_wrapped(table.caption, width), style="dim")
    return Group(Text(table.title, style="bold"), *parts, caption, Text())


def _wrapped(text: str, width: int) -> str:
    """Break lines where there are spaces, but not before a percent sign."""
    lines = (line.replace(" %", f"{_KEPT}%") for line in text.split("\n"))
    wrapped = (fill(line, width, break_on_hyphens=False, break_long_words=False) for line in lines)
    return "\n".join(wrapped).replace(_KEPT, " ")


def _block(table: Table, columns: list[int], *, fits: bool, folded: int | None = None) -> RichTable:
    """Return a table of some columns.

    Args:
        table: the whole.
        columns: numbers of those that are shown.
        fits: no cell has to be folded.
        folded: the only column that is; None for whichever are too wide.
    """
    rich = RichTable(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False)
    for column in columns:
        justify: JustifyMethod = "right" if table.is_numeric(column) else "left"
        whole = max(map(cell_len, re.findall(r"\S+ %", table.columns[column])), default=None)
        if folded not in (None, column):
            whole = _width([table.columns[column], *(row[column] for row in table.rows)])
        rich.add_column(table.columns[column], justify=justify, overflow="fold", min_width=whole)
    rows = [[_styled(table, at, column) for column in columns] for at in range(len(table.rows))]
    if rows and fits and not any("\n" in cell.plain for row in rows for cell in row):
        rows = [
            [Text("\n").join(cells) for cells in zip(*rows, strict=True)]
        ]  # Rich takes a millisecond a row
    for row in rows:
        rich.add_row(*row)
    return rich


def _styled(table: Table, row: int, column: int) -> Text:
    marks = table.marks.get((row, column), ())
    return Text(table.rows[row][column], style=" ".join(_STYLES[mark] for mark in Mark if mark in marks))


def _longest_word(table: Table, column: int) -> int:
    cells = (table.columns[column], *(row[column] for row in table.rows))
    return max((cell_len(word) for cell in cells for word in cell.split()), default=0)


def _width(cells: list[str]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.splitlines() or [""])
