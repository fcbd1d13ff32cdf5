"""AWT, whose surrogate learns during the attack, against a loop over one image."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from helpers.attacks import DOUBLE, make_attack, pool_for, small_cnn
from helpers.networks import residual_cnn
from helpers.patches import BATCH
from transferzoo.attacks import engine
from transferzoo.attacks.composition import compose

pytestmark = pytest.mark.usefixtures("one_thread")


def perturbed(
    spec: str, models: list[nn.Module], steps: int, targets: Tensor | None = None, **others: object
) -> Tensor:
    return engine.perturb(
        make_attack(spec, steps=steps),
        models,
        BATCH.images,
        BATCH.labels,
        BATCH.ids,
        target_classes=targets,
        pool=pool_for(BATCH),
        dtype=DOUBLE,
        **others,  # type: ignore[arg-type]
    )


def literal(
    model: nn.Module, clean: Tensor, label: Tensor, sign: int, rate: float, rho: float, momentum: float
) -> Tensor:
    """Return an image (1, C, H, W) after four steps of MI with a surrogate that SAM tunes before each."""
    model = deepcopy(model).eval()
    weights = list(model.parameters())
    for weight in weights:
        weight.requires_grad_()
    learner = torch.optim.SGD(weights, lr=rate, momentum=momentum)
    image, past = clean, torch.zeros_like(clean)
    for _ in range(4):
        start = [weight.detach().clone() for weight in weights]
        for ascent in (True, False):
            learner.zero_grad()
            for seen in (image, clean):
                (sign * cross_entropy(model(seen), label)).backward()  # gradients add up
            if ascent:
                slopes = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
                length = torch.cat([slope.flatten() for slope in slopes]).norm()
                with torch.no_grad():
                    for weight, slope in zip(weights, slopes, strict=True):
                        weight.add_(rho * slope / length)
        with torch.no_grad():
            for weight, old in zip(weights, start, strict=True):
                weight.copy_(old)
        learner.step()
        leaf = image.clone().requires_grad_()
        (up,) = torch.autograd.grad(sign * cross_entropy(model(leaf), label), leaf)
        past = past + up / up.abs().mean()
        image = (clean + (image + 1.6 / 255 * past.sign() - clean).clamp(-16 / 255, 16 / 255)).clamp(0, 1)
    return image


@pytest.mark.parametrize(
    ("spec", "options"),
    [("awt", (0.002, 0.005, 0.5)), ("awt:rate=0.05,rho=0.1,momentum=0.9", (0.05, 0.1, 0.9))],
)
@pytest.mark.parametrize("targeted", [False, True])
def test_awt_is_the_literal_loop(spec: str, options: tuple[float, float, float], targeted: bool) -> None:
    model = residual_cnn().eval()
    classes = (BATCH.labels + targeted) % 10
    found = perturbed(f"mi+{spec}", [model], 4, classes if targeted else None)
    for i in range(4):
        clean = BATCH.images[i : i + 1].double() / 255
        wanted = literal(model, clean, classes[i : i + 1], -1 if targeted else 1, *options)
        torch.testing.assert_close(found[i : i + 1], wanted, rtol=0, atol=1e-12)


def test_a_tuned_surrogate_that_does_not_learn_is_the_surrogate() -> None:
    model = residual_cnn().eval()
    assert torch.equal(perturbed("mi+awt:rate=0", [model], 3), perturbed("mi", [model], 3))
    assert not torch.equal(perturbed("mi+awt:rate=0.1", [model], 3), perturbed("mi", [model], 3))


@pytest.mark.parametrize(
    ("spec", "count"),
    [("mi", 1), ("pgn:copies=2", 1), ("mi+gi:steps=2", 1), ("long", 3), ("sub", 3), ("svre:inner=2", 3)],
)
def test_what_tuning_costs_is_what_was_evaluated(spec: str, count: int) -> None:
    """Passes that can be differentiated: each gradient has one, and nothing else has."""
    models, passed = [small_cnn(seed=seed).eval() for seed in range(count)], []

    def count_pass(_: nn.Module, inputs: object, output: Tensor) -> None:
        passed.extend([1] * output.requires_grad)

    for model in models:
        model.register_forward_hook(count_pass)
    perturbed(f"{spec}+awt", models, 3)
    assert len(passed) == len(BATCH.ids) * compose(f"{spec}+awt").cost(3, count)


def test_steps_of_images_attacked_one_by_one_are_told_together() -> None:
    model = residual_cnn().eval()
    told: list[tuple[int, Tensor]] = []
    found = perturbed("awt", [model], 3, on_step=lambda done, delta: told.append((done, delta)))
    assert [done for done, _ in told] == [1, 2, 3]
    torch.testing.assert_close(BATCH.images.double() / 255 + told[-1][1], found)
    two = perturbed("awt", [model], 2)
    torch.testing.assert_close(BATCH.images.double() / 255 + told[1][1], two)
