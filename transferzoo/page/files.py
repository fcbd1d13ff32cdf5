"""Figures and tables as files, for papers and talks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.atomic import write_bytes, write_text
from transferzoo.page.descriptions import numbers_table
from transferzoo.page.svg import render_file
from transferzoo.results.latex import to_latex
from transferzoo.results.writers import to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transferzoo.page.parts import Part


def write_figures(
    parts: Sequence[Part], folder: Path, on_figure: Callable[[str], None] = lambda _: None
) -> None:
    """Write every figure as PART-FIGURE.png and .svg, its numbers and the tables of a part as .md and .tex.

    Args:
        parts: of a report.
        folder: made where it is not there.
        on_figure: called with the title of each figure that is drawn.

    Raises:
        TransferZooError: the folder cannot be written.
    """
    for part in parts:
        for figure in part.figures:
            for kind in ("png", "svg"):
                write_bytes(folder / f"{part.name}-{figure.name}.{kind}", render_file(figure.chart, kind))
            on_figure(figure.title)
        tables = [*part.tables, *(numbers_table(figure) for figure in part.figures)]
        name = f"{part.name}-tables"
        write_text(folder / f"{name}.md", to_markdown(tables))
        write_text(folder / f"{name}.tex", to_latex(tables, name))
