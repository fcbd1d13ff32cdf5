"""Predictions of models, and the accuracy that a model must have before it is used."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from transferzoo.base.errors import ModelError
from transferzoo.base.fixed_math import fixed_math
from transferzoo.defences import read_defence
from transferzoo.models.batches import halving, prediction_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from transferzoo.defences import Defence
    from transferzoo.zoo.schema import ModelSpec


@torch.no_grad()
def predict(
    classifier: nn.Module, images: Tensor, at: Tensor | None = None, batch_size: int | None = None
) -> Tensor:
    """Classify images, in the precision of the weights.

    Args:
        classifier: [0, 1] pixels (B, C, H, W) → logits (B, K), in eval mode.
        images: uint8 (N, C, H, W), on the CPU.
        at: which of them, int64 (M,); all where none are named.
        batch_size: images at a time; as `prediction_batch` says where none is given.

    Returns:
        The predicted classes, int64 (M,), on the CPU.

    Raises:
        ModelError: a logit is NaN.
    """
    return _by_batches(classifier, images, at, batch_size, lambda logits: logits.argmax(1))


@torch.no_grad()
def predict_defended(
    classifier: nn.Module, defence: Defence, images: Tensor, ids: Tensor, at: Tensor | None = None
) -> Tensor:
    """Classify images as a defended model does: the class seen in most views; of equals, the first.

    Args:
        classifier: as `predict` takes it.
        defence: makes the views.
        images: as `predict` takes them.
        ids: what seeds an image's draws, int64 (N,).
        at: which of them, as `predict` takes it.

    Returns:
        The predicted classes, int64 (M,), on the CPU.
    """
    weight = _weight(classifier)

    def vote(part: Tensor) -> Tensor:
        views = defence.views(images[part], ids[part])
        logits = (require_numbers(classifier(view.to(weight))).cpu() for view in views)
        votes = sum(functional.one_hot(scores.argmax(1), scores.shape[1]) for scores in logits)
        return torch.as_tensor(votes).argmax(1)

    return _joined(vote, classifier, images, at, None)


def predict_images(
    spec: ModelSpec, model: nn.Module, images: Tensor, ids: Tensor, at: Tensor | None = None
) -> Tensor:
    """Return the classes that a model, behind its defence if it has one, predicts, int64 (M,).

    Args:
        spec: of the model.
        model: loaded.
        images: uint8 (N, C, H, W).
        ids: what seeds the draws of a defence, int64 (N,).
        at: which images, int64 (M,); all where none are named.

    Raises:
        ModelError: it gives no numbers; the sentence names it.
    """
    try:
        if spec.defence:
            return predict_defended(model, read_defence(spec.defence), images, ids, at)
        return predict(model, images, at)
    except ModelError as error:
        raise ModelError(f"'{spec.name}': {str(error).removesuffix('.')}") from None


@torch.no_grad()
def least_likely(classifier: nn.Module, images: Tensor, at: Tensor | None = None) -> Tensor:
    """Return the class with the smallest logit of every image; arguments and result as `predict`'s."""
    return _by_batches(classifier, images, at, None, lambda logits: logits.argmin(1))


def _by_batches(
    classifier: nn.Module,
    images: Tensor,
    at: Tensor | None,
    batch_size: int | None,
    of: Callable[[Tensor], Tensor],
) -> Tensor:
    weight = _weight(classifier)

    def one(part: Tensor) -> Tensor:
        return of(require_numbers(classifier(images[part].to(weight) / 255))).cpu()

    return _joined(one, classifier, images, at, batch_size)


def _joined(
    one: Callable[[Tensor], Tensor],
    classifier: nn.Module,
    images: Tensor,
    at: Tensor | None,
    batch_size: int | None,
) -> Tensor:
    places = torch.arange(len(images)) if at is None else at
    size = batch_size or prediction_batch(classifier, images)
    with fixed_math(_weight(classifier).device):
        return torch.cat([torch.empty(0, dtype=torch.int64), *halving(one, places, size)])


@torch.no_grad()
def logits_of(classifier: nn.Module, images: Tensor) -> object:
    """Return what a model makes of a few images, uint8 (N, C, H, W), in the precision of its weights."""
    weight = _weight(classifier)
    with fixed_math(weight.device):
        return classifier(images.to(weight) / 255)


def require_numbers(logits: Tensor) -> Tensor:
    """Return logits as they are; `argmax` would take NaN for the largest number, and so for a class.

    Raises:
        ModelError: one is NaN.
    """
    if logits.isnan().any():
        raise ModelError(
            "a model gives NaN instead of logits for some images",
            hint="check its weights, its precision and its preprocessing",
        )
    return logits


def _weight(classifier: nn.Module) -> Tensor:
    """Return what has the precision and the device that a model reads."""
    tensors = chain(classifier.parameters(), classifier.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
