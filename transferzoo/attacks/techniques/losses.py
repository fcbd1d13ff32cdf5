"""Losses: what an attack maximises of the logits; one value an image, larger is better for the attacker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from transferzoo.attacks.techniques import TECHNIQUES, Features, Loss
from transferzoo.base.options import Positive
from transferzoo.base.spec_strings import require

if TYPE_CHECKING:
    from torch import Tensor

    from transferzoo.attacks.composition import Composition


@TECHNIQUES.register("ce")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy, the default: J = −log softmax(z)_y, in nats.

    On a very confident image its gradient rounds to 0, and the image stops; the other losses go on. Targeted
    attacks maximise log softmax(z)_t.
    """

    paper: ClassVar[str] = "Goodfellow et al. 2015, https://arxiv.org/abs/1412.6572"
    never_negative: ClassVar[bool] = True

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """See `Loss.value`."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, classes, reduction="none")


DEFAULT_LOSS = CrossEntropy()


def require_never_negative(name: str, composition: Composition, *, targeted: bool) -> None:
    """Refuse losses below 0, as those of target classes are.

    Raises:
        UsageError: the attack may have some.
    """
    others = [technique.name for technique in composition.of(Features)]
    others += [loss.name for loss in composition.of(Loss) if not loss.never_negative]
    require(
        not others and not targeted,
        f"'{name}' weighs surrogates by their losses, which may not be below 0",
        expected="ce or lmargin, untargeted",
        got=", ".join([*others, *(["a target class"] if targeted else [])]),
    )


@TECHNIQUES.register("logit")
@dataclass(frozen=True)
class Logit(Loss):
    """The logit itself: J = −z_y; targeted, J = z_t. It does not saturate, which targeted attacks need.

    The paper's targeted attack adds `mi:normalise=none`, `di:p=0.7` and `ti:kernel=5`, and takes 300 steps of
    2/255.
    """

    paper: ClassVar[str] = "Zhao et al. 2021, https://arxiv.org/abs/2012.11207"

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """See `Loss.value`."""
        return -_of(logits, classes)


@TECHNIQUES.register("margin")
@dataclass(frozen=True)
class Margin(Loss):
    """The margin: J = max_{k ≠ y} z_k − z_y, positive where the model is wrong.

    Targeted attacks maximise z_t − max_{k ≠ t} z_k.
    """

    paper: ClassVar[str] = "Carlini and Wagner 2017, https://arxiv.org/abs/1608.04644"

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """See `Loss.value`."""
        return _margin(logits, classes)


@TECHNIQUES.register("dlr")
@dataclass(frozen=True)
class LogitsRatio(Loss):
    """Difference of logits ratio (DLR): the margin over z₍₁₎ − z₍₃₎, the largest and third largest logit.

    J = (max_{k ≠ y} z_k − z_y) / (z₍₁₎ − z₍₃₎): rescaling or shifting the logits does not change it. A
    targeted attack has −J of the target class over z₍₁₎ − (z₍₃₎ + z₍₄₎)/2, AutoAttack's denominator for it,
    since the other one makes the ratio of the third largest constant. Where the denominator is 0 so is J. At
    least three classes, targeted four.
    """

    paper: ClassVar[str] = "Croce and Hein 2020, https://arxiv.org/abs/2003.01690"

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """See `Loss.value`.

        Raises:
            UsageError: fewer than three classes.
        """
        import torch

        least = 4 if targeted else 3
        require(
            logits.shape[1] >= least,
            "'dlr' needs more classes",
            expected=f"at least {least}",
            got=logits.shape[1],
        )
        largest = logits.topk(least).values
        gap = largest[:, 0] - largest[:, 2:].mean(1)
        safe = torch.where(gap > 0, gap, 1)
        return torch.where(gap > 0, _margin(logits, classes) / safe, 0)


@TECHNIQUES.register("lmargin")
@dataclass(frozen=True)
class ScaledCrossEntropy(Loss):
    """Logit-margin calibration: cross-entropy of z / T, with a temperature T that keeps it from saturating.

    By default T = temperature · (z₍₁₎ − z₍₂₎) of the image as it is now, held constant in the gradient (the
    paper's margin-based calibration); `by=constant` takes T = temperature. Where the two largest logits are
    equal T is 1.

    Attributes:
        temperature: factor of T, above 0.
        by: "margin" or "constant".
    """

    paper: ClassVar[str] = "Weng et al. 2023, https://arxiv.org/abs/2303.03680"
    never_negative: ClassVar[bool] = True

    temperature: Positive = 1.0
    by: Literal["margin", "constant"] = "margin"

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """See `Loss.value`."""
        import torch
        from torch.nn.functional import cross_entropy

        scale = torch.full_like(logits[:, :1], self.temperature)
        if self.by == "margin":
            first, second = logits.detach().topk(2).values.unbind(1)
            gap = (first - second)[:, None]
            scale = torch.where(gap > 0, scale * gap, 1)
        return cross_entropy(logits / scale, classes, reduction="none")


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the classes' logits (N,)."""
    return logits.gather(1, classes[:, None])[:, 0]


def _margin(logits: Tensor, classes: Tensor) -> Tensor:
    """Return max_{k ≠ y} z_k − z_y, (N,)."""
    others = logits.scatter(1, classes[:, None], float("-inf"))
    return others.amax(1) - _of(logits, classes)
