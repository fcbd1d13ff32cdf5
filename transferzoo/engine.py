"""The one attack loop: surrogate and images in, adversarial images of 8 bits out.

    δ₀ = start;  δ ← box(ball(δ + step · direction(g(x + δ))));  result = quantise(x + δ)

g is the gradient of the loss at the perturbed image, wrapped by the techniques of the composition. Without
any of them this is BIM in L∞ (Kurakin et al. 2017, https://arxiv.org/abs/1607.02533), and one step of length
ε is FGSM. The perturbation is carried, never recovered from the image; nothing couples the images of a batch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import torch

from transferzoo.classifier import frozen
from transferzoo.errors import ModelError, UnknownNameError
from transferzoo.losses import cross_entropy
from transferzoo.norms import NORMS
from transferzoo.notation import parse_epsilon, parse_step, require, show_fraction, show_step
from transferzoo.techniques import Stage, Unit, compose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor, nn

    from transferzoo.config import AttackConfig
    from transferzoo.techniques import Composition, Oracle, Starter, Wrapper


@dataclass(frozen=True)
class Attack:
    """What is done to the images.

    Attributes:
        composition: the techniques; none for BIM.
        norm: name of the ball, a key of `NORMS`.
        epsilon: its radius, in [0, 1] pixels (L∞) or length (L2); a fraction, so that 16/255 is 16 levels.
        step: length of a step, same unit.
        steps: how many.
        seed: of every random draw.
    """

    composition: Composition
    norm: str
    epsilon: Fraction
    step: Fraction
    steps: int
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UnknownNameError: no such norm.
            UsageError: a number is out of range, or epsilon or step is no fraction.
        """
        if self.norm not in NORMS:
            raise UnknownNameError("norm", self.norm, NORMS)
        for name, value in (("epsilon", self.epsilon), ("step", self.step)):
            require(
                isinstance(value, Fraction) and value > 0, f"{name} of an attack is exact",
                expected="a Fraction above 0, such as Fraction(16, 255)", got=repr(value),
            )  # fmt: skip
        require(
            self.norm != "linf" or self.epsilon <= 1, "epsilon is in [0, 1] pixels",
            expected="at most 1 in L∞", got=self.epsilon,
        )  # fmt: skip
        require(self.steps >= 1, "an attack has steps", expected="at least 1", got=self.steps)

    @classmethod
    def of(cls, config: AttackConfig) -> Attack:
        """Return the attack that a configuration describes.

        Raises:
            UsageError: the configuration cannot be read.
        """
        epsilon = parse_epsilon(config.epsilon, config.norm)
        step = parse_step(config.step, epsilon)
        return cls(compose(config.attack), config.norm, epsilon, step, config.steps, config.seed)

    @property
    def cost(self) -> int:
        """Gradient evaluations an image."""
        return self.composition.cost * self.steps

    @property
    def canonical(self) -> str:
        """The one way to write this attack, the seed aside: "bim@linf,eps=8/255,step=eps/10,steps=50"."""
        budget = f"eps={show_fraction(self.epsilon)},step={show_step(self.step, self.epsilon)}"
        return f"{self.composition.canonical}@{self.norm},{budget},steps={self.steps}"


def craft(
    attack: Attack,
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    ids: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Return adversarial images, uint8 (N, C, H, W), inside both the box and the budget.

    Args:
        attack: what to do.
        classifier: the surrogate, [0, 1] pixels (N, C, H, W) → logits (N, K), with weights of `dtype`. It is
            held in evaluation mode and handed back as it came.
        images: clean images, uint8 (N, C, H, W), on the classifier's device; `perturb` also takes floating
            point in [0, 1].
        labels: true classes, int64 (N,).
        ids: what seeds an image's draws, int64 (N,): the result does not depend on the batch around it.
        dtype: of the perturbation.
        on_step: called after each step with the steps done.

    Raises:
        ModelError: no gradient reaches the images, or it is not finite.
    """
    perturbed = perturb(attack, classifier, images, labels, ids, dtype=dtype, on_step=on_step)
    return NORMS[attack.norm].quantise(perturbed, images, attack.epsilon)


def perturb(
    attack: Attack,
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    ids: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the adversarial images before they become 8-bit: `dtype` (N, C, H, W) in [0, 1].

    See `craft`, which is what a run saves and measures.
    """
    norm = NORMS[attack.norm]
    epsilon, step = float(attack.epsilon), float(attack.step)
    clean = images.to(dtype) if images.is_floating_point() else images.to(dtype) / 255
    lowest, highest = -clean, 1 - clean
    generators = seeded(attack.seed, attack.composition.canonical, ids.tolist())
    unit = Unit(clean, epsilon, step, attack.norm, generators)
    with frozen(classifier):
        oracle = _wrapped(attack.composition, _gradient(classifier, labels.to(images.device)), unit)
        delta = norm.project(_start(attack.composition, unit), epsilon).clamp(lowest, highest)
        for done in range(1, attack.steps + 1):
            moved = delta + step * norm.direction(oracle(clean + delta))
            delta = norm.project(moved, epsilon).clamp(lowest, highest)
            if on_step is not None:
                on_step(done)
    return clean + delta


def seeded(seed: int, composition: str, ids: Iterable[int]) -> tuple[torch.Generator, ...]:
    """Return one CPU generator an image, seeded by the SHA-256 of seed, composition and image id.

    Args:
        seed: of the run.
        composition: canonical form of the techniques.
        ids: the images.
    """
    texts = (f"{seed} {composition} {name}" for name in ids)
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return tuple(torch.Generator().manual_seed(int.from_bytes(digest[:8])) for digest in digests)


def _gradient(classifier: nn.Module, labels: Tensor) -> Oracle:
    """Return the innermost oracle: images (N, C, H, W) → ∂J/∂x of every image."""

    def gradient(images: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            objective = cross_entropy(classifier(leaf), labels).sum()
        if not objective.requires_grad:
            raise ModelError(
                "no gradient reaches the images", hint="the model detaches its input from its output"
            )
        (slope,) = torch.autograd.grad(objective, leaf)
        if not slope.isfinite().all():
            raise ModelError("the gradient of the surrogate is not finite", hint="check its weights for NaN")
        return slope

    return gradient


def _wrapped(composition: Composition, oracle: Oracle, unit: Unit) -> Oracle:
    for _, technique in composition.techniques:
        if technique.stage is not Stage.START:
            oracle = cast("Wrapper", technique).wrap(oracle, unit)
    return oracle


def _start(composition: Composition, unit: Unit) -> Tensor:
    for _, technique in composition.techniques:
        if technique.stage is Stage.START:
            return cast("Starter", technique).start(unit)
    return torch.zeros_like(unit.images)
