"""Which images are attacked, and which target class each of them has."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec


def draw_images(
    config: AttackConfig, data: Batch, predictions: Mapping[str, Tensor], target_classes: Tensor | None
) -> Batch:
    """Draw the images to attack, in order of id.

    Args:
        config: how many, by which seed, and for which targets they must be classified correctly.
        data: candidate images.
        predictions: target → its classes of the candidates (N,).
        target_classes: the target classes (N,); None for an untargeted attack. Images whose label is their
            target class are left out.

    Raises:
        DataError: none is left.
    """
    eligible = torch.ones(len(data), dtype=torch.bool)
    if config.images_correct_for == "all":
        for predicted in predictions.values():
            eligible &= predicted == data.labels
    if target_classes is not None:
        eligible &= target_classes != data.labels
    candidates = data.select(eligible)
    if not len(candidates):
        raise DataError(
            "no image is left to attack: the targets have no correctly classified image in common",
            hint="use fewer targets or --images-correct-for target",
        )
    count = min(config.images, len(candidates))
    drawn = random.Random(config.seed).sample(range(len(candidates)), count)
    return candidates.select(sorted(drawn, key=lambda i: int(candidates.ids[i])))


def counted_images(
    config: AttackConfig, labels: Tensor, predicted: Tensor, target_classes: Tensor | None
) -> Tensor:
    """Return which attacked images count for a target, bool (N,).

    Args:
        config: of the run.
        labels: true classes (N,).
        predicted: the target's classes of the clean images (N,).
        target_classes: the target classes (N,), or None. An image that the target already classifies as its
            target class does not count.
    """
    counts = torch.ones(len(labels), dtype=torch.bool)
    if config.images_correct_for == "target":
        counts &= predicted == labels
    if target_classes is not None:
        counts &= predicted != target_classes
    return counts


def target_classes(
    config: AttackConfig, data: Batch, classes: int, listed: Tensor | None, least_likely: Callable[[], Tensor]
) -> Tensor | None:
    """Return the target class of each candidate, int64 (N,); None for an untargeted attack.

    Args:
        config: how it is chosen.
        data: candidate images.
        classes: how many there are, K.
        listed: the classes of a list (N,).
        least_likely: returns the least likely classes (N,).
    """
    if config.targeted == "random":
        drawn = (random.Random(f"{config.seed} target {name}") for name in data.ids.tolist())
        away = torch.tensor([one.randrange(1, classes) for one in drawn])
        return (data.labels + away) % classes
    ways: dict[str, Callable[[], Tensor | None]] = {
        "": lambda: None,
        "next": lambda: (data.labels + 1) % classes,
        "least-likely": least_likely,
        "file": lambda: listed,
    }
    return ways[config.targeted]()


def read_target_classes(path: Path, dataset: DatasetSpec, data: Batch) -> Tensor:
    """Read the target classes from a file: one a line, a number or a name, for every image of the split.

    Raises:
        UsageError: the file cannot be read, has another number of lines, or names an unknown class.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the target classes from {path}",
            expected="a text file, a class a line",
            got=str(error),
        ) from None
    if len(lines) != len(data):
        raise UsageError(
            f"{path} does not fit the images",
            expected=f"{len(data)} lines, a class for every image",
            got=str(len(lines)),
        )
    return torch.tensor(
        [_class(line.strip(), number, path, dataset.classes) for number, line in enumerate(lines, 1)]
    )


def _class(text: str, number: int, path: Path, classes: Sequence[str]) -> int:
    if text in classes:
        return classes.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(classes):
        return int(text)
    raise UsageError(
        f"line {number} of {path} names no class",
        expected=f"0 to {len(classes) - 1} or a name",
        got=f"'{text[:40]}'",
    )
