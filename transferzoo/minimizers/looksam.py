"""LookSAM: the second pass of SAM only now and then, its direction reused in between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.base.options import NonNegative
from transferzoo.minimizers import MINIMIZERS, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import (
    combined,
    norm,
    rejection,
    spherical,
)

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer


@MINIMIZERS.register("looksam")
@dataclass(frozen=True)
class LookSam(Rule):
    """SAM at every k-th step; in between its change of direction is added to the plain gradient.

    At steps 0, k, 2k, …: e = ρ g / ‖g‖, g_s = ∇L(w + e) is used as in SAM, and
    g_v = g_s − (⟨g, g_s⟩ / ‖g‖²) g is remembered. At the other steps, with one pass: g + α (‖g‖ / ‖g_v‖) g_v.
    Norms and products are over all parameters together, as the equations say (some ports take them per
    tensor). g_v is averaged over micro-batches and processes.

    Attributes:
        rho: radius of the ball, ≥ 0; 0 is the base optimizer.
        k: steps from one second pass to the next, ≥ 1; 1 is SAM.
        alpha: α ≥ 0, weight of the remembered direction.
        base: base optimizer.
    """

    rho: NonNegative = 0.1
    k: Annotated[int, Field(ge=1)] = 5
    alpha: NonNegative = 0.7
    base: BaseOptimizer = "sgd"

    revision: ClassVar[int] = 2
    paper: ClassVar[str] = "Liu et al. 2022, arXiv 2203.02714"

    @property
    def passes(self) -> float:
        """One, and a second at every k-th step."""
        return 1 + 1 / self.k

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use g_s, or g with the remembered direction."""
        import torch

        loss = closure()
        rho = self.rho * minimizer.rho_factor
        if rho == 0:
            return loss
        weights = minimizer.weights
        if minimizer.steps % self.k == 0 or minimizer.memory is None:
            minimizer.memory = None
            plain = weights.take()
            with weights.displaced(spherical(plain, rho)):
                closure()
            perturbed = weights.take()
            minimizer.remember(rejection(perturbed, plain))
            weights.give(perturbed)
            return loss
        plain, length = weights.take(), norm(minimizer.memory)
        share = torch.where(length > 0, self.alpha * norm(plain) / length, length)  # a GPU need not tell
        weights.give(combined(plain, minimizer.memory, share))
        return loss
