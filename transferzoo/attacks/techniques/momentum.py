"""Momentum: what an attack accumulates from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.attacks.techniques import TECHNIQUES, Accumulator
from transferzoo.attacks.techniques.oracles import mean_normalised
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("mi")
@dataclass(frozen=True)
class Momentum(Accumulator):
    """Momentum (MI): m ← decay·m + g / mean|g|, and the step follows m.

    The mean is over the pixels of one image; where a gradient is 0 everywhere it adds nothing. Sources differ
    in mean or sum here: MI itself cannot tell, a look-ahead along m can.

    Attributes:
        decay: weight of the past, at least 0; at 0 the attack is BIM.
        normalise: "mean", or "none" to accumulate raw gradients, as the targeted logit attack does.
    """

    paper: ClassVar[str] = "Dong et al. 2018, https://arxiv.org/abs/1710.06081"

    decay: NonNegative = 1.0
    normalise: Literal["mean", "none"] = "mean"

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        momentum: Tensor | float = 0.0
        plain = self.normalise == "none"

        def accumulated(images: Tensor) -> Tensor:
            nonlocal momentum
            gradient = oracle(images)
            new = self.decay * momentum + (gradient if plain else mean_normalised(gradient))
            momentum = new
            return new

        return accumulated


@TECHNIQUES.register("ni")
@dataclass(frozen=True)
class NesterovMomentum(Accumulator):
    """Nesterov momentum (NI): `mi` with the gradient taken where the momentum leads, at x + a · decay · m.

    m is in multiples of the mean absolute gradient and a is the step size (in L2 its root mean square), so
    the look-ahead is as long as a step. Codes that divide by the sum look 1/d as far, which is nowhere.

    Attributes:
        decay: weight of the past, at least 0; at 0 the attack is BIM.
    """

    paper: ClassVar[str] = "Lin et al. 2020, https://arxiv.org/abs/1908.06281"

    decay: NonNegative = 1.0

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        momentum: Tensor | float = 0.0

        def accumulated(images: Tensor) -> Tensor:
            nonlocal momentum
            past = self.decay * momentum
            new = past + mean_normalised(oracle(images + unit.stride * past))
            momentum = new
            return new

        return accumulated
