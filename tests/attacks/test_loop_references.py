"""The attack loop and its plain techniques against torchattacks, and against a loop written here."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from helpers.attacks import (
    against_torchattacks,
    agreement,
    make_attack,
    perturb,
    random_images,
    small_cnn,
    work_unit,
)
from transferzoo.attacks.techniques.starts import RandomStart

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("spec", "reference"), [("", "BIM"), ("mi", "MIFGSM")])
class TestTorchattacks:
    def test_float64(self, spec: str, reference: str, torchattacks: ModuleType) -> None:
        theirs = getattr(torchattacks, reference)
        found = against_torchattacks(make_attack(spec), theirs, small_cnn(), random_images())
        assert found.share == 0
        assert found.largest < 1e-12

    def test_float32(self, spec: str, reference: str, torchattacks: ModuleType) -> None:
        theirs = getattr(torchattacks, reference)
        model, batch = small_cnn(dtype=torch.float32), random_images()
        first = against_torchattacks(make_attack(spec, steps=1), theirs, model, batch, torch.float32)
        last = against_torchattacks(make_attack(spec, steps=10), theirs, model, batch, torch.float32)
        assert first.share == 0
        assert last.share < 0.005


def test_decay_of_momentum_is_torchattacks_decay(torchattacks: ModuleType) -> None:
    attack = make_attack("mi:decay=0.4")
    found = against_torchattacks(attack, torchattacks.MIFGSM, small_cnn(), random_images(), decay=0.4)
    assert found.share == 0


def test_one_step_of_length_epsilon_is_fgsm(torchattacks: ModuleType) -> None:
    attack = make_attack(steps=1, step=Fraction(16, 255))
    model, batch = small_cnn().eval(), random_images()
    theirs = torchattacks.FGSM(model, eps=16 / 255)(batch.images.double() / 255, batch.labels)
    found = agreement(attack, perturb(attack, model, batch), theirs, batch.images)
    assert found.share == 0
    assert found.largest < 1e-12


def test_random_start_is_pgd(torchattacks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    attack, model, batch = make_attack("rs"), small_cnn(), random_images()
    start = RandomStart().start(work_unit(attack, batch), lambda delta, _: delta)
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda *_: start)
    found = against_torchattacks(attack, torchattacks.PGD, model, batch)
    assert found.share == 0
    assert found.largest < 1e-12


@pytest.mark.parametrize(("spec", "decay"), [("ti", 0.0), ("mi+ti", 1.0)])
def test_translation_invariance_is_torchattacks(spec: str, decay: float, torchattacks: ModuleType) -> None:
    def reference(model: nn.Module, **options: float) -> Any:
        other = torchattacks.TIFGSM(model, diversity_prob=0.0, decay=decay, **options)  # 0: without its DI
        other.stacked_kernel = torch.from_numpy(np.stack([other.gkern()] * 3)[:, None])  # theirs, unrounded
        return other

    found = against_torchattacks(make_attack(spec), reference, small_cnn(), random_images(side=32))
    assert found.share == 0
    assert found.largest < 1e-12


def test_l2_is_the_literal_loop() -> None:
    attack, model, batch = (
        make_attack(norm="l2", epsilon=Fraction(1, 2), step=Fraction(1, 5)),
        small_cnn().eval(),
        random_images(3),
    )
    for image, label, found in zip(batch.images, batch.labels, perturb(attack, model, batch), strict=True):
        clean = image.double() / 255
        delta = torch.zeros_like(clean)
        for _ in range(10):
            leaf = (clean + delta).requires_grad_()
            loss = -model(leaf[None])[0].log_softmax(0)[label]
            (slope,) = torch.autograd.grad(loss, leaf)
            delta = delta + 0.2 * slope / slope.norm()
            delta = delta * min(1.0, 0.5 / delta.norm().item())
            delta = (clean + delta).clamp(0, 1) - clean
        torch.testing.assert_close(found, clean + delta, rtol=0, atol=1e-10)
