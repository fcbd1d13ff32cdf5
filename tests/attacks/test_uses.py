"""What techniques can be used with, and what is said before a model is loaded where they cannot."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from helpers.attacks import DOUBLE, make_attack, perturb, random_images, small_cnn
from helpers.networks import residual_cnn
from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import configure
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.zoo.reader import load_zoo

pytestmark = pytest.mark.usefixtures("one_thread")

ZOO = load_zoo()
SEVERAL = [f"fashion-mnist/{name}" for name in ("resnet50-sgd", "resnet50-lsam")]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pi-patch": ({"norm": "l2", "epsilon": "0.5"}, "'pi-patch' needs another norm: expected linf, got l2"),
    "geo:ratio=2": ({"steps": 1100}, "last steps of 'geo' overflow.*got 1100 steps, ratio=2"),
    "mi+rap:after=500": ({"steps": 10}, "'rap' never joins the attack.*expected after=9 at most.*10 steps"),
    "logit+smer": (
        {"ensemble": True},
        "'smer' weighs.*expected ce or lmargin, untargeted, got logit",
    ),
    "smer": ({"ensemble": True, "targeted": "random"}, "untargeted, got a target class"),
    "naa+adaea": ({"ensemble": True}, "'adaea' weighs surrogates.*got naa"),
    "fia+ens:fuse=probabilities": ({"ensemble": True}, "features have no probabilities"),
}


@pytest.mark.parametrize("spec", REFUSED)
def test_what_cannot_be_used_is_said_before_a_model_is_loaded(spec: str) -> None:
    flags, message = REFUSED[spec]
    with pytest.raises(UsageError, match=message):
        configure(ZOO, "fashion-mnist", [spec], SEVERAL, ["fashion-mnist/vgg"], flags)


@pytest.mark.parametrize("ensemble", ["adaea", "smer"])
def test_losses_that_are_never_negative_can_be_weighed(ensemble: str) -> None:
    models, batch = [small_cnn(seed=seed) for seed in (0, 1)], random_images(2)
    assert perturb(make_attack(f"lmargin+{ensemble}", steps=2), models, batch).isfinite().all()


def test_it_is_said_in_python_too() -> None:
    with pytest.raises(UsageError, match="'geo' overflow"):
        perturb(make_attack("geo:ratio=10", steps=400), small_cnn(), random_images(1))
    with pytest.raises(UsageError, match="'rap' never joins"):
        perturb(make_attack("rap:after=3", steps=3), small_cnn(), random_images(1))


@pytest.mark.parametrize("features", ["naa", "ila", "fia"])
def test_refined_logits_are_read(features: str) -> None:
    with pytest.raises(UsageError, match=rf"refines logits.*expected one of the two, got dem and {features}"):
        compose(f"{features}+dem")


@pytest.mark.parametrize("joint", ["long", "sub:size=1"])
def test_models_that_are_not_asked_need_not_have_what_is_patched(joint: str) -> None:
    """Two steps see two of four models at most; the same without a patch, where γ = 1 changes nothing."""
    models = [residual_cnn() for _ in range(4)]
    batch = random_images(3)
    plain, patched = (
        perturb(make_attack(spec, steps=2), models, batch) for spec in (joint, f"sgm:gamma=1+{joint}")
    )
    assert (patched - plain).abs().max() < 1e-9


class Scaled(nn.Module):
    """A network whose logits are multiplied by a number, or cut off from its input."""

    def __init__(self, factor: float | None) -> None:
        super().__init__()
        self.network, self.factor = residual_cnn(), factor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits.detach() if self.factor is None else logits * self.factor


@pytest.mark.parametrize("spec", ["", "naa", "ila", "fia", "bfa", "ilpd"])
def test_gradients_that_are_none_are_said(spec: str) -> None:
    attack, batch = make_attack(spec, steps=1), random_images(2)
    with pytest.raises(ModelError, match="the gradient of the surrogate is not finite"):
        perturb(attack, Scaled(float("nan")), batch)
    with pytest.raises(ModelError, match="no gradient reaches the images"):
        perturb(attack, Scaled(None), batch)


def test_weights_are_tuned_before_other_patches_look() -> None:
    """Patches stand in the order in which they are written; with σ = 0 and no tuning both are `ilpd`."""
    batch = random_images(2)
    look, tune = "ilpd:sigma=0", "awt:rate=0"
    found = [
        perturb(make_attack(spec, steps=3), residual_cnn(), batch)
        for spec in (look, f"{tune}+{look}", f"{look}+{tune}")
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=1e-12)


def test_attention_of_windows_is_refused_however_many_images_there_are() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model(
            "swin_s3_tiny_224",
            num_classes=10,
            img_size=32,
            window_size=4,
            depths=(1, 1, 2, 1),
            embed_dim=24,
            num_heads=(1, 2, 2, 2),
        ).to(DOUBLE)
    for count in (1, 3):
        with pytest.raises(ModelError, match="'fpr' does not know the surrogate's attention"):
            perturb(make_attack("fpr", steps=1), model, random_images(count, side=32))
