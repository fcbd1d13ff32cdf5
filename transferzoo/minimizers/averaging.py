"""Stochastic weight averaging, of SGD's weights (SWA) and of SAM's (WASAM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.base.options import NonNegative
from transferzoo.minimizers import MINIMIZERS, Averaging, BaseOptimizer, Rule
from transferzoo.minimizers.perturbation import at_the_worst, spherical

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer

Start = Annotated[float, Field(ge=0, lt=1, description="a fraction of the training")]


@MINIMIZERS.register("swa")
@dataclass(frozen=True)
class Swa(Rule):
    """The equal mean of the weights along the last part of the training.

    w̄ ← w̄ + (w − w̄) / (n + 1), from `start` on. The mean is what is measured and stored, after its
    batch-norm statistics have been recomputed by a pass over the training images.

    Attributes:
        start: fraction of the training after which averaging begins, in [0, 1).
        per_epoch: weights taken an epoch, ≥ 1; the paper's 1.
        rate: constant learning rate from then on, as the paper has it; 0 keeps the schedule's.
        base: base optimizer.
    """

    start: Start = 0.75
    per_epoch: Annotated[int, Field(ge=1)] = 1
    rate: NonNegative = 0.0
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 1
    paper: ClassVar[str] = "Izmailov et al. 2018, arXiv 1803.05407"

    @property
    def averaging(self) -> Averaging:
        """When weights are taken."""
        return Averaging(self.start, self.per_epoch, self.rate)

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at the weights."""
        return closure()


@MINIMIZERS.register("wasam")
@dataclass(frozen=True)
class Wasam(Rule):
    """SWA over the weights that SAM finds. SAM's step is unchanged.

    Attributes:
        rho: radius of SAM's ball, ≥ 0.
        start: fraction of the training after which averaging begins, in [0, 1).
        per_epoch: weights taken an epoch, ≥ 1; the paper's 1.
        rate: learning rate from then on; 0, the paper's choice, keeps the schedule's.
        base: base optimizer.
    """

    rho: NonNegative = 0.05
    start: Start = 0.75
    per_epoch: Annotated[int, Field(ge=1)] = 1
    rate: NonNegative = 0.0
    base: BaseOptimizer = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Kaddour et al. 2022, arXiv 2202.00661"

    @property
    def averaging(self) -> Averaging:
        """When weights are taken."""
        return Averaging(self.start, self.per_epoch, self.rate)

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e, as SAM does."""
        rho = self.rho * minimizer.rho_factor
        return at_the_worst(minimizer.weights, closure, (lambda g: spherical(g, rho)) if rho else None)
