"""Models that nobody knows: what they answer is checked before it counts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferzoo.base.atomic import write_json, writing
from transferzoo.base.cache_folder import cache_folder
from transferzoo.base.errors import ModelError, TransferZooError, reason
from transferzoo.base.foreign_files import read_json
from transferzoo.base.frozen_model import fingerprint
from transferzoo.models.hard_labels import are_labels, as_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.models.classifier import Classifier
    from transferzoo.zoo.schema import DatasetSpec


TRIED = 2
"""Black images that a model is tried on."""


class Predictor(nn.Module):
    """A model outside of PyTorch: it says what it sees, and no gradient comes back.

    Args:
        answer: maps images, float32 (N, C, H, W) on the CPU, to logits or other scores (N, K), or to a class
            of each, integers (N,); a tensor or an array.
        classes: K; None for as many as it has scores, or as its largest answer needs.
        name: what errors call it.

    Attributes:
        labels_only: whether its last answer, or that of its trial, was classes.
    """

    def __init__(self, answer: Callable[[Tensor], object], classes: int | None, name: str) -> None:
        super().__init__()
        self.answer = answer
        self.classes = classes
        self.name = name
        self.labels_only = False

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores, float32 (N, K) on the CPU; of classes, their log-probabilities, 0 or −∞.

        Raises:
            ModelError: what came is something else, or not a number.
        """
        output = self.answer(images.detach().to("cpu", torch.float32))
        found = as_tensor(output, len(images), self.classes, self.name)
        self.labels_only = are_labels(found, len(images))
        if self.labels_only:
            classes = int(found.max()) + 1 if self.classes is None else self.classes
            return as_scores(found.cpu(), classes, self.name)
        return checked(found, len(images), self.classes, self.name).detach().to("cpu", torch.float32)


def _wanted(images: int, classes: int | None) -> str:
    return f"logits of shape ({images}, {'K' if classes is None else classes})"


def as_tensor(output: object, images: int, classes: int | None, name: str) -> Tensor:
    """Return what a model that nobody knows returned as a tensor; arguments as `checked` takes them.

    Raises:
        ModelError: it is none.
    """
    try:
        return torch.as_tensor(output)
    except (TypeError, ValueError, RuntimeError):
        wanted = _wanted(images, classes)
        raise ModelError(
            f"'{name}' returns no scores",
            expected=wanted,
            got=type(output).__name__,
            hint="let it return a tensor or an array of them",
        ) from None


def checked(output: object, images: int, classes: int | None, name: str) -> Tensor:
    """Return the scores of a model that nobody knows, as a tensor.

    Args:
        output: what it returned.
        images: how many it was shown, N.
        classes: how many it should know, K; None for any number.
        name: what the error calls it.

    Raises:
        ModelError: no numbers (N, K), or NaN among them.
    """
    wanted, scores = _wanted(images, classes), as_tensor(output, images, classes, name)
    fits = scores.ndim == 2 and len(scores) == images and classes in (None, scores.shape[-1])
    if not fits:
        raise ModelError(
            f"'{name}' does not classify like the data set",
            expected=wanted,
            got=f"shape {tuple(scores.shape)}",
            hint="say with --classes FILE which of its classes are the data's"
            if scores.ndim == 2 and len(scores) == images
            else "let it return a row of scores for each image",
        )
    if scores.isnan().any():
        raise ModelError(
            f"'{name}' returns NaN", expected=wanted, hint="check what it makes of black images in [0, 1]"
        )
    return scores


def tried(loaded: Classifier, name: str, dataset: DatasetSpec) -> Classifier:
    """Return a model that nobody knows once it has classified `TRIED` black images.

    Args:
        loaded: the model, on the CPU.
        name: what errors call it.
        dataset: whose images it shall classify.

    Raises:
        ModelError: it has not.
    """
    images = torch.zeros(TRIED, dataset.channels, dataset.size, dataset.size)
    try:
        with torch.no_grad():
            logits: object = loaded(images)
    except TransferZooError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        raise ModelError(
            f"'{name}' cannot classify images of '{dataset.name}': {reason(error)}",
            expected=f"a model of [0, 1] pixels {tuple(images.shape[1:])}",
        ) from error
    checked(logits, len(images), len(dataset.classes), name)
    return loaded


def tried_once(loaded: Classifier, identity: str, name: str, dataset: DatasetSpec) -> Classifier:
    """Return a predictor that was tried, now or by any earlier command: each image may cost its owner.

    What it says later is checked whenever it says something; where the cache cannot be written it is tried
    every time.

    Args:
        loaded: a classifier whose model is a `Predictor`.
        identity: what tells it from others.
        name: as `tried` takes it.
        dataset: likewise.

    Raises:
        ModelError: see `tried`.
    """
    shape = (len(dataset.classes), dataset.channels, dataset.size)
    path = cache_folder("trials") / f"{fingerprint([identity, *shape])[:32]}.json"
    predictor = loaded.model
    assert isinstance(predictor, Predictor)
    try:
        predictor.labels_only = bool(read_json(path)["labels_only"])
    except (OSError, ValueError, KeyError, TypeError):
        tried(loaded, name, dataset)
        with suppress(TransferZooError), writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"labels_only": predictor.labels_only})
    return loaded
