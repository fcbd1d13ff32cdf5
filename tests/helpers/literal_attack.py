"""A literal attack on one image, to be compared with the engine's: loops, no batches, no closures of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from helpers.attacks import Images, make_attack, perturb, random_images, small_cnn
from transferzoo.attacks.engine import seeded

if TYPE_CHECKING:
    from collections.abc import Callable

EPSILON, STEP = 16 / 255, 1.6 / 255


class Walk:
    """One image, its model and its draws.

    Attributes:
        clean: the image (C, H, W).
        model: the surrogate.
        label: true class.
        generator: of its draws.
    """

    def __init__(self, model: nn.Module, clean: Tensor, label: Tensor, generator: torch.Generator) -> None:
        self.model, self.clean, self.label, self.generator = model, clean, label, generator

    def slope(self, image: Tensor) -> Tensor:
        """Return the gradient of the cross-entropy at an image."""
        leaf = image.clone().requires_grad_()
        loss = -self.model(leaf[None])[0].log_softmax(0)[self.label]
        (found,) = torch.autograd.grad(loss, leaf)
        return found

    def noise(self, radius: float) -> Tensor:
        """Draw U[−radius, radius)."""
        drawn = torch.rand(self.clean.shape, generator=self.generator, dtype=torch.float64)
        return (2 * drawn - 1) * radius

    def boxed(self, image: Tensor) -> Tensor:
        """Return the image inside ball and box."""
        return (self.clean + (image - self.clean).clamp(-EPSILON, EPSILON)).clamp(0, 1)


def unit_mean(gradient: Tensor) -> Tensor:
    return gradient / gradient.abs().mean() if gradient.any() else gradient


def check(spec: str, literal: Callable[[Walk], Tensor], *, steps: int = 4, close: float = 1e-10) -> None:
    """Compare an attack on three images with a literal loop that returns the last image."""
    attack, model, batch = make_attack(spec, steps=steps), small_cnn().eval(), random_images(3)
    names: Images = batch
    for i, found in enumerate(perturb(attack, model, batch)):
        (generator,) = seeded(0, attack.composition.canonical, [int(names.ids[i])])
        walk = Walk(model, batch.images[i].double() / 255, batch.labels[i], generator)
        torch.testing.assert_close(found, literal(walk), rtol=0, atol=close)
