"""Images in class folders and in Parquet files, for the tests of what stays on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from helpers.data_layouts import picture, spec, write_parquet
from transferzoo.base.train_config import TrainConfig
from transferzoo.training import feeds, stream

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

SIZE = 72
COUNT = 30
FOLDERS = ("t-shirt-top", "1", "Dress")
"""Of the classes 0, 1 and 2 of `layouts.CLASSES`."""
KINDS = pytest.mark.parametrize("kind", ["folder", "parquet"])


def shades(count: int = COUNT) -> torch.Tensor:
    """Return images (count, 3, 80, 90), each of one red: 8, 16, 24, …."""
    red = (torch.arange(count, dtype=torch.uint8) + 1) * 8
    return torch.stack([red, red * 0 + 128, red * 0 + 64], 1)[:, :, None, None].expand(-1, -1, 80, 90)


def names(images: torch.Tensor) -> list[int]:
    """Return which of the `shades` images are, as JPEG leaves them a little off."""
    return [int(red) - 1 for red in (images[:, 0].flatten(1).mean(1) * 255 / 8).round()]


def label_of(name: int) -> int:
    return name % 3


def write_places(root: Path) -> dict[str, Path]:
    """Write the same images as class folders and as five row groups in two Parquet files; return where."""
    images = shades()
    for name, image in enumerate(images):
        folder = root / "folder" / "train" / FOLDERS[label_of(name)] / ("nested" if name < 6 else "")
        folder.mkdir(parents=True, exist_ok=True)
        picture(image).save(folder / f"{name:02}.JPEG", quality=95)
    (root / "folder" / "train" / "Dress" / ".hidden.jpg").write_bytes(b"no image")
    (root / "folder" / "train" / "readme.txt").write_text("no image")
    import pyarrow.parquet as pq

    for part, rows in enumerate((range(14), range(14, COUNT))):
        file = root / "parquet" / "data" / f"train-0000{part}-of-00002.parquet"
        write_parquet(file, images[list(rows)], [label_of(name) for name in rows])
        pq.write_table(pq.read_table(file), file, row_group_size=7)
    return {"folder": root / "folder", "parquet": root / "parquet"}


def config(**changes: object) -> TrainConfig:
    values: dict[str, Any] = {
        "dataset": "tiny",
        "architecture": "small_vgg:width=4",
        "epochs": 2,
        "batch_size": 8,
        "augment": "none",
    }
    return TrainConfig.of(**values | changes)


def tiny(**changes: Any) -> DatasetSpec:
    return spec(3, SIZE, **changes)


def opened(root: Path, workers: int = 0, **changes: object) -> stream.Stream:
    return stream.open_stream(tiny(), "train", root, config(**changes), workers=workers)


Seen = list[tuple[torch.Tensor, torch.Tensor]]


def epoch(feed: feeds.Feed, seed: int = 0, rank: int = 0, size: int = 1) -> Seen:
    return list(feed.epoch(seed, rank, size))


def same(one: Seen, other: Seen) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )
