"""SAM; of normalisation layers alone (SAM-ON); and in an ellipsoid that scales with the weights (ASAM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.base.errors import UsageError
from transferzoo.base.options import NonNegative
from transferzoo.minimizers import MINIMIZERS, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import (
    at_the_worst,
    elliptic,
    offset,
    sizes_of,
    spherical,
)

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer
    from transferzoo.minimizers.perturbation import Vector, Weights


@MINIMIZERS.register("sam")
@dataclass(frozen=True)
class Sam(Rule):
    """Minimise the worst loss in a ball around the weights, to first order.

    e = ρ g / ‖g‖₂ with g = ∇L(w); the base optimizer then uses ∇L(w + e), taken on the same batch, at w.

    Attributes:
        rho: radius of the ball, ≥ 0; 0 is the base optimizer. "l-SAM" is a large one.
        base: base optimizer.
    """

    rho: NonNegative = 0.05
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Foret et al. 2021, arXiv 2010.01412"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e."""
        rho = self.rho * minimizer.rho_factor
        return at_the_worst(minimizer.weights, closure, (lambda g: spherical(g, rho)) if rho else None)


@MINIMIZERS.register("sam-on")
@dataclass(frozen=True)
class SamOn(Rule):
    """SAM that perturbs the affine parameters of normalisation layers and nothing else.

    e = ρ g_N / ‖g_N‖₂, where g_N is ∇L(w) at those parameters, and 0 at all others. They are told by the type
    of their layer (see `perturbation.is_normalisation`); the authors' code goes by "norm" or "bn" in a
    parameter's name.

    Attributes:
        rho: radius of the ball, ≥ 0; 0 is the base optimizer. 0.5 is the default of the authors' code
            (github.com/mueller-mp/SAM-ON); few weights move, so it is larger than SAM's.
        base: base optimizer.
    """

    rho: NonNegative = 0.5
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Müller et al. 2023, arXiv 2306.04226"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e.

        Raises:
            UsageError: the model has no normalisation layer with parameters.
        """
        rho, weights = self.rho * minimizer.rho_factor, minimizer.weights

        def displacement(gradients: Vector) -> Vector:
            if not any(weights.normalising):
                raise UsageError(
                    "sam-on has nothing to perturb",
                    expected="a model with normalisation layers",
                    hint="train with another minimizer or architecture",
                )
            pairs = zip(gradients, weights.normalising, strict=True)
            return spherical([gradient if chosen else None for gradient, chosen in pairs], rho)

        return at_the_worst(weights, closure, displacement if rho else None)


@MINIMIZERS.register("asam")
@dataclass(frozen=True)
class Asam(Rule):
    """SAM in an ellipsoid whose axes are as long as the weights: rescaling a layer does not change it.

    e = ρ T² g / ‖T g‖₂, so that ‖T⁻¹ e‖ = ρ, with a diagonal T. There are two conventions, and their radii
    are not interchangeable (the same ρ moves the weights several times farther in one of them):

    * "official" (github.com/SamsungLabs/ASAM, the paper's authors; the default, since the paper's radii
      belong to it): T = |w| + η for parameters named "weight", 1 for biases.
    * "all" (github.com/davda54/sam, `adaptive=True`): T = |w| for every parameter; η is not used.

    Attributes:
        rho: ρ ≥ 0; the paper's 0.5 for CIFAR-10, 1 for CIFAR-100.
        eta: η ≥ 0, keeps weights near 0 movable.
        convention: "official" or "all".
        base: base optimizer.
    """

    rho: NonNegative = 0.5
    eta: NonNegative = 0.01
    convention: Literal["official", "all"] = "official"
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Kwon et al. 2021, arXiv 2102.11600"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e."""
        rho, weights = self.rho * minimizer.rho_factor, minimizer.weights

        def displacement(gradients: Vector) -> Vector:
            return elliptic(gradients, self._scales(weights), rho)

        return at_the_worst(weights, closure, displacement if rho else None)

    def _scales(self, weights: Weights) -> Vector:
        """Return the diagonal of T, None where it is 1."""
        sizes = sizes_of(weights)
        if self.convention == "all":
            return [*sizes]
        named = zip(weights.names, offset(sizes, self.eta), strict=True)
        return [size if "weight" in name else None for name, size in named]
