"""Techniques of vision transformers (PNA, TGR, FPR), against an attention written out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers.attacks import craft, make_attack, work_unit
from helpers.networks import literal_vit, tiny_vit
from helpers.patches import BATCH, by_rule, passes, patched, same
from transferzoo.attacks.composition import compose
from transferzoo.attacks.techniques.backward_attention import PayNoAttention, _ordinary, _ordinary_maps
from transferzoo.base.errors import ModelError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("spec", ["pna", "tgr", "fpr"])
def test_fused_attention_makes_no_difference_and_comes_back(spec: str, fused: bool) -> None:
    model = tiny_vit().eval()
    wanted = patched(spec, model)
    for block in model.blocks:
        block.attn.fused_attn = fused
    same(patched(spec, model), wanted)
    assert [block.attn.fused_attn for block in model.blocks] == [fused, fused]


# ---------------------------------------------------------------- pay no attention


def test_pna_is_the_literal_attention_with_constant_maps() -> None:
    model = tiny_vit().eval()
    same(patched("pna", model), passes(lambda x: literal_vit(model, x, on_map=Tensor.detach)))


@pytest.mark.parametrize("times", [1, 2])
def test_patch_out_keeps_random_patches_of_every_image(times: int) -> None:
    model, unit = tiny_vit().eval(), work_unit(make_attack("pna:keep=0.4"), BATCH)
    for _ in range(times):
        draws = unit.uniform(16)
    mask = torch.zeros(4, 1, 16, 16, dtype=torch.float64)
    for image, numbers in enumerate(draws.tolist()):
        for number in sorted(range(16), key=numbers.__getitem__)[:6]:  # 0.4 · 16 = 6.4
            row, column = number // 4 * 4, number % 4 * 4
            mask[image, :, row : row + 4, column : column + 4] = 1
    technique = compose("pna:keep=0.4").techniques[0]
    assert isinstance(technique, PayNoAttention)
    shift = torch.rand(unit.images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def literal(x: Tensor) -> Tensor:
        away = x + shift - unit.images
        return literal_vit(model, unit.images + mask * away, on_map=Tensor.detach)

    fresh = work_unit(make_attack("pna:keep=0.4"), BATCH)
    with technique.patch(model, fresh):
        for _ in range(times):
            found = passes(lambda x: model(x + shift))
    same(found, passes(literal))
    assert torch.equal(found[1] == 0, (mask == 0).expand_as(found[1]))


@pytest.mark.parametrize(("keep", "count"), [(0.01, 1), (0.66, 11), (0.99, 16)])
def test_patch_out_keeps_so_many(keep: float, count: int) -> None:
    unit = work_unit(make_attack("pna"), BATCH)
    masks = [PayNoAttention(keep).mask(unit, (4, 4)) for _ in range(2)]
    assert all((mask.sum((1, 2, 3)) == 16 * count).all() for mask in masks)
    if count < 16:
        assert len({tuple(image.flatten().tolist()) for image in torch.cat(masks)}) > 4


# ---------------------------------------------------------------- token gradients


def _literal_maps(gradient: Tensor) -> Tensor:
    result = 0.5 * gradient
    for image in range(gradient.shape[0]):
        for head in range(gradient.shape[1]):
            plane = gradient[image, head].tolist()
            cells = [(value, r, c) for r, line in enumerate(plane) for c, value in enumerate(line)]
            for _, row, column in (max(cells), min(cells)):
                result[image, head, row, :] = 0
                result[image, head, :, column] = 0
    return result


def _literal_tokens(gradient: Tensor, factor: float) -> Tensor:
    result = factor * gradient
    for image in range(gradient.shape[0]):
        for channel in range(gradient.shape[2]):
            values = gradient[image, :, channel].tolist()
            result[image, values.index(max(values)), channel] = 0
            result[image, values.index(min(values)), channel] = 0
    return result


@pytest.mark.parametrize("at", ["maps", "scores"])
def test_tgr_is_the_literal_loop_over_images(at: str) -> None:
    model = tiny_vit().eval()
    cut = by_rule(lambda g, _: _literal_maps(g))
    wanted = passes(
        lambda x: literal_vit(
            model,
            x,
            on_scores=cut if at == "scores" else torch.clone,
            on_map=cut if at == "maps" else torch.clone,
            on_qkv=by_rule(lambda g, _: _literal_tokens(g, 0.8)),
            on_mlp=by_rule(lambda g, _: _literal_tokens(g, 0.3)),
        )
    )
    same(patched(f"tgr:attention=0.5,qkv=0.8,mlp=0.3,at={at}", model), wanted)


def test_tgr_needs_maps_that_are_a_softmax() -> None:
    model = tiny_vit()
    model.blocks[1].attn.attn_drop = nn.ReLU()
    with pytest.raises(ModelError, match=r"'tgr' finds no scores .*got ReluBackward0"):
        craft(make_attack("tgr:at=scores"), model, BATCH)


def _gradient(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_tgr_knows_where_tokens_lie() -> None:
    last = _gradient(2, 3, 4, 5)  # rows and columns of tokens, then channels
    wanted = (_literal_tokens(last.flatten(1, 2), 1.0) != 0).double().view_as(last)
    assert torch.equal(_ordinary(nn.Linear(5, 5))(last), wanted)
    first = last.movedim(-1, 1)
    assert torch.equal(_ordinary(nn.Sequential(nn.Conv2d(5, 5, 1)))(first), wanted.movedim(-1, 1))
    assert _ordinary(nn.Linear(5, 5))(_gradient(2, 5)).count_nonzero() == 0


def test_tgr_cuts_columns_of_a_class_tokens_map() -> None:
    gradient = _gradient(2, 3, 1, 7)
    wanted = (_literal_tokens(gradient.flatten(0, 2)[..., None], 1.0) != 0).double()
    assert torch.equal(_ordinary_maps(gradient).flatten(0, 2), wanted[..., 0])


def test_tgr_has_the_papers_factors() -> None:
    assert compose("tgr").canonical == "tgr:attention=0.25,qkv=0.75,mlp=0.5"


# ---------------------------------------------------------------- forward refinement


@pytest.mark.parametrize(("spread", "scale", "decay"), [(25.0, 0.8, 0.3), (2.0, 1.1, 0.6)])
@pytest.mark.parametrize("times", [1, 3])
def test_fpr_is_the_literal_network_of_every_pass(
    spread: float, scale: float, decay: float, times: int
) -> None:
    """Of two blocks both vary: 11 · 2 / 12 is the second."""
    spec = f"fpr:spread={spread:g},scale={scale:g},decay={decay:g}"
    model, unit = tiny_vit().eval(), work_unit(make_attack(spec), BATCH)
    past: list[Tensor | float] = [0.0] * 4
    number = 0

    def vary(attention: Tensor) -> Tensor:
        draws = unit.uniform(*attention.shape[1:])
        spread_out = attention * (1 - spread + 2 * spread * draws)
        return spread_out.exp() / spread_out.exp().sum(-1, keepdim=True)

    def join(x: Tensor, branch: Tensor) -> Tensor:
        nonlocal number
        token = scale * branch + decay * past[number]
        past[number], number = token.detach(), (number + 1) % 4
        return x + token

    for _ in range(times):
        wanted = passes(lambda x: literal_vit(model, x, on_map=vary, join=join))
    same(patched(spec, model, times=times), wanted)


def test_fpr_varies_five_of_twelve_maps() -> None:
    model = tiny_vit()
    blocks: Any = nn.Sequential(*(tiny_vit().blocks[0] for _ in range(12)))
    model.blocks = blocks
    with compose("fpr").techniques[0].patch(model, work_unit(make_attack("fpr"), BATCH)):  # type: ignore[attr-defined]
        hooked = [number for number, block in enumerate(blocks) if block.attn.attn_drop._forward_hooks]
    assert hooked == [0, 1, 4, 9, 11]


def test_fpr_does_not_know_attention_without_an_mlp() -> None:
    model = tiny_vit()
    model.extra = tiny_vit().blocks[0].attn
    with pytest.raises(ModelError, match=r"'fpr' does not know the surrogate's blocks: .* got 2 and 3"):
        craft(make_attack("fpr"), model, BATCH)
