"""Estimators: the gradient at points that earlier gradients lead to.

Radii are multiples of `unit.radius` (ε in L∞, its root mean square in L2) and lengths along a direction
multiples of `unit.stride`, so that they mean the same at any budget. The points may lie outside [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Estimator
from transferzoo.attacks.techniques.oracles import mean, mean_normalised
from transferzoo.attacks.techniques.ranges import Count
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("emi")
@dataclass(frozen=True)
class EnhancedMomentum(Estimator):
    """Enhanced momentum (EMI): the mean gradient at points along the previous direction.

    g = mean_i ∇J(x + c_i a ḡ), with c_i evenly from −reach to reach, a the step size and ḡ the previous g
    over its mean absolute value (0 before the first step).

    Attributes:
        copies: points, ≥ 1; of an odd number one lies at the image itself.
        reach: the farthest, in steps, ≥ 0.
    """

    paper: ClassVar[str] = "Wang et al. 2021, https://arxiv.org/abs/2103.10609"

    copies: Count = 11
    reach: NonNegative = 7.0

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        places = [0.0]
        if self.copies > 1:
            places = [self.reach * (2 * i / (self.copies - 1) - 1) for i in range(self.copies)]
        return _ahead(oracle, places, unit)


@TECHNIQUES.register("pi-look")
@dataclass(frozen=True)
class PreviousGradient(Estimator):
    """Look-ahead along the previous gradient (PI): g(x + reach · a ḡ), ḡ the previous g over its mean |g|.

    It stands in the paper of EMI, which averages several such points. Another method, patch-wise iteration,
    is called PI too: `pi-patch`.

    Attributes:
        reach: how far, in steps, ≥ 0.
    """

    paper: ClassVar[str] = "Wang et al. 2021, https://arxiv.org/abs/2103.10609"

    reach: NonNegative = 1.0

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        return _ahead(oracle, [self.reach], unit)


def _ahead(oracle: Oracle, places: list[float], unit: WorkUnit) -> Oracle:
    """Return the mean gradient at places along the previous one, in steps."""
    previous: Tensor | float = 0.0

    def averaged(images: Tensor) -> Tensor:
        nonlocal previous
        gradient = mean(oracle(images + place * unit.stride * previous) for place in places)
        previous = mean_normalised(gradient)
        return gradient

    return averaged


@TECHNIQUES.register("rap")
@dataclass(frozen=True)
class ReverseAdversarial(Estimator):
    """Reverse adversarial perturbation (RAP): the gradient at the worst point for the attacker nearby.

    n starts uniform in the box of the radius and takes `inner` steps of radius / inner against the sign of
    the gradient, x + n inside [0, 1]; then g(x + n). The box is L∞ whatever the norm of the attack. The paper
    attacks for 400 steps and starts after 100 of them (`after`), with 2/255 as the inner step.

    Attributes:
        inner: steps, ≥ 1.
        radius: of the box, a multiple of ε, ≥ 0.
        after: steps of the attack before it begins, ≥ 0.
    """

    paper: ClassVar[str] = "Qin et al. 2022, https://arxiv.org/abs/2210.05968"

    inner: Count = 8
    radius: NonNegative = 1.0
    after: Annotated[int, Field(ge=0, description="a step")] = 0

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 1 + self.inner

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        reach = self.radius * unit.radius

        def at_the_worst(images: Tensor) -> Tensor:
            place = (images + unit.noise(reach)).clamp(0, 1)
            for _ in range(self.inner):
                moved = place - reach / self.inner * oracle(place).sign()
                place = (images + (moved - images).clamp(-reach, reach)).clamp(0, 1)
            return oracle(place)

        return at_the_worst
