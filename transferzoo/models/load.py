"""The one place that opens models: a located `ModelSpec` → a classifier, its identity, its collected weights.

A kind of source is an entry of `KINDS`; nothing else asks what kind a model is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import ModelError, TransferZooError, UsageError, reason
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models import checkpoint, classifier
from transferzoo.models.sources import onnx_file, python_function

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


def load_classifier(model: ModelSpec, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
    """Open a model as a classifier of a data set's images: evaluation mode, on the CPU.

    Args:
        model: located; see `download.download_model`.
        dataset: whose classes it has.
        weights: file of the weights, one of `collected`; None for the main ones.

    Returns:
        [0, 1] pixels (N, C, H, W) → logits (N, K).

    Raises:
        ModelError: it is damaged, does not fit the data set, or its own code fails.
    """
    return _kind(model).load(model, dataset, weights)


def identity(model: ModelSpec) -> tuple[str, str]:
    """Return what tells a located model from others.

    Returns:
        The SHA-256 of its weights, equal for models of the same weights, and the fingerprint of all else that
        its answers depend on.

    Raises:
        ModelError: it is damaged, or its own code fails.
    """
    return _kind(model).identity(model)


def collected(model: ModelSpec) -> list[Path]:
    """Return the files of weights that a located model has besides the main ones, in order."""
    return _kind(model).collected(model)


def versions(model: ModelSpec) -> dict[str, str]:
    """Return the versions of the packages that only models of this kind depend on.

    Raises:
        ModelError: one is not installed.
    """
    return _kind(model).versions(model)


def require_gradients(model: ModelSpec) -> None:
    """See to it that images can be crafted on a located model.

    Raises:
        UsageError: no gradient comes back from it.
        ModelError: its own code fails.
    """
    if not _kind(model).differentiable(model):
        raise UsageError(
            f"'{model.name}' is no surrogate: no gradient comes back from it",
            expected="a checkpoint, a weight file or a function that returns an nn.Module",
            got=model.source,
            hint="use it as a target",
        )


@dataclass(frozen=True)
class SourceKind:
    """How the models of one kind of source are loaded.

    Attributes:
        load: see `load_classifier`, as for the others.
        identity: see there.
        differentiable: whether gradients come back from a model.
        collected: see there.
        versions: see there.
    """

    load: Callable[[ModelSpec, DatasetSpec, Path | None], Classifier]
    identity: Callable[[ModelSpec], tuple[str, str]]
    differentiable: Callable[[ModelSpec], bool] = lambda _: True
    collected: Callable[[ModelSpec], list[Path]] = lambda _: []
    versions: Callable[[ModelSpec], dict[str, str]] = lambda _: {}


CHECKPOINT = SourceKind(
    load=lambda model, dataset, weights: classifier.load_checkpoint(model.folder, dataset, weights),
    identity=lambda model: (
        checkpoint.digest(model.folder),
        fingerprint(checkpoint.read_config(model.folder)),
    ),
    collected=lambda model: checkpoint.samples(model.folder),
)
EXPORTED = SourceKind(
    load=lambda model, dataset, _: _checked(onnx_file.load(_path(model), dataset), model, dataset),
    identity=lambda model: (onnx_file.digest(_path(model)), fingerprint("reads [0, 1] pixels")),
    differentiable=lambda _: False,
    versions=lambda model: onnx_file.versions(_path(model)),
)
FUNCTION = SourceKind(
    load=lambda model, dataset, _: _checked(python_function.load(_place(model), dataset), model, dataset),
    identity=lambda model: python_function.facts(_place(model))[:2],
    differentiable=lambda model: python_function.facts(_place(model))[2],
)
KINDS = {"builtin": CHECKPOINT, "local": CHECKPOINT, "onnx": EXPORTED, "python": FUNCTION}


def _kind(model: ModelSpec) -> SourceKind:
    return KINDS[model.source.partition(":")[0]]


def _place(model: ModelSpec) -> str:
    return model.source.partition(":")[2]


def _path(model: ModelSpec) -> Path:
    return Path(_place(model)).expanduser()


def _checked(loaded: Classifier, model: ModelSpec, dataset: DatasetSpec) -> Classifier:
    """Return a model that nobody knows once it has classified two black images.

    Raises:
        ModelError: it has not.
    """
    images = torch.zeros(2, dataset.channels, dataset.size, dataset.size)
    try:
        with torch.no_grad():
            logits: object = loaded(images)
    except TransferZooError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        raise ModelError(
            f"'{_place(model)}' cannot classify images of '{dataset.name}': {reason(error)}",
            expected=f"a model of [0, 1] pixels {tuple(images.shape[1:])}",
        ) from error
    classifier.checked(logits, len(images), len(dataset.classes), _place(model))
    return loaded
