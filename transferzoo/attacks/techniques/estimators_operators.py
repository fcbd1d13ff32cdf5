"""Gradients of many neighbours, each seen through many compositions of simple operators (OPS)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Estimator
from transferzoo.attacks.techniques.oracles import mean, through
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.views_resize import DiverseInputs
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit

    Operator = Callable[[Tensor, Tensor], Tensor]
    """One image (1, C, H, W) and three draws of U[0, 1) → image."""

RADII = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Radii of the neighbours, multiples of the option `beta`."""
LEVELS = (2, 3, 4)
"""How many operators are composed."""


@TECHNIQUES.register("ops")
@dataclass(frozen=True)
class OperatorPerturbation(Estimator):
    """Operator and perturbation sampling (OPS): the mean gradient of neighbours through composed operators.

    g = (g(x) + Σ_i Σ_j ∂T_ij/∂xᵀ g(T_ij(x + U(r_i)))) / (neighbours·ops + 1), where r_i is beta times one of
    ¼, ½, …, 1½ and T_ij is the composition of two, three or four of 31 operators, drawn with equal chances
    and with replacement: nothing, two flips, rolling down or along by any number of pixels, turning by ±5,
    ±15, ±45, ±90 and 180 degrees, dividing by 2 … 8, and DI's resizing with ratios 1.1, 1.3, …, 2.9. A step
    costs neighbours·ops + 1 gradients: 901 as in the paper, 10 with `neighbours=3,ops=3`.

    Each image has draws of its own, all of them new at every step. The authors' code draws operators once
    for a batch, from three of Python's global generators, and neighbours once for the attack, 30 of each
    radius, of which every step takes 30; its resizing leaves out the largest size and offset, and cannot take
    images of fewer than ten pixels.

    Attributes:
        neighbours: how many, at least 1.
        ops: compositions for each of them, at least 1.
        beta: radius that the others are multiples of, a multiple of ε, at least 0.
    """

    paper: ClassVar[str] = "Guo et al. 2025, https://openaccess.thecvf.com/content/CVPR2025 (CVPR)"

    neighbours: Count = 30
    ops: Count = 30
    beta: NonNegative = 2.0

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 1 + self.neighbours * self.ops

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""

        def directions(images: Tensor) -> Iterator[Tensor]:
            yield oracle(images)
            for _ in range(self.neighbours):
                near = images + self._noise(unit)
                for _ in range(self.ops):
                    draws = unit.uniform(1 + 4 * max(LEVELS))
                    yield through(lambda seen, draws=draws: operated(seen, draws), oracle)(near)  # type: ignore[misc]

        return lambda images: mean(directions(images))

    def _noise(self, unit: WorkUnit) -> Tensor:
        """Draw U(r) with a radius of each image's own, (N, C, H, W)."""
        import torch

        place = (unit.uniform(1) * len(RADII)).long()
        radius = self.beta * unit.radius * sent(torch.tensor(RADII)[place], unit.images)
        return unit.noise(1.0) * radius[..., None, None]


def operated(images: Tensor, draws: Tensor) -> Tensor:
    """Return every image through a composition of operators.

    Args:
        images: (N, C, H, W).
        draws: of U[0, 1), float64 (N, 17): how many operators, then for each which one and its three draws.
    """
    import torch

    every = _operators()
    seen = []
    for image, (level, *rest) in zip(images, draws, strict=True):
        view = image[None]
        for number in range(LEVELS[int(level * len(LEVELS))]):
            which, *own = rest[4 * number : 4 * number + 4]
            view = every[int(which * len(every))](view, torch.stack(own))
        seen.append(view)
    return torch.cat(seen)


def _operators() -> list[Operator]:
    """Return the 31 operators."""
    from torch.nn.functional import pad
    from torchvision.transforms.functional import rotate

    def rolled(axis: int) -> Operator:
        return lambda image, draws: image.roll(int(draws[0] * image.shape[axis]), axis)

    def turned(angle: float) -> Operator:
        return lambda image, draws: rotate(image, angle)

    def divided(by: int) -> Operator:
        return lambda image, draws: image / by

    def resized(ratio: float) -> Operator:
        view = DiverseInputs(p=1, ratio=ratio)  # the first of its draws says whether: always
        return lambda image, draws: view.transform(image, pad(draws, (1, 0))[None])

    return [
        lambda image, draws: image,
        lambda image, draws: image.flip(2),
        lambda image, draws: image.flip(3),
        rolled(2),
        rolled(3),
        *(turned(angle) for angle in (5, -5, 15, -15, 45, -45, 90, -90, 180)),
        *(divided(by) for by in range(2, 9)),
        *(resized(1 + tenth / 10) for tenth in range(1, 20, 2)),
    ]
