"""The balls a perturbation lives in: direction of the step, projection, and the way to 8 bits.

Lengths are in [0, 1] pixels. Every reduction is per image. The budget of stored images is a statement about
bytes, so `quantise` and `distance` reckon in whole levels and take the budget as an exact fraction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from fractions import Fraction

    from torch import Tensor

_EACH = (1, 2, 3)


@dataclass(frozen=True)
class Norm:
    """A norm on perturbations.

    Attributes:
        direction: gradient (N, C, H, W) → the steepest step of length 1, same shape; 0 where the gradient
            of an image is 0.
        project: perturbation (N, C, H, W), radius → the nearest one in the ball.
        quantise: perturbed images in [0, 1], clean uint8 images, radius → uint8 images: the nearest level
            that lies inside both the box 0..255 and the budget. The perturbed images must respect the
            budget themselves, to within rounding errors.
        distance: two uint8 images (N, C, H, W) → their distance in [0, 1] pixels, float64 (N,).
    """

    direction: Callable[[Tensor], Tensor]
    project: Callable[[Tensor, float], Tensor]
    quantise: Callable[[Tensor, Tensor, Fraction], Tensor]
    distance: Callable[[Tensor, Tensor], Tensor]


# ---------------------------------------------------------------- L∞


def _linf_project(delta: Tensor, epsilon: float) -> Tensor:
    return delta.clamp(-epsilon, epsilon)


def _linf_quantise(perturbed: Tensor, clean: Tensor, epsilon: Fraction) -> Tensor:
    reach = math.floor(epsilon * 255)
    base = clean.to(torch.int16)
    levels = (perturbed * 255).round().to(torch.int16)
    return levels.clamp(base - reach, base + reach).clamp(0, 255).to(torch.uint8)


def _linf_distance(images: Tensor, clean: Tensor) -> Tensor:
    change = (images.to(torch.int16) - clean.to(torch.int16)).abs()
    return change.amax(_EACH).double() / 255


# ---------------------------------------------------------------- L2


def _l2_direction(gradient: Tensor) -> Tensor:
    # The largest entry first: squares of a confident model's tiny gradients would underflow.
    peak = gradient.abs().amax(_EACH, keepdim=True)
    scaled = gradient / torch.where(peak > 0, peak, 1)
    return scaled / _length(scaled).clamp_min(1)  # at least 1 unless all is 0


def _l2_project(delta: Tensor, epsilon: float) -> Tensor:
    return delta * (epsilon / _length(delta).clamp_min(epsilon))


def _l2_quantise(perturbed: Tensor, clean: Tensor, epsilon: Fraction) -> Tensor:
    # Rounding may lengthen a perturbation beyond ε, and shrinking it before or after would be rounded again.
    # So lengths are compared as whole numbers, ‖change‖² ≤ ⌊(255 ε)²⌋, and only images over it lose levels.
    levels = (perturbed * 255).round().clamp(0, 255)
    change = (levels - clean).to(torch.int32).flatten(1)
    allowed = math.floor((255 * epsilon) ** 2)
    over = change.square().sum(1) > allowed
    if over.any():
        wanted = (perturbed[over] * 255 - clean[over]).flatten(1)
        change[over] = _inside(change[over], wanted, allowed)
    return (clean + change.view(clean.shape)).to(torch.uint8)


def _inside(change: Tensor, wanted: Tensor, allowed: int) -> Tensor:
    """Move the fewest values one level towards 0, those first that rounding moved outwards most.

    Args:
        change: levels, int32 (N, D).
        wanted: what they were rounded from (N, D), ‖wanted‖² ≤ allowed.
        allowed: the largest ‖change‖².
    """
    # Enough: with every outward rounding taken back |change| ≤ |wanted| everywhere, so ‖change‖ ≤ ‖wanted‖.
    size = change.abs()
    gain = torch.where(change == 0, -math.inf, size - wanted.abs())
    order = gain.argsort(dim=1, descending=True, stable=True)
    saved = (2 * size - 1).clamp_min(0).gather(1, order).long()  # n² − (n − 1)²
    excess = change.square().sum(1, keepdim=True) - allowed
    needed = saved.cumsum(1) - saved < excess
    taken_back = torch.zeros_like(needed).scatter(1, order, needed)
    return change - change.sign() * taken_back


def _l2_distance(images: Tensor, clean: Tensor) -> Tensor:
    change = images.to(torch.int32) - clean.to(torch.int32)
    return change.square().sum(_EACH).double().sqrt() / 255


def _length(values: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(values, dim=_EACH, keepdim=True)
    return length


NORMS: Mapping[str, Norm] = {
    "linf": Norm(torch.sign, _linf_project, _linf_quantise, _linf_distance),
    "l2": Norm(_l2_direction, _l2_project, _l2_quantise, _l2_distance),
}
