"""Models whose classes are more, fewer or others than the data's: what is said of them, and what is left.

A model of more classes counts with those of the data alone. Images of classes that a model does not know are
left out for all models, so that they are compared on the same ones.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import DataError, UsageError, few
from transferzoo.base.foreign_files import read_csv
from transferzoo.datasets.labels import checked
from transferzoo.models.class_map import describe
from transferzoo.models.load import class_names, classes_of, load_classifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec

MOST = 1_000_000
"""Classes of a model, at most, that a file names."""


def note_classes(
    dataset: DatasetSpec, models: Iterable[ModelSpec], notify: Callable[[str], None]
) -> tuple[int, ...]:
    """Say how the classes of models were mapped, and return the labels of the classes that all models know.

    Args:
        dataset: whose classes are looked for.
        models: on this machine.
        notify: called with a sentence on each model whose classes are others, or in another order.

    Raises:
        DataError: fewer than two classes are known to all.
    """
    known = dict.fromkeys(range(len(dataset.classes)))
    for model in dict.fromkeys(models):
        found = classes_of(model, dataset)
        if found is None:
            continue
        names, stated = class_names(model), bool(model.classes)
        if sentence := describe(model.name, names, dataset.classes, found, stated=stated):
            notify(sentence)
        known = {label: None for label in known if found.places[label] is not None}
    if len(known) < 2:
        raise DataError(
            f"the models know too few of the classes of '{dataset.name}' in common",
            expected="at least 2",
            got=str(len(known)),
            hint="say with --classes FILE which of their classes they are",
        )
    if left := [name for label, name in enumerate(dataset.classes) if label not in known]:
        notify(f"Left out: images of {len(left):,} classes that not every model knows ({few(left)}).")
    return tuple(known)


def require_fitting(dataset: DatasetSpec, models: Sequence[ModelSpec]) -> None:
    """Load models once, so that one that does not fit is told of before long work.

    Raises:
        DataError: fewer than two classes are known to all.
        ModelError: one is damaged, does not fit, or its own code fails.
    """
    known = note_classes(dataset, models, lambda note: None)
    kept = dataset.model_copy(update={"classes": tuple(dataset.classes[label] for label in known)})
    for model in models:
        load_classifier(model, kept)


def only_known(dataset: DatasetSpec, images: Batch, known: tuple[int, ...]) -> tuple[DatasetSpec, Batch]:
    """Return a data set of some classes alone, and the images of these, their labels renumbered.

    Args:
        dataset: has all classes.
        images: of all classes.
        known: labels of the classes that are kept, ascending.
    """
    if len(known) == len(dataset.classes):
        return dataset, images
    kept = images.select(torch.isin(images.labels, torch.tensor(known)))
    numbers = torch.full((len(dataset.classes),), -1)
    numbers[torch.tensor(known)] = torch.arange(len(known))
    classes = tuple(dataset.classes[label] for label in known)
    return dataset.model_copy(update={"classes": classes}), type(images)(
        kept.images, numbers[kept.labels], kept.ids, kept.names
    )


# ---------------------------------------------------------------- where names do not help


def with_classes(
    dataset: DatasetSpec, file: Path, *groups: tuple[ModelSpec, ...]
) -> list[tuple[ModelSpec, ...]]:
    """Return groups of models with the classes that a file says they have, where their names do not say it.

    Args:
        dataset: whose classes the file names.
        file: CSV with the columns `data`, a class of the data by name or number, and `model`, its number in
            the model. A row without a class of the data stands for one that the data does not have.
        groups: models on this machine, surrogates and targets say.

    Raises:
        UsageError: it cannot be read, a number is given twice or is none of the model, or all models name
            their classes themselves.
    """
    named = _read(file, dataset)
    models = {model for group in groups for model in group}
    if not (nameless := {model for model in models if not _names_its_classes(model, dataset)}):
        raise UsageError(
            f"{file} is for models that do not name their classes",
            expected="a model that does not",
            got=few(sorted(model.name for model in models)),
            hint="leave --classes out, or mend the names where the model keeps them",
        )
    return [
        tuple(_stated(model, named, file) if model in nameless else model for model in group)
        for group in groups
    ]


def _names_its_classes(model: ModelSpec, dataset: DatasetSpec) -> bool:
    mapped = classes_of(model, dataset)
    return bool(model.classes or (mapped and mapped.by_name))


def _stated(model: ModelSpec, named: dict[int, str], file: Path) -> ModelSpec:
    count = len(class_names(model)) or max(named) + 1
    if max(named) >= count:
        raise UsageError(
            f"{file} does not fit '{model.name}'",
            expected=f"numbers in 0..{count - 1}",
            got=str(max(named)),
        )
    classes = tuple(named.get(place) or f"#{place}" for place in range(count))
    return model.model_copy(update={"classes": classes})


def _read(file: Path, dataset: DatasetSpec) -> dict[int, str]:
    """Return number in the model → class of the data, empty for none."""
    expected = "a CSV file with the columns data (a class of the data) and model (its number in the model)"
    try:
        rows = [(line["data"].strip(), int(line["model"])) for line in read_csv(file)]
    except (OSError, csv.Error, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"cannot read {file}", expected=expected, got=type(error).__name__) from None
    numbers = [number for _, number in rows]
    if not rows or len({*numbers}) < len(rows) or min(numbers) < 0 or max(numbers) >= MOST:
        raise UsageError(f"cannot read {file}", expected=f"{expected}, each number once, below {MOST:,}")
    named = {number: text and dataset.classes[_label(text, dataset, file)] for text, number in rows}
    if len(once := [name for name in named.values() if name]) > len({*once}):
        raise UsageError(f"{file} has a class of the data twice", expected="each once")
    return named


def _label(text: str, dataset: DatasetSpec, file: Path) -> int:
    try:
        return checked(text, dataset, str(file))
    except DataError as error:
        raise UsageError(str(error).removesuffix(".")) from None
