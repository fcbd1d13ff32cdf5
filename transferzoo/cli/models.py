"""What is listed of models: facts for JSON, tables for people."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transferzoo.base.table import Table
    from transferzoo.base.train_config import TrainConfig
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec


def facts(model: ModelSpec, zoo: Zoo) -> dict[str, Any]:
    """Return what is listed of a model; accuracies are fractions."""
    from transferzoo.sync.inventory import state_of

    recipe = zoo.recipes[model.recipe] if model.recipe else None
    state = state_of(model)
    described = recipe.architecture if recipe else model.weights.architecture if model.weights else None
    return {
        "name": model.name,
        "dataset": model.dataset,
        "role": ", ".join(model.roles),
        "architecture": described,
        "minimizer": recipe.minimizer if recipe else None,
        "beside": (recipe and beside(recipe)) or None,
        "accuracy": measured(model),
        "claimed": claimed(model),
        "state": state,
        "command": train_command(model) if state == "train" else None,
        "licence": model.licence,
        "non_commercial": model.non_commercial,
        "extra": model.extra,
        "source": str(model.source),
    }


def beside(recipe: TrainConfig) -> str:
    """Return what a training has beside its minimizer, "adversarial l2:0.1"; empty for nothing."""
    ball = recipe.adversarial
    parts = {
        "stopped by": recipe.select if recipe.select != "last" else "",
        "adversarial": ball and f"{ball.norm}:{ball.epsilon}",
        "input gradient": recipe.input_gradient,
        "mixup": recipe.mixup,
        "cutmix": recipe.cutmix,
        "label smoothing": recipe.label_smoothing,
        "labels from": recipe.labels_from,
        "weights collected in epochs": recipe.collect and recipe.collect.epochs,
    }
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value)


def train_command(model: ModelSpec) -> str:
    """Return the command that makes a model that nobody has published."""
    return f"transferzoo train --recipe {model.recipe}"


def training_on(dataset: str | None, *, zoo: Path | None, data: Path | None) -> str:
    """Return the command that trains a sharpness-aware surrogate, for a shell in the same folder.

    Args:
        dataset: the one whose classes it learns; None for a data set that `data` alone makes.
        zoo: the user's zoo file.
        data: the user's images.
    """
    places = [("--dataset", dataset), ("--minimizer", "sam"), ("--zoo", zoo), ("--data", data)]
    return shlex.join(["transferzoo", "train", *(str(word) for pair in places if pair[1] for word in pair)])


def claimed(model: ModelSpec) -> float | None:
    """Return the accuracy that the source of a model states, as a fraction."""
    return None if model.claimed is None else round(model.claimed / 100, 6)


def measured(model: ModelSpec) -> float | None:
    """Return the accuracy that was measured of these weights, as a fraction; None where it is not known."""
    from transferzoo.base.errors import ModelError
    from transferzoo.models.recipe_file import read_recipe

    if model.source.folder is None or model.weights:
        return None
    try:
        return float((read_recipe(model.folder) or {})["accuracy"]["accuracy"])
    except (ModelError, KeyError, TypeError, ValueError):
        return None


# ---------------------------------------------------------------- for people


def tables(what: str, entries: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """Yield a table for each data set, and a further one for the models that "all" leaves out.

    Args:
        what: "models", "surrogates" or "targets".
        entries: what `facts` returns of them.
    """
    for dataset in dict.fromkeys(entry["dataset"] for entry in entries):
        here = [entry for entry in entries if entry["dataset"] == dataset]
        listed = [entry for entry in here if not entry["extra"]]
        if listed:
            yield _table(f"{what} of {dataset}", listed)
        if further := [entry for entry in here if entry["extra"]]:
            yield _table(f"{what} of {dataset} that `all` leaves out: give a name or a pattern", further)


def _table(title: str, entries: Sequence[dict[str, Any]]) -> Table:
    from transferzoo.base.table import Table

    columns = {
        "name": [entry["name"] for entry in entries],
        "role": [entry["role"] for entry in entries],
        "architecture": [entry["architecture"] or "–" for entry in entries],
        "minimizer": [
            ", ".join(filter(None, (entry["minimizer"], entry["beside"]))) or "–" for entry in entries
        ],
        "top-1 %": [_accuracy(entry) for entry in entries],
        "state": [entry["state"] for entry in entries],
        "licence": [f"{entry['licence']}{'†' if entry['non_commercial'] else ''}" for entry in entries],
    }
    notes = []
    if any(entry["accuracy"] is None and entry["claimed"] is not None for entry in entries):
        notes.append("* as its source states, not measured here.")
    if any(entry["non_commercial"] for entry in entries):
        notes.append("† not for commercial use.")
    if len(licences := set(columns["licence"])) == 1:
        notes.insert(0, f"Licence: {licences.pop()}.")
        del columns["licence"]
    notes = [" ".join(notes)]
    for name in ("architecture", "minimizer"):
        if columns[name].count("–") > len(entries) / 2:
            del columns[name]
    if commands := [entry["command"] for entry in entries if entry["command"]]:
        notes += ["Nobody has published what is to be trained:", *(f"  {command}" for command in commands)]
    rows = zip(*columns.values(), strict=True)
    return Table(title, tuple(columns), tuple(rows), "\n".join(note for note in notes if note))


def _accuracy(entry: dict[str, Any]) -> str:
    """Write the accuracy that was measured, or with a mark the one that is claimed."""
    if entry["accuracy"] is not None:
        return f"{100 * entry['accuracy']:.1f} "
    return "– " if entry["claimed"] is None else f"{100 * entry['claimed']:.1f}*"


def elsewhere(what: str, entries: Sequence[dict[str, Any]]) -> str:
    """Return a line on the models of a data set that are not shown."""
    (dataset,) = {entry["dataset"] for entry in entries}
    states = [entry["state"] for entry in entries]
    counts = {"cached": states.count("cached"), "to train": states.count("train")}
    said = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    shown = "" if what == "models" else f"{what} "
    return (
        f"{dataset}: {len(entries)} {what}{f' ({said})' if said else ''}, "
        f"`transferzoo list {shown}--dataset {dataset}`"
    )
