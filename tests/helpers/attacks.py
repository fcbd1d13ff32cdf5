"""What the tests of attacks share: a small model, images, and the comparison with torchattacks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from helpers.networks import residual_cnn, tiny_vit
from transferzoo.attacks import engine
from transferzoo.attacks.composition import compose
from transferzoo.attacks.engine import Attack, seeded
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.techniques import TECHNIQUES, Features, Patch
from transferzoo.attacks.techniques.work_unit import Pool, WorkUnit
from transferzoo.base.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Surrogate = nn.Module | Sequence[nn.Module]

DOUBLE = torch.float64
FEWER = {"copies": 2, "masks": 2, "points": 2, "n": 2, "scales": 2, "splits": 2}
FEWER |= {"inner": 1, "partners": 1, "steps": 1, "neighbours": 2, "ops": 2}
"""Options that cost time, and what they are where a technique's own number of copies does not matter."""


def cheap(name: str, **changes: Any) -> str:
    """Return the spec of a technique with few copies, and with other changes."""
    usual = TECHNIQUES[name]()
    known = {field.name for field in dataclasses.fields(usual)}
    fewer = {option: count for option, count in FEWER.items() if option in known}
    return dataclasses.replace(usual, **fewer, **changes).spec


def payable(name: str) -> str:
    """Return the spec of a technique, with few copies where it costs more than a hundred gradients."""
    return name if TECHNIQUES[name]().cost <= 100 else cheap(name)


def make_attack(
    spec: str = "",
    norm: str = "linf",
    epsilon: Fraction = Fraction(16, 255),
    step: Fraction | None = None,
    steps: int = 10,
    seed: int = 0,
) -> Attack:
    return Attack(compose(spec), Budget(norm, epsilon, step or epsilon / 10, steps), seed)


def small_cnn(channels: int = 3, dtype: torch.dtype = DOUBLE, seed: int = 0) -> nn.Module:
    """Return an untrained model for any size, in training mode, with one layer that was put in eval."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(72, 10),
        )
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model.to(dtype)


def fitting_model(spec: str, dtype: torch.dtype = DOUBLE) -> nn.Module:
    """Return a small model that has what a spec's techniques change: blocks or attention, else any."""
    changing = compose(spec).of(Patch, Features)
    if any("attention" in getattr(technique, "place", "") for technique in changing):
        vit: nn.Module = tiny_vit(dtype)
        return vit
    return residual_cnn(dtype) if changing else small_cnn(dtype=dtype)


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


def pool_for(batch: Images) -> Pool:
    """Return images of the same size to mix with, the same whatever part of a batch is attacked."""
    others = random_images(12, batch.images.shape[1], batch.images.shape[2], seed=9)
    return Pool(others.images, others.labels)


def craft(attack: Attack, model: Surrogate, batch: Images, dtype: torch.dtype = DOUBLE) -> Tensor:
    pool = pool_for(batch)
    return engine.craft(attack, model, batch.images, batch.labels, batch.ids, pool=pool, dtype=dtype)


def perturb(attack: Attack, model: Surrogate, batch: Images, dtype: torch.dtype = DOUBLE) -> Tensor:
    pool = pool_for(batch)
    return engine.perturb(attack, model, batch.images, batch.labels, batch.ids, pool=pool, dtype=dtype)


def work_unit(attack: Attack, batch: Images, dtype: torch.dtype = DOUBLE) -> WorkUnit:
    """Return the unit that an attack on these images has."""
    (shared,) = seeded(attack.seed, attack.composition.canonical, ["all"])
    return WorkUnit(
        batch.images.to(dtype) / 255,
        batch.labels,
        None,
        attack.budget,
        seeded(attack.seed, attack.composition.canonical, batch.ids.tolist()),
        shared,
        pool_for(batch),
    )


def blank_unit(
    n: int = 3, shape: tuple[int, ...] = (3, 8, 8), norm: str = "linf", epsilon: float = 0.1
) -> WorkUnit:
    """Return a unit of black images, for a technique by itself."""
    labels, generators = torch.zeros(n, dtype=torch.int64), seeded(0, "test", range(n))
    return WorkUnit(
        torch.zeros(n, *shape, dtype=DOUBLE),
        labels,
        None,
        Budget(norm, Fraction(epsilon), Fraction(0.01), 10),
        generators,
        torch.Generator(),
    )


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
    quantise = NORMS[attack.budget.norm].quantise
    differs = quantise(ours, clean, attack.budget.epsilon) != quantise(theirs, clean, attack.budget.epsilon)
    return Agreement((ours - theirs).abs().max().item(), differs.double().mean().item())


def against_torchattacks(
    attack: Attack,
    reference: Callable[..., Any],
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
        model.eval(),
        eps=float(attack.budget.epsilon),
        alpha=float(attack.budget.step),
        steps=attack.budget.steps,
        **options,
    )
    theirs = other(batch.images.to(dtype) / 255, batch.labels)
    return agreement(attack, perturb(attack, model, batch, dtype), theirs, batch.images)
