"""`transferzoo report`: the tables of finished runs, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.cli.options import Json, Output, Visible
from transferzoo.cli.output import say, show, show_json, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.findings import Findings


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders that `attack` wrote.")],
    output: Output = None,
    visibility: Visible = False,
    json: Json = False,
) -> None:
    """Print the tables of one or several runs again."""
    from transferzoo.export import check_output
    from transferzoo.findings import Findings
    from transferzoo.runs import CURVE, open_run

    files = [check_output(path) for path in output or []]
    opened = [open_run(path) for path in runs]
    found = Findings(
        [record for run in opened for record in run.records()],
        [record for run in opened for record in run.records(CURVE)],
        {source: value for run in opened for source, value in run.seconds().items()},
        [line for run in opened for line in run.visibility()],
    )
    publish(found, files, as_json=json, visibility=visibility)


def publish(found: Findings, files: Sequence[Path], *, as_json: bool, visibility: bool) -> None:
    """Print the tables, or JSON, on stdout and write them to files.

    Raises:
        UsageError: the records do not fit one table.
        TransferZooError: a file cannot be written.
    """
    from transferzoo.atomic import write_text
    from transferzoo.cli.tables import render as render_table
    from transferzoo.export import render, to_json
    from transferzoo.report import tables

    if as_json:
        show_json(to_json(found))
    else:
        width = terminal_width()
        show(*(render_table(table, width) for table in tables(found, visibility=visibility)))
    for path in files:
        write_text(path, render(path, found, visibility=visibility))
        say(f"Written: {path}")
