"""`transferzoo list`: what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.table import Table
from transferzoo.cli.completion import one_of
from transferzoo.cli.list_entries import ENTRIES
from transferzoo.cli.options import Dataset, Json, Plugins, ZooFile
from transferzoo.cli.output import show, show_json
from transferzoo.cli.tables import print_tables

if TYPE_CHECKING:
    from transferzoo.zoo.reader import Zoo


ROLES = {"models": None, "surrogates": "surrogate", "targets": "target"}
"""What is listed of models → the role that they have; None for any."""
KINDS = (*ROLES, *ENTRIES)
PARTS = ("protocols", "attacks", "minimizers", "architectures", "defences", "formats", "sources")
"""Kinds that belong to no data set."""


def list_(
    kind: Annotated[
        str,
        typer.Argument(metavar="KIND", help=f"One of {', '.join(KINDS)}.", autocompletion=one_of(*KINDS)),
    ] = "models",
    dataset: Dataset = None,
    match: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Only names that hold this text, in capitals or not.", show_default=False
        ),
    ] = None,
    json: Json = False,
    zoo: ZooFile = None,
    plugin: Plugins = None,
) -> None:
    """List models, data sets, attacks, minimizers, architectures, defences, formats, packs, sources.

    Models of the default data set, and how many others there are; all of them with --dataset or --match.
    """
    from transferzoo.zoo.reader import load_zoo

    if kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    records = load_zoo(zoo)
    if dataset is not None:
        records.dataset(dataset)
        if kind in PARTS:
            raise UsageError(f"{kind} belong to no data set", expected=f"`list {kind}` without --dataset")
    entries = _entries(kind, records, dataset)
    if match is not None:
        entries = _matching(match, kind, entries)
    if json:
        show_json(entries)
        return
    if kind in ROLES:
        _show_models(kind, entries, None if dataset or match else records.default_dataset)
        return
    print_tables(*_tables(kind, entries))


def _tables(kind: str, entries: list[dict[str, Any]]) -> list[Table]:
    """Return the table of entries, or one of each kind that they say; what none of them has is no column."""
    kinds = dict.fromkeys(entry.get("kind") for entry in entries) or [None]
    return [
        _table(f"{kind}: {one}" if one else kind, [entry for entry in entries if entry.get("kind") == one])
        for one in kinds
    ]


def _table(title: str, entries: list[dict[str, Any]]) -> Table:
    columns = tuple(
        key
        for key in (entries[0] if entries else ())
        if key != "kind" and any(entry[key] not in (None, "") for entry in entries)
    )
    rows = tuple(tuple(_text(entry[column]) for column in columns) for entry in entries)
    return Table(title, columns or ("name",), rows)


def _show_models(kind: str, entries: list[dict[str, Any]], only: str | None) -> None:
    """Print models by data set; of all but one of the data sets, if one is named, a line."""
    from rich.text import Text

    from transferzoo.cli.models import elsewhere, tables

    shown = [entry for entry in entries if only in (None, entry["dataset"])]
    print_tables(*(list(tables(kind, shown)) or [Table(kind, ("name",), ())]))
    others = dict.fromkeys(entry["dataset"] for entry in entries if entry not in shown)
    for name in others:
        show(Text(elsewhere(kind, [entry for entry in entries if entry["dataset"] == name])))


def _entries(kind: str, zoo: Zoo, dataset: str | None) -> list[dict[str, Any]]:
    if kind in ROLES:
        from transferzoo.cli.models import facts

        models = [m for m in zoo.models.values() if dataset in (None, m.dataset)]
        return [facts(m, zoo) for m in models if ROLES[kind] in (None, *m.roles)]
    entries = ENTRIES[kind](zoo)
    column = "name" if kind == "datasets" else "dataset"
    return entries if dataset is None else [entry for entry in entries if entry[column] == dataset]


def _matching(text: str, kind: str, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the entries whose name holds a text, in capitals or not.

    Raises:
        UnknownNameError: there are none.
    """
    found = [entry for entry in entries if text.lower() in entry["name"].lower()]
    if not found:
        raise UnknownNameError(f"part of a name of {kind}", text, [entry["name"] for entry in entries])
    return found


def _text(value: object) -> str:
    return "–" if value is None else str(value)
