"""Parquet files as the Hub lays them out: `{split}-00000-of-00001.parquet`."""

from __future__ import annotations

import re
from itertools import count, pairwise
from typing import TYPE_CHECKING, ClassVar

from transferzoo.base.errors import DataError
from transferzoo.datasets import READERS, Batch, Reader
from transferzoo.datasets.labels import checked
from transferzoo.datasets.memory import rows_of, stacked
from transferzoo.datasets.pixels import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from transferzoo.datasets import OnProgress
    from transferzoo.zoo.schema import DatasetSpec


NUMBERED = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]{8,})?$")
"""How the name of a shard ends: its number and how many there are; until 2023 the Hub added a hash."""


@READERS.register("parquet")
class Parquet(Reader):
    """One file, or `{split}-*.parquet` in a folder or in one of its sub-folders; shards in order of name.

    Columns: a struct with `bytes` (an encoded image; the first such column), the integer `label`, and maybe
    the integer `id`, without which the row number over all shards names an image. Images must have
    `spec.size`, unless `spec.fit` is "crop".
    """

    priority: ClassVar[int] = 0
    layout: ClassVar[str] = "{split}-*.parquet"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is a Parquet file or holds those of `split`."""
        if root.is_file():
            return root.suffix == ".parquet"
        return bool(_folders(root, split))

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels, height and width of the first row's image.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        file = root if root.is_file() else _shards(root, split)[0]
        where, content, *_ = next(_rows(file, _open(file)), (str(file), None))
        if content is None:
            raise DataError(f"{where} holds no image bytes")
        return shape_of(content, where)

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read all shards of a split.

        Raises:
            DataError: a shard or column is missing, or a file, image or label is not as expected.
        """
        import torch

        files = [root] if root.is_file() else _shards(root, split)
        tables = [_open(file) for file in files]
        total = sum(table.metadata.num_rows for table in tables)
        if not total:
            raise DataError(f"{files[0]} holds no image")
        rows, labels, ids, names = rows_of(total, spec, split), [], [], []
        wanted = frozenset(rows)

        def encoded() -> Iterator[tuple[bytes, str]]:
            every = (row for file, table in zip(files, tables, strict=True) for row in _rows(file, table))
            for number, (where, content, label, identity, name) in enumerate(every):
                if number not in wanted:
                    continue
                if content is None:
                    raise DataError(f"{where} holds no image bytes")
                labels.append(checked(label, spec, where))
                ids.append(number if identity is None else identity)
                names.append(name or "")
                yield content, where

        images = stacked(encoded(), len(rows), spec, "crop" if spec.fit == "crop" else "exact", on_progress)
        known = tuple(names) if all(names) else ()
        return Batch(images, torch.tensor(labels), torch.tensor(ids), known)


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
    _check_numbers(folders[0], split, files)
    return files


def _check_numbers(folder: Path, split: str, files: Sequence[Path]) -> None:
    """Check that numbered shards are all there, each once.

    Raises:
        DataError: one is missing, is there twice, or they belong to two sets.
    """
    matches = {file: NUMBERED.search(file.stem) for file in files}
    numbers = [(int(match[1]), int(match[2])) for match in matches.values() if match]
    if not numbers:
        return
    total = numbers[0][1]
    if len(numbers) != len(files) or any(of != total for _, of in numbers):
        odd = next(f for f, match in matches.items() if not match or int(match[2]) != total)
        raise DataError(
            f"{folder} holds shards of several sets of the split '{split}'",
            expected=f"files NNNNN-of-{total:05d}",
            got=odd.name,
            hint="keep one set in the folder",
        )
    have = sorted(number for number, _ in numbers)
    if twice := [number for number, next_ in pairwise(have) if number == next_]:
        names = [f.name for f, match in matches.items() if match and int(match[1]) == twice[0]]
        raise DataError(
            f"{folder} holds a shard of the split '{split}' twice",
            expected="one of each number",
            got=" and ".join(names),
            hint="delete one of them",
        )
    if missing := [number for number in range(total) if number not in have]:
        raise DataError(
            f"{folder} lacks shards of the split '{split}'",
            expected=f"{total} files",
            got=f"{len(files)}, without number {', '.join(map(str, missing[:5]))}",
            hint="download the missing ones",
        )


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file", hint="fetch it again") from error


def _rows(file: Path, table: Any) -> Iterator[tuple[str, bytes | None, object, int | None, str | None]]:
    """Yield (name in an error, encoded image, label, id, file name), a thousand rows in memory at a time.

    Id and file name are None where they are not known.
    """
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
    number = count()
    named = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    kind = schema.field(image).type
    paths = kind.get_field_index("path") >= 0 and pa.types.is_string(kind.field("path").type)
    try:
        columns = [
            f"{image}.bytes",
            "label",
            *(["id"] if named else []),
            *([f"{image}.path"] if paths else []),
        ]
        for chunk in table.iter_batches(1000, columns=columns):
            encoded = chunk.column(image).field("bytes").to_pylist()
            nothing = [None] * len(encoded)
            ids = chunk.column("id").to_pylist() if named else nothing
            names = chunk.column(image).field("path").to_pylist() if paths else nothing
            for row in zip(encoded, chunk.column("label").to_pylist(), ids, names, strict=True):
                yield f"row {next(number)} of {file}", *row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read to its end", hint="fetch it again") from error
