"""Tables → HTML: those of numbers, which a script can sort, and those of example images."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from markupsafe import Markup

from transferzoo.base.table import Mark, typeset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from transferzoo.base.table import Table
    from transferzoo.page.example_images import CellExamples, Picture, RowExamples

MOST_ROWS = 20
"""Most rows of a table that is not folded."""
SCROLLS = Markup(' role="group" aria-label="{}" tabindex="0"')
"""Attributes of what may be wider than the page: it can be scrolled by keys too.

A group is no landmark, of which a page of many tables would have too many to be of use.
"""
COMMAND = Markup('<pre class="command"><code>{}</code></pre>')
NO_LINKS: dict[tuple[int, int], str] = {}


def foldable_table(table: Table, links: Mapping[tuple[int, int], str] = NO_LINKS) -> Markup:
    """Return a table, folded where it is long; see `number_table`."""
    if len(table.rows) <= MOST_ROWS:
        return number_table(table, links)
    folded = Markup("<details><summary>{} ({} rows)</summary>{}</details>")
    return folded.format(table.title, len(table.rows), number_table(table, links))


def number_table(table: Table, links: Mapping[tuple[int, int], str] = NO_LINKS) -> Markup:
    """Return a table.

    Args:
        table: of text.
        links: (row, column) → the anchor that the cell leads to.
    """
    kinds = [Markup(' class="number"') if table.is_numeric(at) else "" for at in range(len(table.columns))]
    heads = (
        Markup('<th scope="col"{}>{}</th>').format(kind, name)
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    rows = (
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            lines(first),
            join(
                Markup("<td{}>{}</td>").format(kinds[column], _cell(table, (at, column), links))
                for column in range(1, len(table.columns))
            ),
        )
        for at, (first, *_) in enumerate(table.rows)
    )
    note = Markup('<p class="note">{}</p>').format(typeset(table.caption)) if table.caption else ""
    return Markup(
        '<div class="scroll"{}><table class="sortable"><caption><span>{}</span></caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}"
    ).format(SCROLLS.format(table.title), table.title, join(heads), join(rows), note)


def _cell(table: Table, place: tuple[int, int], links: Mapping[tuple[int, int], str]) -> Markup:
    """Return the text of a cell, the highest of a column in bold."""
    row, column = place
    first, *others = map(Markup.escape, typeset(table.rows[row][column]).split("\n"))
    if place in links:
        first = Markup('<a class="cell" href="#{}">{}</a>').format(links[place], first)
    text = Markup("<br>").join((first, *others))
    return Markup("<strong>{}</strong>").format(text) if table.has(Mark.BEST, row, column) else text


def examples_of_row(row: RowExamples, part: str, depth: int) -> Markup:
    """Return the images of a row and what each target made of them, and its commands.

    Args:
        row: of the table of runs.
        part: name of the part of the page, which anchors begin with.
        depth: of the heading.
    """
    heads = (Markup('<th scope="col">{}</th>').format(lines(name)) for name in ("success rate", *row.columns))
    pictures = (
        Markup('<tr><th scope="row">{}</th><td></td>{}</tr>').format(version, join(map(_picture, images)))
        for version, images in row.pictures.items()
    )
    cells = (_examples_of_cell(cell, part) for cell in row.cells)
    return Markup(
        '<div id="{part}--{anchor}" class="made"><h{depth}>{title}</h{depth}>'
        '<div class="scroll pictures"{scrolls}><table><caption><span>Examples</span></caption>'
        "<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="note">{caption}</p>{commands}</div>'
    ).format(
        part=part,
        anchor=row.anchor,
        depth=depth,
        title=row.title,
        scrolls=SCROLLS.format(f"Examples of {row.title}"),
        heads=join(heads),
        rows=join((*pictures, *cells)),
        caption=typeset(row.caption),
        commands=join(COMMAND.format(line) for line in row.commands),
    )


def _examples_of_cell(cell: CellExamples, part: str) -> Markup:
    outcomes = (Markup("<td>{}</td>").format(lines(text)) for text in cell.outcomes)
    return Markup('<tr id="{}--{}"><th scope="row">{}</th><td>{}</td>{}</tr>').format(
        part, cell.anchor, cell.target, typeset(cell.rate), join(outcomes)
    )


def _picture(picture: Picture) -> Markup:
    data = base64.b64encode(picture.png).decode("ascii")
    return Markup('<td><img src="data:image/png;base64,{}" alt="{}"></td>').format(data, picture.alt)


# ---------------------------------------------------------------- text


def lines(text: str) -> Markup:
    """Return text with its line breaks."""
    return Markup("<br>").join(text.split("\n"))


def join(content: Iterable[Markup]) -> Markup:
    """Return pieces as one."""
    return Markup().join(content)
