"""`transferzoo report`: runs and studies again, as tables, figures or a page; the tables without torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.cli.completion import complete_reports
from transferzoo.cli.options import Json, Output, Visible
from transferzoo.cli.output import log, progress_bar
from transferzoo.cli.tables import publish_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.page.inputs import ReportInputs
    from transferzoo.page.parts import Part
    from transferzoo.results.comparisons import Findings
    from transferzoo.studies.result_file import Results


def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT",
            autocompletion=complete_reports,
            help="Run folders that `attack` wrote, names of studies, files that `study --results` wrote.",
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write it all as one page.", show_default=False)
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Also write figures (.png, .svg) and tables (.md, .tex).", show_default=False
        ),
    ] = None,
    output: Output = None,
    verdicts: Annotated[
        bool, typer.Option("--verdicts", help="Of a study, print its verdicts alone.")
    ] = False,
    visibility: Visible = False,
    json: Json = False,
) -> None:
    """Print the tables of runs and studies again, and write them as a page."""
    from transferzoo.page.inputs import read_inputs
    from transferzoo.results.writers import check_folder, check_output

    files = [check_output(path) for path in output or []]
    if html is not None:
        _check_page(html)
    if figures is not None:
        check_folder(figures)
    if html is not None or figures is not None:
        from transferzoo.base.optional import import_optional

        import_optional("matplotlib", "plots", "figures need")
    inputs = read_inputs(names)
    for flag, asked, of, there in (
        ("--verdicts", verdicts, "studies", inputs.studies),
        ("--visibility", visibility, "runs", inputs.runs),
    ):
        if asked and not there:
            raise UsageError(f"{flag} is of {of}, and none of them is named", hint="leave it out")
    for sentence in inputs.left_out:
        log(f"Left out: {sentence}")
    _publish(inputs, files, as_json=json, visibility=visibility, brief=verdicts)
    if html is not None or figures is not None:
        _draw(inputs, html, figures)


def _check_page(path: Path) -> None:
    from transferzoo.results.writers import check_folder

    if path.is_dir():
        raise TransferZooError(f"cannot write {path}", expected="a file", got="a folder")
    check_folder(path.parent)


def _publish(
    inputs: ReportInputs, files: Sequence[Path], *, as_json: bool, visibility: bool, brief: bool
) -> None:
    """Print tables or JSON; one object, or one file, is of the runs or of one study.

    Raises:
        UsageError: there are several, and JSON or a file is asked for.
    """
    from transferzoo.cli.study import publish as publish_study

    count = len(inputs.studies) + len(inputs.runs)
    if count > 1 and (as_json or files):
        raise UsageError(
            "--json and --output are of runs that share a table, or of one study",
            expected="no more",
            got=f"{count} of them",
            hint="report them one by one, or use --html and --figures",
        )
    for runs in inputs.runs:
        publish(runs.findings, files, as_json=as_json, visibility=visibility)
    for results in inputs.studies:
        if brief:
            _publish_verdicts(results, files, as_json=as_json)
        else:
            publish_study(results, files, as_json=as_json)


def _publish_verdicts(results: Results, files: Sequence[Path], *, as_json: bool) -> None:
    """Print the verdicts of a study, the first of its tables, or as JSON, and write them to files.

    Raises:
        UsageError: it has no claims.
    """
    from dataclasses import fields

    from transferzoo.results.statistics import Difference
    from transferzoo.studies.claims import as_json as claim_json
    from transferzoo.studies.claims import judge
    from transferzoo.studies.tables import tables

    verdicts = judge(results)
    if not verdicts:
        raise UsageError("the study has no claims, and so no verdicts", hint="leave --verdicts out")
    content = [claim_json(one) for one in verdicts]
    unknown = dict.fromkeys(field.name for field in fields(Difference))
    lines = [{**one, **unknown, **(one["difference"] or {})} for one in content]
    for line in lines:
        del line["difference"]
    shown = tables(results, verdicts)[:1]
    publish_tables(shown, lambda: {"verdicts": content}, lambda: lines, files, as_json=as_json)


def publish(found: Findings, files: Sequence[Path], *, as_json: bool, visibility: bool) -> None:
    """Print the tables, or JSON, on stdout and write them to files.

    Raises:
        UsageError: the records do not fit one table.
        TransferZooError: a file cannot be written.
    """
    from transferzoo.results.tables import tables
    from transferzoo.results.writers import csv_lines, to_json

    shown = tables(found, visibility=visibility)
    publish_tables(shown, partial(to_json, found), partial(csv_lines, found), files, as_json=as_json)


def _draw(inputs: ReportInputs, html: Path | None, figures: Path | None) -> None:
    """Write the page and the folder of figures."""
    from transferzoo.base.atomic import write_text
    from transferzoo.page.files import write_figures
    from transferzoo.page.html import render_page

    with progress_bar() as bar:
        task = bar.add_task("drawing", total=None, note="")
        parts = _parts(inputs)
        count = sum(len(part.figures) for part in parts)
        bar.update(task, total=count * ((html is not None) + (figures is not None)))

        def advance(title: str) -> None:
            bar.update(task, advance=1, note=title)

        if html is not None:
            write_text(html, render_page(parts, advance))
        if figures is not None:
            write_figures(parts, figures, advance)
    for path in (html, figures):
        if path is not None:
            log(f"Written: {path}")


def _parts(inputs: ReportInputs) -> list[Part]:
    from transferzoo.page import run_report, study_report
    from transferzoo.page.example_images import PIXEL_BYTES, row_examples
    from transferzoo.page.parts import with_unique_names

    def note(sentence: str) -> None:
        log(f"Note: {sentence}")

    share = PIXEL_BYTES // max(1, len(inputs.runs))
    parts = [
        run_report.runs_part(runs.findings, runs.folders, row_examples(runs.folders, share, note))
        for runs in inputs.runs
    ]
    return with_unique_names([*parts, *(study_report.study_part(results) for results in inputs.studies)])
