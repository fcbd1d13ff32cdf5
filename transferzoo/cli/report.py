"""`transferzoo report`: the tables of finished runs, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.cli.options import Json, Output
from transferzoo.cli.output import say, show, show_json, terminal_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.report import Findings


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders that `attack` wrote.")],
    output: Output = None,
    json: Json = False,
) -> None:
    """Print the tables of one or several runs again."""
    from transferzoo.export import check_output
    from transferzoo.report import Findings
    from transferzoo.runs import CURVE, open_run

    files = [check_output(path) for path in output or []]
    opened = [open_run(path) for path in runs]
    found = Findings(
        [record for run in opened for record in run.records()],
        [record for run in opened for record in run.records(CURVE)],
        {source: value for run in opened for source, value in run.seconds().items()},
    )
    publish(found, files, as_json=json)


def publish(found: Findings, files: Sequence[Path], *, as_json: bool) -> None:
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
        show(*(render_table(table, width) for table in tables(found)))
    for path in files:
        write_text(path, render(path, found))
        say(f"Written: {path}")
