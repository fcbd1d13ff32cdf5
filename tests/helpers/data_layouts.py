"""Small data sets in every layout, written by hand."""

from __future__ import annotations

import gzip
import io
import json
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from transferzoo.zoo.schema import AttackDefaults, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transferzoo.datasets import Batch


CLASSES = ("T-shirt/top", "Trouser", "Dress")
LABELS = [2, 0, 1, 1]


def spec(channels: int = 1, size: int = 8, **changes: Any) -> DatasetSpec:
    fields: dict[str, Any] = {
        "name": "tiny",
        "classes": CLASSES,
        "channels": channels,
        "size": size,
        "mean": (0.5,) * channels,
        "std": (0.5,) * channels,
        "splits": {"test": (), "train": ()},
        "attack": AttackDefaults(split="test", epsilon="16/255"),
        "licence": "MIT",
        "origin": "made here",
    }
    return DatasetSpec(**fields | changes)


def pixels(count: int = 4, channels: int = 1, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8, generator=generator)


def picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray((image[0] if len(image) == 1 else image.permute(1, 2, 0)).numpy())


def encoded(image: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    picture(image).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(
    file: Path, images: torch.Tensor, labels: list[int], column: str = "image", **columns: list[int]
) -> None:
    write_table(file, {column: as_structs(images), "label": labels, **columns})


def as_structs(images: torch.Tensor) -> pa.Array:
    """Return a column of images as `datasets` has it."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(image), "path": None} for image in images], kind)


def write_table(file: Path, columns: dict[str, Any], names: dict[str, list[str]] | None = None) -> None:
    """Write a Parquet file; names of classes, by column, go where `datasets` keeps those of a ClassLabel."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {column: {"names": given, "_type": "ClassLabel"} for column, given in names.items()}
        described = json.dumps({"info": {"features": {"image": {"_type": "Image"}, **features}}})
        table = table.replace_schema_metadata({"huggingface": described})
    pq.write_table(table, file)


def idx(values: torch.Tensor) -> bytes:
    head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.to(torch.uint8).numpy().tobytes()


def write_idx(root: Path, split: str, images: torch.Tensor, labels: list[int], *, zipped: bool) -> None:
    for name, values in (("images-idx3", images[:, 0]), ("labels-idx1", torch.tensor(labels))):
        content = idx(values)
        file = root / f"{split}-{name}-ubyte{'.gz' if zipped else ''}"
        file.write_bytes(gzip.compress(content) if zipped else content)


def write_folder(home: Path, images: torch.Tensor) -> None:
    for index, name in enumerate(["Dress", "t-shirt-top", "1", "Trouser"]):
        (home / name).mkdir(parents=True, exist_ok=True)
        picture(images[index]).save(home / name / f"{index}.png")


def write_listing(home: Path, images: torch.Tensor, rows: list[str], header: str = "file,label") -> None:
    home.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        picture(image).save(home / f"{index}.png")
    (home / "labels.csv").write_text("\n".join([header, *rows]), encoding="utf-8")


def same(batch: Batch, images: torch.Tensor, labels: list[int], ids: list[int]) -> bool:
    return torch.equal(batch.images, images) and batch.labels.tolist() == labels and batch.ids.tolist() == ids


# One layout a registered reader: each writes the four images and returns the order they are read in.


def as_parquet(root: Path, images: torch.Tensor) -> list[int]:
    write_parquet(root / "plain" / "test-00000-of-00002.parquet", images[:3], LABELS[:3], "img")
    write_parquet(root / "plain" / "test-00001-of-00002.parquet", images[3:], LABELS[3:], "img")
    return [0, 1, 2, 3]


def as_idx(root: Path, images: torch.Tensor) -> list[int]:
    write_idx(root, "t10k", images, LABELS, zipped=True)
    write_idx(root, "train", images.flip(0), LABELS, zipped=False)
    return [0, 1, 2, 3]


def as_folder(root: Path, images: torch.Tensor) -> list[int]:
    write_folder(root / "test", images)
    (root / "test" / "Dress" / ".hidden.png").write_bytes(b"")
    (root / "test" / "notes.txt").write_text("not an image")
    return [2, 0, 3, 1]


def as_listing(root: Path, images: torch.Tensor) -> list[int]:
    write_listing(root, images, [f"{index}.png,{LABELS[index]}" for index in (3, 1, 0, 2)])
    return [3, 1, 0, 2]


LAYOUTS: dict[str, Callable[[Path, torch.Tensor], list[int]]] = {
    "parquet": as_parquet,
    "idx": as_idx,
    "folder": as_folder,
    "listing": as_listing,
}
