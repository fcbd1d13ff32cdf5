"""Parquet files as the Hub lays them out: `{split}-00000-of-00001.parquet`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from transferzoo.datasets import READERS, Batch
from transferzoo.datasets.labels import checked
from transferzoo.datasets.pixels import decode
from transferzoo.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from transferzoo.specs import DatasetSpec


@READERS.register("parquet")
class Parquet:
    """One file, or `{split}-*.parquet` in a folder or in one of its sub-folders; shards in order of name.

    Columns: a struct with `bytes` (an encoded image; the first such column), the integer `label`, and maybe
    the integer `id`, without which the row number over all shards names an image. Images must have
    `spec.size`; nothing is scaled.
    """

    priority: ClassVar[int] = 0
    layout: ClassVar[str] = "{split}-*.parquet"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is a Parquet file or holds those of `split`."""
        if root.is_file():
            return root.suffix == ".parquet"
        return bool(_folders(root, split))

    def read(self, root: Path, split: str, spec: DatasetSpec) -> Batch:
        """Read all shards of a split.

        Raises:
            DataError: a shard or column is missing, or a file, image or label is not as expected.
        """
        import numpy as np
        import torch

        files = [root] if root.is_file() else _shards(root, split)
        tables = [_open(file) for file in files]
        count = sum(table.metadata.num_rows for table in tables)
        if not count:
            raise DataError(f"{files[0]} holds no image")
        images = np.empty((count, spec.channels, spec.size, spec.size), dtype=np.uint8)
        labels = np.empty(count, dtype=np.int64)
        ids = np.arange(count, dtype=np.int64)
        position = 0
        for file, table in zip(files, tables, strict=True):
            for row, (encoded, label, name) in enumerate(_rows(file, table)):
                where = f"row {row} of {file}"
                if encoded is None:
                    raise DataError(f"{where} holds no image bytes")
                images[position] = decode(encoded, spec, where, resize=False)
                labels[position] = checked(label, spec, where)
                if name is not None:
                    ids[position] = name
                position += 1
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), torch.from_numpy(ids))


def _folders(root: Path, split: str) -> list[Path]:
    """Return the folders that hold shards: `root` itself, else its sub-folders."""
    for candidates in ([root], sorted(path for path in root.glob("*") if path.is_dir())):
        if found := [folder for folder in candidates if any(folder.glob(f"{split}-*.parquet"))]:
            return found
    return []


def _shards(root: Path, split: str) -> list[Path]:
    folders = _folders(root, split)
    if len(folders) > 1:
        raise DataError(
            f"{root} holds the split '{split}' several times",
            expected="one sub-folder with it",
            got=", ".join(folder.name for folder in folders),
            hint="name the sub-folder itself",
        )
    files = sorted(folders[0].glob(f"{split}-*.parquet"))
    total = re.search(r"-of-(\d+)$", files[0].stem)
    if total and int(total[1]) != len(files):
        raise DataError(
            f"{folders[0]} lacks shards of the split '{split}'",
            expected=f"{int(total[1])} files",
            got=f"{len(files)}",
            hint="download the missing ones",
        )
    return files


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file", hint="fetch it again") from error


def _rows(file: Path, table: Any) -> Iterator[tuple[bytes | None, object, int | None]]:
    """Yield (encoded image, label, id or None), a thousand rows in memory at a time."""
    import pyarrow as pa

    schema = table.schema_arrow
    image = next(
        (f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0), ""
    )
    if not image or "label" not in schema.names or not pa.types.is_integer(schema.field("label").type):
        raise DataError(
            f"{file} lacks a column",
            expected="an image column (a struct with 'bytes') and an integer 'label'",
            got=", ".join(f"{field.name}: {field.type}" for field in schema),
        )
    named = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    try:
        for chunk in table.iter_batches(
            1000, columns=[f"{image}.bytes", "label", *(["id"] if named else [])]
        ):
            encoded = chunk.column(image).field("bytes").to_pylist()
            ids = chunk.column("id").to_pylist() if named else [None] * len(encoded)
            yield from zip(encoded, chunk.column("label").to_pylist(), ids, strict=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read to its end", hint="fetch it again") from error
