"""Steps: how far each value goes along the direction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Stepper
from transferzoo.base.options import ODD
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit
    from transferzoo.base.budget import Budget


@TECHNIQUES.register("gra-mask")
@dataclass(frozen=True)
class ShrinkingMask(Stepper):
    """The step of gradient relevance (GRA): it shrinks at values whose direction flips its sign.

    M = 1/eta at first; M ← M where the sign of the direction is that of the step before (0 before the first),
    else eta · M; the step is M times as long. So the first step has its usual length.

    Attributes:
        eta: factor at a flip, above 0, at most 1; 1 is the plain step.
    """

    paper: ClassVar[str] = "Zhu et al. 2023, https://openaccess.thecvf.com/content/ICCV2023 (ICCV)"

    eta: Annotated[float, Field(gt=0, le=1, description="a factor")] = 0.94

    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """See `Stepper.stride`."""
        import torch

        mask = torch.full_like(unit.images, 1 / self.eta)
        last = torch.zeros_like(unit.images)

        def shrinking(ascent: Tensor) -> Tensor:
            nonlocal mask, last
            sign = ascent.sign()
            mask = torch.where(sign == last, mask, mask * self.eta)
            last = sign
            return mask * stride(ascent)

        return shrinking


MOST_DIGITS = 300
"""Digits that the length of a step may have."""


@TECHNIQUES.register("geo")
@dataclass(frozen=True)
class GeometricSteps(Stepper):
    """Steps in geometric progression: step t is c · ratioᵗ times as long, t = 0, …, T − 1.

    c keeps the length of all steps together: Σ c · ratioᵗ = T.

    Attributes:
        ratio: above 0; below 1 the steps shrink.
    """

    paper: ClassVar[str] = (
        "a schedule, without a paper: https://github.com/Trustworthy-AI-Group/TransferAttack"
    )

    ratio: Annotated[float, Field(gt=0, le=10)] = 0.9

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """See `Technique.check`: the last step is a number."""
        require(
            budget.steps * math.log10(self.ratio) < MOST_DIGITS,
            "the last steps of 'geo' overflow",
            expected="fewer steps, or a ratio nearer to 1",
            got=f"{budget.steps} steps, ratio={self.ratio:g}",
        )

    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """See `Stepper.stride`."""
        return _scheduled(stride, unit, [self.ratio**step for step in range(unit.steps)])


@TECHNIQUES.register("cos")
@dataclass(frozen=True)
class CosineSteps(Stepper):
    """Steps that shrink along half a cosine: step t is 1 + cos(π (t + ½) / T) times as long, t = 0, …, T − 1.

    The length of all steps together stays what it was.
    """

    paper: ClassVar[str] = "Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983, for learning rates"

    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """See `Stepper.stride`."""
        angles = (math.pi * (step + 0.5) / unit.steps for step in range(unit.steps))
        return _scheduled(stride, unit, [1 + math.cos(angle) for angle in angles])


def _scheduled(stride: Oracle, unit: WorkUnit, factors: list[float]) -> Oracle:
    """Return steps that are longer by factors, scaled to a mean of 1."""
    scale = len(factors) / sum(factors)
    return lambda ascent: scale * factors[unit.done] * stride(ascent)


@TECHNIQUES.register("pi-patch")
@dataclass(frozen=True)
class PatchWise(Stepper):
    """Patch-wise iteration (PI-FGSM): long steps whose excess over ε goes to the neighbouring pixels.

    With s a step `beta` times as long: A ← A + s; C = (|A| − ε)₊ sign A; P = gamma · sign(W ∗ C); A ← A + P,
    and the perturbation moves by s + P. W is the mean over the other pixels of a square. L∞ only. Where
    |W ∗ C| ≤ ε/1000 P is 0: neighbours often cancel, and their rounding has no direction. After the first
    steps of `gi` A is what they left, though the image starts anew. The paper has no momentum; its other
    method of this kind, PI++, is not built.

    Attributes:
        beta: how many times as long a step is, ≥ 1.
        gamma: length of P, a multiple of ε, ≥ 0; torchattacks has beta steps instead.
        kernel: side of the square in pixels, odd, ≥ 3.
    """

    paper: ClassVar[str] = "Gao et al. 2020, https://arxiv.org/abs/2007.06765"

    beta: Annotated[float, Field(ge=1, le=1000)] = 10.0
    gamma: Annotated[float, Field(ge=0, le=1000)] = 1.0
    kernel: Annotated[int, Field(ge=3, le=99, description="an odd number of pixels"), ODD] = 3

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """See `Technique.check`: the ball is that of L∞."""
        require(budget.norm == "linf", "'pi-patch' needs another norm", expected="linf", got=budget.norm)

    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """See `Stepper.stride`."""
        import torch
        from torch.nn.functional import conv2d

        channels = unit.images.shape[1]
        square = torch.full((channels, 1, self.kernel, self.kernel), 1 / (self.kernel**2 - 1)).to(unit.images)
        square[:, :, self.kernel // 2, self.kernel // 2] = 0
        amplified = torch.zeros_like(unit.images)

        def patched(ascent: Tensor) -> Tensor:
            nonlocal amplified
            step = self.beta * stride(ascent)
            amplified = amplified + step
            excess = (amplified.abs() - unit.epsilon).clamp_min(0) * amplified.sign()
            spread = conv2d(excess, square, padding=self.kernel // 2, groups=channels)
            clear = spread.abs() > unit.epsilon / 1000
            projected = self.gamma * unit.epsilon * spread.sign().where(clear, 0)
            amplified = amplified + projected
            return step + projected

        return patched
