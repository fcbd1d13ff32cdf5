"""Objectives of a layer: a function of the features F of the images is maximised, not of their logits."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Features
from transferzoo.attacks.techniques.layers import MIDDLE, find_layer, hooked, on_output
from transferzoo.attacks.techniques.losses import DEFAULT_LOSS
from transferzoo.attacks.techniques.ranges import Count, Dropped
from transferzoo.attacks.techniques.work_unit import sent, slope_of
from transferzoo.base.errors import ModelError
from transferzoo.base.options import NonNegative, added

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor, nn

    from transferzoo.attacks.techniques import Objective
    from transferzoo.attacks.techniques.work_unit import WorkUnit

    Passes = Callable[[Tensor], tuple[Tensor, Tensor]]


@TECHNIQUES.register("fia")
@dataclass(frozen=True)
class FeatureImportance(Features):
    """Feature importance-aware attack (FIA): J = −⟨D, F(z)⟩ per image, with D the importance of each feature.

    D = Σ_k ∂ softmax_y(x ⊙ B_k) / ∂F over `masks` random masks, divided by its length; a value of B_k is 0
    with probability `drop`, else 1, for every pixel and channel. Features that speak for the true class on
    average over the masks are to vanish. D is made once, of the clean image. A targeted attack maximises
    ⟨D, F(z)⟩ with the target class in D.

    The paper writes the logit where its code, and this one, has the probability.

    Attributes:
        layer: path of the layer whose output is F, or "middle"; the paper's for ResNets is the end of the
            second stage, their middle.
        drop: probability that a value of a mask is 0, from 0 and below 1.
        masks: how many, at least 1.
    """

    paper: ClassVar[str] = "Wang et al. 2021, https://arxiv.org/abs/2107.14185"

    layer: str = MIDDLE
    drop: Dropped = 0.3
    masks: Count = 30

    @property
    def setup(self) -> int:
        """See `Features.setup`."""
        return self.masks

    @contextmanager
    def objective(self, model: nn.Module, unit: WorkUnit) -> Iterator[Objective]:
        """See `Features.objective`.

        Raises:
            ModelError: the layer gives no features of an image.
            UnknownNameError: no such layer.
        """
        shape = unit.images.shape[1:]
        with _passes(model, self.layer) as passes:
            masked = (
                unit.images * sent(unit.uniform(*shape) >= self.drop, unit.images) for _ in range(self.masks)
            )
            yield _weighted(passes, _unit_length(_importance(passes, masked, unit)), unit)


@TECHNIQUES.register("naa")
@dataclass(frozen=True)
class NeuronAttribution(Features):
    """Neuron attribution-based attack (NAA): J = −⟨D, F(z)⟩ per image, with D integrated from black.

    D = (1/points) Σ_k ∂ softmax_y(k·x/points) / ∂F for k = 1..points, so that D·(F(x) − F(0)) attributes the
    probability to the features; F(0) is a constant of J and left out. Attributions of both signs weigh
    alike, the paper's best choice. A targeted attack maximises ⟨D, F(z)⟩ with the target class in D.

    The authors' code adds noise to the image of every point, of 0.2 in the units of networks that read
    −1..1: `noise=0.1`. Some code takes k = 0..points − 1 instead, with black and without the image.

    Attributes:
        layer: path of the layer whose output is F, or "middle".
        points: of the path, at least 1.
        noise: deviation of normal noise on the image of every point, in [0, 1] pixels, at least 0.
    """

    paper: ClassVar[str] = "Zhang et al. 2022, https://arxiv.org/abs/2204.00008"

    layer: str = MIDDLE
    points: Count = 30
    noise: NonNegative = added(0.0)  # noqa: RUF009 (it is a field)

    @property
    def setup(self) -> int:
        """See `Features.setup`."""
        return self.points

    @contextmanager
    def objective(self, model: nn.Module, unit: WorkUnit) -> Iterator[Objective]:
        """See `Features.objective`.

        Raises:
            ModelError: the layer gives no features of an image.
            UnknownNameError: no such layer.
        """
        with _passes(model, self.layer) as passes:
            path = (self._image(unit) * (k / self.points) for k in range(1, self.points + 1))
            yield _weighted(passes, _importance(passes, path, unit) / self.points, unit)

    def _image(self, unit: WorkUnit) -> Tensor:
        if not self.noise:
            return unit.images
        return unit.images + self.noise * sent(unit.normal(*unit.images.shape[1:]), unit.images)


@TECHNIQUES.register("bfa")
@dataclass(frozen=True)
class BlackBoxFeatures(Features):
    """Black-box feature attack (BFA): J = −⟨D, F(z)⟩ per image, with D from images fitted to the attack.

    From x̂₀ = x, for k = 1..points: x̂_k = x + L ∇J(x̂_{k−1}) / ‖∇J(x̂_{k−1})‖₂, with J the cross-entropy that
    the attack maximises, and D = Σ_k ∂z_y(x̂_k) / ∂F of the logit, divided by its length. The x̂_k may lie
    outside [0, 1]. A targeted attack maximises ⟨D, F(z)⟩ with the target class in D. Every point costs two
    gradients.

    The authors' L is 28 for 299 pixels and ε = 16/255; as a root mean square that is 0.86 ε, the unit here,
    so that image size and budget do not matter. TransferAttack's targeted attack keeps the sign of the
    untargeted one; here it has its own.

    Attributes:
        layer: path of the layer whose output is F, or "middle"; the paper's for ResNets is the end of the
            second stage, their middle.
        points: fitted images, at least 1.
        eta: length L of a fit, a multiple of ε as a root mean square, at least 0.
    """

    paper: ClassVar[str] = (
        "Wang et al. 2024, https://www.sciencedirect.com/science/article/pii/S0925231224006349"
    )

    layer: str = MIDDLE
    points: Count = 30
    eta: NonNegative = 0.86

    @property
    def setup(self) -> int:
        """See `Features.setup`."""
        return 2 * self.points

    @contextmanager
    def objective(self, model: nn.Module, unit: WorkUnit) -> Iterator[Objective]:
        """See `Features.objective`.

        Raises:
            ModelError: the layer gives no features of an image.
            UnknownNameError: no such layer.
        """
        with _passes(model, self.layer) as passes:
            importance = _importance(passes, self._fitted(model, unit), unit, lambda logits: logits)
            yield _weighted(passes, _unit_length(importance), unit)

    def _fitted(self, model: nn.Module, unit: WorkUnit) -> Iterator[Tensor]:
        """Yield x̂₁, x̂₂, …, each (N, C, H, W)."""
        from transferzoo.attacks.norms import NORMS

        length = self.eta * unit.radius * unit.images[0].numel() ** 0.5
        image = unit.images
        for _ in range(self.points):
            image = unit.images + length * NORMS["l2"].direction(_slope(model, image, unit))
            yield image


@TECHNIQUES.register("ila")
@dataclass(frozen=True)
class IntermediateLevel(Features):
    """Intermediate level attack (ILA): J = ⟨F(z) − F(x), F(x + δ₀) − F(x)⟩ per image.

    δ₀ comes from a first attack, `steps` of plain BIM on the cross-entropy (targeted: with the target class)
    in the attack's own ball and step. The attack itself then starts anew from the clean image, and goes as
    far as it can in the direction that δ₀ has taken in the features. This is the paper's ILAP.

    Where F is a convolution into which batch norm was folded, as in what the command line attacks, it gives
    what the norm makes of it.

    Attributes:
        layer: path of the layer whose output is F, or "middle".
        steps: of the first attack, at least 1.
    """

    paper: ClassVar[str] = "Huang et al. 2019, https://arxiv.org/abs/1907.10823"

    layer: str = MIDDLE
    steps: Count = 10

    @property
    def setup(self) -> int:
        """See `Features.setup`."""
        return self.steps

    @contextmanager
    def objective(self, model: nn.Module, unit: WorkUnit) -> Iterator[Objective]:
        """See `Features.objective`.

        Raises:
            ModelError: the layer gives no features of an image.
            UnknownNameError: no such layer.
        """
        import torch

        with _passes(model, self.layer) as passes:
            guide = unit.images + self.guide(model, unit)
            with torch.no_grad():
                start = passes(unit.images)[0]
                direction = passes(guide)[0] - start
            yield lambda images: _inner(passes(images)[0] - start, direction)

    def guide(self, model: nn.Module, unit: WorkUnit) -> Tensor:
        """Return δ₀, (N, C, H, W)."""
        import torch

        delta = torch.zeros_like(unit.images)
        for _ in range(self.steps):
            delta = unit.inside(delta + unit.along(_slope(model, unit.images + delta, unit)))
        return delta


@contextmanager
def _passes(model: nn.Module, layer: str) -> Iterator[Passes]:
    """Give a function, images (N, C, H, W) → features (N, …) of the layer and logits (N, K).

    The logits come from the features, so that one can be differentiated by the other.
    """
    path, module = find_layer(model, layer)
    seen: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        seen[:] = [output]
        return output.clone()  # what comes next may work in place

    def passes(images: Tensor) -> tuple[Tensor, Tensor]:
        seen.clear()
        logits = model(images)
        if not seen or len(seen[0]) != len(images):
            raise ModelError(
                f"layer '{path}' of the surrogate has no features of an image",
                expected=f"an output whose first axis is the batch, {len(images)}",
                got=str(tuple(seen[0].shape)) if seen else "a layer that is not called",
            )
        return seen.pop(), logits

    with hooked([on_output(module, keep)]):
        yield passes


def _slope(model: nn.Module, images: Tensor, unit: WorkUnit) -> Tensor:
    """Return the gradient of what the attack maximises, of the cross-entropy, at some images."""
    import torch

    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        total = unit.maximised(DEFAULT_LOSS, model(leaf)).sum()
    return unit.noted(slope_of(total, leaf), asked=False)


def _importance(
    passes: Passes,
    views: Iterable[Tensor],
    unit: WorkUnit,
    score: Callable[[Tensor], Tensor] = lambda logits: logits.softmax(1),
) -> Tensor:
    """Return Σ_k ∂ score_y / ∂F at some views of the images, (N, …); the score is of all classes, (N, K)."""
    import torch

    classes = unit.labels if unit.target_classes is None else unit.target_classes
    total = torch.zeros(())
    for view in views:
        with torch.enable_grad():
            features, logits = passes(view.detach().requires_grad_())
            score_of_classes = score(logits).gather(1, classes[:, None]).sum()
        total = total + unit.noted(slope_of(score_of_classes, features), asked=False)
    return total


def _weighted(passes: Passes, weights: Tensor, unit: WorkUnit) -> Objective:
    """Return images ↦ −⟨weights, F⟩, targeted its negative."""
    return lambda images: unit.signed(-_inner(weights, passes(images)[0]))


def _unit_length(features: Tensor) -> Tensor:
    """Return every image's, divided by its length, 0 where it is 0."""
    length: Tensor = features.flatten(1).norm(dim=1)
    length = length.view(-1, *[1] * (features.ndim - 1))
    return (features / length).where(length > 0, 0)


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner product of every image's, (N,)."""
    return (one * other).flatten(1).sum(1)
