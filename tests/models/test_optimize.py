"""Surrogates made ready: folding changes nothing but the time, bfloat16 little; memory bounds the batch."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from helpers.attacks import craft, make_attack, random_images
from helpers.networks import narrow
from transferzoo.base.errors import ModelError
from transferzoo.datasets.sources import load_split
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.classifier import Classifier, load_checkpoint
from transferzoo.models.optimize import (
    MOST_IMAGES,
    best_precision,
    folded,
    gradient_seconds,
    largest_batch_size,
    optimize,
)
from transferzoo.zoo.reader import load_zoo


def lively(model: nn.Module, channels: int) -> Classifier:
    """Return a classifier whose batch norms are no identity, in evaluation mode and double precision."""
    generator = torch.Generator().manual_seed(0)
    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.affine:
            for tensor, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.5, 0.5),
                (part.running_mean, -0.5, 0.5),
                (part.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.data.copy_(torch.empty_like(tensor).uniform_(low, high, generator=generator))
    wrapped = Classifier(model, size=None, channels=channels, mean=[0.4] * channels, std=[0.3] * channels)
    return wrapped.double().eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, _BatchNorm) for part in model.modules())


LEFT = {
    "small_resnet18": 0,
    "small_resnet50": 0,
    "small_vgg": 0,
    "small_googlenet": 0,
    "small_mobilenet": 0,
    "small_densenet": 18,
    "small_wide_resnet": 3,
    "small_convmixer": 17,
    "small_mlp_mixer": 0,
    "small_vit": 0,
    "small_hybrid_vit": 0,
    "cifar_resnet18": 0,
    "cifar_resnet34": 0,
    "cifar_resnet50": 0,
    "cifar_vgg16_bn": 0,
    "cifar_densenet121": 62,
}
"""Batch norms that follow no convolution, or not at once."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_folding_changes_no_logit(name: str) -> None:
    model = lively(ARCHITECTURES[name].build(**narrow(name)), 1)
    pixels = random_images(3, 1, 28).images.double() / 255
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    ready = folded(model, pixels)
    torch.testing.assert_close(ready(pixels), model(pixels), rtol=1e-10, atol=1e-10)
    assert norms(ready) == LEFT[name]
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    assert [path for path, _ in ready.named_modules()] == [path for path, _ in model.named_modules()]


@pytest.mark.parametrize(
    "name", ["resnet10t", "test_efficientnet", "test_resnet", "lcnet_035", "test_byobnet"]
)
def test_folding_knows_timms_layers(name: str) -> None:
    """Batch norms that activate too, and networks that torch.fx cannot trace."""
    model = lively(timm.create_model(name, num_classes=5), 3)
    pixels = random_images(2, 3, 64).images.double() / 255
    ready = folded(model, pixels)
    torch.testing.assert_close(ready(pixels), model(pixels), rtol=1e-10, atol=1e-10)
    assert norms(ready) < norms(model) / 2


class Twice(nn.Module):
    """Reads the output of a convolution a second time, besides its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(images)
        both: torch.Tensor = self.norm(found) + found
        return both.mean((2, 3))


class Shared(Twice):
    """Uses one convolution under two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.BatchNorm2d(4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.conv(images)) * self.other(self.conv(images))
        return found.mean((2, 3))


@pytest.mark.parametrize("kind", [Twice, Shared])
def test_what_cannot_be_folded_stays(kind: type[nn.Module]) -> None:
    model = lively(kind(), 1)
    pixels = random_images(2, 1, 8).images.double() / 255
    ready = folded(model, pixels)
    assert norms(ready) == norms(model)
    assert torch.equal(ready(pixels), model(pixels))


SPECS = ["mi", "sgm", "bpa", "ghost", "fia", "naa", "ilpd", "mi+ila", "vt+di"]


@pytest.mark.parametrize("spec", SPECS)
def test_attacks_find_the_same_layers(spec: str) -> None:
    """In double precision a folded surrogate gives the same images, by its patches and features too."""
    model = lively(ARCHITECTURES["small_resnet18"].build(width=8), 1)
    batch = random_images(2, 1, 28)
    attack = make_attack(spec, steps=3)
    ready = folded(model, batch.images.double() / 255)
    assert torch.equal(craft(attack, ready, batch), craft(attack, model, batch))


@pytest.mark.parametrize(
    "name, fold, own", [("small_vit", True, 0), ("small_vgg", True, 10), ("small_vgg", False, 0)]
)
def test_weights_that_stay_lie_in_memory_once(name: str, fold: bool, own: int) -> None:
    """Folding makes a weight and a bias of each of the 5 convolutions of a narrow VGG, and nothing else."""
    model = lively(ARCHITECTURES[name].build(**narrow(name)), 1).float()
    ready = optimize(model, random_images(2, 1, 28).images, precision="fp32", fold=fold)
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert sum(parameter.data_ptr() not in theirs for parameter in ready.parameters()) == own
    assert not {*ready.parameters()} & {*model.parameters()}


def test_bfloat16_rounds_the_weights_only() -> None:
    zoo = load_zoo()
    spec = zoo.dataset("fashion-mnist")
    model = load_checkpoint(zoo.models["fashion-mnist/resnet18"].folder, spec)
    images = load_split(spec, "sample").images[:100]
    ready = optimize(model, images[:4], precision="bf16")
    assert {p.dtype for p in ready.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    pixels = images.float() / 255
    said = ready(pixels)
    assert said.dtype is torch.float32
    assert (said.argmax(1) == model(pixels).argmax(1)).sum() >= 97
    assert not torch.equal(said, model(pixels))


def test_seconds_of_a_gradient_are_a_median_and_an_image_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round, which prepares the rest, took 50 s; the others 1, 8 and 2 s for 4 images."""
    times = iter([0, 50, 50, 51, 51, 59, 59, 61])
    clock = SimpleNamespace(perf_counter=lambda: next(times))
    monkeypatch.setattr("transferzoo.models.optimize.time", clock)
    model = lively(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 1)
    assert gradient_seconds(model, random_images(4, 1, 2).images) == 0.5
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_bf16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for able, wanted in (
        ({}, "fp32"),
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bf16"),
        ({"avx512_f": True}, "fp32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert best_precision(cpu) == wanted
    assert best_precision(torch.device("mps")) == "fp32"


def test_batches_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively(ARCHITECTURES["small_resnet18"].build(width=8), 1).float()
    images = random_images(2, 1, 28).images
    wished = [parameter.requires_grad for parameter in model.parameters()]
    sizes = []
    for gibibytes in (1e-9, 1 / 64, 1 / 32, 64):
        monkeypatch.setattr(
            "transferzoo.models.optimize.device_memory", lambda _, g=gibibytes: int(g * 2**30)
        )
        sizes.append(largest_batch_size([model], images))
    assert sizes[0] == 1 and sizes[2] == 2 * sizes[1] and sizes[3] == MOST_IMAGES
    monkeypatch.setattr("transferzoo.models.optimize.device_memory", lambda _: 2**30 // 32)
    assert largest_batch_size([model, deepcopy(model)], images) == sizes[1]
    assert [parameter.requires_grad for parameter in model.parameters()] == wished


def test_a_failing_compiler_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively(ARCHITECTURES["small_vgg"].build(width=4), 1).float()

    def broken(self: nn.Module) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("no C++ compiler\nlong trace")

        self.forward = fail

    monkeypatch.setattr(nn.Module, "compile", broken)
    with pytest.raises(ModelError, match=r"^torch.compile cannot compile the surrogate: no C\+\+ compiler; "):
        optimize(model, random_images(2, 1, 28).images, precision="fp32", compiled=True)
