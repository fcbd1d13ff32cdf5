"""`transferzoo show NAME`: everything known about anything that `list` prints."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferzoo.cli.list import accuracies
from transferzoo.cli.options import Json, ZooFile, complete_names
from transferzoo.cli.output import show_json, show_line
from transferzoo.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transferzoo.specs import ModelSpec
    from transferzoo.zoo import Zoo


def show(
    name: Annotated[str, typer.Argument(help="Any name that `list` prints.", autocompletion=complete_names)],
    json: Json = False,
    zoo: ZooFile = None,
) -> None:
    """Show everything known about a name."""
    from transferzoo.zoo import load_zoo

    records = load_zoo(zoo)
    found = list(_find(name, records))
    if not found:
        raise UnknownNameError("name", name, _names(records))
    if json:
        show_json(found)
        return
    for entry in found:
        for key, value in entry.items():
            text = _text(value)
            show_line(f"\n\n{text}\n" if "\n" in text else f" {text}", label=f"{key}:")


def _find(name: str, zoo: Zoo) -> Iterator[dict[str, Any]]:
    from transferzoo.architectures import ARCHITECTURES
    from transferzoo.defences import DEFENCES, show_defence
    from transferzoo.minimizers import MINIMIZERS
    from transferzoo.notation import show_term
    from transferzoo.techniques import TECHNIQUES

    yield from (_model(m) for m in zoo.models.values() if name in (m.name, m.full_name))
    if name in zoo.datasets:
        yield {"kind": "data set", **zoo.datasets[name].model_dump(mode="json")}
    if name in zoo.presets:
        yield {
            "kind": "attack preset",
            "name": name,
            **zoo.presets[name].model_dump(mode="json", exclude_none=True),
        }
    if name in zoo.suites:
        yield {"kind": "suite of attacks", "name": name, "attacks": list(zoo.suites[name])}
    if name in zoo.recipes:
        yield {"kind": "recipe", "name": name, **zoo.recipes[name].model_dump(mode="json")}
    if name in TECHNIQUES:
        technique = TECHNIQUES[name]
        yield {
            "kind": "technique", "name": name, "defaults": show_term(name, technique()),
            "source": technique.paper, "stage": technique.stage.name.lower(),
            "gradient evaluations": technique().cost, "about": inspect.getdoc(technique),
        }  # fmt: skip
    if name in MINIMIZERS:
        rule = MINIMIZERS[name]()
        yield {
            "kind": "minimizer", "name": name, "defaults": show_term(name, rule), "source": rule.paper,
            "passes a step": rule.passes, "about": inspect.getdoc(rule),
        }  # fmt: skip
    if name in DEFENCES:
        defence = DEFENCES[name]
        yield {
            "kind": "defence", "name": name, "defaults": show_defence(name), "source": defence.paper,
            "about": inspect.getdoc(defence),
        }  # fmt: skip
    if name in ARCHITECTURES:
        entry = ARCHITECTURES[name]
        yield {
            "kind": "architecture", "name": name, "family": entry.family, "source": entry.paper,
            "arguments": entry.defaults, "about": inspect.getdoc(entry.builder),
        }  # fmt: skip


def _model(model: ModelSpec) -> dict[str, Any]:
    from transferzoo import checkpoint

    measured = accuracies().get(model.full_name)
    known: dict[str, Any] = {"folder": None if model.on_hub else str(model.folder), "config": None}
    if not model.on_hub and model.folder.is_dir():
        known |= {"sha256": checkpoint.digest(model.folder), "config": checkpoint.read_config(model.folder)}
    return {"kind": "model", **model.model_dump(mode="json"), "accuracy": measured, **known}


def _names(zoo: Zoo) -> list[str]:
    from transferzoo.architectures import ARCHITECTURES
    from transferzoo.defences import DEFENCES
    from transferzoo.minimizers import MINIMIZERS
    from transferzoo.techniques import TECHNIQUES

    models = {m.name for m in zoo.models.values()}
    parts = (TECHNIQUES, MINIMIZERS, ARCHITECTURES, DEFENCES)
    named = (zoo.datasets, zoo.presets, zoo.suites, zoo.recipes, *parts)
    return [*models, *(name for part in named for name in part)]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return str(value)
