"""What every technique that changes a surrogate's passes must keep, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from helpers.attacks import (
    DOUBLE,
    craft,
    fitting_model,
    make_attack,
    pool_for,
    small_cnn,
)
from helpers.networks import residual_cnn, tiny_vit
from helpers.patches import BATCH, passes, patched, same
from transferzoo.attacks.composition import compose
from transferzoo.attacks.technique import Stage
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.attacks.techniques.layers import hooked, on_output
from transferzoo.base.errors import ModelError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("one_thread")

BACKWARD = ["sgm", "bpa", "pna", "tgr"]
"""Patches that leave what the model says as it is."""
PATCHES = [name for name in TECHNIQUES if TECHNIQUES[name].stage is Stage.PATCHES]


@pytest.mark.parametrize("name", PATCHES)
def test_patches_change_what_they_say_they_change(name: str) -> None:
    model = fitting_model(name).eval()
    (logits, slope), (new_logits, new_slope) = passes(model), patched(name, model)
    assert torch.allclose(new_logits, logits, rtol=0, atol=1e-12) == (name in BACKWARD)
    assert ((new_slope - slope).abs() > 1e-3 * slope.abs().max()).double().mean() > 0.1
    same(passes(model), (logits, slope))


@pytest.mark.parametrize("spec", [*(n for n in PATCHES if not TECHNIQUES[n].alone), "pna:keep=0.5"])
def test_gradients_of_a_batch_are_those_of_singles(spec: str) -> None:
    model = fitting_model(spec)
    singles = [patched(spec, model, BATCH[i : i + 1]) for i in range(4)]
    together = tuple(torch.cat(parts) for parts in zip(*singles, strict=True))
    same(patched(spec, model), (together[0], together[1]))


def _state(model: nn.Module) -> list[object]:
    """Return what a patch could leave behind."""
    hooks = [(m._forward_hooks, m._forward_pre_hooks, m._backward_hooks) for m in model.modules()]
    return [[[*map(len, each)] for each in hooks], [{**vars(m)} for m in model.modules()]]


@pytest.mark.parametrize("name", [n for n in TECHNIQUES if TECHNIQUES[n].stage <= Stage.FEATURES])
def test_nothing_stays_after_an_exception(name: str) -> None:
    model = fitting_model(name)
    before = _state(model)

    def stop(done: int, delta: Tensor) -> None:
        raise KeyboardInterrupt

    from transferzoo.attacks import engine

    with pytest.raises(KeyboardInterrupt):
        engine.craft(
            make_attack(name),
            model,
            BATCH.images,
            BATCH.labels,
            BATCH.ids,
            pool=pool_for(BATCH),
            dtype=DOUBLE,
            on_step=stop,
        )
    assert _state(model) == before


def test_hooks_that_cannot_be_made_leave_none_behind() -> None:
    model = nn.Sequential(nn.ReLU())
    with pytest.raises(IndexError), hooked(on_output(model[i], lambda y: y) for i in range(2)):
        pass
    assert not model[0]._forward_hooks


@pytest.mark.parametrize(
    ("spec", "model", "message"),
    [
        ("sgm", small_cnn, "finds no residual branch"),
        ("ghost", tiny_vit, "'ghost' finds nothing to vary"),
        ("bpa", tiny_vit, "finds no ReLU .* after 'blocks.0'"),
        ("pna", residual_cnn, "no attention: expected modules with attn_drop and proj"),
        ("tgr", residual_cnn, "no attention"),
    ],
)
def test_a_surrogate_without_the_parts_is_a_sentence(
    spec: str, model: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        craft(make_attack(spec), model(), BATCH)


def test_attention_that_never_shows_its_map_is_a_sentence() -> None:
    model = tiny_vit()
    for block in model.blocks:
        block.attn.attn_drop.forward = None  # nobody calls it
        block.attn.forward = lambda x, **_: x
    for spec in ("pna", "tgr"):
        with pytest.raises(ModelError, match=f"'{spec}' changed nothing"):
            craft(make_attack(spec, steps=1), model, BATCH)


@pytest.mark.parametrize(("spec", "names"), [("bpa+mi+sgm", "bpa and sgm"), ("pna+tgr", "pna and tgr")])
def test_two_patches_of_one_place_exclude_each_other(spec: str, names: str) -> None:
    with pytest.raises(UsageError, match=f"two techniques that change .*: expected one, got {names}"):
        compose(spec)


def test_patches_of_different_places_go_together() -> None:
    model = fitting_model("sgm")
    one, other = (craft(make_attack(spec, steps=2), model, BATCH) for spec in ("sgm+ilpd", "ilpd"))
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sgm:gamma=1.5", "option 'gamma' of 'sgm' is a factor: expected 0 to 1, got 1.5"),
        ("bpa:temperature=0", "option 'temperature' of 'bpa' is out of range"),
        ("ghost:drop=1", "option 'drop' of 'ghost' is a probability"),
        ("ghost:scale=-1", "option 'scale' of 'ghost' is out of range"),
        ("ilpd:gamma=0", "option 'gamma' of 'ilpd' is out of range: expected above 0, at most 1, got 0"),
        ("ilpd:sigma=-1", "option 'sigma' of 'ilpd' is out of range"),
        ("pna:keep=0", "option 'keep' of 'pna' is a share"),
        ("tgr:mlp=2", "option 'mlp' of 'tgr' is a factor"),
    ],
)
def test_bad_options_are_sentences(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(spec)


@pytest.mark.parametrize("name", ["bpa", "ilpd", "fia", "naa", "ila"])
def test_unknown_layers_offer_near_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown layer 'layer5' of the surrogate.*did you mean"):
        craft(make_attack(f"{name}:layer=layer5"), nn.Sequential(residual_cnn()), BATCH)
