"""Views in the frequency domain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, View
from transferzoo.attacks.techniques.oracles import mean
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.attacks.techniques.work_unit import sent
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("ssa")
@dataclass(frozen=True)
class SpectrumSimulation(View):
    """Spectrum simulation (SSA, also SSM): the mean gradient over images with a perturbed spectrum.

        T(x) = DCT⁻¹( DCT(x + ξ) ⊙ M ),  ξ ~ N(0, (sigma·radius)²),  M ~ U(1 − rho, 1 + rho)

    for every value and frequency of every image, new at every step. The transform is the two-dimensional
    DCT-II of each channel; its normalisation cancels. Nothing is clipped.

    The gradient is the one at T(x), taken as if it were the one at x: it is not chained through the DCT, in
    the authors' code as here. Chaining it would multiply the spectrum of the gradient by M.

    Attributes:
        rho: half-width of the mask's interval, 0..1.
        copies: transforms of an image, from 1.
        sigma: standard deviation of the noise over how far one value may go (ε in L∞), at least 0.
    """

    paper: ClassVar[str] = "Long et al. 2022, https://arxiv.org/abs/2207.05382"
    small = MappingProxyType({"rho": 0.25})

    rho: Annotated[float, Field(ge=0, le=1)] = 0.5
    copies: Count = 20
    sigma: NonNegative = 1.0

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        bases = tuple(_cosines(side).to(unit.images) for side in unit.images.shape[-2:])
        return lambda images: mean(oracle(self._view(images, unit, *bases)) for _ in range(self.copies))

    def _view(self, images: Tensor, unit: WorkUnit, rows: Tensor, columns: Tensor) -> Tensor:
        """Return T(x), with the bases (H, H) and (W, W) of the two sides."""
        shape = images.shape[1:]
        noisy = images + self.sigma * unit.radius * sent(unit.normal(*shape), images)
        mask = sent(1 + self.rho * (2 * unit.uniform(*shape) - 1), images)
        return rows.T @ (rows @ noisy @ columns.T * mask) @ columns


def _cosines(side: int) -> Tensor:
    """Return the orthonormal DCT-II as a matrix, float64 (frequencies, pixels)."""
    import torch

    place = torch.arange(side, dtype=torch.float64)
    waves = (torch.pi / side * place[:, None] * (place + 0.5)).cos() * math.sqrt(2 / side)
    return torch.cat([waves[:1] / math.sqrt(2), waves[1:]])
