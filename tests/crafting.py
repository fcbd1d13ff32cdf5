"""What the tests of attacks share: a small model, images, and the comparison with torchattacks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferzoo import engine
from transferzoo.engine import Attack
from transferzoo.norms import NORMS
from transferzoo.techniques import compose

if TYPE_CHECKING:
    from collections.abc import Callable

    import torchattacks

DOUBLE = torch.float64


def make_attack(
    spec: str = "",
    norm: str = "linf",
    epsilon: Fraction = Fraction(16, 255),
    step: Fraction | None = None,
    steps: int = 10,
    seed: int = 0,
) -> Attack:
    return Attack(compose(spec), norm, epsilon, step or epsilon / 10, steps, seed)


def small_cnn(channels: int = 3, dtype: torch.dtype = DOUBLE, seed: int = 0) -> nn.Module:
    """Return an untrained model for any size, in training mode, with one layer that was put in eval."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(72, 10),
        )  # fmt: skip
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model.to(dtype)


@dataclass(frozen=True, eq=False)
class Images:
    images: Tensor
    labels: Tensor
    ids: Tensor

    def __getitem__(self, chosen: slice) -> Images:
        return Images(self.images[chosen], self.labels[chosen], self.ids[chosen])


def random_images(n: int = 5, channels: int = 3, side: int = 16, seed: int = 1) -> Images:
    """Return noise with black and white areas, so that the box matters."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(-80, 336, (n, channels, side, side), generator=generator).clamp(0, 255)
    labels = torch.randint(0, 10, (n,), generator=generator)
    return Images(noise.to(torch.uint8), labels, torch.arange(100, 100 + n))


def craft(attack: Attack, model: nn.Module, batch: Images, dtype: torch.dtype = DOUBLE) -> Tensor:
    return engine.craft(attack, model, batch.images, batch.labels, batch.ids, dtype=dtype)


def perturb(attack: Attack, model: nn.Module, batch: Images, dtype: torch.dtype = DOUBLE) -> Tensor:
    return engine.perturb(attack, model, batch.images, batch.labels, batch.ids, dtype=dtype)


@dataclass(frozen=True)
class Agreement:
    """How two ways to craft the same images differ.

    Attributes:
        largest: largest difference of the float images.
        share: share of the 8-bit values that differ.
    """

    largest: float
    share: float


def agreement(attack: Attack, ours: Tensor, theirs: Tensor, clean: Tensor) -> Agreement:
    quantise = NORMS[attack.norm].quantise
    differs = quantise(ours, clean, attack.epsilon) != quantise(theirs, clean, attack.epsilon)
    return Agreement((ours - theirs).abs().max().item(), differs.double().mean().item())


def against_torchattacks(
    attack: Attack,
    reference: Callable[..., torchattacks.attack.Attack],
    model: nn.Module,
    batch: Images,
    dtype: torch.dtype = DOUBLE,
    **options: float,
) -> Agreement:
    """Compare an L∞ attack with a class of torchattacks, on a model with weights of `dtype`.

    Args:
        attack: ours.
        reference: theirs, given the model, eps, alpha, steps and `options`.
        model: [0, 1] pixels → logits.
        batch: the images.
        dtype: of model and images.
        options: of theirs.
    """
    other = reference(
        model.eval(), eps=float(attack.epsilon), alpha=float(attack.step), steps=attack.steps, **options
    )
    theirs = other(batch.images.to(dtype) / 255, batch.labels)
    return agreement(attack, perturb(attack, model, batch, dtype), theirs, batch.images)
