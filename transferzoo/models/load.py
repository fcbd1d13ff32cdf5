"""The one place that opens models: any `ModelSpec` → a classifier of [0, 1] pixels.

What is opened is downloaded or converted first, where it is not on this machine; nothing here asks what form
a source is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UsageError, few
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.plugins import owner, used
from transferzoo.models.class_map import map_classes
from transferzoo.models.download import loadable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import torch

    from transferzoo.models.class_map import ClassMap
    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def may_fork(models: Iterable[ModelSpec], device: torch.device) -> bool:
    """Return whether processes that are forked once models are loaded may use them; no GPU comes along."""
    return device.type == "cpu" and all(loadable(model).forks for model in models)


def load_classifier(model: ModelSpec, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
    """Open a model as a classifier of a data set's images: evaluation mode, on the CPU.

    Args:
        model: any that has weights somewhere.
        dataset: whose classes it has.
        weights: file of the weights, one of those it has collected; None for the main ones.

    Returns:
        [0, 1] pixels (N, C, H, W) → logits (N, K).

    Raises:
        ModelError: it is damaged, does not fit the data set, or its own code fails.
        TransferZooError: the Hub does not have it.
    """
    source = loadable(model)
    found = classes_of(model, dataset)
    if found is None and (theirs := class_names(model)):
        raise ModelError(
            f"'{model.name}' has the wrong number of classes",
            expected=f"the {len(dataset.classes):,} of '{dataset.name}', or names that say which they are",
            got=f"{len(theirs):,}",
            hint="say with --classes FILE which of them are the data's, or name them "
            "(label_names in its config.json)",
        )
    if found is None or found.is_plain:
        return source.load(dataset, weights)
    if None in found.places:
        unknown = [name for name, at in zip(dataset.classes, found.places, strict=True) if at is None]
        raise ModelError(
            f"'{model.name}' does not know all classes of '{dataset.name}'",
            expected="as many classes as the data set has",
            got=f"none for {few(unknown)}",
            hint="say which of its classes they are with --classes, or leave their images out",
        )
    loaded = source.load(dataset.model_copy(update={"classes": class_names(model)}), weights)
    loaded.order = [place for place in found.places if place is not None]
    return loaded


def load_on(
    device: torch.device, model: ModelSpec, dataset: DatasetSpec, weights: Path | None = None
) -> Classifier:
    """Open a model on a device, see `load_classifier`; on a GPU with channels last, unless it stays as it is.

    Convolutions of a GPU are fastest so. On a CPU the order of sums, and so the last bits, would change.
    """
    import torch

    found = load_classifier(model, dataset, weights).to(device)
    if device.type != "cuda" or model.source.as_is:
        return found
    return found.to(memory_format=torch.channels_last)


def class_names(model: ModelSpec) -> tuple[str, ...]:
    """Return the names of a model's classes, as a user says or its files do; none where neither does."""
    return model.classes or loadable(model).class_names()


def classes_of(model: ModelSpec, dataset: DatasetSpec) -> ClassMap | None:
    """Return which of a model's classes are those of a data set; None where nothing tells.

    Raises:
        ModelError: its files are damaged.
    """
    theirs = class_names(model)
    return map_classes(theirs, dataset.classes) if theirs else None


def classes_key(model: ModelSpec, dataset: DatasetSpec) -> list[object]:
    """Return what of a data set's classes decides what a model says: nothing if they are its own, in order.

    Raises:
        ModelError: its files are damaged.
    """
    if loadable(model).takes_prompt:
        return [*dataset.classes]
    found = classes_of(model, dataset)
    return [*found.places] if found and (model.classes or not found.is_plain) else []


def identity(model: ModelSpec) -> tuple[str, str]:
    """Return what tells a model from others, see `LoadableSource.identity`; a plug-in's form counts too.

    Raises:
        ModelError: it is damaged, or its own code fails.
        TransferZooError: the Hub does not have it.
    """
    source = loadable(model)
    weights, rest = source.identity()
    behind = used(owner(type(source).__module__))
    return weights, fingerprint([rest, behind]) if behind else rest


def require_gradients(model: ModelSpec) -> None:
    """See to it that images can be crafted on a model.

    Raises:
        UsageError: no gradient comes back from it.
        ModelError: its own code fails.
    """
    source = loadable(model)
    if not source.gives_gradients():
        raise UsageError(
            f"'{model.name}' is no surrogate: no gradient comes back from it",
            expected="a model that gives gradients, as `transferzoo list sources` has them",
            got=str(model.source),
            hint=" or ".join(filter(None, ("use it as a target", source.with_gradients))),
        )


def says_labels_only(model: ModelSpec, dataset: DatasetSpec) -> bool:
    """Return whether a model says classes alone, and no scores; what gives no gradients is loaded for it.

    Raises:
        ModelError: see `load_classifier`.
    """
    return not loadable(model).gives_gradients() and load_classifier(model, dataset).labels_only
