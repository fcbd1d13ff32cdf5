"""What names of models stand for in a zoo: one model, a pattern, all that serve in a role."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import chain, count
from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import ModelSpec, Role

SEPARATORS = (",", "|", " & ")
"""What stands between models, before a defence, and between those of an ensemble."""
_EXPLICIT = re.compile(r"\.{0,2}/.*|\.{1,2}|~.*", re.DOTALL)


def is_listed(zoo: Zoo, name: str, dataset: str) -> bool:
    """Return whether a name is "all" or that of a model of the zoo, with its data set or without."""
    return name == "all" or name in zoo.models or f"{dataset}/{name}" in zoo.models


def listed(zoo: Zoo, name: str, dataset: str, role: Role) -> list[ModelSpec]:
    """Return the models of a data set that a name or a pattern stands for.

    Args:
        zoo: where they are looked up.
        name: "all" (every model with the role that is not `extra`), a model's name, its full name
            ("cifar10/resnet18") or a glob ("resnet50-*"; "resnet50-sam@*" for further trainings by a recipe,
            for which neither "all" nor a glob without "@" stands).
        dataset: the data set they classify.
        role: what patterns and "all" are limited to; a named model may be used in any role.

    Returns:
        The models in the order of the zoo; none where nothing has that name.

    Raises:
        UsageError: it belongs to another data set.
        ModelError: nobody has published the model.
    """
    serving = [
        m
        for m in zoo.models.values()
        if m.dataset == dataset and role in m.roles and m.is_published and ("@" in name or "@" not in m.name)
    ]
    if name == "all":
        return [m for m in serving if not m.extra]
    if model := zoo.models.get(f"{dataset}/{name}"):
        return [published(model)]
    matching = [m for m in serving if fnmatchcase(m.name, name)]
    if matching and is_pattern(name):
        return matching
    if name in zoo.models and zoo.models[name].dataset == dataset:
        return [published(zoo.models[name])]
    for model in zoo.models.values():
        if name in (model.name, model.full_name):
            raise UsageError(
                f"{role} '{name}' belongs to another data set",
                expected=f"a model of '{dataset}'",
                got=f"one of '{model.dataset}'",
                hint=f"choose it with --dataset {model.dataset}; surrogates and targets share theirs",
            )
    return []


def find(zoo: Zoo, name: str, dataset: str = "") -> ModelSpec | None:
    """Return the model of any data set that a name stands for; None where none has it.

    Args:
        zoo: where it is looked up.
        name: a model's name, short or in full.
        dataset: where several models share a short name, the one of this data set is meant.

    Raises:
        UsageError: several models of other data sets share it.
    """
    if name in zoo.models:
        return zoo.models[name]
    found = [model for model in zoo.models.values() if model.name == name]
    found = [model for model in found if model.dataset == dataset] or found
    found = [model for model in found if model.is_published] or found
    if len(found) > 1:
        raise UsageError(
            f"several models are called '{name}'", expected="one of " + ", ".join(m.full_name for m in found)
        )
    return found[0] if found else None


def parts(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name with the defence behind it, if any; a comma too many names nothing.

    Raises:
        UsageError: a "|" with nothing behind it, or no name at all.
    """
    names = list(names)
    for text in names:
        if text.rstrip().endswith("|"):
            raise UsageError(f"there is no defence behind '{text}'", expected="one, as in 'vgg|bits:depth=3'")
    split = (text.partition("|")[::2] for text in names)
    found = [(name.strip(), defence.strip()) for text, defence in split for name in text.split(",")]
    if names and not any(name for name, _ in found):
        raise UsageError("a name of a model is empty", expected="one, as `transferzoo list` has them")
    return [(name, defence) for name, defence in found if name]


def is_explicit(name: str) -> bool:
    """Return whether a name is a path and nothing else."""
    return bool(_EXPLICIT.fullmatch(name))


def can_be_named(name: str) -> bool:
    """Return whether a command can be given the name of a model, and a table tells it from several."""
    if name != name.strip() or name in ("", "all") or is_explicit(name):
        return False
    return not any(mark in name for mark in SEPARATORS)


def published(model: ModelSpec) -> ModelSpec:
    """Return a model that has weights somewhere.

    Raises:
        ModelError: nobody has published any.
    """
    if not model.is_published:
        raise ModelError(
            f"nobody has published weights of '{model.full_name}'",
            hint=f"train it with `transferzoo train --recipe {model.recipe}` and name the folder it writes",
        )
    return model


def is_pattern(name: str) -> bool:
    """Return whether a name stands for whatever there is: "all" or a glob."""
    return name == "all" or any(character in name for character in "*?[")


def name_apart(
    *groups: Iterable[ModelSpec], known: Mapping[str, ModelSpec] | None = None
) -> tuple[tuple[ModelSpec, ...], ...]:
    """Return groups of models in which no two models share a name, so that a table tells them apart.

    The later one of two gets the folder that it lies in behind its name, "vgg (mine)", or a number.

    Args:
        groups: of models.
        known: full name → models that keep their names, whether they are in a group or not.
    """
    taken = dict(known or {})

    def apart(model: ModelSpec) -> ModelSpec:
        source = model.source
        folder = source.folder.name if model.weights and source.folder else source.group
        behind = f" ({folder})" if folder and not model.name.endswith(f" ({folder})") else ""
        names = dict.fromkeys((model.name, model.name + behind))
        for name in chain(names, (f"{model.name} ({number})" for number in count(2))):
            named = model.model_copy(update={"name": name})
            if _same(taken.setdefault(named.full_name, named), named):
                return named
        raise AssertionError("numbers do not end")

    return tuple(tuple(apart(model) for model in group) for group in groups)


def _same(one: ModelSpec, other: ModelSpec) -> bool:
    return (one.source, one.weights) == (other.source, other.weights)


def distinct(models: Iterable[ModelSpec]) -> tuple[ModelSpec, ...]:
    """Return models in order and without repeats.

    Raises:
        UsageError: two different models share a name, so that a table could not tell them apart.
    """
    chosen: dict[str, ModelSpec] = {}
    for model in models:
        known = chosen.setdefault(model.full_name, model)
        if not _same(known, model):
            raise UsageError(
                f"two models are called '{model.full_name}'",
                expected="a name each",
                got=f"{known.place} and {model.place}",
                hint="rename one of them",
            )
    return tuple(chosen.values())
