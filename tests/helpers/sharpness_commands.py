"""What the tests of `transferzoo sharpness` share: cheap options, a changed model, the files of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.checkpoints import heads

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SMALL = ("--probes", 2, "--steps", 2, "--draws", 2)


def result_files(folder: Path) -> list[Path]:
    """Return the files of results, in order."""
    kept = ("config.json", "started.json")
    return sorted(path for path in folder.glob("runs/sharpness-*/**/*.json") if path.name not in kept)


def flags(few: Path, images: int = 8) -> tuple[object, ...]:
    return ("--data", few, "--images", images)


def hesitant(weights: dict[str, Tensor]) -> None:
    """Let the model be less sure of everything."""
    for name in heads(weights):
        weights[name] = weights[name] / 4
