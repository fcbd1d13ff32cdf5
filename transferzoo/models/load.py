"""The one place that opens models: any `ModelSpec` → a classifier of [0, 1] pixels.

What is opened is downloaded or converted first, where it is not on this machine; nothing here asks what form
a source is of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.base.frozen_model import fingerprint
from transferzoo.base.plugins import owner, used
from transferzoo.models.download import loadable

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec, ModelSpec


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
    return loadable(model).load(dataset, weights)


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
    if not loadable(model).gives_gradients():
        raise UsageError(
            f"'{model.name}' is no surrogate: no gradient comes back from it",
            expected="a checkpoint, a weight file or a function that returns an nn.Module",
            got=str(model.source),
            hint="use it as a target",
        )
