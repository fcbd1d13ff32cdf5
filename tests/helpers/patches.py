"""What the tests of patches share: both passes of a model, patched or written out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.attacks import Images, make_attack, random_images, work_unit
from transferzoo.attacks.techniques import Patch
from transferzoo.models.classifier import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = random_images(4)


def passes(forward: Callable[[Tensor], Tensor], batch: Images = BATCH) -> tuple[Tensor, Tensor]:
    """Return logits and the gradient of their cross-entropy."""
    leaf = (batch.images.double() / 255).requires_grad_()
    logits = forward(leaf)
    (slope,) = torch.autograd.grad(functional.cross_entropy(logits, batch.labels, reduction="sum"), leaf)
    return logits.detach(), slope


def patched(spec: str, model: nn.Module, batch: Images = BATCH, times: int = 1) -> tuple[Tensor, Tensor]:
    """Return the same of a patched model, the last of some times."""
    attack = make_attack(spec)
    (technique,) = attack.composition.of(Patch)
    with frozen(model), technique.patch(model, work_unit(attack, batch)) as acted:
        assert acted() == 0
        for _ in range(times):
            found = passes(model, batch)
        assert acted() > 0
    return found


def same(found: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def by_rule(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return the identity whose backward pass is a rule: what comes back, what went in → what goes on."""

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return rule(gradient, *ctx.saved_tensors)

    return Rule.apply  # type: ignore[no-any-return]
