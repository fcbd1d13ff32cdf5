"""`transferzoo list`: what there is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.base.errors import UsageError
from transferzoo.cli.options import Dataset, Json, Plugins, ZooFile
from transferzoo.cli.output import show, show_json, terminal_width

if TYPE_CHECKING:
    from transferzoo.base.registry import Registry
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
    from transferzoo.base.table import Table
    from transferzoo.cli.tables import render
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
    show(render(Table(kind.value, columns, rows), terminal_width()))


def _show_models(kind: Kind, entries: list[dict[str, Any]], only: str | None) -> None:
    """Print models by data set; of all but one of the data sets, if one is named, a line."""
    from rich.text import Text

    from transferzoo.base.table import Table
    from transferzoo.cli.models import elsewhere, tables
    from transferzoo.cli.tables import render

    shown = [entry for entry in entries if only in (None, entry["dataset"])]
    for table in list(tables(kind.value, shown)) or [Table(kind.value, ("name",), ())]:
        show(render(table, terminal_width()))
    others = dict.fromkeys(entry["dataset"] for entry in entries if entry not in shown)
    for name in others:
        show(Text(elsewhere(kind.value, [entry for entry in entries if entry["dataset"] == name])))


def _entries(kind: Kind, zoo: Zoo, dataset: str | None) -> list[dict[str, Any]]:
    match kind:
        case Kind.models | Kind.surrogates | Kind.targets:
            from transferzoo.cli.models import facts

            role = {Kind.surrogates: "surrogate", Kind.targets: "target"}.get(kind)
            chosen = [m for m in zoo.models.values() if dataset in (None, m.dataset)]
            return [facts(m, zoo) for m in chosen if role is None or role in m.roles]
        case Kind.datasets:
            return [
                {
                    "name": n,
                    "classes": len(d.classes),
                    "pixels": f"{d.size}×{d.size}×{d.channels}",
                    "splits": ", ".join(d.splits),
                    "epsilon": d.attack.epsilon,
                    "licence": d.licence,
                }
                for n, d in zoo.datasets.items()
                if dataset in (None, n)
            ]
        case Kind.protocols:
            return [
                {
                    "name": n,
                    "attacks": ", ".join(p.attacks),
                    "budget": ", ".join(f"{key} {value}" for key, value in p.said.items()),
                    "images": p.images,
                    "counted": p.images_correct_for,
                    "source": p.about,
                }
                for n, p in zoo.protocols.items()
            ]
        case Kind.recipes:
            return [
                {
                    "name": n,
                    "dataset": r.dataset,
                    "architecture": r.architecture,
                    "minimizer": r.minimizer,
                    "epochs": r.epochs,
                }
                for n, r in zoo.recipes.items()
                if dataset in (None, r.dataset)
            ]
        case Kind.studies:
            return [entry for entry in _studies() if dataset in (None, entry["dataset"])]
        case Kind.attacks:
            return _attacks(zoo)
        case Kind.packs:
            from transferzoo.cli.packs import entries

            return [entry for entry in entries() if dataset in (None, entry["dataset"])]
        case Kind.minimizers:
            return _minimizers()
        case Kind.architectures:
            return _architectures()
        case Kind.defences:
            return _defences()
        case Kind.formats:
            return _formats()
        case Kind.sources:
            return _sources()


def _attacks(zoo: Zoo) -> list[dict[str, Any]]:
    from transferzoo.attacks.techniques import TECHNIQUES

    presets = [
        {
            "name": name,
            "kind": "preset",
            "spec": p.spec or "(no technique)",
            "stage": None,
            "cost": None,
            "source": p.about,
            "plugin": None,
        }
        for name, p in zoo.presets.items()
    ]
    suites = [
        {
            "name": name,
            "kind": "suite",
            "spec": ", ".join(specs),
            "stage": None,
            "cost": None,
            "source": "attacks to compare",
            "plugin": None,
        }
        for name, specs in zoo.suites.items()
    ]
    techniques = [(name, TECHNIQUES[name]) for name in TECHNIQUES]
    return (
        presets
        + suites
        + [
            {
                "name": name,
                "kind": "technique",
                "spec": cls().spec,
                "stage": cls.stage.name.lower(),
                "cost": cls().cost,
                "source": cls.paper,
                "plugin": _plugin(TECHNIQUES, name),
            }
            for name, cls in sorted(techniques, key=lambda pair: pair[1].stage)
        ]
    )


def _minimizers() -> list[dict[str, Any]]:
    from transferzoo.minimizers import MINIMIZERS

    rules = ((name, MINIMIZERS[name]()) for name in MINIMIZERS)
    return [
        {
            "name": name,
            "defaults": rule.spec,
            "passes": f"{rule.passes:g}",
            "source": rule.paper,
            "plugin": _plugin(MINIMIZERS, name),
        }
        for name, rule in rules
    ]


def _defences() -> list[dict[str, Any]]:
    from transferzoo.defences import DEFENCES, show_defence

    return [
        {
            "name": name,
            "defaults": show_defence(name),
            "source": DEFENCES[name].paper,
            "plugin": _plugin(DEFENCES, name),
        }
        for name in DEFENCES
    ]


def _formats() -> list[dict[str, Any]]:
    from transferzoo.datasets import READERS

    return [
        {"name": name, "layout": READERS[name].layout, "plugin": _plugin(READERS, name)} for name in READERS
    ]


def _sources() -> list[dict[str, Any]]:
    from transferzoo.zoo.model_source import SOURCES, forms

    return [
        {
            "name": form.form,
            "you have": one.have,
            "you write": one.written,
            "surrogate": one.surrogate,
            "needs": one.needs or None,
            "plugin": _plugin(SOURCES, form.form),
        }
        for form in forms()
        for one in form.examples
    ]


def _studies() -> list[dict[str, Any]]:
    from transferzoo.studies.schema import built_in, find_study

    return [
        {
            "name": s.name,
            "dataset": s.dataset,
            "surrogates": len(s.surrogates),
            "seeds": len(s.seeds),
            "claims": len(s.claims),
            "question": s.about,
        }
        for s in map(find_study, built_in())
    ]


def _architectures() -> list[dict[str, Any]]:
    from transferzoo.models.architectures import ARCHITECTURES

    entries = (ARCHITECTURES[name] for name in ARCHITECTURES)
    return [
        {
            "name": a.name,
            "family": a.family,
            "width": a.defaults["width"],
            "source": a.paper,
            "plugin": _plugin(ARCHITECTURES, a.name),
        }
        for a in entries
    ]


def _plugin(registry: Registry[Any], name: str) -> str | None:
    origin = registry.origin(name)
    return None if origin is None else str(origin)


def _text(value: object) -> str:
    return "–" if value is None else str(value)
