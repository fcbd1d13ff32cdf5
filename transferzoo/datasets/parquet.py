"""Parquet files as the Hub lays them out: `{split}-00000-of-00001.parquet`."""

from __future__ import annotations

import re
from itertools import count, pairwise
from typing import TYPE_CHECKING, ClassVar

from transferzoo.base.errors import DataError
from transferzoo.base.foreign_files import check_regular, parse_json
from transferzoo.datasets import READERS, Batch, Contents, Reader
from transferzoo.datasets.files import names_of
from transferzoo.datasets.labels import LABEL_COLUMNS, checked, names_of_labels, order_of
from transferzoo.datasets.memory import rows_of, stacked
from transferzoo.datasets.pixels import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from transferzoo.datasets import OnProgress
    from transferzoo.zoo.schema import DatasetSpec


NUMBERED = re.compile(r"-(\d+)-of-(\d+)(?:-[0-9a-f]{8,})?$")
"""How the name of a shard ends: its number and how many there are; until 2023 the Hub added a hash."""
PLAIN = re.compile(r"\d{4,5}")
"""What a shard is called where the Hub has converted a data set: `0000`."""


@READERS.register("parquet")
class Parquet(Reader):
    """One file, or shards in a folder or in one of its sub-folders, in order of name.

    Shards are `{split}-*.parquet`, `{split}.parquet`, what lies in a folder `{split}`, as the Hub converts
    data sets to `default/test/0000.parquet`, or numbers alone, `0000.parquet`, which serve as any split.

    Columns: a struct with `bytes` (an encoded image; the first such column), an integer or a class name under
    one of `LABEL_COLUMNS`, and maybe the integer `id`, without which the row number over all shards names an
    image. Numbers go by their names in the Hub's metadata (`ClassLabel`) where each is a class of the data
    set; without such metadata they are names where classes have names from 100000 on, dates for example.
    Images must have `spec.size`, unless `spec.fit` is "crop".
    """

    priority: ClassVar[int] = 0
    layout: ClassVar[str] = "{split}-*.parquet, {split}.parquet or {split}/0000.parquet"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is a Parquet file or holds those of `split`."""
        if root.is_file():
            return root.suffix == ".parquet"
        return bool(_sets(root, split))

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels, height and width of the first row's image.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        file = _shards(root, split)[0]
        where, content, *_ = next(_rows(file, _open(file)), (str(file), None))
        if content is None:
            raise DataError(f"{where} holds no image bytes")
        return shape_of(content, where)

    def contents(self, root: Path, split: str) -> Contents:
        """Return the classes that the Hub's metadata name, else those that the labels tell, and the shards.

        Raises:
            DataError: a shard or column is missing, or a file cannot be read.
        """
        files = _shards(root, split)
        tables = [_open(file) for file in files]
        rows = sum(table.metadata.num_rows for table in tables)
        labels = (
            label
            for file, table in zip(files, tables, strict=True)
            for label in labels_of(file, table).unique().to_pylist()
        )
        return Contents(class_names(files[0], tables[0]) or names_of_labels(labels), rows, tuple(files))

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read all shards of a split.

        Raises:
            DataError: a shard or column is missing, or a file, image or label is not as expected.
        """
        import torch

        files = _shards(root, split)
        tables = [_open(file) for file in files]
        total = sum(table.metadata.num_rows for table in tables)
        if not total:
            raise DataError(f"{files[0]} holds no image")
        rows, labels, ids, names = rows_of(total, spec, split), [], [], []
        wanted = frozenset(rows)
        orders = [order_of(class_names(*one), spec) for one in zip(files, tables, strict=True)]

        def encoded() -> Iterator[tuple[bytes, str]]:
            every = (
                (order, *row)
                for file, table, order in zip(files, tables, orders, strict=True)
                for row in _rows(file, table)
            )
            for number, (order, where, content, label, identity, name) in enumerate(every):
                if number not in wanted:
                    continue
                if content is None:
                    raise DataError(f"{where} holds no image bytes")
                labels.append(checked(in_order(label, order), spec, where))
                ids.append(number if identity is None else identity)
                names.append(name or "")
                yield content, where

        images = stacked(encoded(), len(rows), spec, "crop" if spec.fit == "crop" else "exact", on_progress)
        known = tuple(names) if all(names) else ()
        return Batch(images, torch.tensor(labels), torch.tensor(ids), known)


def _sets(root: Path, split: str) -> dict[Path, list[Path]]:
    """Return the folders with shards of a split, each with its shards: `root` itself, else sub-folders."""
    inner = sorted(path for path in root.glob("*") if path.is_dir())
    for folders in ([root], inner):
        if found := {home: files for folder in folders for home, files in _set(folder, split)}:
            return found
    whole = sorted(file for file in root.glob("*.parquet") if PLAIN.fullmatch(file.stem))
    return {root: whole} if whole else {}


def _set(folder: Path, split: str) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the folder with its shards of a split, or the split's own sub-folder; nothing of no split."""
    for name in names_of(split) if split else ():
        single = [folder / f"{name}.parquet"] if (folder / f"{name}.parquet").is_file() else []
        if files := sorted(folder.glob(f"{name}-*.parquet")) or single:
            yield folder, files
        elif files := sorted((folder / name).glob("*.parquet")):
            yield folder / name, files


def _shards(root: Path, split: str) -> list[Path]:
    if root.is_file():
        return [root]
    found = _sets(root, split)
    if len(found) > 1:
        raise DataError(
            f"{root} holds the split '{split}' several times",
            expected="one sub-folder with it",
            got=", ".join(folder.relative_to(root).as_posix() for folder in found),
            hint="name the sub-folder itself",
        )
    ((folder, files),) = found.items()
    _check_numbers(folder, split, files)
    return files


def _check_numbers(folder: Path, split: str, files: Sequence[Path]) -> None:
    """Check that numbered shards are all there, each once.

    Raises:
        DataError: one is missing, is there twice, or they belong to two sets.
    """
    matches = {file: NUMBERED.search(file.stem) for file in files}
    numbers = [(int(match[1]), int(match[2])) for match in matches.values() if match]
    if not numbers:
        plain = [int(file.stem) for file in files if PLAIN.fullmatch(file.stem)]
        _check_all_there(folder, split, plain, max(plain, default=-1) + 1)
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
    _check_all_there(folder, split, have, total)


def _check_all_there(folder: Path, split: str, have: Sequence[int], total: int) -> None:
    """Check that shards have every number below a total.

    Raises:
        DataError: some are missing.
    """
    if missing := sorted({*range(total)} - {*have}):
        raise DataError(
            f"{folder} lacks shards of the split '{split}'",
            expected=f"{total} files",
            got=f"{len(have)}, without number {', '.join(map(str, missing[:5]))}",
            hint="download the missing ones",
        )


def _open(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(file)
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a whole Parquet file", hint="fetch it again") from error


def columns_of(file: Path, table: Any) -> tuple[str, str]:
    """Return the names of the columns of images and labels.

    Raises:
        DataError: there is none.
    """
    import pyarrow as pa

    kinds = {field.name: field.type for field in table.schema_arrow}
    structs = (name for name, kind in kinds.items() if pa.types.is_struct(kind))
    image = next((name for name in structs if kinds[name].get_field_index("bytes") >= 0), "")
    label = next((name for name in LABEL_COLUMNS if name in kinds), "")
    fits = label and any(
        test(kinds[label]) for test in (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
    )
    if not image or not fits:
        raise DataError(
            f"{file} lacks a column",
            expected="an image column (a struct with 'bytes') and labels, integers or names, in a column "
            + " or ".join(f"'{name}'" for name in LABEL_COLUMNS),
            got=", ".join(f"{name}: {kind}" for name, kind in kinds.items()),
        )
    return image, label


def labels_of(file: Path, table: Any) -> Any:
    """Return the labels of a file, an Arrow array.

    Raises:
        DataError: a column is missing, or the file cannot be read to its end.
    """
    import pyarrow as pa

    _, label = columns_of(file, table)
    try:
        return table.read(columns=[label], use_threads=False).column(label)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read to its end", hint="fetch it again") from error


def in_order(label: object, order: Mapping[int, int] | None) -> object:
    """Return the class that a label stands for where its file does not number them as we do (`order_of`)."""
    return label if order is None or not isinstance(label, int) else order.get(label, -1)


def class_names(file: Path, table: Any) -> tuple[str, ...]:
    """Return the names that `datasets` has written into a file for its labels, `ClassLabel`; none without."""
    _, label = columns_of(file, table)
    try:
        described = parse_json((table.schema_arrow.metadata or {})[b"huggingface"].decode())
        return tuple(str(name) for name in described["info"]["features"][label]["names"])
    except (KeyError, TypeError, ValueError):
        return ()


def _rows(file: Path, table: Any) -> Iterator[tuple[str, bytes | None, object, int | None, str | None]]:
    """Yield (name in an error, encoded image, label, id, file name), a thousand rows in memory at a time.

    Id and file name are None where they are not known.
    """
    import pyarrow as pa

    schema = table.schema_arrow
    image, label = columns_of(file, table)
    number = count()
    named = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    kind = schema.field(image).type
    paths = kind.get_field_index("path") >= 0 and pa.types.is_string(kind.field("path").type)
    try:
        columns = [
            f"{image}.bytes",
            label,
            *(["id"] if named else []),
            *([f"{image}.path"] if paths else []),
        ]
        for chunk in table.iter_batches(1000, columns=columns):
            encoded = chunk.column(image).field("bytes").to_pylist()
            nothing = [None] * len(encoded)
            ids = chunk.column("id").to_pylist() if named else nothing
            names = chunk.column(image).field("path").to_pylist() if paths else nothing
            for row in zip(encoded, chunk.column(label).to_pylist(), ids, names, strict=True):
                yield f"row {next(number)} of {file}", *row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read to its end", hint="fetch it again") from error
