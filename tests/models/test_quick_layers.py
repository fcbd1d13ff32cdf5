"""Layers that take less time: the same logits and gradients, from the same places."""

from __future__ import annotations

from copy import deepcopy
from itertools import product

import pytest
import timm
import torch
from torch import Tensor, nn

from helpers.attacks import craft, make_attack, random_images
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.optimize import largest_batch_size, optimize
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
    with frozen(ready), frozen(model):
        torch.testing.assert_close(ready(pixels), model(pixels), rtol=1e-4, atol=1e-5)
    wanted = gradient(model, pixels, weights)
    assert (gradient(ready, pixels, weights) - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert {p.data_ptr() for p in optimize(model, batch[:2], precision="fp32").parameters()} >= {
        part.weight.data_ptr() for part in model.modules() if type(part) is nn.Linear
    }


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


def test_weights_that_learn_or_are_changed_are_the_layer_s_own() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(2), nn.Linear(1, 3))
    images = torch.randn(2, 1, 1, 1)
    quicken(model, images)
    assert (layers(model, Cropped), layers(model, Tokens)) == (1, 1)
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    for parameter in model.parameters():
        parameter.data.mul_(2)
    whole = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(2), nn.Linear(1, 3))
    whole.load_state_dict(model.state_dict())
    with frozen(model):
        torch.testing.assert_close(model(images), whole(images))


@pytest.mark.parametrize("spec", ["awt", "mba", "sgm", "ghost", "mi+di", "fia", "cfm", "ilpd"])
def test_attacks_do_the_same(spec: str) -> None:
    """Those that change weights, see layers or resize images among them."""
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=10)
    model = Classifier(model, size=None, channels=3, mean=[0.4] * 3, std=[0.3] * 3).double().eval()
    batch = random_images(2, 3, 32)
    quick = deepcopy(model)
    quicken(quick, batch.images.double() / 255)
    assert layers(quick, Cropped) > 1
    attack = make_attack(spec, steps=3)
    assert torch.equal(craft(attack, quick, batch), craft(attack, model, batch))


def test_what_hangs_on_a_layer_stays() -> None:
    """Hooks, a second name, and what changes its output in place; a layer with a forward of its own stays."""
    linear, own = nn.Linear(5, 5), nn.Linear(5, 5)
    model = nn.Sequential(linear, nn.ReLU(inplace=True), linear, own)
    linear.register_forward_hook(lambda *arguments: arguments[2] + 1)
    own.forward = lambda input: 2 * input  # type: ignore[method-assign]
    tokens = torch.randn(2, 3, 5)
    wanted = gradient(model, tokens, torch.ones(5))
    quicken(model, tokens)
    assert type(model[0]) is type(model[2]) is Tokens
    assert type(own) is nn.Linear
    torch.testing.assert_close(gradient(model, tokens, torch.ones(5)), wanted)


class Odd(nn.Module):
    """Takes its layer's input by name, and one image without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.conv = nn.Linear(4, 4), nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat((self.linear(input=images).flatten(), self.conv(images[0]).flatten()))


def test_layers_that_are_called_otherwise_stay() -> None:
    model = Odd()
    quicken(model, torch.randn(2, 1, 1, 4))
    assert layers(model, Tokens) == layers(model, Cropped) == 0


class Telling(nn.Module):
    """Says another thing once its layer is a quicker one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.linear(images)
        return made if type(self.linear) is nn.Linear else 2 * made


def test_what_changes_a_logit_is_taken_back() -> None:
    model = Telling()
    quicken(model, torch.randn(2, 3, 4))
    assert type(model.linear) is nn.Linear


def test_a_model_in_training_keeps_its_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)).train()
    quicken(model, torch.randn(2, 1, 1, 1))
    assert model[1].num_batches_tracked == 0
    assert model.training and model[0].training


def test_cropped_weights_are_not_memory_of_the_images() -> None:
    """The batch that fits is as large as without."""
    model = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1), nn.Flatten())
    images = torch.zeros(2, 1, 1, 1, dtype=torch.uint8)
    kept: list[int] = []
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("transferzoo.models.optimize.device_memory", lambda _: 2**16)
            kept.append(largest_batch_size([model], images))
        quicken(model, images / 255)
    assert layers(model, Cropped) == 2
    assert kept[1] >= kept[0] > 1


def test_bfloat16_has_cropped_kernels_too() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten())
    model = Classifier(network, size=None, channels=1, mean=[0.4], std=[0.3]).eval()
    images = random_images(2, 1, 1).images
    ready = optimize(model, images, precision="bf16")
    assert layers(ready, Cropped) == 1
    torch.testing.assert_close(ready(images / 255), model(images / 255), rtol=0.02, atol=0.02)


def test_what_is_padded_otherwise_stays() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate")
    )
    quicken(model, torch.randn(2, 1, 1, 1))
    assert layers(model, Cropped) == 0
