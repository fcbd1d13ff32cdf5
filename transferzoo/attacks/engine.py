"""The one attack loop: surrogate and images in, adversarial images of 8 bits out.

    δ₀ = start;  δ ← box(ball(δ + stride(g(x + δ))));  result = quantise(x + δ)

g is the gradient of the loss at the perturbed image and stride a step in its direction, both wrapped by the
techniques of the composition. Without any of them this is BIM in L∞ (Kurakin et al. 2017,
https://arxiv.org/abs/1607.02533), and one step of length ε is FGSM. The perturbation is carried, never
recovered from the image; nothing couples the images of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from transferzoo.attacks.assembly import ascent, objectives, steps_along
from transferzoo.attacks.composition import compose
from transferzoo.attacks.contract import check_cost, checked, no_shared_draws
from transferzoo.attacks.norms import NORMS
from transferzoo.attacks.techniques import Draw, Starter
from transferzoo.attacks.techniques.work_unit import WorkUnit
from transferzoo.base.fixed_math import fixed_math
from transferzoo.base.spec_strings import require
from transferzoo.models.classifier import frozen
from transferzoo.models.wrap import as_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction

    from torch import Tensor

    from transferzoo.attacks.composition import Composition
    from transferzoo.attacks.techniques import Objective
    from transferzoo.attacks.techniques.work_unit import Pool
    from transferzoo.base.attack_config import AttackSpec
    from transferzoo.base.budget import Budget
    from transferzoo.models.wrap import Model


@dataclass(frozen=True)
class Attack:
    """What is done to the images.

    Attributes:
        composition: the techniques; none for BIM.
        budget: how far they may go.
        seed: of every random draw.
    """

    composition: Composition
    budget: Budget
    seed: int = 0

    @classmethod
    def of(cls, spec: AttackSpec, seed: int) -> Attack:
        """Return the attack that a configuration describes.

        Raises:
            UsageError: the configuration cannot be read, or 8-bit images cannot use its budget.
        """
        budget = spec.exact
        require(
            budget.epsilon * 255 >= 1,
            "epsilon is below one level of 8-bit images, so that nothing could change",
            expected="at least 1/255",
            got=spec.epsilon,
        )
        return cls(compose(spec.techniques), budget, seed)

    @property
    def epsilon(self) -> Fraction:
        """Radius of the ball, exact: 8 / 255 as Python prints it is 8 levels here."""
        return self.budget.epsilon

    def cost(self, models: int = 1) -> int:
        """Return the gradient evaluations an image, on so many surrogates."""
        return self.composition.cost(self.budget.steps, models)

    @property
    def canonical(self) -> str:
        """The one way to write this attack, the seed aside: "bim@linf,eps=8/255,step=eps/10,steps=50"."""
        return "{}@{norm},eps={epsilon},step={step},steps={steps}".format(
            self.composition.canonical, **self.budget.written
        )


def craft(
    attack: Attack,
    surrogate: Model | Sequence[Model],
    images: Tensor,
    labels: Tensor,
    ids: Tensor,
    *,
    target_classes: Tensor | None = None,
    pool: Pool | None = None,
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Return adversarial images, uint8 (N, C, H, W), inside both the box and the budget.

        craft(read_attack("mi"), keras.saving.load_model("net.keras"), images, labels, ids)

    Args:
        attack: what to do.
        surrogate: a model, or several that are attacked together, [0, 1] pixels (N, C, H, W) → logits (N, K),
            with weights of `dtype`: an `nn.Module`, a model of Keras, or one that `wrap` made. It is held in
            evaluation mode and handed back as it came.
        images: clean images, uint8 (N, C, H, W), on the surrogate's device; `perturb` also takes floating
            point in [0, 1].
        labels: true classes, int64 (N,).
        ids: what seeds an image's draws, int64 (N,): the result does not depend on the batch around it.
        target_classes: classes to be predicted instead, int64 (N,); None for any other than the true one.
        pool: images that techniques such as `admix` mix with.
        dtype: of the perturbation.
        on_step: called after each step with the steps done and the perturbation so far.

    Raises:
        ModelError: no gradient reaches the images, or it is not finite; or a technique does not fit the
            surrogate.
        UsageError: a technique needs a pool, or several surrogates, and has none.
    """
    perturbed = perturb(
        attack,
        surrogate,
        images,
        labels,
        ids,
        target_classes=target_classes,
        pool=pool,
        dtype=dtype,
        on_step=on_step,
    )
    return NORMS[attack.budget.norm].quantise(perturbed, images, attack.budget.epsilon)


def perturb(
    attack: Attack,
    surrogate: Model | Sequence[Model],
    images: Tensor,
    labels: Tensor,
    ids: Tensor,
    *,
    target_classes: Tensor | None = None,
    pool: Pool | None = None,
    dtype: torch.dtype = torch.float32,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Return the adversarial images before they become 8-bit: `dtype` (N, C, H, W) in [0, 1].

    See `craft`, which is what a run saves and measures.
    """
    if attack.composition.alone and len(images) > 1:

        def single(one: slice, listen: Callable[[int, Tensor], None]) -> Tensor:
            classes = None if target_classes is None else target_classes[one]
            part = images[one], labels[one], ids[one]
            return perturb(
                attack, surrogate, *part, target_classes=classes, pool=pool, dtype=dtype, on_step=listen
            )

        return _one_by_one(single, len(images), on_step)
    clean = images.to(dtype) if images.is_floating_point() else images.to(dtype) / 255
    clean = clean.clone() if clean.is_inference() else clean  # which say of no change that it was made
    unit = WorkUnit(
        clean,
        labels.to(images.device),
        None if target_classes is None else target_classes.to(images.device),
        attack.budget,
        *_generators(attack, ids),
        pool,
    )
    given = surrogate if isinstance(surrogate, Sequence) else (surrogate,)
    surrogates = tuple(as_network(model, "surrogate", images.shape[1]) for model in given)
    attack.composition.check(len(surrogates))
    attack.composition.check_use(attack.budget, targeted=target_classes is not None)
    with ExitStack() as block:
        block.enter_context(fixed_math(images.device))
        for technique in attack.composition.of(Draw):
            surrogates = tuple(technique.draw(surrogates, unit))
        for model in surrogates:
            block.enter_context(frozen(model))
        parts = objectives(attack.composition, surrogates, unit, block)
        delta = _climb(attack.composition, parts, unit, on_step or (lambda *_: None))
        check_cost(attack.composition, unit, len(given))
        return clean + delta


def _one_by_one(
    attacked: Callable[[slice, Callable[[int, Tensor], None]], Tensor],
    count: int,
    on_step: Callable[[int, Tensor], None] | None,
) -> Tensor:
    """Return what is made of each of so many images by itself; `on_step` hears of all of them at the end."""
    walks: list[list[Tensor]] = [[] for _ in range(count)]

    def single(number: int) -> Tensor:
        def listen(_: int, delta: Tensor) -> None:
            if on_step:
                walks[number].append(delta)

        return attacked(slice(number, number + 1), listen)

    found = torch.cat([single(number) for number in range(count)])
    for done, deltas in enumerate(zip(*walks, strict=True), 1):
        if on_step:
            on_step(done, torch.cat(deltas))
    return found


def _climb(
    composition: Composition,
    parts: Sequence[Objective],
    unit: WorkUnit,
    on_step: Callable[[int, Tensor], None],
) -> Tensor:
    """Return the perturbation that a whole attack ends with."""
    oracle, stride = ascent(composition, parts, unit), steps_along(composition, unit)

    def advance(delta: Tensor, factor: float = 1.0) -> Tensor:
        unit.current = unit.images + delta
        with no_shared_draws(composition, unit):
            move = stride(oracle(unit.current))
        unit.note_made(move)
        unit.require_finite()
        return unit.inside(delta + (move if factor == 1 else factor * move))

    delta = torch.zeros_like(unit.images)
    for starter in composition.of(Starter):
        begin = checked(starter, lambda _, one=starter: one.start(unit, advance), unit)
        with no_shared_draws(composition, unit):
            delta = unit.inside(begin(unit.images))
        unit.note_made(delta)
    for done in range(1, unit.steps + 1):
        delta = advance(delta)
        unit.done = done
        on_step(done, delta)
    return delta


def seeded(seed: int, composition: str, ids: Iterable[object]) -> tuple[torch.Generator, ...]:
    """Return one CPU generator an image, seeded by the SHA-256 of seed, composition and image id.

    Args:
        seed: of the run.
        composition: canonical form of the techniques.
        ids: the images.
    """
    texts = (f"{seed} {composition} {name}" for name in ids)
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return tuple(torch.Generator().manual_seed(int.from_bytes(digest[:8])) for digest in digests)


def _generators(attack: Attack, ids: Tensor) -> tuple[tuple[torch.Generator, ...], torch.Generator]:
    """Return one generator an image, and one for what all images share."""
    (shared,) = seeded(attack.seed, attack.composition.canonical, ["all"])
    return seeded(attack.seed, attack.composition.canonical, ids.tolist()), shared
