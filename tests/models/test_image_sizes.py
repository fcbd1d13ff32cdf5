"""Networks of timm's for images of another size than they were made for."""

from __future__ import annotations

import re

import pytest
import torch

from helpers.data_layouts import spec
from transferzoo.base.errors import UsageError
from transferzoo.models.build import build, create

SMALL = "embed_dim=16,depth=1,num_heads=2"


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        (f"vit_tiny_patch16_224:{SMALL}", 32),
        (f"vit_tiny_patch16_224:{SMALL},patch_size=4", 28),
        (f"deit_tiny_patch16_224:{SMALL}", 64),
        (f"beit_base_patch16_224:{SMALL}", 48),
        ("mixer_s32_224", 64),
        ("swin_tiny_patch4_window7_224:embed_dim=8", 64),
        ("test_vit", 32),
        ("test_resnet", 28),
    ],
)
def test_networks_are_built_for_the_size_of_the_images(architecture: str, size: int) -> None:
    drawn = torch.random.get_rng_state()
    model, arguments = create(architecture, spec(channels=3, size=size))
    assert model.training
    assert model.eval()(torch.zeros(2, 3, size, size)).shape == (2, 3)
    name = architecture.partition(":")[0]
    assert ("img_size" in arguments) == (name != "test_resnet")
    again = build(name, 3, arguments)
    assert [value.shape for value in again.state_dict().values()] == [
        value.shape for value in model.state_dict().values()
    ]
    torch.random.set_rng_state(drawn)
    torch.manual_seed(0)
    first = create(architecture, spec(channels=3, size=size))[0]
    after = torch.rand(1)
    torch.manual_seed(0)
    second = build(name, 3, arguments)
    assert torch.equal(after, torch.rand(1)), "looking at an image draws nothing"
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_a_network_of_the_right_size_is_not_told_its_size() -> None:
    assert "img_size" not in create("test_vit", spec(channels=3, size=160))[1]


@pytest.mark.parametrize(
    ("architecture", "complaint"),
    [
        ("test_vit", "a multiple of its patches', 16 pixels, got 28"),
        ("vit_tiny_patch16_224", "a multiple of its patches', 16 pixels, got 28"),
        ("test_convnext", "28x28 pixels: RuntimeError: Calculated padded input size"),
        ("maxvit_pico_rw_256", "'tiny'.* 28x28 pixels: "),
        ("mixer_s16_224", "a multiple of its patches', 16 pixels, got 28"),
        ("inception_v3", "28x28 pixels: RuntimeError"),
        ("test_vit:img_size=32", "the data set sets 'img_size'"),
    ],
)
def test_images_that_a_network_cannot_read_are_a_sentence(architecture: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as refusal:
        create(architecture, spec(channels=3, size=28))
    assert re.fullmatch(r"[^\n]{1,500}\.", str(refusal.value))
