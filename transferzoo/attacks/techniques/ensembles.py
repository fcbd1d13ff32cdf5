"""Ensembles: one gradient made of those of several surrogates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from transferzoo.attacks.techniques import TECHNIQUES, Ensemble
from transferzoo.attacks.techniques.losses import require_never_negative
from transferzoo.attacks.techniques.oracles import mean, mean_normalised
from transferzoo.base.options import NonNegative, Positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Objective, Oracle
    from transferzoo.attacks.techniques.work_unit import WorkUnit
    from transferzoo.base.budget import Budget

TINY = 1e-12


@TECHNIQUES.register("svre")
@dataclass(frozen=True)
class VarianceReduced(Ensemble):
    """Stochastic variance reduced ensemble (SVRE): an inner walk over random models, one a step.

    With g_k the gradient of model k and ḡ(x) = mean_k g_k(x), from x₀ = x and G = 0, for m < M, k at random:

        v = g_k(x_m) − g_k(x) + ḡ(x);  G ← decay·G + v / mean|v|;  x_{m+1} = x_m + a step along G

    inside ball and box. The result is G; the outer momentum is `mi`. The models drawn are the same for every
    image.

    The published code takes ḡ from the mean logits and computes g_k(x) anew in every inner step (K + 2M
    gradients); with the mean of the gradients v is unbiased, and they are computed once (K + M).

    Attributes:
        inner: M, steps of the inner walk; 0 for four times the number of models.
        decay: weight of the past in the inner walk, ≥ 0.
    """

    paper: ClassVar[str] = "Xiong et al. 2022, https://arxiv.org/abs/2111.10752"

    inner: Annotated[int, Field(ge=0)] = 0
    decay: NonNegative = 1.0

    def evaluations(self, models: int) -> int:
        """See `Ensemble.evaluations`."""
        return models + (self.inner or 4 * models)

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """See `Ensemble.combine`."""
        import torch

        count, steps = len(oracles), self.inner or 4 * len(oracles)

        def joined(images: Tensor) -> Tensor:
            single = [oracle(images) for oracle in oracles]
            together, total, place = mean(single), torch.zeros_like(images), images
            for k in torch.randint(count, (steps,), generator=unit.shared).tolist():
                reduced = oracles[k](place) - single[k] + together
                total = self.decay * total + mean_normalised(reduced)
                place = unit.images + unit.inside(place - unit.images + unit.along(total))
            return total

        return joined


@TECHNIQUES.register("cwa")
@dataclass(frozen=True)
class CommonWeakness(Ensemble):
    """Common weakness attack (CWA): a step back, then a walk through all models; its way is the direction.

    From x: a step of length `back` against the gradient of all models; then for each model in turn
    m ← decay·m + g_k / ‖g_k‖₂ and a long step along m, inside ball and box. What lies between x and the end
    is the result; the outer momentum is `mi`.

    The published code has inner steps of 250 for 224 pixels, 10 times ε for the root mean square of a pixel
    at ε = 16/255: this is the unit here, so that image size and budget do not matter. It divides the way by
    its length over the whole batch; here `mi` divides image by image. ε/15 is the length of its step back.

    Attributes:
        back: length of the step back, a multiple of ε, ≥ 0.
        inner: length of an inner step, a multiple of ε as a root mean square, > 0.
        decay: weight of the past in the inner walk, ≥ 0; it runs on from step to step.
    """

    paper: ClassVar[str] = "Chen et al. 2024, https://arxiv.org/abs/2303.09105"

    back: Annotated[float, Field(ge=0, le=1)] = 1 / 15
    inner: Positive = 10.0
    decay: NonNegative = 1.0

    def evaluations(self, models: int) -> int:
        """See `Ensemble.evaluations`."""
        return 2 * models

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """See `Ensemble.combine`."""
        momentum: Tensor | float = 0.0
        length = self.inner * unit.radius * unit.images[0].numel() ** 0.5

        def joined(images: Tensor) -> Tensor:
            nonlocal momentum
            delta = images - unit.images
            ahead = unit.along(mean(oracle(images) for oracle in oracles), unit.epsilon)
            place = unit.inside(delta - self.back * ahead)
            for oracle in oracles:
                momentum = self.decay * momentum + _unit_length(oracle(unit.images + place))
                place = unit.inside(place + length * momentum)
            return place - delta

        return joined


@TECHNIQUES.register("adaea")
@dataclass(frozen=True)
class AdaptiveEnsemble(Ensemble):
    """Adaptive ensemble attack (AdaEA): models weigh by how far their own examples transfer to the others.

    With x_j the image after a step along model j's gradient,

        w = softmax_j(beta · Σ_{i ≠ j} J_i(x_j) / J_j(x_j));  g = Σ_j w_j g_j

    where the models' gradients agree; 0 at pixels where the mean of their pairwise cosines over the channels
    is below the threshold. It takes K² forward passes besides.

    The published code weighs the logits and averages over the batch; here the gradients are weighed. The
    ratio needs a loss that is not negative: `ce`, untargeted.

    Attributes:
        beta: how sharply the weights differ, ≥ 0; 0 is the plain mean.
        threshold: cosine below which a pixel is left alone, −1..1; −1 for none.
    """

    paper: ClassVar[str] = "Chen et al. 2023, https://arxiv.org/abs/2308.02897"

    beta: NonNegative = 10.0
    threshold: Annotated[float, Field(ge=-1, le=1, description="a cosine")] = -0.3

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """See `Technique.check`: a ratio of losses needs them above 0."""
        require_never_negative(self.name, composition, targeted=targeted)

    def evaluations(self, models: int) -> int:
        """See `Ensemble.evaluations`."""
        return models

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """See `Ensemble.combine`."""
        import torch

        def joined(images: Tensor) -> Tensor:
            gradients = [oracle(images) for oracle in oracles]
            weights = self._weights(images, gradients, objectives, unit)
            weighed = (weights[:, :, None, None, None] * torch.stack(gradients)).sum(0)
            return weighed.where(_agreement(gradients) >= self.threshold, 0)

        return joined

    def _weights(
        self, images: Tensor, gradients: Sequence[Tensor], objectives: Sequence[Objective], unit: WorkUnit
    ) -> Tensor:
        """Return w, (K, N)."""
        import torch

        delta, scores = images - unit.images, []
        for own, gradient in enumerate(gradients):
            moved = unit.images + unit.inside(delta + unit.along(gradient))
            with torch.no_grad():
                losses = torch.stack([objective(moved) for objective in objectives])
            scores.append((losses.sum(0) - losses[own]) / losses[own].clamp_min(TINY))
        return (self.beta * torch.stack(scores)).softmax(0)


def _agreement(gradients: Sequence[Tensor]) -> Tensor:
    """Return the mean over pairs of models of the cosine over the channels, (N, 1, H, W)."""
    import torch
    from torch.nn.functional import normalize

    units = [normalize(gradient, dim=1) for gradient in gradients]
    return torch.stack([(a * b).sum(1, keepdim=True) for a, b in combinations(units, 2)]).mean(0)


def _unit_length(gradient: Tensor) -> Tensor:
    """Return g / ‖g‖₂ of every image, 0 where g is 0."""
    from transferzoo.attacks.norms import NORMS

    return NORMS["l2"].direction(gradient)
