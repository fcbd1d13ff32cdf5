"""The gate on clean accuracy: who is refused, who is warned of, and why it says so."""

from __future__ import annotations

import json
from math import sqrt
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from helpers.checkpoints import copied, data_folder, labels, negated, swapped, with_weights
from helpers.refusals import refused
from transferzoo.base.errors import ModelError
from transferzoo.models.accuracy_gate import require_accuracy

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.refusals import Run


def said_of(right: int, n: int, classes: int) -> str:
    """Return "nothing", "warned" or "refused" for a model that is right on so many of n images.

    Wrong predictions are spread over the other classes at random, so that they tell no cause.
    """
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(n) % classes
    away = torch.randint(1, classes, (n,), generator=generator)
    wrong = torch.randperm(n, generator=generator)[right:]
    predictions = true.clone()
    predictions[wrong] = (true + away)[wrong] % classes
    try:
        accuracy, warning = require_accuracy("m", predictions, true, tuple(map(str, range(classes))))
    except ModelError:
        return "refused"
    assert accuracy == pytest.approx(right / n)
    return "warned" if warning else "nothing"


def by_hand(right: int, n: int, classes: int) -> str:
    """Return the same by Wilson's formula, written out."""
    z, p = 1.959963984540054, right / n
    middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + side) / (1 + z * z / n) for side in (-half, half))
    if p >= classes**-0.5:
        return "nothing"
    return "refused" if low <= 1 / classes and high < classes**-0.5 else "warned"


@pytest.mark.parametrize(
    ("right", "n", "classes", "expected"),
    [
        (6, 12, 3, "warned"),  # twelve images, half of them right: they cannot tell
        (7, 12, 3, "nothing"),
        (1, 12, 3, "refused"),
        (0, 4, 10, "warned"),
        (1, 40, 10, "refused"),
        (100, 1000, 10, "refused"),
        (200, 1000, 10, "warned"),  # plainly above chance, and low
        (320, 1000, 10, "nothing"),
        (5, 5000, 1000, "refused"),
        (100, 5000, 1000, "warned"),
    ],
)
def test_who_is_refused(right: int, n: int, classes: int, expected: str) -> None:
    assert said_of(right, n, classes) == by_hand(right, n, classes) == expected


def hint(predictions: Tensor, true: Tensor) -> str:
    with pytest.raises(ModelError) as refusal:
        require_accuracy("m", predictions, true, ("cat", "dog", "ant", "bee"), sizes="it reads 8x8 pixels")
    return str(refusal.value)


def test_the_likely_cause() -> None:
    true = torch.arange(200) % 4
    assert "it takes 100% of them for 'dog'" in hint(torch.ones_like(true), true)
    order = torch.tensor([1, 2, 3, 0])
    assert "with its classes in another order it would be right on 100%" in hint(order[true], true)
    drawn = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(3))
    assert "it reads 8x8 pixels" in hint(drawn, true)


def test_two_classes_that_are_interchanged() -> None:
    """The accuracy is high enough then; what it would be otherwise is higher, beyond chance."""
    true = torch.arange(200) % 5
    classes = tuple("abcde")
    swapped = torch.tensor([0, 2, 1, 3, 4])[true]
    accuracy, warning = require_accuracy("m", swapped, true, classes)
    assert accuracy == 0.6
    assert "the clean accuracy of 'm' is 60.0%" in warning
    assert "right on 100%: state the order of its classes with --classes FILE" in warning
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.rand(200, generator=generator) < 0.4
        drawn = torch.where(wrong, torch.randint(0, 5, (200,), generator=generator), true)
        assert require_accuracy("m", drawn, true, classes)[1] == ""


@pytest.mark.parametrize("count", [2, 10])
def test_a_poor_model_of_uneven_classes_is_in_order(count: int) -> None:
    """What would be right more often if several classes were taken for the most frequent one is no order."""
    shares = torch.tensor([0.88, 0.12]) if count == 2 else 0.6 ** torch.arange(10.0)
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        true = torch.multinomial(shares, 500, replacement=True, generator=generator)
        wrong = torch.rand(500, generator=generator) < 0.35
        drawn = torch.where(wrong, torch.randint(0, count, (500,), generator=generator), true)
        _, warning = require_accuracy("m", drawn, true, tuple(map(str, range(count))), allowed=True)
        assert "another order" not in warning


def test_chance_is_not_taken_for_another_order() -> None:
    """On few images some order of the classes always fits: it has to fit images it was not made of."""
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        true, drawn = (torch.randint(0, 5, (24,), generator=generator) for _ in range(2))
        _, warning = require_accuracy("m", drawn, true, tuple("abcde"), allowed=True)
        assert "another order" not in warning


def test_a_refused_model_may_be_attacked_all_the_same(cli: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data", range(40))
    with_weights(copied("resnet18", tmp_path / "mine"), negated)
    command = ("attack", "-s", "./mine", "-t", "vgg", "--data", data, "--steps", 1, "--images", 4)
    refused(
        cli(*command), 1, "does not classify", "chance is 10.0%", "--allow-inaccurate attacks it all the same"
    )
    done = cli(*command, "--allow-inaccurate", "--json")
    assert done.code == 0, done.err
    assert "Warning: the clean accuracy of 'mine' is 0.0% (0 of 40 images" in done.err


def test_a_dozen_images_are_enough_to_attack(cli: Run, tmp_path: Path) -> None:
    """Three of twelve images right are below √(1/10), but nothing that can be held against a model."""
    known = labels()
    rows = [[row for row, label in enumerate(known) if label == kind] for kind in (0, 1, 8)]
    data = data_folder(tmp_path / "data", [*rows[0][:5], *rows[1][:4], *rows[2][:3]])
    with_weights(copied("vgg", tmp_path / "mine"), swapped)
    done = cli("attack", "-s", "vgg", "-t", "./mine", "--data", data, "--steps", 1, "--json")
    assert done.code == 0, done.err
    (record,) = json.loads(done.out)["records"]
    assert record["n"] == 3
    assert "Warning: the clean accuracy of 'mine' is 25.0% (3 of 12 images" in done.err
