"""BIM and MI on a built-in surrogate are torchattacks' BIM and MI-FGSM, pixel for pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torchattacks
from crafting import Images, against_torchattacks, make_attack

from transferzoo.classifier import Classifier, load
from transferzoo.datasets.sources import load as load_images
from transferzoo.zoo import load_zoo

if TYPE_CHECKING:
    from collections.abc import Callable

SURROGATE = "fashion-mnist/resnet50-sgd"
REFERENCES = {
    "": (torchattacks.BIM, {}),
    "mi": (torchattacks.MIFGSM, {"decay": 1.0}),
}


@pytest.fixture(scope="module")
def batch() -> Images:
    sample = load_images(load_zoo().dataset("fashion-mnist"), "sample")
    chosen = sample.select(range(0, len(sample), 40))
    return Images(chosen.images, chosen.labels, chosen.ids)


def surrogate(dtype: torch.dtype) -> Classifier:
    zoo = load_zoo()
    model = zoo.models[SURROGATE]
    return load(model.folder, zoo.dataset(model.dataset)).to(dtype)


@pytest.mark.parametrize("spec", REFERENCES)
def test_no_pixel_differs_in_float64(spec: str, batch: Images) -> None:
    reference, options = REFERENCES[spec]
    found = compare(spec, 10, reference, batch, torch.float64, options)
    assert found == 0


@pytest.mark.parametrize("spec", REFERENCES)
def test_float32_differs_by_rounding_only(spec: str, batch: Images) -> None:
    reference, options = REFERENCES[spec]
    assert compare(spec, 1, reference, batch, torch.float32, options) == 0
    assert compare(spec, 10, reference, batch, torch.float32, options) < 0.005


def compare(
    spec: str,
    steps: int,
    reference: Callable[..., torchattacks.attack.Attack],
    batch: Images,
    dtype: torch.dtype,
    options: dict[str, float],
) -> float:
    attack = make_attack(spec, steps=steps)
    return against_torchattacks(attack, reference, surrogate(dtype), batch, dtype, **options).share
