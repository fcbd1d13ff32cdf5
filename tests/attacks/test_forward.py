"""Techniques that vary a surrogate (Ghost, ILPD), against their formulas."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.attacks import DOUBLE, make_attack, perturb, random_images, small_cnn, work_unit
from helpers.networks import literal_cnn, normed_cnn, residual_cnn
from helpers.patches import BATCH, passes, patched, same
from transferzoo.attacks.composition import compose
from transferzoo.attacks.techniques.forward import GhostNetworks, PerturbationDecay, _scaled
from transferzoo.attacks.techniques.layers import branches, hooked, on_output
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.classifier import Classifier, frozen
from transferzoo.models.optimize import folded

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- ghost networks


@pytest.mark.parametrize("times", [1, 3])
def test_ghost_scales_every_skip_by_a_draw_of_the_pass(times: int) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack("ghost:scale=0.3"), BATCH)
    for _ in range(times):
        factors = [0.7 + 0.6 * unit.uniform(1).view(-1, 1, 1, 1) for _ in range(4)]
    queue = iter(factors)
    wanted = passes(lambda x: literal_cnn(model, x, join=lambda skip, branch: next(queue) * skip + branch))
    same(patched("ghost:scale=0.3", model, times=times), wanted)
    assert len({factor for draw in factors for factor in draw.flatten().tolist()}) == 16


@pytest.mark.parametrize("spec", ["sgm:gamma=0.4+ghost", "ghost+sgm:gamma=0.4"])
def test_skip_gradients_of_a_ghost_leave_its_skips_alone(spec: str) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack("ghost"), BATCH)
    twin = work_unit(make_attack("ghost"), BATCH)

    def join(skip: Tensor, branch: Tensor) -> Tensor:
        factor = 0.84 + 0.32 * twin.uniform(1).view(-1, 1, 1, 1)
        return factor * skip + 0.4 * branch + 0.6 * branch.detach()

    with frozen(model), ExitStack() as block:
        for technique in compose(spec).techniques:
            block.enter_context(technique.patch(model, unit))  # type: ignore[attr-defined]
        found = passes(model)
    same(found, passes(lambda x: literal_cnn(model, x, join=join)))


@pytest.mark.parametrize(
    "name", ["small_resnet18", "small_wide_resnet", "small_mobilenet", "small_convmixer"]
)
def test_ghost_knows_the_skip_connections_of_real_families(name: str) -> None:
    """Without its branch a block is its skip connection, maybe a ReLU of it: half of that is half of it."""
    model = ARCHITECTURES[name].build().double().eval()
    found = [branch for branch in branches(model) if branch.skips]
    assert found
    entered: dict[Any, Tensor] = {}

    def enter(block: nn.Module, inputs: tuple[Tensor]) -> None:
        entered[block] = inputs[0]

    with hooked(branch.block.register_forward_pre_hook(enter) for branch in found):
        model(BATCH.images[:, :1].double() / 255)
    for branch in found:
        x, half = entered[branch.block], torch.full((4, 1), 0.5, dtype=DOUBLE)
        with hooked([on_output(branch.end, torch.zeros_like)]):
            skip = branch.block(x)
            with hooked(_scaled(branch, lambda half=half: half)):  # type: ignore[misc]
                scaled = branch.block(x)
        if getattr(branch.block, "has_skip", True):
            assert skip.count_nonzero() > 0
            torch.testing.assert_close(scaled, 0.5 * skip)


def test_ghost_drops_outputs_of_layers_where_nothing_skips() -> None:
    model: Any = small_cnn().eval()
    unit = work_unit(make_attack("ghost:drop=0.25"), BATCH)
    masks = [(unit.uniform(8, side, side) >= 0.25).double() / 0.75 for side in (16, 7)]

    def literal(x: Tensor) -> Tensor:
        first = functional.relu(model[1](model[0](x)) * masks[0])
        second = functional.relu(model[5](model[4](first)) * masks[1])
        logits: Tensor = model[7:](second)
        return logits

    wanted = passes(literal)
    assert abs((masks[0] == 0).double().mean().item() - 0.25) < 0.02
    same(patched("ghost:drop=0.25", model), wanted)


def test_ghost_drops_what_batch_norm_gives_where_it_was_folded() -> None:
    """So that the command line, which folds, and the library, which does not, attack the same networks."""
    plain = cast("Classifier", normed_cnn(0).double().eval())
    quick = folded(plain, BATCH.images.double() / 255)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    for mine, theirs in zip(*(patched("ghost:drop=0.25", model) for model in (plain, quick)), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_smooth_relus_keep_what_a_ghost_drops() -> None:
    cnn: Any = small_cnn()
    model = nn.Sequential(cnn[0], nn.ReLU(), cnn[4], nn.ReLU(), *cnn[7:]).eval()
    wanted, _ = patched("ghost:drop=0.3", model)
    for spec in ("bpa:layer=0+ghost:drop=0.3", "ghost:drop=0.3+bpa:layer=0"):
        unit = work_unit(make_attack("ghost:drop=0.3"), BATCH)
        with frozen(model), ExitStack() as block:
            for technique in compose(spec).techniques:
                block.enter_context(technique.patch(model, unit))  # type: ignore[attr-defined]
            torch.testing.assert_close(passes(model)[0], wanted)


def test_ghost_drops_after_relus_without_batch_norm() -> None:
    cnn: Any = small_cnn()
    model: Any = nn.Sequential(*(cnn[i] for i in (0, 2, 4, 6, 7, 8, 9))).eval()
    unit = work_unit(make_attack("ghost:drop=0.25"), BATCH)
    masks = [(unit.uniform(8, side, side) >= 0.25).double() / 0.75 for side in (16, 7)]

    def literal(x: Tensor) -> Tensor:
        logits: Tensor = model[4:](model[2](model[0](x).relu() * masks[0]).relu() * masks[1])
        return logits

    wanted = passes(literal)
    same(patched("ghost:drop=0.25", model), wanted)


def test_ghost_sees_batch_norms_whose_relus_are_functions() -> None:
    model, batch = ARCHITECTURES["small_googlenet"].build().double(), random_images(2, 1, 28)
    norms = sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    with GhostNetworks().patch(model, work_unit(make_attack("ghost"), batch)) as acted:
        model(batch.images.double() / 255)
        assert acted() == norms > 10


def test_ghost_without_chance_is_the_surrogate() -> None:
    model = residual_cnn().eval()
    same(patched("ghost:scale=0", model), passes(model))
    same(patched("ghost:drop=0", small_cnn().eval()), passes(small_cnn().eval()))
    assert GhostNetworks().scale == 0.16


# ---------------------------------------------------------------- perturbation decay


@pytest.mark.parametrize("times", [1, 3])
def test_ilpd_mixes_with_features_of_the_noisy_clean_image(times: int) -> None:
    model, unit = residual_cnn().eval(), work_unit(make_attack("ilpd:gamma=0.3,sigma=0.2"), BATCH)
    for _ in range(times):
        noisy = unit.images + 0.2 * unit.normal(3, 16, 16).double()
    clean: list[Tensor] = []

    def remember(features: Tensor) -> Tensor:
        clean.append(features.detach())
        return features

    literal_cnn(model, noisy, features=remember)
    wanted = passes(lambda x: literal_cnn(model, x, features=lambda f: 0.3 * f + 0.7 * clean[0]))
    same(patched("ilpd:gamma=0.3,sigma=0.2", model, times=times), wanted)


def test_ilpd_attack_is_the_literal_loop() -> None:
    attack, model = make_attack("ilpd", steps=4), residual_cnn().eval()
    unit = work_unit(attack, BATCH)
    x, technique = unit.images, PerturbationDecay()
    delta, seen = torch.zeros_like(x), []

    def first(features: Tensor) -> Tensor:
        seen.append(features.detach())
        return features

    for _ in range(4):
        literal_cnn(model, x + technique.sigma * unit.normal(3, 16, 16).double(), features=first)
        clean = seen.pop()
        leaf = (x + delta).requires_grad_()
        logits = literal_cnn(model, leaf, features=lambda f, c=clean: 0.1 * f + 0.9 * c)  # type: ignore[misc]
        (slope,) = torch.autograd.grad(functional.cross_entropy(logits, BATCH.labels, reduction="sum"), leaf)
        delta = (delta + 1.6 / 255 * slope.sign()).clamp(-16 / 255, 16 / 255).clamp(-x, 1 - x)
    torch.testing.assert_close(perturb(attack, model, BATCH), x + delta, rtol=0, atol=1e-12)


def test_ilpd_takes_another_layer() -> None:
    model = residual_cnn()
    early, late, middle, default = (
        perturb(make_attack(f"ilpd:sigma=0,layer={layer}", steps=4), model, BATCH)
        for layer in ("layer1.0", "layer3", "layer2", "middle")
    )
    assert not torch.equal(early, middle)
    assert not torch.equal(late, middle)
    assert torch.equal(default, middle)
