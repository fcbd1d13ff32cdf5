"""Estimators that weigh gradients by a path from a coarser image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Estimator
from transferzoo.attacks.techniques.oracles import mean
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.options import added

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("mumodig")
@dataclass(frozen=True)
class MonotonicIntegration(Estimator):
    """Multiple monotonic integrated gradients (MuMoDIG): gradients weighted by paths from coarser images.

    (1/copies) Σ_i ∇J(b_i + position·(z − b_i)) ⊙ (z − b_i), where b_i is z quantised downwards: each
    channel's range [min, max] falls into `regions` by uniform random bounds, and every value becomes the
    lower end of its region, so that no path has a negative part.

    A value at its channel's minimum has no path, and as published its gradient counts nothing: it never
    changes, nor does a channel of one colour, nor the black half of an image of Fashion-MNIST. Here no
    gradient weighs less than `floor`; with floor=0 the technique is as published.

    The paper's attack adds one such path of z to six of random transforms T(z): `di` or other views take that
    part, and every path draws anew: `mumodig+mi+di:p=0.86`. A view is inside the gradient, ∇_z J(T(b + …)),
    so gradient and path are both in the coordinates of z; TransferAttack quantises T(z), and multiplies the
    gradient in the coordinates of z by a path in those of T(z), which fit only if T moves nothing. Write it
    first among estimators: one written before it would search around points of the path.

    Attributes:
        copies: paths a step, at least 1.
        regions: regions of a channel, at least 2.
        position: where on the path the gradient is taken, 0 (b) to 1 (z).
        floor: the least weight of a gradient, in lengths of a path: 0 to 1, black to white.
    """

    revision: ClassVar[int] = 2
    paper: ClassVar[str] = "Ren et al. 2025, https://arxiv.org/abs/2412.18844"

    copies: Count = 7
    regions: Annotated[int, Field(ge=2, le=256)] = 2
    position: Annotated[float, Field(ge=0, le=1, description="a place on the path")] = 0.65
    floor: Annotated[float, Field(ge=0, le=1)] = added(0.01)

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""

        def integrated(images: Tensor) -> Tensor:
            path = images - self.baseline(images, unit.uniform(images.shape[1], self.regions - 1))
            return oracle(images - (1 - self.position) * path) * path.clamp(min=self.floor)

        return lambda images: mean(integrated(images) for _ in range(self.copies))

    def baseline(self, images: Tensor, draws: Tensor) -> Tensor:
        """Return b, (N, C, H, W).

        Args:
            images: z, (N, C, H, W).
            draws: the inner bounds, as parts of a channel's range, in [0, 1), (N, C, regions − 1).
        """
        import torch

        lowest, highest = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
        baseline = lowest.expand_as(images)
        for draw in sent(draws, images).unbind(2):
            bound = lowest + draw[..., None, None] * (highest - lowest)
            baseline = torch.where(images >= bound, torch.maximum(baseline, bound), baseline)
        return baseline
