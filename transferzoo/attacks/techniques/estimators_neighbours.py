"""Estimators: the gradient corrected by, or averaged over, points around the image.

Radii are multiples of `unit.radius` (ε in L∞, its root mean square in L2) and lengths along a direction
multiples of `unit.stride`, so that they mean the same at any budget. The points may lie outside [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.attacks.techniques import TECHNIQUES, Estimator
from transferzoo.attacks.techniques.oracles import mean, mean_normalised
from transferzoo.attacks.techniques.ranges import Count, Weight
from transferzoo.base.options import NonNegative, added

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit


@TECHNIQUES.register("vt")
@dataclass(frozen=True)
class VarianceTuning(Estimator):
    """Variance tuning (VT): g + v, where v = mean_i g(x + U(beta)) − g(x) comes from the step before.

    With a look-ahead (`ni`) g is taken at the point looked at. The authors' VNI-FGSM takes the neighbours
    around the image all the same, as the preset `vni` does; TransferAttack takes them around a point that the
    new momentum gives.

    Attributes:
        copies: neighbours, ≥ 1; torchattacks has 5.
        beta: their radius, a multiple of ε, ≥ 0.
        around: where the neighbours lie: around the "point" that g is taken at, or the "image" so far.
    """

    paper: ClassVar[str] = "Wang and He 2021, https://arxiv.org/abs/2103.15571"

    copies: Count = 20
    beta: NonNegative = 1.5
    around: Literal["point", "image"] = added("point")

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 1 + self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        variance: Tensor | float = 0.0

        def tuned(images: Tensor) -> Tensor:
            nonlocal variance
            gradient = oracle(images)
            result = gradient + variance
            centre = unit.current if self.around == "image" else images
            nearby = mean(oracle(centre + unit.noise(self.beta * unit.radius)) for _ in range(self.copies))
            variance = nearby - gradient
            return result

        return tuned


@TECHNIQUES.register("pgn")
@dataclass(frozen=True)
class PenalisedNorm(Estimator):
    """Penalising the gradient norm (PGN): neighbours' gradients, mixed with those a step down from each.

    g = mean_i [(1 − balance) g(q_i) + balance g(q_i − a ĝ(q_i))], q_i = x + U(zeta), a the step size and
    ĝ = g / mean|g|. A view of the composition acts once at either point.

    Attributes:
        copies: neighbours, ≥ 1.
        zeta: their radius, a multiple of ε, ≥ 0.
        balance: weight of the second gradient, 0..1.
    """

    paper: ClassVar[str] = "Ge et al. 2023, https://arxiv.org/abs/2306.05225"

    copies: Count = 20
    zeta: NonNegative = 3.0
    balance: Weight = 0.5

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 2 * self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""

        def one(images: Tensor) -> Tensor:
            place = images + unit.noise(self.zeta * unit.radius)
            first = oracle(place)
            second = oracle(place - unit.stride * mean_normalised(first))
            return (1 - self.balance) * first + self.balance * second

        return lambda images: mean(one(images) for _ in range(self.copies))


@TECHNIQUES.register("gra")
@dataclass(frozen=True)
class GradientRelevance(Estimator):
    """Gradient relevance (GRA): the gradient and the mean of its neighbours', weighed by how far they agree.

    g' = s g + (1 − s) ḡ, with ḡ = mean_i g(x + U(beta)) and s the cosine between the two, image by image;
    where one of them is 0 it is the other. The method's other half, a step that shrinks where the sign flips,
    is `gra-mask`.

    Attributes:
        copies: neighbours, ≥ 1.
        beta: their radius, a multiple of ε, ≥ 0.
    """

    paper: ClassVar[str] = "Zhu et al. 2023, https://openaccess.thecvf.com/content/ICCV2023 (ICCV)"

    copies: Count = 20
    beta: NonNegative = 3.5

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return 1 + self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        import torch

        from transferzoo.attacks.norms import NORMS

        direction = NORMS["l2"].direction

        def weighed(images: Tensor) -> Tensor:
            own = oracle(images)
            around = mean(oracle(images + unit.noise(self.beta * unit.radius)) for _ in range(self.copies))
            cosine = (direction(own) * direction(around)).sum((1, 2, 3), keepdim=True)
            lonely = ~around.flatten(1).any(1)[:, None, None, None]
            return torch.where(lonely, own, cosine * own + (1 - cosine) * around)

        return weighed


@TECHNIQUES.register("mef")
@dataclass(frozen=True)
class FlatNeighbours(Estimator):
    """Maximin expected flatness (MEF): the mean gradient of neighbours that are kept at their worst.

    q_i = x + U(gamma) + xi · ε · p_i; g = mean_i g(q_i); for the next step p_i ← ĝ(q_i) − inner_decay · p_i
    with ĝ = g / mean|g|. The p_i of all copies stay in memory. The paper has it with `mi:decay=0.5`.

    Attributes:
        copies: neighbours, ≥ 1.
        gamma: their radius, a multiple of ε, ≥ 0.
        xi: length along p_i, a multiple of ε, ≥ 0.
        inner_decay: weight of the past of p_i, 0..1.
    """

    paper: ClassVar[str] = "Qiu et al. 2024, https://arxiv.org/abs/2405.16181"

    copies: Count = 20
    gamma: NonNegative = 2.0
    xi: NonNegative = 0.15
    inner_decay: Weight = 0.9

    @property
    def cost(self) -> int:
        """See `Technique.cost`."""
        return self.copies

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """See `Wrapper.wrap`."""
        past: list[Tensor | float] = [0.0] * self.copies

        def one(images: Tensor, number: int) -> Tensor:
            noise = unit.noise(self.gamma * unit.radius)
            gradient = oracle(images + noise + self.xi * unit.radius * past[number])
            past[number] = mean_normalised(gradient) - self.inner_decay * past[number]
            return gradient

        return lambda images: mean(one(images, number) for number in range(self.copies))
