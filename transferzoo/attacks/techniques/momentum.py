"""Updates: where an attack starts, and what it remembers from step to step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.attacks.techniques import TECHNIQUES, Stage
from transferzoo.attacks.techniques.checks import require_count, require_length
from transferzoo.attacks.techniques.oracles import mean_normalised
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import Unit


@TECHNIQUES.register("mi")
@dataclass(frozen=True)
class Momentum:
    """Momentum (MI): m ← decay·m + g / mean|g|, and the step follows m.

    The mean is over the pixels of one image; where a gradient is 0 everywhere it adds nothing. Sources differ
    in mean or sum here: MI itself cannot tell, a look-ahead along m can.

    Attributes:
        decay: weight of the past, at least 0; at 0 the attack is BIM.
        normalise: "mean", or "none" to accumulate raw gradients, as the targeted logit attack does.
    """

    stage: ClassVar[Stage] = Stage.MOMENTUM
    cost: ClassVar[int] = 1
    paper: ClassVar[str] = "Dong et al. 2018, https://arxiv.org/abs/1710.06081"

    decay: float = 1.0
    normalise: Literal["mean", "none"] = "mean"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require_length("mi", "decay", self.decay)

    def wrap(self, oracle: Oracle, unit: Unit) -> Oracle:
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
class NesterovMomentum:
    """Nesterov momentum (NI): `mi` with the gradient taken where the momentum leads, at x + a · decay · m.

    m is in multiples of the mean absolute gradient and a is the step size (in L2 its root mean square), so
    the look-ahead is as long as a step. Codes that divide by the sum look 1/d as far, which is nowhere.

    Attributes:
        decay: weight of the past, at least 0; at 0 the attack is BIM.
    """

    stage: ClassVar[Stage] = Stage.MOMENTUM
    cost: ClassVar[int] = 1
    paper: ClassVar[str] = "Lin et al. 2020, https://arxiv.org/abs/1908.06281"

    decay: float = 1.0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require_length("ni", "decay", self.decay)

    def wrap(self, oracle: Oracle, unit: Unit) -> Oracle:
        """See `Wrapper.wrap`."""
        momentum: Tensor | float = 0.0

        def accumulated(images: Tensor) -> Tensor:
            nonlocal momentum
            past = self.decay * momentum
            new = past + mean_normalised(oracle(images + unit.stride * past))
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


@TECHNIQUES.register("gi")
@dataclass(frozen=True)
class WarmStart:
    """Global momentum initialisation (GI): some long steps fill the momentum, then the image starts anew.

    Attributes:
        steps: how many, ≥ 1; they come before the attack's own and cost the same.
        length: how many times as long as the attack's, > 0.
    """

    stage: ClassVar[Stage] = Stage.START
    needs: ClassVar[Stage] = Stage.MOMENTUM
    paper: ClassVar[str] = "Wang et al. 2022, https://arxiv.org/abs/2211.11236"

    steps: int = 5
    length: float = 10.0

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UsageError: one is out of range.
        """
        require_count("gi", "steps", self.steps)
        valid = 0 < self.length <= 1000
        wanted = "above 0, at most 1000"
        require(valid, "option 'length' of 'gi' is out of range", expected=wanted, got=self.length)

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.steps

    def start(self, unit: Unit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """See `Starter.start`."""
        import torch

        delta = torch.zeros_like(unit.images)
        for _ in range(self.steps):
            delta = advance(delta, self.length)
        return torch.zeros_like(unit.images)
