"""Which images are attacked, and which target class each of them has."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import UsageError
from transferzoo.base.foreign_files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from transferzoo.base.attack_config import AttackConfig
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec


def drawn_order(count: int, seed: int) -> Tensor:
    """Return the order in which candidates are looked at, int64 (N,), by their number and the seed alone."""
    return torch.tensor(random.Random(seed).sample(range(count), count), dtype=torch.int64)


def eligible(
    config: AttackConfig, labels: Tensor, predictions: Iterable[Tensor], target_classes: Tensor | None
) -> Tensor:
    """Return which candidates may be attacked, bool (N,).

    Args:
        config: for which targets they must be classified correctly.
        labels: true classes (N,).
        predictions: of each target, (N,).
        target_classes: the classes aimed at (N,); None for an untargeted attack. Images whose label is their
            target class are left out.
    """
    allowed = torch.ones(len(labels), dtype=torch.bool)
    if config.images_correct_for == "all":
        for predicted in predictions:
            allowed &= predicted == labels
    if target_classes is not None:
        allowed &= target_classes != labels
    return allowed


def counted_images(
    config: AttackConfig, labels: Tensor, predicted: Tensor, target_classes: Tensor | None
) -> Tensor:
    """Return which attacked images count for a target, bool (N,).

    Args:
        config: of the run.
        labels: true classes (N,).
        predicted: the target's classes of the clean images (N,).
        target_classes: the classes aimed at (N,), or None. An image that the target already classifies as its
            target class does not count.
    """
    counts = torch.ones(len(labels), dtype=torch.bool)
    if config.images_correct_for == "target":
        counts &= predicted == labels
    if target_classes is not None:
        counts &= predicted != target_classes
    return counts


def target_classes(
    config: AttackConfig,
    ids: Tensor,
    labels: Tensor,
    classes: int,
    listed: Tensor | None,
    least_likely: Callable[[], Tensor],
) -> Tensor | None:
    """Return the target class of images, int64 (N,); None for an untargeted attack.

    Args:
        config: how it is chosen.
        ids: of the images, int64 (N,).
        labels: true classes (N,).
        classes: how many there are, K.
        listed: the classes of a list (N,).
        least_likely: returns the least likely classes (N,).
    """
    if config.targeted == "random":
        drawn = (random.Random(f"{config.seed} target {name}") for name in ids.tolist())
        away = torch.tensor([one.randrange(1, classes) for one in drawn], dtype=torch.int64)
        return (labels + away) % classes
    ways: dict[str, Callable[[], Tensor | None]] = {
        "": lambda: None,
        "next": lambda: (labels + 1) % classes,
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
        lines = read_text(path).splitlines()
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
