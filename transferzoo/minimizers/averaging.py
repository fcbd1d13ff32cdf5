"""Stochastic weight averaging, of SGD's weights (SWA) and of SAM's (WASAM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.base.spec_strings import require
from transferzoo.minimizers import MINIMIZERS, Averaging
from transferzoo.minimizers.perturbation import at_the_worst, require_radius, spherical

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.minimizers import Closure, Minimizer


@MINIMIZERS.register("swa")
@dataclass(frozen=True)
class Swa:
    """The equal mean of the weights along the last part of the training.

    w̄ ← w̄ + (w − w̄) / (n + 1), from `start` on. The mean is what is measured and stored, after its
    batch-norm statistics have been recomputed by a pass over the training images.

    Attributes:
        start: fraction of the training after which averaging begins, in [0, 1).
        per_epoch: weights taken an epoch, ≥ 1; the paper's 1.
        rate: constant learning rate from then on, as the paper has it; 0 keeps the schedule's.
        base: base optimizer.
    """

    start: float = 0.75
    per_epoch: int = 1
    rate: float = 0.0
    base: Literal["sgd", "adamw"] = "sgd"

    passes: ClassVar[float] = 1
    paper: ClassVar[str] = "Izmailov et al. 2018, arXiv 1803.05407"

    def __post_init__(self) -> None:
        _require_averaging("swa", self.averaging)

    @property
    def averaging(self) -> Averaging:
        """When weights are taken."""
        return Averaging(self.start, self.per_epoch, self.rate)

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at the weights."""
        return closure()


@MINIMIZERS.register("wasam")
@dataclass(frozen=True)
class Wasam:
    """SWA over the weights that SAM finds. SAM's step is unchanged.

    Attributes:
        rho: radius of SAM's ball, ≥ 0.
        start: fraction of the training after which averaging begins, in [0, 1).
        per_epoch: weights taken an epoch, ≥ 1; the paper's 1.
        rate: learning rate from then on; 0, the paper's choice, keeps the schedule's.
        base: base optimizer.
    """

    rho: float = 0.05
    start: float = 0.75
    per_epoch: int = 1
    rate: float = 0.0
    base: Literal["sgd", "adamw"] = "sgd"

    passes: ClassVar[float] = 2
    paper: ClassVar[str] = "Kaddour et al. 2022, arXiv 2202.00661"

    def __post_init__(self) -> None:
        require_radius("wasam", self.rho)
        _require_averaging("wasam", self.averaging)

    @property
    def averaging(self) -> Averaging:
        """When weights are taken."""
        return Averaging(self.start, self.per_epoch, self.rate)

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Use the gradient at w + e, as SAM does."""
        rho = self.rho * minimizer.rho_factor
        return at_the_worst(minimizer.weights, closure, (lambda g: spherical(g, rho)) if rho else None)


def _require_averaging(name: str, averaging: Averaging) -> None:
    valid, wanted = 0 <= averaging.start < 1, "a fraction of the training in [0, 1)"
    require(valid, f"start of {name} is out of range", expected=wanted, got=averaging.start)
    valid = averaging.per_epoch >= 1
    require(valid, f"per_epoch of {name} is out of range", expected="at least 1", got=averaging.per_epoch)
    valid = 0 <= averaging.rate < float("inf")
    require(valid, f"rate of {name} is out of range", expected="a number of at least 0", got=averaging.rate)
