"""Objectives of a layer (FIA, NAA, ILA), against literal sums and loops."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from helpers.attacks import craft, make_attack, perturb, random_images, small_cnn, work_unit
from helpers.networks import literal_cnn, narrow, residual_cnn, tiny_vit
from helpers.patches import BATCH
from transferzoo.attacks.composition import compose
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES, Features
from transferzoo.attacks.techniques.features import IntermediateLevel
from transferzoo.attacks.techniques.layers import find_layer
from transferzoo.base.errors import ModelError, UsageError
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.classifier import Classifier, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.attacks.techniques.work_unit import WorkUnit

pytestmark = pytest.mark.usefixtures("one_thread")

FEATURES = [name for name in TECHNIQUES if TECHNIQUES[name].stage is Stage.FEATURES]


def features_of(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the second stage's output and the logits made of it."""
    seen: list[Tensor] = []

    def look(features: Tensor) -> Tensor:
        seen.append(features)
        return features

    logits = literal_cnn(model, images, features=look)
    return seen[0], logits


def objective_at(spec: str, model: nn.Module, images: Tensor, unit: WorkUnit) -> tuple[Tensor, Tensor]:
    """Return an objective's values and gradients at some images."""
    (technique,) = compose(spec).of(Features)
    with frozen(model), technique.objective(model, unit) as objective:
        leaf = images.detach().requires_grad_()
        values = objective(leaf)
        (slope,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), slope


def importance(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Return ∂ softmax_label / ∂F of one image."""
    features, logits = features_of(model, image[None].requires_grad_())
    (slope,) = torch.autograd.grad(logits.softmax(1)[0, label], features)
    return slope[0]


def elsewhere(unit: WorkUnit) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(unit.images.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("spec", ["fia:masks=4,drop=0.4", "naa:points=5", "naa:points=5,noise=0.1"])
def test_weighted_features_are_the_literal_sum(spec: str, targeted: bool) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack(spec), BATCH)
    twin = work_unit(make_attack(spec), BATCH)
    if targeted:
        unit = replace(unit, target_classes=(unit.labels + 1) % 10)
    classes = unit.labels if unit.target_classes is None else unit.target_classes
    views = [twin.images * k / 5 for k in range(1, 6)]
    if "noise" in spec:
        views = [(twin.images + 0.1 * twin.normal(3, 16, 16)) * k / 5 for k in range(1, 6)]
    if spec.startswith("fia"):
        views = [twin.images * (twin.uniform(3, 16, 16) >= 0.4) for _ in range(4)]
    z = elsewhere(unit)
    values, slopes = objective_at(spec, model, z, unit)
    for i in range(4):
        total = torch.stack([importance(model, view[i], classes[i]) for view in views]).sum(0)
        weights = total / total.norm() if spec.startswith("fia") else total / 5
        leaf = z[i : i + 1].clone().requires_grad_()
        value = (weights * features_of(model, leaf)[0][0]).sum() * (1 if targeted else -1)
        (slope,) = torch.autograd.grad(value, leaf)
        torch.testing.assert_close(values[i], value.detach(), rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(slopes[i : i + 1], slope, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("spec", "points", "eta"), [("bfa", 30, 0.86), ("bfa:points=3,eta=0.5", 3, 0.5)])
@pytest.mark.parametrize("targeted", [False, True])
def test_bfa_weighs_features_of_images_that_were_fitted(
    spec: str, points: int, eta: float, targeted: bool
) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack(spec), BATCH)
    if targeted:
        unit = replace(unit, target_classes=(unit.labels + 1) % 10)
    classes = unit.labels if unit.target_classes is None else unit.target_classes
    z = elsewhere(unit)
    values, slopes = objective_at(spec, model, z, unit)
    length = eta * 16 / 255 * (3 * 16 * 16) ** 0.5
    for i, label in enumerate(classes):
        x = unit.images[i : i + 1]
        view, total = x, torch.zeros(8, 4, 4, dtype=torch.float64)
        for _ in range(points):
            leaf = view.clone().requires_grad_()
            gain = literal_cnn(model, leaf).log_softmax(1)[0, label] * (1 if targeted else -1)
            (up,) = torch.autograd.grad(gain, leaf)
            view = x + length * up / up.norm()
            features, logits = features_of(model, view.clone().requires_grad_())
            total += torch.autograd.grad(logits[0, label], features)[0][0]
        leaf = z[i : i + 1].clone().requires_grad_()
        value = (total / total.norm() * features_of(model, leaf)[0][0]).sum() * (1 if targeted else -1)
        (slope,) = torch.autograd.grad(value, leaf)
        torch.testing.assert_close(values[i], value.detach(), rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(slopes[i : i + 1], slope, rtol=1e-8, atol=1e-13)


def _bim(model: nn.Module, x: Tensor, gain: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Return the perturbation of so many steps of 1.6/255 in 16/255, for one image."""
    delta = torch.zeros_like(x)
    for _ in range(steps):
        leaf = (x + delta).requires_grad_()
        (slope,) = torch.autograd.grad(gain(leaf), leaf)
        delta = (delta + 1.6 / 255 * slope.sign()).clamp(-16 / 255, 16 / 255)
        delta = (x + delta).clamp(0, 1) - x
    return delta


def test_ila_is_the_literal_loop_of_two_phases() -> None:
    attack, model = make_attack("ila:steps=3", steps=5), residual_cnn().eval()
    found = perturb(attack, model, BATCH)
    for i in range(4):
        x, label = BATCH.images[i : i + 1].double() / 255, BATCH.labels[i]
        guide = _bim(model, x, lambda z, y=label: -literal_cnn(model, z).log_softmax(1)[0, y], 3)  # type: ignore[misc]
        clean = features_of(model, x)[0].detach()
        direction = features_of(model, x + guide)[0].detach() - clean

        def along(z: Tensor, clean: Tensor = clean, direction: Tensor = direction) -> Tensor:
            return ((features_of(model, z)[0] - clean) * direction).sum()

        delta = _bim(model, x, along, 5)
        torch.testing.assert_close(found[i : i + 1], x + delta, rtol=0, atol=1e-12)


def test_ila_first_goes_for_the_target() -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack("ila"), BATCH)
    unit.target_classes = (unit.labels + 1) % 10
    with frozen(model):
        found = IntermediateLevel(steps=4).guide(model, unit)
    for i, target in enumerate(unit.target_classes):
        x = unit.images[i : i + 1]
        delta = _bim(model, x, lambda z, t=target: literal_cnn(model, z).log_softmax(1)[0, t], 4)  # type: ignore[misc]
        torch.testing.assert_close(found[i : i + 1], delta, rtol=0, atol=1e-12)


def test_ila_first_stays_in_the_attacks_own_ball() -> None:
    model, attack = residual_cnn().eval(), make_attack("ila", "l2", step=make_attack().budget.epsilon / 4)
    unit = work_unit(attack, BATCH)
    length = IntermediateLevel(steps=6).guide(model, unit).flatten(1).norm(dim=1)
    assert (length <= unit.epsilon + 1e-12).all()
    assert (length > 0.5 * unit.epsilon).all()


def test_features_that_matter_nothing_weigh_nothing() -> None:
    model = residual_cnn().eval()
    nn.init.zeros_(model.fc.weight)
    for spec in FEATURES:
        unit = work_unit(make_attack(spec), BATCH)
        values, slopes = objective_at(spec, model, elsewhere(unit), unit)
        assert values.count_nonzero() == slopes.count_nonzero() == 0


@pytest.mark.parametrize("spec", FEATURES)
def test_objectives_of_a_batch_are_those_of_singles(spec: str) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack(spec), BATCH)
    z = elsewhere(unit)
    values, slopes = objective_at(spec, model, z, unit)
    for i in range(4):
        value, slope = objective_at(spec, model, z[i : i + 1], work_unit(make_attack(spec), BATCH[i : i + 1]))
        torch.testing.assert_close(value[0], values[i], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(slope[0], slopes[i], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("spec", FEATURES)
def test_objectives_work_on_transformers_and_at_other_layers(spec: str) -> None:
    one, other = (
        craft(make_attack(f"{spec}:layer={layer}", steps=2), tiny_vit(), BATCH)
        for layer in ("blocks.0.norm1", "blocks.1")
    )
    assert not torch.equal(one, other)


def test_what_is_made_once_is_counted() -> None:
    costs = [make_attack(spec, steps=10).cost() for spec in ("fia:masks=7", "naa:points=8", "ila:steps=9")]
    assert costs == [17, 18, 19]
    assert make_attack("bfa:points=4", steps=10).cost() == 18
    assert make_attack("fia", steps=10).cost() == 40


def test_an_in_place_layer_behind_does_not_change_the_features() -> None:
    model: Any = small_cnn().eval()
    model[6] = nn.ReLU(inplace=True)
    unit = work_unit(make_attack("naa:layer=5"), BATCH)
    z = elsewhere(unit)
    found = objective_at("naa:layer=5,points=1", model, z, unit)
    model[6] = nn.ReLU()
    for one, other in zip(found, objective_at("naa:layer=5,points=1", model, z, unit), strict=True):
        torch.testing.assert_close(one, other)


# ---------------------------------------------------------------- layers

MIDDLES = {
    "small_resnet18": "layer2",
    "small_resnet50": "layer2",
    "small_wide_resnet": "stages.1",
    "small_mobilenet": "blocks.1",
    "small_densenet": "features.transition1",
    "small_convmixer": "blocks.3",
    "small_mlp_mixer": "blocks.1",
    "small_vit": "blocks.1",
    "small_hybrid_vit": "blocks.1",
    "small_googlenet": "features.4",
    "cifar_resnet18": "layer2",
    "cifar_resnet34": "layer2",
    "cifar_resnet50": "layer2",
    "cifar_vgg16_bn": "features.21",
    "cifar_densenet121": "features.denseblock2",
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_middle_of_every_family(name: str) -> None:
    model = ARCHITECTURES[name].build(**narrow(name))
    classifier = Classifier(model, size=None, channels=1, mean=[0.5], std=[0.5])
    path, layer = find_layer(classifier, "middle")
    assert MIDDLES.get(name, path) == path
    assert layer is model.get_submodule(path)
    for parameter in model.parameters():  # some start with a head of 0
        if parameter.count_nonzero() == 0:
            nn.init.normal_(parameter)
    images = random_images(2, 1, 28)
    attack = make_attack("naa:points=2", steps=1)
    assert not torch.equal(craft(attack, classifier.double(), images), images.images)


def test_the_middle_without_known_names() -> None:
    assert find_layer(small_cnn(), "middle")[0] == "4"
    with pytest.raises(ModelError, match=r"no middle layer.*option 'layer'"):
        find_layer(nn.Bilinear(2, 2, 2), "middle")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "whose first axis is the batch, 4, got a layer that is not called"),
        ("flat", r"whose first axis is the batch, 4, got \(12, 16, 16\)"),
        ("pair", "LSTM, cannot be changed: expected an output that is a tensor, got tuple"),
    ],
)
def test_a_layer_without_features_of_an_image_is_a_sentence(layer: str, message: str) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(0, 1)

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.flat, self.unused = nn.LSTM(4, 4), Flat(), nn.ReLU()
            self.fc = nn.Linear(3 * 16 * 16, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.flat(x).view_as(x)
            logits: Tensor = self.fc(self.pair(x.flatten(0, 1)[..., :4])[0].sum() + x.flatten(1))
            return logits

    with pytest.raises(ModelError, match=message):
        craft(make_attack(f"naa:layer={layer}"), Odd().double(), BATCH)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fia:drop=1", "option 'drop' of 'fia' is a probability"),
        ("fia:masks=0", "option 'masks' of 'fia' is out of range: expected 1 to 1000, got 0"),
        ("naa:points=0", "option 'points' of 'naa'"),
        ("ila:steps=0", "option 'steps' of 'ila'"),
        ("fia+naa", "2 techniques of the stage"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(spec)
