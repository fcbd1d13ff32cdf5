"""F-SAM: a perturbation along the noise of the batch, without the direction that all batches share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.base.options import NonNegative
from transferzoo.minimizers import MINIMIZERS, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import at_the_worst, combined, scaled, spherical

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer
    from transferzoo.minimizers.perturbation import Vector


@MINIMIZERS.register("f-sam")
@dataclass(frozen=True)
class FSam(Rule):
    """SAM that climbs along the gradient less a running mean of gradients, an estimate of the whole data's.

    d = g − σ m with g = ∇L(w) and the mean m of the steps before; e = ρ d / ‖d‖; m ← λ m + (1 − λ) g. The
    base optimizer uses ∇L(w + e) at w. In the first step d = g, and g becomes m. m is averaged over
    micro-batches and processes.

    This is the authors' code (github.com/nblt/F-SAM), with its class's defaults.

    Attributes:
        rho: radius of the ball, ≥ 0; 0 is the base optimizer.
        sigma: σ ≥ 0, how much of the mean is taken off; 0 is SAM.
        lmbda: λ in [0, 1), how slowly the mean follows; the authors train ResNet-18 on CIFAR-100 with 0.6.
        base: base optimizer.
    """

    rho: NonNegative = 0.05
    sigma: NonNegative = 1.0
    lmbda: Annotated[float, Field(ge=0, lt=1)] = 0.9
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Li et al. 2024, arXiv 2403.12350"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e."""
        rho = self.rho * minimizer.rho_factor

        def displacement(gradients: Vector) -> Vector:
            mean = minimizer.memory
            if mean is None:
                minimizer.remember(scaled(gradients, 1.0))
                return spherical(gradients, rho)
            minimizer.remember(combined(scaled(mean, self.lmbda), gradients, 1 - self.lmbda))
            return spherical(combined(gradients, mean, -self.sigma), rho)

        return at_the_worst(minimizer.weights, closure, displacement if rho else None)
