"""The base optimizers alone: the gradient of the batch, as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.minimizers import MINIMIZERS, Rule

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer


@MINIMIZERS.register("sgd")
@dataclass(frozen=True)
class Sgd(Rule):
    """Stochastic gradient descent with momentum: w ← w − η m, m ← μ m + ∇L(w) + λ w."""

    passes: ClassVar[float] = 1
    paper: ClassVar[str] = "Robbins and Monro 1951; Polyak 1964"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at the weights."""
        return closure()


@MINIMIZERS.register("adamw")
@dataclass(frozen=True)
class AdamW(Rule):
    """Adam with decoupled weight decay."""

    passes: ClassVar[float] = 1
    paper: ClassVar[str] = "Loshchilov and Hutter 2019, arXiv 1711.05101"
    base: ClassVar[str] = "adamw"

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at the weights."""
        return closure()
