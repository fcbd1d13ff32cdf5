"""LE-SAM: a perturbation that raises the loss by a given amount, however far that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from transferzoo.base.options import NonNegative, Positive
from transferzoo.minimizers import MINIMIZERS, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import TINY, at_the_worst, norm, scaled

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer
    from transferzoo.minimizers.perturbation import Vector


@MINIMIZERS.register("le-sam")
@dataclass(frozen=True)
class LeSam(Rule):
    """SAM whose radius follows the gradient, so that the loss rises by σ to first order.

    ρ = min(σ / ‖g‖, ρ_max) with g = ∇L(w), and e = ρ g / ‖g‖; the base optimizer uses ∇L(w + e) at w. The
    authors let σ rise over the first twentieth of the training and fall to zero by a cosine over the last
    fifth, as a training does here unless it says otherwise (`rho_schedule: late`, `rho_warmup: 0.05`, which
    scale σ).

    Attributes:
        sigma: σ ≥ 0, by how much the loss rises; 0 is the base optimizer.
        rho_max: largest radius, > 0. The authors' code has σ 0.35 and ρ_max 0.3
            (github.com/smithgun2005/LE-SAM-ICML2026), its README's example ρ_max 999, which is none.
        base: base optimizer.
    """

    sigma: NonNegative = 0.35
    rho_max: Positive = 0.3
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Wang et al. 2026, arXiv 2605.10183"
    schedule: ClassVar[dict[str, Any]] = {"rho_schedule": "late", "rho_warmup": 0.05}

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e."""
        sigma = self.sigma * minimizer.rho_factor

        def displacement(gradients: Vector) -> Vector:
            length = norm(gradients) + TINY
            radius = (sigma / length).clamp(max=self.rho_max)
            return scaled(gradients, radius / length)

        return at_the_worst(minimizer.weights, closure, displacement if sigma else None)
