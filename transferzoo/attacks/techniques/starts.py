"""Starts: the perturbation before the first step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES, Starter
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.work_unit import sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("rs")
@dataclass(frozen=True)
class RandomStart(Starter):
    """Random start (RS): the first perturbation is uniform in the ball, drawn once; with BIM this is PGD.

    L∞: δ ~ U(−ε, ε) for every value. L2: δ = ε·U^(1/d)·n/‖n‖ with n normal in all d values of the image.
    The engine then moves the image into [0, 1].
    """

    paper: ClassVar[str] = "Madry et al. 2018, https://arxiv.org/abs/1706.06083"

    def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """See `Starter.start`."""
        shape = unit.images.shape[1:]
        if unit.norm == "linf":
            delta = unit.epsilon * (2 * unit.uniform(*shape) - 1)
        else:
            normal = unit.normal(*shape)
            length = normal.square().sum((1, 2, 3), keepdim=True).sqrt()
            radius = unit.epsilon * unit.uniform(1, 1, 1) ** (1 / shape.numel())
            delta = radius * normal / length
        return sent(delta, unit.images)


@TECHNIQUES.register("gi")
@dataclass(frozen=True)
class WarmStart(Starter):
    """Global momentum initialisation (GI): some long steps fill the momentum, then the image starts anew.

    Attributes:
        steps: how many, ≥ 1; they come before the attack's own and cost the same.
        length: how many times as long as the attack's, > 0.
    """

    needs: ClassVar[Stage] = Stage.MOMENTUM
    paper: ClassVar[str] = "Wang et al. 2022, https://arxiv.org/abs/2211.11236"

    steps: Count = 5
    length: Annotated[float, Field(gt=0, le=1000)] = 10.0

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.steps

    def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """See `Starter.start`."""
        import torch

        delta = torch.zeros_like(unit.images)
        for _ in range(self.steps):
            delta = advance(delta, self.length)
        return torch.zeros_like(unit.images)
