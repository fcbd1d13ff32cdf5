"""Which surrogates of the zoo fit images of another data set than their own: those that know its classes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from transferzoo.models.class_map import map_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

COUNT = 3
"""Surrogates that are enough to be diverse."""


def fitting_surrogates(
    zoo: Zoo,
    dataset: str,
    count: int = COUNT,
    *,
    apart_from: Collection[ModelSpec] = (),
    is_here: Callable[[ModelSpec], bool] | None = None,
) -> tuple[ModelSpec, ...]:
    """Return surrogates of the zoo that know all classes of a data set, of different architectures first.

    Those of the data set itself count wherever their weights are; those of others, whose classes have the
    same names, where these are on this machine. A model that is code is for who names it.

    Args:
        zoo: has the data set.
        dataset: its name.
        count: how many, at most.
        apart_from: models that are left out, the targets.
        is_here: whether the weights of a model are on this machine; None for those that no network can be
            needed for.
    """
    spec, here = zoo.dataset(dataset), is_here or without_network
    found, usual = [], {one.surrogate for one in zoo.datasets.values()}
    for model in zoo.models.values():
        if "surrogate" not in model.roles or model.extra or not model.is_published or model in apart_from:
            continue
        if model.source.runs_code:
            continue
        if model.dataset == dataset:
            found.append(model)
        elif _knows(zoo.dataset(model.dataset), spec) and here(model):
            classes = model.classes or zoo.dataset(model.dataset).classes
            found.append(model.model_copy(update={"dataset": dataset, "classes": classes}))
    found.sort(key=lambda model: model.name not in usual)
    seen: dict[str, int] = {}
    turns = []
    for model in found:
        kind = _kind(zoo, model)
        turns.append(seen.setdefault(kind, 0))
        seen[kind] += 1
    order = sorted(range(len(found)), key=turns.__getitem__)
    return tuple(found[place] for place in order[:count])


def note_to_pull(zoo: Zoo, dataset: str) -> str:
    """Return a sentence on surrogates of the zoo that know the classes once they are pulled; empty for none.

    Args:
        zoo: has the data set.
        dataset: its name.
    """
    every = fitting_surrogates(zoo, dataset, 1, is_here=lambda _: True)
    if not every:
        return ""
    origin = next(model for model in zoo.models.values() if model.source == every[0].source)
    return (
        f"{origin.dataset} of the zoo has surrogates for these classes on the Hub; after "
        f"`transferzoo pull {origin.full_name}` they are taken."
    )


def without_network(model: ModelSpec) -> bool:
    """Return whether a model is in the package or in a folder."""
    return model.source.state in ("built-in", "local")


def _knows(theirs: DatasetSpec, ours: DatasetSpec) -> bool:
    """Return whether a data set has all classes of another, by their names."""
    loses_colours = theirs.channels == 1 and ours.channels == 3
    return not loses_colours and _has_all(theirs.classes, ours.classes)


@cache  # it is asked for every model of a data set
def _has_all(theirs: tuple[str, ...], ours: tuple[str, ...]) -> bool:
    found = map_classes(theirs, ours)
    return found is not None and found.by_name and None not in found.places


def _kind(zoo: Zoo, model: ModelSpec) -> str:
    """Return the architecture of a model of the zoo, as far as its entry says it; else its name."""
    if model.weights:
        return model.weights.architecture
    recipe = zoo.recipes.get(model.recipe or "")
    return recipe.architecture if recipe else model.name
