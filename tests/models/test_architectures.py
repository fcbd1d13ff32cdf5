"""Every registered architecture: shapes, determinism, number formats, bad arguments, timm."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from helpers.networks import narrow
from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.models.architectures import ARCHITECTURES, architecture

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

NAMES = list(ARCHITECTURES)
WITH_STEM = [name for name in NAMES if "stem" in ARCHITECTURES[name].defaults]
PATCHED = [name for name in NAMES if ARCHITECTURES[name].fixes_img_size]


def build(name: str, **arguments: object) -> nn.Module:
    """Return a cheap model in eval mode; what starts at zero (heads, last norms) is drawn too."""
    torch.manual_seed(0)
    model = ARCHITECTURES[name].build(**narrow(name) | arguments).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def count(name: str, **arguments: object) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ARCHITECTURES[name].build(**arguments).parameters())


def run(code: str) -> str:
    """Return what a piece of code prints in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout.strip()


@pytest.mark.parametrize(("in_chans", "img_size", "classes"), [(1, 28, 10), (3, 32, 7)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_and_their_gradient(name: str, in_chans: int, img_size: int, classes: int) -> None:
    model = build(name, in_chans=in_chans, img_size=img_size, num_classes=classes)
    images = torch.rand(3, in_chans, img_size, img_size, requires_grad=True)
    logits = model(images)
    assert logits.shape == (3, classes)
    assert model.num_classes == classes
    assert torch.equal(logits, model(images)), "eval mode is deterministic"
    logits[0].logsumexp(0).backward()
    assert images.grad is not None
    assert images.grad[0].abs().sum() > 0
    assert images.grad[1:].abs().sum() == 0, "images of a batch do not touch each other"


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name: str) -> None:
    model = build(name).train()
    model(torch.rand(4, 1, 28, 28)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("name", NAMES)
def test_number_formats_agree(name: str) -> None:
    model, images = build(name), torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        exact = build(name).double()(images.double())
        single = model(images)
        channels_last = model.to(memory_format=torch.channels_last)
        last = channels_last(images.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", torch.bfloat16):
            rough = channels_last(images)
    scale = exact.abs().max().item()
    assert exact.dtype == torch.float64
    for logits, tolerance in ((single, 1e-4), (last, 1e-4), (rough, 0.1)):
        torch.testing.assert_close(logits.double(), exact, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("name", [name for name in NAMES if not narrow(name)])
def test_default_size_fits_the_package(name: str) -> None:
    assert count(name) == 838_174 if name == "small_resnet50" else 120_000 < count(name) < 220_000


@pytest.mark.parametrize("name", NAMES)
def test_width_scales(name: str) -> None:
    entry = ARCHITECTURES[name]
    assert count(name, width=entry.defaults["width"] + entry.width_step) > count(name)


@pytest.mark.parametrize("name", WITH_STEM)
def test_stems_share_their_weights_and_differ_in_stride(name: str) -> None:
    strided, plain = build(name, stem="strided"), build(name, stem="plain")
    plain.load_state_dict(strided.state_dict())
    convolution = next(module for module in plain.modules() if isinstance(module, torch.nn.Conv2d))
    assert (convolution.kernel_size, convolution.stride) == ((3, 3), (1, 1))
    images = torch.rand(2, 1, 28, 28)
    assert not torch.allclose(strided(images), plain(images))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "bad", [{"width": 0}, {"width": -8}, {"width": 2.0}, {"num_classes": 0}, {"in_chans": 0}, {"img_size": 4}]
)
def test_bad_values_are_sentences(name: str, bad: dict[str, object]) -> None:
    ((key, value),) = bad.items()
    wanted = rf"option '{key}' of '{name}' is out of range: expected (a multiple of \d+, )?at least \d+, got"
    if isinstance(value, float):
        wanted = f"cannot read option '{key}' of architecture '{name}': expected a whole number, got"
    with pytest.raises(UsageError, match=wanted):
        build(name, **bad)


@pytest.mark.parametrize("name", [name for name in NAMES if ARCHITECTURES[name].width_step > 1])
def test_width_between_steps(name: str) -> None:
    with pytest.raises(UsageError, match="expected a multiple of"):
        build(name, width=ARCHITECTURES[name].least_width + 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_least_width_trains(name: str) -> None:
    """Channels-last, where torch writes out of bounds for some narrow convolutions."""
    model = build(name, width=ARCHITECTURES[name].least_width, in_chans=3).to(
        memory_format=torch.channels_last
    )
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d) and part.kernel_size == (1, 1) and part.stride != (1, 1):
            assert part.in_channels >= 8
    images = torch.rand(8, 3, 28, 28).contiguous(memory_format=torch.channels_last)
    model(images).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("name", WITH_STEM)
def test_unknown_stem(name: str) -> None:
    wanted = f"unknown value 'deep' of option 'stem' of architecture '{name}': expected one of plain, strided"
    with pytest.raises(UsageError, match=wanted):
        build(name, stem="deep")


@pytest.mark.parametrize("name", PATCHED)
def test_patches_must_tile(name: str) -> None:
    with pytest.raises(UsageError, match="multiple of the patch size 4, got 30"):
        build(name, img_size=30)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_argument(name: str) -> None:
    wanted = f"unknown option 'widht' of architecture '{name}': .* did you mean width"
    with pytest.raises(UnknownNameError, match=wanted):
        build(name, widht=8)


def test_a_name_is_taken_once() -> None:
    def small_vit(num_classes: int = 1, in_chans: int = 1, width: int = 1) -> nn.Module:
        return torch.nn.Identity()

    with pytest.raises(UsageError, match="registered twice, by transferzoo and by"):
        architecture(family="vit", paper="")(small_vit)


@pytest.mark.parametrize("name", NAMES)
def test_timm_builds_the_same(name: str) -> None:
    arguments: dict[str, Any] = {"in_chans": 3, "num_classes": 7, "img_size": 32, **narrow(name)}
    torch.manual_seed(0)
    ours = ARCHITECTURES[name].build(**arguments).state_dict()
    torch.manual_seed(0)
    theirs = timm.create_model(name, **arguments).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("name", NAMES)
def test_timm_defaults_are_ours(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name)
    assert sum(parameter.numel() for parameter in theirs.parameters()) == count(name)


@pytest.mark.parametrize("name", NAMES)
def test_folder_saved_by_timm_comes_back(name: str, tmp_path: Path) -> None:
    width = max(8, 2 * ARCHITECTURES[name].width_step)
    model = timm.create_model(name, width=width, in_chans=3, num_classes=4, img_size=32).eval()
    model.load_state_dict(build(name, width=width, in_chans=3, num_classes=4, img_size=32).state_dict())
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(images), again(images))


@pytest.mark.parametrize("name", NAMES)
def test_folder_written_by_hand_comes_back(name: str, tmp_path: Path) -> None:
    model = build(name, in_chans=3, img_size=32)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    config = {
        "architecture": name,
        "num_classes": 10,
        "num_features": model.num_features,
        "model_args": {"in_chans": 3, "img_size": 32, **narrow(name)},
        "pretrained_cfg": {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "num_classes": 10},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model(images), again(images))


@pytest.mark.parametrize("bad", [{"global_pool": "max"}, {"img_size": (28, 32)}])
def test_timm_idioms_that_do_not_apply(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"bad {next(iter(bad))} of small_vit"):
        timm.create_model("small_vit", **bad)


def test_it_can_be_imported_before_timm() -> None:
    """In this process it was; after timm it is in tests/sync/test_push.py."""
    names = list(sys.modules)
    assert names.index("transferzoo") < names.index("timm")
    model = timm.create_model("small_resnet50", num_classes=10, in_chans=1, width=12)
    assert sum(p.numel() for p in model.parameters()) == 838174


def test_listing_imports_nothing_heavy() -> None:
    listing = """
import sys
from transferzoo.models.architectures import ARCHITECTURES
print(len(ARCHITECTURES), [m for m in ("torch", "torchvision", "timm", "numpy") if m in sys.modules])"""
    assert run(listing) == f"{len(NAMES)} []"
