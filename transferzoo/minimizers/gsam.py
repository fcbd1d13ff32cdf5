"""GSAM: sharpness-aware minimization that also closes the gap between the perturbed and the plain loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from transferzoo.base.options import NonNegative
from transferzoo.minimizers import MINIMIZERS, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import (
    TINY,
    combined,
    elliptic,
    norm,
    products,
    rejection,
    scaled,
    sizes_of,
    spherical,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer
    from transferzoo.minimizers.perturbation import Vector


@MINIMIZERS.register("gsam")
@dataclass(frozen=True)
class Gsam(Rule):
    """Descend the perturbed loss, and ascend the part of the plain loss's gradient orthogonal to that.

    e = ρ g / ‖g‖ with g = ∇L(w); g_s = ∇L(w + e); g⊥ = g − (⟨g, g_s⟩ / ‖g_s‖²) g_s; the base optimizer uses
    g_s − α g⊥ at w. With α = 0 this is SAM. ρ follows the learning rate, as step 0 of the paper's algorithm
    says, down to half of itself: a training does so unless it says otherwise (`rho_schedule: rate`,
    `rho_floor` = ρ_min / ρ_max).

    The defaults are those of the ResNet-50 in the authors' table 4: ρ_max 0.04, ρ_min 0.02, α 0.01. α goes
    with ρ: the table has 0.4 to 1 for vision transformers, whose ρ_max is 0.6.

    Attributes:
        rho: radius of the ball, ≥ 0; ρ_max where it follows the learning rate.
        alpha: α ≥ 0, weight of the ascent.
        base: base optimizer.
    """

    rho: NonNegative = 0.04
    alpha: NonNegative = 0.01
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    revision: ClassVar[int] = 2
    paper: ClassVar[str] = "Zhuang et al. 2022, arXiv 2203.08065"
    schedule: ClassVar[dict[str, Any]] = {"rho_schedule": "rate", "rho_floor": 0.5}

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use g_s − α g⊥."""
        rho = self.rho * minimizer.rho_factor
        return _surrogate_gap(minimizer, closure, lambda g: spherical(g, rho), self.alpha if rho else None)


@MINIMIZERS.register("agsam")
@dataclass(frozen=True)
class Agsam(Rule):
    """GSAM whose perturbation scales with the weights. The decomposition is GSAM's, with plain norms.

    Two conventions exist, and their radii are not interchangeable:

    * "repository" (github.com/juntang-zhuang/GSAM, `adaptive=True`, the code its published CIFAR results come
      from; the default): e = ρ w² g / ‖ |w| g ‖, as ASAM with T = |w| for every parameter.
    * "paper" (the algorithm box): e = ρ |w| g / ‖g‖.

    The radius is constant unless a training says otherwise, as in the repository's example, from which the
    defaults are; the paper's table has no adaptive row.

    Attributes:
        rho: ρ ≥ 0.
        alpha: α ≥ 0, weight of the ascent.
        convention: "repository" or "paper".
        base: base optimizer.
    """

    rho: NonNegative = 2.0
    alpha: NonNegative = 0.4
    convention: Literal["repository", "paper"] = "repository"
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    revision: ClassVar[int] = 2
    paper: ClassVar[str] = "Zhuang et al. 2022, arXiv 2203.08065"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use g_s − α g⊥."""
        rho = self.rho * minimizer.rho_factor

        def displacement(gradients: Vector) -> Vector:
            sizes: Vector = [*sizes_of(minimizer.weights)]
            if self.convention == "repository":
                return elliptic(gradients, sizes, rho)
            return scaled(products(gradients, sizes), rho / (norm(gradients) + TINY))

        return _surrogate_gap(minimizer, closure, displacement, self.alpha if rho else None)


def _surrogate_gap(
    minimizer: Minimizer, closure: Closure, displacement: Callable[[Vector], Vector], alpha: float | None
) -> Tensor:
    """Leave g_s − α g⊥ in `.grad`; the plain gradient where `alpha` is None."""
    loss = closure()
    if alpha is None:
        return loss
    weights = minimizer.weights
    plain = weights.take()
    with weights.displaced(displacement(plain)):
        closure()
    perturbed = weights.take()
    weights.give(combined(perturbed, rejection(plain, perturbed), -alpha))
    return loss
