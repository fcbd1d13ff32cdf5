"""Records → files: JSON, CSV, Markdown, LaTeX, by suffix; pure functions, without torch."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.base.printable import escaped, printable
from transferzoo.base.table import Mark
from transferzoo.results.attackers import many_attackers
from transferzoo.results.comparisons import Findings, paired_tests, rows_of
from transferzoo.results.conclusion import conclusion, notes
from transferzoo.results.latex import to_latex
from transferzoo.results.ranking import rankings
from transferzoo.results.trainings import to_dict, trainings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from transferzoo.base.table import Table


def to_json(found: Findings) -> dict[str, Any]:
    """Return what was found, with conclusion, notes and the seconds an image took, as JSON can hold it."""
    tests = paired_tests(found.records) if len(rows_of(found.records)) > 1 else []
    return {
        "conclusion": conclusion(found),
        "notes": notes(found),
        "records": [{**asdict(r), "seconds": found.seconds.get(r.pair)} for r in found.records],
        "noise": [asdict(r) for r in found.noise],
        "curve": [asdict(r) for r in found.curve],
        "paired_tests": tests,
        "many_attackers": asdict(many_attackers(found.records)),
        "rankings": [asdict(one) for one in rankings(found)],
        "trainings": to_dict(trainings(found.records)),
        "visibility": [asdict(one) for one in found.visibility],
    }


def csv_lines(found: Findings) -> list[dict[str, object]]:
    """Return one line a record, then one of noise, then one a point of the curve, the versions left out."""
    records = (*found.records, *found.noise, *found.curve)
    return [{k: v for k, v in asdict(r).items() if k != "versions"} for r in records]


def to_csv(lines: Sequence[Mapping[str, object]]) -> str:
    """Return lines, all with the same keys, under a header.

    A value that begins like a formula of a spreadsheet, "=1+1", stays as it is: the file is for programs,
    which read the names that there are.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return printable(stream.getvalue())


def to_markdown(tables: Sequence[Table]) -> str:
    """Return tables in GitHub's Markdown."""
    return printable("\n".join(map(_markdown, tables)))


def _markdown(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", "<br>") for c in cells) + " |"

    def cell(row: int, column: int) -> str:
        first, *others = table.rows[row][column].split("\n")
        return "\n".join([f"**{first}**" if table.has(Mark.BEST, row, column) else first, *others])

    rule = "| --- |" + " ---: |" * (len(table.columns) - 1)
    body = "\n".join(
        line(cell(row, column) for column in range(len(table.columns))) for row in range(len(table.rows))
    )
    return f"**{table.title}**\n\n{line(table.columns)}\n{rule}\n{body}\n\n{table.caption}\n"


def formatted(
    path: Path, content: object, lines: Sequence[Mapping[str, object]], shown: Sequence[Table]
) -> str:
    """Return one of three forms of the same, the one that the suffix of a checked path asks for.

    Args:
        path: .json, .csv, .md or .tex.
        content: for JSON.
        lines: for CSV, at least one, all with the same keys.
        shown: for Markdown and LaTeX.
    """
    if path.suffix == ".json":
        return escaped(json.dumps(content, indent=2, ensure_ascii=False)) + "\n"
    if path.suffix == ".csv":
        return to_csv(lines)
    return to_markdown(shown) if path.suffix == ".md" else to_latex(shown, path.stem)


def check_output(path: Path) -> Path:
    """Return `path` if a report can be written there, as far as is known before there is one.

    Raises:
        UsageError: not .json, .csv, .md or .tex.
        TransferZooError: it is a folder, or its folder cannot be written.
    """
    if path.suffix not in (".json", ".csv", ".md", ".tex"):
        raise UsageError(f"cannot tell the format of {path}", expected="a name in .json, .csv, .md or .tex")
    return check_file(path, "--output")


def check_file(path: Path, option: str) -> Path:
    """Return `path` if a file can be written there, as far as is known before there is one.

    Args:
        path: where.
        option: that it was given by.

    Raises:
        TransferZooError: it is a folder, or its folder cannot be written.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not _may_be_written(folder):
        refused = path if path.is_dir() else folder
        raise TransferZooError(
            f"cannot write {path}",
            expected="a file in a folder you may write",
            got=f"{refused}",
            hint=f"choose another {option}",
        )
    return path


def check_folder(path: Path) -> Path:
    """Return `path` if files can be written below it, as far as is known before there are any.

    Raises:
        TransferZooError: it, or what would hold it, is no folder or cannot be written.
    """
    nearest = next(part for part in (path.absolute(), *path.absolute().parents) if part.exists())
    if not _may_be_written(nearest):
        raise TransferZooError(f"cannot write to {path}", expected="a folder you may write", got=str(nearest))
    return path


def _may_be_written(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
