"""Filters: the gradient treated as an image."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Filter
from transferzoo.base.options import ODD

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("ti")
@dataclass(frozen=True)
class TranslationInvariance(Filter):
    """Translation invariance (TI): the gradient smoothed by a Gaussian kernel, g ← W ∗ g.

    To first order this is the mean gradient over shifted images. W is the outer product of w with itself,
    w_i ∝ exp(−x_i²/2) at `kernel` points x_i evenly from −sigma to sigma, Σ W = 1; outside the image the
    gradient counts as 0. The attack turns from fine texture to coarse shape: stronger on robust targets,
    often weaker on ordinary ones. The default 15 is meant for 299 pixels; small images have 7.

    Attributes:
        kernel: side of W in pixels, odd; it may exceed the image.
        sigma: where W ends, in standard deviations of the Gaussian.
    """

    paper: ClassVar[str] = "Dong et al. 2019, https://arxiv.org/abs/1904.02884"
    small = MappingProxyType({"kernel": 7})

    kernel: Annotated[int, Field(ge=1, description="an odd number of pixels"), ODD] = 15
    sigma: Annotated[float, Field(gt=0, le=10)] = 3.0

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        weights = self.weights().to(unit.images)
        return lambda images: _smooth(oracle(images), weights)

    def weights(self) -> Tensor:
        """Return w, which sums to 1, float64 (kernel,)."""
        import torch

        points = torch.linspace(-self.sigma, self.sigma, self.kernel, dtype=torch.float64)
        density = (-points.square() / 2).exp()
        return density / density.sum()


def _smooth(gradient: Tensor, weights: Tensor) -> Tensor:
    """Convolve every channel with w along columns, then rows: W ∗ g, since W = w wᵀ."""
    from torch.nn.functional import conv2d

    channels, side = gradient.shape[1], len(weights)
    down = weights.view(1, 1, side, 1).expand(channels, -1, -1, -1)
    along = weights.view(1, 1, 1, side).expand(channels, -1, -1, -1)
    columns = conv2d(gradient, down, padding=(side // 2, 0), groups=channels)
    return conv2d(columns, along, padding=(0, side // 2), groups=channels)
