"""Momentum, steps and starts beyond the plain ones, and losses: each against its formula."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy

from helpers.attacks import against_torchattacks, make_attack, perturb, random_images, small_cnn
from helpers.literal_attack import EPSILON, STEP, Walk, check, unit_mean
from transferzoo.attacks import engine
from transferzoo.attacks.composition import compose
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- momentum


def test_nesterov_is_torchattacks(torchattacks: ModuleType) -> None:
    found = against_torchattacks(make_attack("ni"), torchattacks.NIFGSM, small_cnn(), random_images())
    assert found.share == 0
    assert found.largest < 1e-12


def test_nesterov_looks_ahead() -> None:
    """Dividing by the sum instead of the mean would make it the plain momentum."""
    model, batch = small_cnn(), random_images()
    found, plain = (perturb(make_attack(spec, steps=10), model, batch) for spec in ("ni", "mi"))
    assert ((found - plain).abs() > 1e-6).double().mean() > 0.001


def test_raw_momentum() -> None:
    def literal(walk: Walk) -> Tensor:
        image, momentum = walk.clean, torch.zeros_like(walk.clean)
        for _ in range(4):
            momentum = 0.8 * momentum + walk.slope(image)
            image = walk.boxed(image + STEP * momentum.sign())
        return image

    check("mi:decay=0.8,normalise=none", literal)


# ---------------------------------------------------------------- steps


@pytest.mark.parametrize("spec", ["geo:ratio=0.8", "geo:ratio=1.5", "cos"])
def test_schedules_keep_the_whole_length(spec: str) -> None:
    steps = 6
    if spec == "cos":
        factors = [1 + math.cos(math.pi * (t + 0.5) / steps) for t in range(steps)]
    else:
        ratio = float(spec.partition("=")[2])
        factors = [ratio**t * steps * (1 - ratio) / (1 - ratio**steps) for t in range(steps)]
    assert sum(factors) == pytest.approx(steps)

    def literal(walk: Walk) -> Tensor:
        image = walk.clean
        for factor in factors:
            image = walk.boxed(image + factor * STEP * walk.slope(image).sign())
        return image

    check(spec, literal, steps=steps)


def test_mask_shrinks_where_the_sign_flips() -> None:
    def literal(walk: Walk) -> Tensor:
        image, momentum = walk.clean, torch.zeros_like(walk.clean)
        mask, last = torch.full_like(image, 1 / 0.7), torch.zeros_like(image)
        for _ in range(6):
            momentum = 0.2 * momentum + unit_mean(walk.slope(image))
            for index in range(image.numel()):
                if momentum.flatten()[index].sign() != last.flatten()[index].sign():
                    mask.view(-1)[index] *= 0.7
            last = momentum
            image = walk.boxed(image + mask * STEP * momentum.sign())
        assert len(mask.unique()) > 2
        return image

    check("gra-mask:eta=0.7+mi:decay=0.2", literal, steps=6)


@pytest.mark.parametrize(("gamma", "kernel"), [(1.0, 3), (0.4, 5)])
def test_patch_wise(gamma: float, kernel: int) -> None:
    square = torch.full((1, 1, kernel, kernel), 1 / (kernel**2 - 1), dtype=torch.float64)
    square[0, 0, kernel // 2, kernel // 2] = 0

    def literal(walk: Walk) -> Tensor:
        image, amplified, used = walk.clean, torch.zeros_like(walk.clean), 0
        for _ in range(4):
            step = 10 * STEP * walk.slope(image).sign()
            amplified = amplified + step
            cut = (amplified.abs() - EPSILON).clamp(min=0) * amplified.sign()
            spread = torch.stack([conv2d(c[None, None], square, padding=kernel // 2)[0, 0] for c in cut])
            spread[spread.abs() <= EPSILON / 1000] = 0
            projection = gamma * EPSILON * spread.sign()
            used += int(projection.any())
            amplified = amplified + projection
            image = walk.boxed(image + step + projection)
        assert used > 1
        return image

    check(f"pi-patch:gamma={gamma},kernel={kernel}", literal)


def test_patch_wise_is_torchattacks(torchattacks: ModuleType) -> None:
    """Theirs has a step of ε / number, and its gamma is a step's length: ε times beta / number."""
    model, batch = small_cnn(dtype=torch.float32).eval(), random_images()
    attack = make_attack("pi-patch:beta=4,gamma=0.4", steps=10)
    theirs = torchattacks.PIFGSM(model, max_epsilon=EPSILON, num_iter_set=10, amplification=4.0)
    found = perturb(attack, model, batch, torch.float32)
    differs = (found - theirs(batch.images / 255, batch.labels)).abs() > 1e-5
    assert differs.double().mean() < 0.01


# ---------------------------------------------------------------- starts


def test_warm_start_keeps_the_momentum_only() -> None:
    def literal(walk: Walk) -> Tensor:
        momentum = torch.zeros_like(walk.clean)
        for steps, length in ((3, 4), (4, 1)):
            image = walk.clean
            for _ in range(steps):
                momentum = momentum + unit_mean(walk.slope(image))
                image = walk.boxed(image + length * STEP * momentum.sign())
        return image

    check("gi:steps=3,length=4+mi", literal)


def test_warm_start_needs_a_momentum() -> None:
    with pytest.raises(UsageError, match="'gi' needs a technique of the stage momentum: expected mi, ni"):
        compose("gi+di")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ni:decay=-1", "option 'decay' of 'ni' is out of range"),
        ("mi:normalise=sum", "unknown value 'sum' of option"),
        ("mi+ni", "2 techniques of the stage momentum"),
        ("rs+gi+mi", "2 techniques of the stage start"),
        ("gi:steps=0+mi", "option 'steps' of 'gi'"),
        ("gi:length=0+mi", "option 'length' of 'gi'"),
        ("geo:ratio=0", "option 'ratio' of 'geo'"),
        ("gra-mask:eta=0", "option 'eta' of 'gra-mask'"),
        ("pi-patch:beta=0", "option 'beta' of 'pi-patch'"),
        ("pi-patch:gamma=-1", "option 'gamma' of 'pi-patch'"),
        ("pi-patch:kernel=4", "option 'kernel' of 'pi-patch'"),
        ("lmargin:temperature=0", "option 'temperature' of 'lmargin'"),
        ("ce+logit", "2 techniques of the stage loss or features"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(spec)


def test_patch_wise_is_for_one_norm() -> None:
    with pytest.raises(UsageError, match="'pi-patch' needs another norm: expected linf, got l2"):
        perturb(make_attack("pi-patch", "l2", Fraction(1, 2)), small_cnn(), random_images(1))


# ---------------------------------------------------------------- losses

LOGITS = torch.tensor(
    [[3.0, 1.0, 2.0, -1.0], [0.5, 4.0, 4.0, 0.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64
)
LABELS = torch.tensor([0, 2, 3])
VALUES = {
    "ce": cross_entropy(LOGITS, LABELS, reduction="none").tolist(),
    "logit": [-3.0, -4.0, -1.0],
    "margin": [-1.0, 0.0, 0.0],
    "dlr": [-1.0 / (3 - 1), 0.0, 0.0],
    "lmargin": [
        math.log(math.exp(3) + math.exp(1) + math.exp(2) + math.exp(-1)) - 3,
        math.log(math.exp(0.5) + 2 * math.exp(4) + 1) - 4,
        math.log(4),
    ],
}


def value(spec: str, logits: Tensor, labels: Tensor) -> Tensor:
    name, _, options = spec.partition(":")
    loss = TECHNIQUES[name]() if not options else compose(spec).techniques[0]
    return loss.value(logits, labels)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("name", [n for n in TECHNIQUES if TECHNIQUES[n].stage is Stage.LOSS])
def test_losses(name: str) -> None:
    torch.testing.assert_close(value(name, LOGITS, LABELS).tolist(), VALUES[name], rtol=1e-12, atol=1e-12)
    leaf = LOGITS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(name, leaf, LABELS).sum(), leaf)
    assert slope.isfinite().all()
    assert (slope.gather(1, LABELS[:, None])[:, 0] <= 0).all(), "the attacker lowers the label's logit"


def test_scaled_losses_do_not_see_the_scale() -> None:
    for name in ("dlr", "lmargin"):
        torch.testing.assert_close(value(name, LOGITS * 7, LABELS)[:1], value(name, LOGITS, LABELS)[:1])
    by_hand = cross_entropy(LOGITS / 5, LABELS, reduction="none")
    torch.testing.assert_close(value("lmargin:temperature=5,by=constant", LOGITS, LABELS), by_hand)
    wider = cross_entropy(LOGITS[:1] / (3.0 * (3 - 2)), LABELS[:1], reduction="none")
    torch.testing.assert_close(value("lmargin:temperature=3", LOGITS[:1], LABELS[:1]), wider)


def test_dlr_needs_three_classes() -> None:
    with pytest.raises(UsageError, match="'dlr' needs more classes: expected at least 3, got 2"):
        value("dlr", LOGITS[:, :2], LABELS.clamp(max=1))
    loss = compose("dlr").techniques[0]
    third = loss.value(LOGITS, torch.tensor([1, 1, 1]), targeted=True)  # type: ignore[attr-defined]
    assert third[0].item() == pytest.approx((3 - 1) / (3 - (1 - 1) / 2))


@pytest.mark.parametrize("spec", ["mi", "mi+logit", "mi+margin", "mi+dlr", "mi+lmargin"])
@pytest.mark.parametrize("step", [Fraction(64, 2550), Fraction(1, 2550)])
def test_attacks_come_nearer_to_the_class_they_aim_at(spec: str, step: Fraction) -> None:
    attack = make_attack(spec, epsilon=Fraction(64, 255), step=step, steps=10)
    model, batch = small_cnn().eval(), random_images(8)
    target_classes = (batch.labels + 3) % 10
    found = engine.perturb(
        attack,
        model,
        batch.images,
        batch.labels,
        batch.ids,
        target_classes=target_classes,
        dtype=torch.float64,
    )
    clean = batch.images.double() / 255
    before, after = (cross_entropy(model(x), target_classes, reduction="none") for x in (clean, found))
    assert (after < before).all()
