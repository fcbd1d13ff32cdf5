"""Sharpness-aware minimization."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.minimizers import MINIMIZERS
from transferzoo.minimizers.neighbourhood import displaced, global_norm
from transferzoo.notation import require

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer


@MINIMIZERS.register("sam")
@dataclass(frozen=True)
class Sam:
    """Minimise the worst loss in a ball around the weights, to first order.

    e = ρ g / ‖g‖₂ with g = ∇L(w) and the norm over all parameters together; the base optimizer then uses
    ∇L(w + e), taken on the same batch, at w. Weight decay is the base optimizer's and stays out of e. Both
    passes normalise with batch statistics; running averages count the first only. No gradient, no e.

    Attributes:
        rho: radius of the ball, ≥ 0; 0 is the base optimizer. "l-SAM" is a large one.
        base: base optimizer.
    """

    rho: float = 0.05
    base: Literal["sgd", "adamw"] = "sgd"

    passes: ClassVar[int] = 2
    paper: ClassVar[str] = "Foret et al. 2021, arXiv 2010.01412"

    def __post_init__(self) -> None:
        valid = math.isfinite(self.rho) and self.rho >= 0
        require(valid, "rho of sam is out of range", expected="a number of at least 0", got=self.rho)

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e."""
        loss = closure()
        if self.rho == 0:
            return loss
        gradients = [p.grad for p in minimizer.model.parameters()]
        scale = self.rho / (global_norm(gradients) + 1e-12)
        with displaced(minimizer.model, [None if g is None else g * scale for g in gradients]):
            closure()
        return loss
