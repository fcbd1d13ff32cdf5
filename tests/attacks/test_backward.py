"""Backward rules (SGM, BPA), against the same passes written out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.attacks import (
    DOUBLE,
    make_attack,
    random_images,
    work_unit,
)
from helpers.networks import literal_cnn, literal_vit, narrow, residual_cnn, tiny_vit
from helpers.patches import by_rule, passes, patched, same
from transferzoo.attacks.techniques import Patch
from transferzoo.attacks.techniques.backward import SmoothBackward, _soft_pool
from transferzoo.attacks.techniques.layers import branches
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.classifier import frozen

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("one_thread")

# ---------------------------------------------------------------- skip gradients


@pytest.mark.parametrize("gamma", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(("model", "literal"), [(residual_cnn, literal_cnn), (tiny_vit, literal_vit)])
def test_sgm_is_the_literal_branch(
    model: Callable[[], nn.Module], literal: Callable[..., Tensor], gamma: float
) -> None:
    network = model().eval()

    def join(shortcut: Tensor, branch: Tensor) -> Tensor:
        return shortcut + gamma * branch + (1 - gamma) * branch.detach()

    same(patched(f"sgm:gamma={gamma}", network), passes(lambda x: literal(network, x, join=join)))


BRANCHES = {
    "small_resnet18": 8,
    "small_resnet50": 16,
    "small_wide_resnet": 3,
    "small_mobilenet": 4,
    "small_densenet": 15,
    "small_convmixer": 8,
    "small_mlp_mixer": 8,
    "small_vit": 8,
    "small_hybrid_vit": 8,
    "small_vgg": 0,
    "small_googlenet": 0,
    "cifar_resnet18": 8,
    "cifar_resnet34": 16,
    "cifar_resnet50": 16,
    "cifar_vgg16_bn": 0,
    "cifar_densenet121": 58,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_familys_branches_are_found(name: str) -> None:
    model = ARCHITECTURES[name].build(**narrow(name)).double()
    batch = random_images(1, 1, 28)
    if BRANCHES[name] == 0:
        assert not branches(model)
        return
    attack = make_attack("sgm")
    (technique,) = attack.composition.of(Patch)
    with frozen(model), technique.patch(model, work_unit(attack, batch)) as acted:
        passes(model, batch)
        assert acted() == BRANCHES[name]


def _foreign(name: str) -> nn.Module:
    """Return a tiny network of timm or torchvision with blocks that none of our families has."""
    import torchvision
    from timm.models import cait, convnext

    model: Any
    if name == "convnext":
        model = convnext.ConvNeXt(num_classes=10, depths=(1, 1, 2, 1), dims=(8, 8, 8, 8))
    elif name == "cait":
        model = cait.Cait(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)
    else:
        model = torchvision.models.VisionTransformer(16, 4, 2, 2, hidden_dim=32, mlp_dim=32)
        nn.init.normal_(model.heads.head.weight)
    network: nn.Module = model.double()
    return network


@pytest.mark.parametrize(
    ("name", "spec", "count"),
    [
        ("convnext", "sgm", 5),
        ("convnext", "ghost", 5),
        ("cait", "sgm", 8),
        ("cait", "pna", 4),
        ("cait", "tgr", 4),
        ("torchvision", "sgm", 4),
    ],
)
def test_blocks_of_other_families_are_known(name: str, spec: str, count: int) -> None:
    model, attack = _foreign(name), make_attack(spec)
    batch = random_images(1, 3, 32 if name == "convnext" else 16)
    (technique,) = attack.composition.of(Patch)
    with frozen(model), technique.patch(model, work_unit(attack, batch)) as acted:
        passes(model, batch)
        assert acted() == count


# ---------------------------------------------------------------- smooth ReLUs and max-pools


def _literal_pool(x: Tensor, temperature: float = 10.0, **options: Any) -> Tensor:
    """Pool window by window; backward, a window shares its gradient by the softmax of what is in it."""
    sizes = {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 1, **options}
    kernel, stride, padding, dilation = (
        sizes[key] for key in ("kernel_size", "stride", "padding", "dilation")
    )
    pooled = functional.max_pool2d(x.detach(), **sizes)
    result = torch.zeros_like(pooled)
    for i in range(pooled.shape[2]):
        for j in range(pooled.shape[3]):
            rows, columns = (
                [
                    p
                    for p in range(o * stride - padding, o * stride - padding + kernel * dilation, dilation)
                    if 0 <= p < size
                ]
                for o, size in zip((i, j), x.shape[2:], strict=True)
            )
            window = x[:, :, rows][:, :, :, columns].flatten(2)
            share = (temperature * window.detach()).exp()
            soft = (share / share.sum(2, keepdim=True) * window).sum(2)
            result[:, :, i, j] = soft + (pooled[:, :, i, j] - soft).detach()
    return result


def _silu_slope(gradient: Tensor, u: Tensor) -> Tensor:
    sigma = 1 / (1 + (-u).exp())
    return gradient * (sigma + u * sigma * (1 - sigma))


def _smooth(u: Tensor) -> Tensor:
    back = by_rule(_silu_slope)(u)
    return back + (u.relu() - u).detach()


@pytest.mark.parametrize(("spec", "late"), [("bpa", 0), ("bpa:layer=layer3.0,temperature=2", 2)])
def test_bpa_is_the_literal_backward_rule(spec: str, late: int) -> None:
    network, temperature = residual_cnn().eval(), 2.0 if late else 10.0
    calls: list[None] = []

    def relu(u: Tensor) -> Tensor:
        calls.append(None)
        return _smooth(u) if len(calls) > late else u.relu()

    wanted = passes(
        lambda x: literal_cnn(network, x, late_relu=relu, pool=lambda y: _literal_pool(y, temperature))
    )
    assert len(calls) == 4
    same(patched(spec, network), wanted)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 1, "padding": 0},
        {"kernel_size": 2, "padding": 0},
        {"dilation": 2},
        {"ceil_mode": True},
        {"kernel_size": 2, "stride": 3, "padding": 0},
    ],
)
def test_soft_pool_is_the_literal_sum_over_windows(options: dict[str, Any]) -> None:
    x = torch.randn(2, 3, 8, 11, dtype=DOUBLE, generator=torch.Generator().manual_seed(0)) - 3
    pool = nn.MaxPool2d(**{"kernel_size": 3, "stride": 2, "padding": 1, **options})
    slopes: list[Tensor] = []
    for literal in (False, True):
        leaf = x.clone().requires_grad_()
        soft = _literal_pool(leaf, **options) if literal else _soft_pool(pool, leaf, pool(leaf), 10.0)
        weights = torch.linspace(1, 2, soft.numel(), dtype=DOUBLE).view_as(soft)
        slopes += torch.autograd.grad((weights * soft).sum(), leaf)
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-13)


def test_bpa_does_not_overflow() -> None:
    x = torch.full((1, 1, 4, 4), 1e30, requires_grad=True)
    pool = nn.MaxPool2d(2)
    (slope,) = torch.autograd.grad(_soft_pool(pool, x, pool(x), SmoothBackward().temperature).sum(), x)
    torch.testing.assert_close(slope, torch.full_like(x, 0.25))
