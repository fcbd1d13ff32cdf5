"""Models that say one class for an image and no scores: what such an answer is, and what is made of it.

A class becomes log-probabilities, 0 for it and −∞ for all others, so that whatever asks for the likeliest
class gets it. There is no second likeliest, and no margin.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from transferzoo.base.errors import ModelError


def are_labels(output: Tensor, images: int) -> bool:
    """Return whether a model's output for so many images, N, is a class of each: integers (N,)."""
    counts = not (output.is_floating_point() or output.is_complex() or output.dtype == torch.bool)
    return counts and tuple(output.shape) == (images,)


def as_scores(labels: Tensor, classes: int, name: str) -> Tensor:
    """Return classes, integers (N,), as log-probabilities, float32 (N, K).

    Args:
        labels: what a model answered.
        classes: K.
        name: of the model, for the error.

    Raises:
        ModelError: one is no number of a class.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ModelError(
            f"'{name}' answers with a class that there is not",
            expected=f"numbers in 0..{classes - 1}",
            got=f"{int(labels.min())}..{int(labels.max())}",
            hint="say with --classes FILE which of its classes are the data's, if it has more",
        )
    return functional.one_hot(labels.long(), classes).float().log()


def require_known(scores: Tensor) -> Tensor:
    """Return log-probabilities of the data's classes as they are.

    Raises:
        ModelError: the class of an image is none of them, and what it would say among them is unknown.
    """
    if scores.isneginf().all(1).any():
        raise ModelError(
            "a model of labels only answers with a class that the data does not have",
            expected="scores, of which those of the data's classes can be compared",
        )
    return scores
