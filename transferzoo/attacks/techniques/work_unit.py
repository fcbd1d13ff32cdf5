"""A work unit: the images attacked together, the budget, and what they may draw from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING

from transferzoo.base.errors import ModelError, UsageError
from transferzoo.base.on_device import carried

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from transferzoo.attacks.techniques import Loss
    from transferzoo.base.budget import Budget

SLOPE, MADE = "the gradient of the surrogate", "what the techniques make of finite gradients"
HINTS = {SLOPE: "check its weights for NaN", MADE: "one of them divides by zero, or overflows"}
"""What may not be finite → what then helps."""


@dataclass(frozen=True, eq=False)
class Pool:
    """Images to mix with: a set that is the same for every work unit.

    Attributes:
        images: (M, C, H, W), uint8 or in [0, 1].
        labels: true classes, int64 (M,).
    """

    images: Tensor
    labels: Tensor


def sent(draws: Tensor, like: Tensor) -> Tensor:
    """Return draws from the CPU in the precision and on the device of images; a GPU is not waited for."""
    return carried(draws.to(like.dtype), like.device)


def slope_of(total: Tensor, leaf: Tensor) -> Tensor:
    """Return the derivative of a number by a tensor, of its shape.

    Raises:
        ModelError: the one does not depend on the other.
    """
    import torch

    slope = torch.autograd.grad(total, leaf, allow_unused=True)[0] if total.requires_grad else None
    if slope is None:
        raise ModelError(
            "no gradient reaches the images",
            hint="the model detaches its input from its output, as quantised ones do; choose another",
        )
    return slope


@dataclass(eq=False)
class WorkUnit:
    """The images attacked together.

    Attributes:
        images: clean images (N, C, H, W) in [0, 1].
        labels: true classes, int64 (N,).
        target_classes: classes to be predicted instead, int64 (N,); None for any.
        budget: how far the attack may go; `epsilon` and `step` are its numbers as floats, for tensors.
        generators: one CPU generator an image, so that draws do not depend on the batch.
        shared: CPU generator of the draws that all images of the run share, such as which model comes next;
            every work unit begins it anew.
        pool: images to mix with; None where there are none.
        done: steps done so far; the engine counts.
        current: the images so far, (N, C, H, W) in [0, 1]; the engine moves them on.
        asked: images whose gradient techniques have asked for so far.
        surrogate_draws: whether the surrogate draws from PyTorch's global generator.
    """

    images: Tensor
    labels: Tensor
    target_classes: Tensor | None
    budget: Budget
    generators: tuple[torch.Generator, ...]
    shared: torch.Generator
    pool: Pool | None = None
    done: int = 0
    asked: int = 0
    surrogate_draws: bool = False

    def __post_init__(self) -> None:
        """Begin with the clean images."""
        self.current = self.images
        self._finite: dict[str, Tensor] = {}
        self.norm, self.steps = self.budget.norm, self.budget.steps
        self.epsilon, self.step = float(self.budget.epsilon), float(self.budget.step)

    @property
    def radius(self) -> float:
        """How far one value may go: ε in L∞; in L2 the root mean square of a perturbation of length ε."""
        return self._each_value(self.epsilon)

    @property
    def stride(self) -> float:
        """How far one value goes in a step, likewise."""
        return self._each_value(self.step)

    def _each_value(self, length: float) -> float:
        return length if self.norm == "linf" else length / sqrt(self.images[0].numel())

    def maximised(self, loss: Loss, logits: Tensor) -> Tensor:
        """Return what the attacker maximises of the logits (N, K) of the images: (N,)."""
        if self.target_classes is None:
            return loss.value(logits, self.labels)
        return self.signed(loss.value(logits, self.target_classes, targeted=True))

    def signed(self, distance: Tensor) -> Tensor:
        """Return what is maximised of a distance (N,) from the label or the target class."""
        return distance if self.target_classes is None else -distance

    def along(self, ascent: Tensor, length: float | None = None) -> Tensor:
        """Return a step (N, C, H, W) in the steepest direction that goes with an ascent direction.

        Args:
            ascent: (N, C, H, W).
            length: of the step, in the norm of the ball; None for the attack's own.
        """
        from transferzoo.attacks.norms import NORMS

        return (self.step if length is None else length) * NORMS[self.norm].direction(ascent)

    def inside(self, delta: Tensor) -> Tensor:
        """Return the perturbation (N, C, H, W), projected into the ball and then into the box."""
        from transferzoo.attacks.norms import NORMS

        return NORMS[self.norm].project(delta, self.epsilon).clamp(-self.images, 1 - self.images)

    def noted(self, gradient: Tensor, *, asked: bool) -> Tensor:
        """Return a gradient of the surrogate, (N, …), once it is remembered whether it is finite.

        Args:
            gradient: of every image.
            asked: whether a technique asked for it, so that it counts among those of a step.
        """
        self.asked += len(gradient) if asked else 0
        self._remember(SLOPE, gradient)
        return gradient

    def note_made(self, made: Tensor) -> None:
        """Remember whether what techniques made of gradients, or begin with, is finite."""
        self._remember(MADE, made)

    def _remember(self, what: str, found: Tensor) -> None:
        finite = found.isfinite().all()
        self._finite[what] = self._finite[what] & finite if what in self._finite else finite

    def require_finite(self) -> None:
        """Check the gradients of a step, all at once: a GPU is waited for each time it is asked.

        Raises:
            ModelError: one of them was not finite.
        """
        import torch

        found, self._finite = self._finite, {}
        if found and not torch.stack(list(found.values())).all():
            what = next(what for what, finite in found.items() if not finite)
            raise ModelError(f"{what} is not finite", hint=HINTS[what])

    def uniform(self, *shape: int) -> Tensor:
        """Draw from U[0, 1), every image from its own generator: float64 (N, *shape) on the CPU."""
        import torch

        draws = torch.empty(len(self.generators), *shape, dtype=torch.float64)
        for place, generator in zip(draws, self.generators, strict=True):
            torch.rand(shape, generator=generator, out=place)
        return draws

    def normal(self, *shape: int) -> Tensor:
        """Draw from N(0, 1), every image from its own generator: float32 (N, *shape) on the CPU.

        In double precision it takes three times as long.
        """
        import torch

        draws = torch.empty(len(self.generators), *shape)
        for place, generator in zip(draws, self.generators, strict=True):
            torch.randn(shape, generator=generator, out=place)
        return draws

    def noise(self, radius: float) -> Tensor:
        """Draw from U[−radius, radius) for every value of every image: (N, C, H, W), like the images."""
        return sent((2 * self.uniform(*self.images.shape[1:]) - 1) * radius, self.images)

    def partners(self) -> Tensor:
        """Draw an image of another class from the pool for every image: (N, C, H, W), like the images.

        Raises:
            UsageError: there is no pool, or it has no image of another class.
        """
        import torch

        images, others = self._others
        draws = self.uniform(1).flatten().tolist()
        chosen = [other[int(u * len(other))] for u, other in zip(draws, others, strict=True)]
        return self._taken(images, torch.stack(chosen))

    def clean_images(self, count: int, technique: str) -> Tensor:
        """Draw images from the pool, the same ones for all images of the run: (M, C, H, W), like the images.

        The first ones would be of one class where files lie in a folder a class.

        Args:
            count: how many; all where the pool has fewer.
            technique: that asks, for an error.

        Raises:
            UsageError: there is no pool.
        """
        import torch

        images = self._pool(f"'{technique}'").images
        return self._taken(images, torch.randperm(len(images), generator=self.shared)[:count])

    def _taken(self, images: Tensor, places: Tensor) -> Tensor:
        """Return images of the pool like those of the unit."""
        drawn = carried(images[carried(places, images.device)], self.images.device).to(self.images.dtype)
        return drawn if images.is_floating_point() else drawn / 255

    def _pool(self, who: str) -> Pool:
        if self.pool is None:
            raise UsageError(
                f"{who} uses other images",
                expected="a pool of them",
                got="none",
                hint="pass pool=Pool(images, labels)",
            )
        return self.pool

    @cached_property
    def _others(self) -> tuple[Tensor, list[Tensor]]:
        """The pool's images, as they are, and for every image the places of those of other classes."""
        pool = self._pool("the attack")
        places = {label: (pool.labels != label).nonzero().flatten() for label in set(self.labels.tolist())}
        others = [places[label] for label in self.labels.tolist()]
        if not all(len(other) for other in others):
            raise UsageError("the pool has no image of another class", expected="two classes at least")
        return pool.images, others
