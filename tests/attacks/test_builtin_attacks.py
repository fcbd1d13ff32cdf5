"""BIM and MI on built-in models are torchattacks' BIM and MI-FGSM, pixel for pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from helpers.attacks import Images, against_torchattacks, make_attack
from transferzoo.datasets.sources import load_split
from transferzoo.models.classifier import load_checkpoint
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from types import ModuleType

REFERENCES = {
    "": ("BIM", {}),
    "mi": ("MIFGSM", {"decay": 1.0}),
}


MODELS = ("resnet18", "wide-resnet", "vgg")
"""Models for float32. On the 50-layer surrogate a last bit decides more signs: 0.3 to 0.7 % with BIM."""


@pytest.fixture(scope="module")
def images() -> Images:
    sample = load_split(load_zoo().dataset("fashion-mnist"), "sample")
    chosen = sample.select(range(0, len(sample), 20))
    return Images(chosen.images, chosen.labels, chosen.ids)


def share(theirs: ModuleType, name: str, spec: str, steps: int, batch: Images, dtype: torch.dtype) -> float:
    """Return the share of 8-bit values in which we and torchattacks differ."""
    zoo = load_zoo()
    model = zoo.models[f"fashion-mnist/{name}"]
    classifier = load_checkpoint(model.folder, zoo.dataset(model.dataset)).to(dtype)
    reference, options = REFERENCES[spec]
    attack = make_attack(spec, steps=steps)
    return against_torchattacks(attack, getattr(theirs, reference), classifier, batch, dtype, **options).share


@pytest.mark.parametrize("spec", REFERENCES)
def test_no_pixel_differs_in_float64(spec: str, images: Images, torchattacks: ModuleType) -> None:
    assert share(torchattacks, "resnet50-sgd", spec, 10, images[::2], torch.float64) == 0


@pytest.mark.parametrize("spec", REFERENCES)
@pytest.mark.parametrize("name", MODELS)
def test_float32_differs_by_rounding_only(
    name: str, spec: str, images: Images, torchattacks: ModuleType
) -> None:
    assert share(torchattacks, name, spec, 1, images, torch.float32) == 0
    assert share(torchattacks, name, spec, 10, images, torch.float32) < 0.005
