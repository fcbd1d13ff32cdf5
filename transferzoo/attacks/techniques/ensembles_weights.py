"""Ensembles that learn during the attack how much each surrogate counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from transferzoo.attacks.techniques import TECHNIQUES, Ensemble
from transferzoo.attacks.techniques.losses import require_never_negative
from transferzoo.attacks.techniques.oracles import mean_normalised
from transferzoo.attacks.techniques.ranges import Few
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Logits, Objective, Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit
    from transferzoo.base.budget import Budget

SHRINK = 2e-3
"""The authors' weight decay of the models' weights."""


@dataclass(eq=False)
class _Weighed:
    """What is maximised of one model, whose logits are multiplied by a weight of each image's own, (N,)."""

    model: Logits
    value: Objective
    weight: Tensor

    def logits(self, images: Tensor) -> Tensor:
        found = self.model(images)
        return found * self.weight.view(-1, *[1] * (found.ndim - 1))

    def __call__(self, images: Tensor) -> Tensor:
        return self.value(self.logits(images))


@TECHNIQUES.register("smer")
@dataclass(frozen=True)
class ModelReweighing(Ensemble):
    """Stochastic mini-batch ensemble with reweighing (SMER): an inner walk over models whose weights learn.

    With weights w_k, 1 at first, and J_k of the logits w_k z_k; from x₀ = x and G = 0, for every model k of
    `rounds` random orders in turn:

        g = ∇J_k(x_m);  w ← w − rate (∇_w L + 0.002 w), L = −log J(mean_k w_k z_k(x_m));
        G ← decay·G + g / mean|g|;  x_{m+1} = x_m + a step along G

    inside ball and box, so that the loss of all models together grows. The result is G; the outer momentum is
    `mi`. The weights run on from step to step; learning them takes forward passes of all models, and no
    gradient of theirs. The order is the same for every image. The logarithm needs a loss that is not
    negative: `ce`, untargeted.

    In the published code the weights are those of the batch and run on to the next one, the models' weights
    gather gradients that nobody uses, and a targeted attack walks away from its target.

    Attributes:
        rounds: orders of all models in a step, 1..16.
        rate: learning rate of the weights, at least 0.
        decay: weight of the past in the inner walk, at least 0.
    """

    paper: ClassVar[str] = "Tang et al. 2024, https://openaccess.thecvf.com/content/CVPR2024 (CVPR)"

    rounds: Few = 4
    rate: NonNegative = 0.02
    decay: NonNegative = 1.0

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """See `Technique.check`: the logarithm of a loss needs it above 0."""
        require_never_negative(self.name, composition, targeted=targeted)

    def evaluations(self, models: int) -> int:
        """See `Ensemble.evaluations`."""
        return self.rounds * models

    def parts(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> list[Objective]:
        """See `Ensemble.parts`."""
        import torch

        return [_Weighed(model, value, torch.ones(len(unit.images)).to(unit.images)) for model in models]

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """See `Ensemble.combine`."""
        import torch

        members = cast("Sequence[_Weighed]", objectives)

        def joined(images: Tensor) -> Tensor:
            total, place = torch.zeros_like(images), images
            orders = [torch.randperm(len(oracles), generator=unit.shared) for _ in range(self.rounds)]
            for k in torch.cat(orders).tolist():
                gradient = oracles[k](place)
                self._learn(members, place)
                total = self.decay * total + mean_normalised(gradient)
                place = unit.images + unit.inside(place - unit.images + unit.along(total))
            return total

        return joined

    def _learn(self, members: Sequence[_Weighed], images: Tensor) -> None:
        """Take one step of the models' weights."""
        import torch

        with torch.no_grad():
            logits = [member.model(images) for member in members]
        weights = [member.weight.detach().requires_grad_() for member in members]
        with torch.enable_grad():
            scaled = [z * w.view(-1, *[1] * (z.ndim - 1)) for z, w in zip(logits, weights, strict=True)]
            loss = members[0].value(torch.stack(scaled).mean(0))
            slopes = torch.autograd.grad(-loss.clamp_min(1e-12).log().sum(), weights)
        for member, weight, slope in zip(members, weights, slopes, strict=True):
            member.weight = (weight - self.rate * (slope + SHRINK * weight)).detach()
