"""Techniques whose defaults depend on the size of the images."""

from __future__ import annotations

import pytest

from transferzoo import read_attack
from transferzoo.attacks.composition import compose
from transferzoo.attacks.configure import resolve
from transferzoo.attacks.technique import SMALL
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.results.comparisons import attack_name
from transferzoo.zoo.reader import load_zoo

FITTED = [name for name in TECHNIQUES.built_in if TECHNIQUES[name].small]


@pytest.mark.parametrize("name", FITTED)
def test_small_images_have_defaults_of_their_own(name: str) -> None:
    """What is written goes before them, and an attack costs the same on images of any size."""
    large, small = compose(name, SMALL), compose(name, SMALL - 1)
    assert large == compose(name) != small
    assert large.cost(10) == small.cost(10)
    assert compose(large.spec, SMALL - 1) == large


@pytest.mark.parametrize(("dataset", "kernel"), [("fashion-mnist", 7), ("cifar10", 7), ("imagenet", 15)])
def test_they_follow_the_data_set_inside_presets_too(dataset: str, kernel: int) -> None:
    zoo = load_zoo()
    term = f"ti:kernel={kernel},sigma=3"
    assert resolve(zoo, dataset, "ti", {}).techniques == term
    preset = resolve(zoo, dataset, "TI-DIM", {}).techniques
    assert term in preset.split("+")
    assert attack_name(preset) == "mi-di-ti"


def test_python_may_say_the_size() -> None:
    assert read_attack("ti").composition == compose("ti", SMALL - 1)
    assert read_attack("ti", size=SMALL).composition == compose("ti")
