"""`transferzoo list`: what there is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.base.errors import UsageError
from transferzoo.base.table import Table
from transferzoo.cli import list_entries
from transferzoo.cli.options import Dataset, Json, Plugins, ZooFile
from transferzoo.cli.output import show, show_json
from transferzoo.cli.tables import print_tables

if TYPE_CHECKING:
    from transferzoo.zoo.reader import Zoo


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    surrogates = "surrogates"
    targets = "targets"
    datasets = "datasets"
    attacks = "attacks"
    minimizers = "minimizers"
    architectures = "architectures"
    defences = "defences"
    formats = "formats"
    packs = "packs"
    protocols = "protocols"
    sources = "sources"
    recipes = "recipes"
    studies = "studies"


MODELS = (Kind.models, Kind.surrogates, Kind.targets)
PARTS = (
    Kind.protocols,
    Kind.attacks,
    Kind.minimizers,
    Kind.architectures,
    Kind.defences,
    Kind.formats,
    Kind.sources,
)
"""Kinds that belong to no data set."""


def list_(
    kind: Annotated[Kind, typer.Argument(help="What to list.")] = Kind.models,
    dataset: Dataset = None,
    match: Annotated[
        str | None, typer.Option(help="Only names that hold this text.", show_default=False)
    ] = None,
    json: Json = False,
    zoo: ZooFile = None,
    plugin: Plugins = None,
) -> None:
    """List models, data sets, attacks, minimizers, architectures, defences, formats, packs, sources.

    Models of the default data set, and how many others there are; all of them with --dataset or --match.
    """
    from transferzoo.zoo.reader import load_zoo

    records = load_zoo(zoo)
    if dataset is not None:
        records.dataset(dataset)
        if kind in PARTS:
            raise UsageError(
                f"{kind.value} belong to no data set", expected=f"`list {kind.value}` without --dataset"
            )
    entries = [e for e in _entries(kind, records, dataset) if match is None or match in str(e["name"])]
    if json:
        show_json(entries)
        return
    if kind in MODELS:
        _show_models(kind, entries, None if dataset or match else records.default_dataset)
        return
    filled = {key: any(entry[key] for entry in entries) for key in (entries[0] if entries else ())}
    columns = tuple(key for key in filled if filled[key] or key != "plugin") or ("name",)
    rows = tuple(tuple(_text(entry[column]) for column in columns) for entry in entries)
    print_tables(Table(kind.value, columns, rows))


def _show_models(kind: Kind, entries: list[dict[str, Any]], only: str | None) -> None:
    """Print models by data set; of all but one of the data sets, if one is named, a line."""
    from rich.text import Text

    from transferzoo.cli.models import elsewhere, tables

    shown = [entry for entry in entries if only in (None, entry["dataset"])]
    print_tables(*(list(tables(kind.value, shown)) or [Table(kind.value, ("name",), ())]))
    others = dict.fromkeys(entry["dataset"] for entry in entries if entry not in shown)
    for name in others:
        show(Text(elsewhere(kind.value, [entry for entry in entries if entry["dataset"] == name])))


def _entries(kind: Kind, zoo: Zoo, dataset: str | None) -> list[dict[str, Any]]:
    if kind in MODELS:
        from transferzoo.cli.models import facts

        role = {Kind.surrogates: "surrogate", Kind.targets: "target"}.get(kind)
        models = [m for m in zoo.models.values() if dataset in (None, m.dataset)]
        return [facts(m, zoo) for m in models if role is None or role in m.roles]
    entries = list_entries.ENTRIES[kind.value](zoo)
    column = "name" if kind is Kind.datasets else "dataset"
    return entries if dataset is None else [entry for entry in entries if entry[column] == dataset]


def _text(value: object) -> str:
    return "–" if value is None else str(value)
