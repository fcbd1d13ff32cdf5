"""Networks that a config.json makes too large are refused before memory is taken."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch

from transferzoo.base.errors import UsageError
from transferzoo.models.architectures import ARCHITECTURES
from transferzoo.models.build import build

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet50", {"base_width": 90_000}),
        ("vit_tiny_patch16_224", {"embed_dim": 90_000, "depth": 24}),
        ("vit_tiny_patch16_224", {"img_size": 99_999}),
        ("vit_tiny_patch16_224", {"depth": 50_000, "embed_dim": 3}),
        ("convnext_atto", {"depths": [3, 3, 99_999, 3], "dims": [1, 1, 1, 1]}),
        ("small_vgg", {"width": 9_600}),
        ("small_wide_resnet", {"width": 9_600}),
        ("resnet18", {"in_chans": 10**9}),
        ("convnext_atto", {"depths": [10**9]}),
        ("small_vgg", {"width": float("inf")}),
    ],
)
def test_a_network_that_fits_into_no_machine(name: str, arguments: Mapping[str, Any]) -> None:
    build("resnet18", 2, {"in_chans": 1})  # what is imported once
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=rf"architecture '{name}' is (too large|out of range)") as caught:
        build(name, 10, arguments)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "KiB"


@pytest.mark.parametrize("name", [*ARCHITECTURES.built_in, "resnet18", "vit_tiny_patch16_224"])
def test_a_network_is_drawn_as_if_it_had_not_been_weighed(name: str) -> None:
    further: dict[str, Any] = {"img_size": 32} if name in ARCHITECTURES.built_in else {"drop_rate": 0.1}
    arguments = {"in_chans": 3, **further}
    torch.manual_seed(0)
    weighed = build(name, 10, arguments).state_dict()
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=10, **arguments).state_dict()
    assert all(torch.equal(weighed[key], plain[key]) for key in plain)
    assert weighed.keys() == plain.keys()


def test_a_network_is_weighed_once_and_one_of_another_size_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    create = timm.create_model

    def counted(name: str, **arguments: Any) -> object:
        made.append(torch.get_default_device().type)
        return create(name, **arguments)

    monkeypatch.setattr(timm, "create_model", counted)
    monkeypatch.setattr("transferzoo.models.network_size._fitting", set())
    for classes, width in ((3, 4), (3, 4), (4, 4), (3, 8), (3, 4)):
        build("small_vgg", classes, {"width": width})
    assert made == ["meta", "cpu", "cpu", "meta", "cpu", "meta", "cpu", "cpu"]
