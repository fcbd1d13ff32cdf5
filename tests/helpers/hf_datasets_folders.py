"""Data sets of the library `datasets`, made for tests, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from helpers.data_layouts import encoded, picture, pixels
from transferzoo.datasets.hf_datasets import NO_COLUMNS, Columns
from transferzoo.datasets.own import own_images
from transferzoo.datasets.sources import load_split, measured
from transferzoo.zoo.reader import load_zoo

if TYPE_CHECKING:
    from transferzoo.datasets import Batch
    from transferzoo.zoo.schema import DatasetSpec

CLASSES = ["cat", "dog", "ant"]
LABELS = [1, 0, 2, 1, 0, 2]


def read(place: str, columns: Columns = NO_COLUMNS) -> tuple[DatasetSpec, Batch, list[str]]:
    """Return what a place is taken for, the images that are attacked, and what was said."""
    said: list[str] = []
    zoo, name, root = own_images(load_zoo(), None, Path(place), said.append, said.append, columns)
    assert root is None, "it is a data set of its own"
    found = measured(zoo, name).dataset(name)
    return found, load_split(found, found.attack.split), said


def as_library_reads(rows: Any, image: str = "image") -> torch.Tensor:
    """Return the pixels that the library decodes, (N, C, H, W)."""
    return torch.tensor(np.stack([np.asarray(row[image]) for row in rows])).permute(0, 3, 1, 2)


def class_folders(home: Path, count: int = 6) -> Path:
    """Write images into folders of their classes."""
    for index, image in enumerate(pixels(count, 3)):
        folder = home / CLASSES[LABELS[index % 6]]
        folder.mkdir(parents=True, exist_ok=True)
        picture(image).save(folder / f"{index}.png")
    return home


def made(library: Any, columns: dict[str, Any], count: int = 6) -> Any:
    """Return a data set of the library: images, and other columns with their features."""
    features = {"img": library.Image(), **{name: kind for name, (kind, _) in columns.items()}}
    rows = {"img": [{"bytes": encoded(image), "path": None} for image in pixels(count, 3)]}
    rows |= {name: values for name, (_, values) in columns.items()}
    return library.Dataset.from_dict(rows, library.Features(features))
