"""Weights of the surrogate that are tuned while the attack goes on."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.techniques import TECHNIQUES, Patch
from transferzoo.attacks.techniques.layers import hooked
from transferzoo.attacks.techniques.losses import DEFAULT_LOSS
from transferzoo.attacks.techniques.ranges import Weight
from transferzoo.base.options import NonNegative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit

TINY = 1e-12


@TECHNIQUES.register("awt")
@dataclass(frozen=True)
class AdversarialWeightTuning(Patch):
    """Adversarial weight tuning (AWT): before every step SAM makes the surrogate resist the image so far.

    With L(w) the sum of what the attack maximises, of the cross-entropy, at the image so far and at the clean
    one, and v = 0 at first:

        g = ∇L(w + rho · ∇L(w) / ‖∇L(w)‖₂);  v ← momentum · v + g;  w ← w − rate · v

    for all weights together. The step's gradients are those of the tuned weights, and every image begins
    with the surrogate's own, so images are attacked one by one. What is computed before the first step,
    of features or by `gi`, has the weights tuned once. Tuning costs four gradients a step besides. The
    paper has it with `mi+pgn`. Weights rounded to bfloat16 lose most of it.

    In TransferAttack's code a batch shares its weights, so that results depend on it; the velocity v goes
    over to the next batch, and the gradient that a step ends with is added to the ascent of the next. Batch
    norm that was folded into convolutions is tuned as part of them.

    Attributes:
        rate: learning rate, at least 0; the paper's is 0.002 for a ResNet-50, 0.001 for an Inception-v3.
        rho: radius of the ascent in the space of weights, at least 0; 0.005 and 0.002.
        momentum: weight of the past in v, 0..1.
    """

    place: ClassVar[str] = "the weights"
    paper: ClassVar[str] = "Chen et al. 2025, https://ojs.aaai.org/index.php/AAAI/article/view/32203"
    alone: ClassVar[bool] = True

    rate: NonNegative = 0.002
    rho: NonNegative = 0.005
    momentum: Weight = 0.5

    @property
    def each_step(self) -> int:
        """See `Technique.each_step`."""
        return 4

    @contextmanager
    def patch(self, model: nn.Module, unit: WorkUnit) -> Iterator[Callable[[], int]]:
        """See `Patch.patch`."""
        import torch

        weights = [weight for weight in model.parameters() if weight.is_floating_point()]
        before = [weight.detach().clone() for weight in weights]
        velocity = [torch.zeros_like(weight) for weight in weights]
        tuned: list[int] = []

        def tune(*_: object) -> None:
            if tuned[-1:] == [unit.done]:
                return
            tuned.append(unit.done)  # first, since tuning runs the model itself
            start = [weight.detach().clone() for weight in weights]
            slopes = _slopes(model, weights, unit)
            length = torch.stack([slope.norm() for slope in slopes]).norm()
            for weight, slope in zip(weights, slopes, strict=True):
                weight.data.add_(self.rho / (length + TINY) * slope)
            for weight, old, speed, slope in zip(
                weights, start, velocity, _slopes(model, weights, unit), strict=True
            ):
                speed.mul_(self.momentum).add_(slope)
                weight.data.copy_(old - self.rate * speed)

        try:
            with hooked([model.register_forward_pre_hook(tune, prepend=True)]):  # before other patches look
                yield lambda: len(tuned)
        finally:
            for weight, own in zip(weights, before, strict=True):
                weight.data.copy_(own)


def _slopes(model: nn.Module, weights: list[nn.Parameter], unit: WorkUnit) -> list[Tensor]:
    """Return ∇L of every weight, 0 of those that L does not depend on."""
    import torch

    asked = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_()
        with torch.enable_grad():
            gains = [
                unit.maximised(DEFAULT_LOSS, model(images.detach())).sum()
                for images in (unit.current, unit.images)
            ]
            slopes = torch.autograd.grad(gains[0] + gains[1], weights, allow_unused=True)
    finally:
        for weight, wish in zip(weights, asked, strict=True):
            weight.requires_grad_(wish)
    return [torch.zeros_like(w) if slope is None else slope for w, slope in zip(weights, slopes, strict=True)]
