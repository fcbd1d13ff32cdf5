"""Updates: where an attack starts, and what it remembers from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.notation import require
from transferzoo.techniques import TECHNIQUES, Stage
from transferzoo.techniques.oracles import mean_normalised

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from transferzoo.techniques import Oracle
    from transferzoo.techniques.unit import Unit


@TECHNIQUES.register("mi")
@dataclass(frozen=True)
class Momentum:
    """Momentum (MI): m ← decay·m + g / mean|g|, and the step follows m.

    The mean is over the pixels of one image; where a gradient is 0 everywhere it adds nothing. Sources differ
    in mean or sum here: MI itself cannot tell, a look-ahead along m can.

    Attributes:
        decay: weight of the past, at least 0; at 0 the attack is BIM.
    """

    stage: ClassVar[Stage] = Stage.MOMENTUM
    cost: ClassVar[int] = 1
    paper: ClassVar[str] = "Dong et al. 2018, https://arxiv.org/abs/1710.06081"

    decay: float = 1.0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require(
            0 <= self.decay < math.inf, "option 'decay' of 'mi' is out of range", expected="at least 0",
            got=self.decay,
        )  # fmt: skip

    def wrap(self, oracle: Oracle, unit: Unit) -> Oracle:
        """See `Wrapper.wrap`."""
        momentum: Tensor | float = 0.0

        def accumulated(images: Tensor) -> Tensor:
            nonlocal momentum
            new = self.decay * momentum + mean_normalised(oracle(images))
            momentum = new
            return new

        return accumulated


@TECHNIQUES.register("rs")
@dataclass(frozen=True)
class RandomStart:
    """Random start (RS): the first perturbation is uniform in the ball, drawn once; with BIM this is PGD.

    L∞: δ ~ U(−ε, ε) for every value. L2: δ = ε·U^(1/d)·n/‖n‖ with n normal in all d values of the image.
    The engine then moves the image into [0, 1].
    """

    stage: ClassVar[Stage] = Stage.START
    cost: ClassVar[int] = 0
    paper: ClassVar[str] = "Madry et al. 2018, https://arxiv.org/abs/1706.06083"

    def start(self, unit: Unit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """See `Starter.start`."""
        shape = unit.images.shape[1:]
        if unit.norm == "linf":
            delta = unit.epsilon * (2 * unit.uniform(*shape) - 1)
        else:
            normal = unit.normal(*shape)
            length = normal.square().sum((1, 2, 3), keepdim=True).sqrt()
            radius = unit.epsilon * unit.uniform(1, 1, 1) ** (1 / shape.numel())
            delta = radius * normal / length
        return delta.to(unit.images)
