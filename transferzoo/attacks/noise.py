"""Random perturbations of an attack's budget: how much of a success rate needs no attack at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.engine import seeded
from transferzoo.attacks.norms import NORMS
from transferzoo.base.spec_strings import show_fraction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from transferzoo.base.budget import Budget


def noise_name(budget: Budget) -> str:
    """Return how records name random noise of a budget: "noise@linf,eps=8/255"."""
    return f"noise@{budget.norm},eps={show_fraction(budget.epsilon)}"


def noisy(images: Tensor, ids: Iterable[int], budget: Budget, seed: int) -> Tensor:
    """Return images with random noise as strong as the budget allows, and no gradient.

    L∞: every value moves by ε, up or down with equal probability. L2: the perturbation has length ε and a
    direction uniform on the sphere. Then, as after an attack: the box, and 8 bits inside the budget.

    Args:
        images: clean images, uint8 (N, C, H, W).
        ids: what seeds an image's draw, N of them: it depends on nothing else that is attacked.
        budget: whose ball and radius count.
        seed: of the run.

    Returns:
        uint8 (N, C, H, W).
    """
    generators = seeded(seed, noise_name(budget), ids)
    shape, radius = images.shape[1:], float(budget.epsilon)
    delta = torch.empty(images.shape)
    for place, generator in enumerate(generators):
        if budget.norm == "linf":
            delta[place] = radius * (2 * torch.randint(2, shape, generator=generator) - 1)
        else:
            normal = torch.randn(shape, generator=generator)
            delta[place] = radius * normal / normal.norm()
    perturbed = (images / 255 + delta).clamp(0, 1)
    return NORMS[budget.norm].quantise(perturbed, images, budget.epsilon)
