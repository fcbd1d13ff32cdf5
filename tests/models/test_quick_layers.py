"""Layers that take less time: the same logits and gradients, from the same places."""

from __future__ import annotations

from itertools import product

import pytest
import timm
import torch
from torch import Tensor, nn

from helpers.attacks import random_images
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.optimize import optimize
from transferzoo.models.quick_layers import Cropped, Tokens, quicken


def layers(model: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in model.modules())


def gradient(model: nn.Module, images: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient to the images of a weighted sum of logits."""
    pixels = images.clone().requires_grad_()
    with frozen(model):
        return torch.autograd.grad((model(pixels) * weights).sum(), pixels)[0]


@pytest.mark.parametrize(
    "name, size, cropped, tokens",
    [
        ("resnet18", 32, 4, 0),
        ("resnet18", 224, 0, 0),
        ("test_vit", 160, 0, 24),
        ("mobilenetv3_small_050", 32, 7, 0),
        ("test_convnext", 64, 2, 18),
    ],
)
def test_networks_say_the_same(name: str, size: int, cropped: int, tokens: int) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7)
    model = Classifier(model, size=None, channels=3, mean=[0.4] * 3, std=[0.3] * 3).eval()
    batch = random_images(3, 3, size).images
    ready = optimize(model, batch[:2], precision="fp32")
    assert (layers(ready, Cropped), layers(ready, Tokens)) == (cropped, tokens)
    assert [path for path, _ in ready.named_modules()] == [path for path, _ in model.named_modules()]
    pixels, weights = batch / 255, torch.randn(3, 7)
    torch.testing.assert_close(ready(pixels), model(pixels), rtol=1e-4, atol=1e-5)
    wanted = gradient(model, pixels, weights)
    assert (gradient(ready, pixels, weights) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert not any(name.endswith("cut") for name in ready.state_dict())


GRID = [
    (kernel, stride, padding, dilation, size)
    for kernel, stride, padding, dilation, size in product(
        (1, 2, 3, 5, 7), (1, 2), (0, 1, 2, 3), (1, 2), (1, 2, 4)
    )
    if size + 2 * padding > dilation * (kernel - 1)
]


def test_a_cropped_convolution_is_the_whole_one() -> None:
    """For each kernel, stride, padding and dilation, in double precision."""
    cropped = 0
    for kernel, stride, padding, dilation, size in GRID:
        whole = nn.Conv2d(
            4, 6, kernel, stride=stride, padding=padding, dilation=dilation, groups=2, dtype=torch.double
        )
        model = nn.Sequential(whole)
        images, others = (torch.randn(2, 4, side, side, dtype=torch.double) for side in (size, 9 + size))
        quicken(model, images)
        with frozen(model):
            torch.testing.assert_close(model(images), whole(images), rtol=1e-12, atol=1e-12)
            if 9 + size + 2 * padding > dilation * (kernel - 1):
                assert torch.equal(model(others), whole(others)), "with its whole kernel"
        cropped += isinstance(model[0], Cropped)
    assert cropped > 20


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 5), (1, 3, 5), (20, 3, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_of_tokens(shape: tuple[int, ...], bias: bool) -> None:
    """Logits, gradients and gradients of gradients are those of the linear layer."""
    whole = nn.Linear(5, 6, bias)
    model = nn.Sequential(whole)
    quicken(model, torch.randn(shape))
    assert type(model[0]) is (Tokens if len(shape) > 2 else nn.Linear)
    tokens, weights = torch.randn(shape), torch.randn(*shape[:-1], 6)
    made = []
    for each in (whole, model[0]):
        inputs = tokens.clone().requires_grad_()
        with frozen(each):
            out = each(inputs)
            (first,) = torch.autograd.grad((out**2 * weights).sum(), inputs, create_graph=True)
            (second,) = torch.autograd.grad((first**2).sum(), inputs)
        made.append((out, first, second))
    for ours, theirs in zip(made[1], made[0], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_weights_that_learn_take_the_usual_way() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(2), nn.Linear(1, 3))
    images = torch.randn(2, 1, 1, 1)
    quicken(model, images)
    assert (layers(model, Cropped), layers(model, Tokens)) == (1, 1)
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_is_padded_otherwise_stays() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")
    )
    quicken(model, torch.randn(2, 1, 1, 1))
    assert layers(model, Cropped) == 0
