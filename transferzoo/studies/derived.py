"""Derived data sets: images and labels that a cell generated, as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save

from transferzoo.base.atomic import write_bytes
from transferzoo.datasets import Batch

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

IMAGES = "images.safetensors"


def write_derived(folder: Path, images: Tensor, labels: Tensor) -> None:
    """Save images, uint8 (N, C, H, W), and their labels, int64 (N,)."""
    write_bytes(folder / IMAGES, save({"images": images, "labels": labels}))


def read_derived(folder: Path) -> Batch:
    """Return a derived data set."""
    found = load_file(folder / IMAGES)
    return Batch(found["images"], found["labels"], torch.arange(len(found["labels"])))
