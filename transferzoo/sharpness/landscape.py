"""The loss landscape: models on the line between two, and the loss on a plane through one."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch.optim.swa_utils import update_bn

from transferzoo.base.errors import ModelError
from transferzoo.base.spec_strings import require
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from transferzoo.models.classifier import Classifier
    from transferzoo.sharpness.surface import LossSurface

TINY = 1e-10
"""Added to the norm of a filter before dividing by it."""


def interpolate(
    first: Classifier, second: Classifier, position: float, images: Tensor, batch_size: int
) -> Classifier:
    """Return a new model (1 − a) w₁ + a w₂, in evaluation mode.

    Batch norm's statistics are those of `images` at every point, both ends included; averaged ones would fit
    neither model.

    Args:
        first: the model at 0.
        second: the model at 1, of the same architecture and on the same device.
        position: a.
        images: unaugmented images, uint8 (N, C, H, W), on the models' device; see `recompute_batch_norm`.
        batch_size: images at a time.

    Raises:
        ModelError: the architectures differ.
    """
    _require_same(first, second)
    model = copy.deepcopy(first).eval()
    ends = zip(_state(model).values(), _state(first).values(), _state(second).values(), strict=True)
    with torch.no_grad():
        for tensor, a, b in ends:
            if tensor.is_floating_point():
                tensor.copy_(torch.lerp(a, b, position))
    recompute_batch_norm(model, images, batch_size)
    return model


def recompute_batch_norm(classifier: Classifier, images: Tensor, batch_size: int) -> None:
    """Replace the running averages of all batch norms by means over batches; without any nothing is done.

    Args:
        classifier: [0, 1] pixels (N, C, H, W) → logits (N, K).
        images: uint8 (N, C, H, W).
        batch_size: most images of a batch; the batches are as equal as can be, since they count equally.
    """
    like = next(classifier.parameters())
    parts = images.tensor_split(math.ceil(len(images) / batch_size))
    with torch.random.fork_rng(devices=[like.device] if like.device.type == "cuda" else []):
        torch.manual_seed(seed_of(0, "statistics"))  # dropout is on
        update_bn((part.to(like) / 255 for part in parts), classifier)


def plane_coordinates(points: int, radius: float) -> list[float]:
    """Return coordinates from −radius to radius; with an odd number of points, 0 is one of them.

    Raises:
        UsageError: a number is out of range.
    """
    require(points >= 2, "too few points", expected="at least 2", got=points)
    require(0 < radius < math.inf, "the radius is out of range", expected="a number above 0", got=radius)
    return [radius * (2 * index / (points - 1) - 1) for index in range(points)]


def filter_normalised_directions(surface: LossSurface, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two random directions (d,) that are normalised by filters.

    Each filter of a direction (the weights of one output of a layer) has the norm of the model's; biases and
    batch norm's parameters stay where they are (Li et al. 2018, arXiv 1712.09913).
    """
    return _direction(surface, generator), _direction(surface, generator)


def _direction(surface: LossSurface, generator: torch.Generator) -> Tensor:
    drawn, weights = surface.parts(surface.draw(generator)), surface.parts(surface.origin)
    return torch.cat([_filter_normalised(d, w).flatten() for d, w in zip(drawn, weights, strict=True)])


def _filter_normalised(drawn: Tensor, weights: Tensor) -> Tensor:
    if drawn.ndim <= 1:
        return torch.zeros_like(drawn)
    within = tuple(range(1, drawn.ndim))
    lengths = [t.square().sum(within, keepdim=True).sqrt() for t in (drawn, weights)]
    return drawn * lengths[1] / (lengths[0] + TINY)


def plane_losses(
    surface: LossSurface, along: tuple[Tensor, Tensor], positions: Sequence[float], second: float
) -> list[float]:
    """Return the losses at w + x d₁ + y d₂ for all x of a row; batch norm's statistics stay the model's.

    Args:
        surface: around w.
        along: d₁ and d₂.
        positions: the values of x.
        second: y.
    """
    return [surface.loss_and_accuracy(first * along[0] + second * along[1])[0] for first in positions]


def _require_same(first: Classifier, second: Classifier) -> None:
    forms = [
        {"input": (model.size, model.channels), **{k: tuple(t.shape) for k, t in _state(model).items()}}
        for model in (first, second)
    ]
    for name in {**forms[0], **forms[1]}:
        here, there = (str(form.get(name, "none")) for form in forms)
        if here != there:
            raise ModelError(
                f"there is no line between models of different architectures: '{name}' differs",
                expected=here,
                got=there,
                hint="name two checkpoints of one architecture",
            )


def _state(model: Classifier) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
