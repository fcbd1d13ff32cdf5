"""An index of images in Parquet files: the labels and the sizes of the row groups."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import DataError
from transferzoo.datasets.labels import checked, order_of
from transferzoo.datasets.parquet import _open, class_names, columns_of, in_order, labels_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.zoo.schema import DatasetSpec

WINDOW = 2**27
"""Encoded bytes that are shuffled, and so kept, together: some 1,200 images of ImageNet."""
LARGEST = 2**30
"""Encoded bytes of the largest row group that is streamed; it is read in one piece."""


class Shards:
    """Parquet files in the Hub's layout; see `disk.ImageIndex` and, for the columns, `datasets.parquet`.

    A process that reads images keeps the encoded row groups it read last: `WINDOW` bytes and the largest one.

    Raises:
        DataError: a shard or column is missing, a file cannot be read, or a label is no class.
    """

    def __init__(self, files: Sequence[Path], spec: DatasetSpec) -> None:
        import numpy as np

        state = hashlib.sha256()
        self._groups: list[tuple[Path, int, str]] = []
        rows, sizes, labels = [], [], []
        for file in files:
            table = _open(file)
            column, part = _columns(file, table)
            state.update(f"{file.name}\0{file.stat().st_size}\n".encode())
            for number in range(table.num_row_groups):
                group = table.metadata.row_group(number)
                self._groups.append((file, number, column))
                rows.append(group.num_rows)
                sizes.append(group.column(part).total_uncompressed_size)
            labels.append(_labels(file, table, spec))
        if not sum(rows):
            raise DataError(f"{files[0]} holds no image")
        if max(sizes) > LARGEST:
            raise DataError(
                f"the row groups of {self._groups[int(np.argmax(sizes))][0]} are too large to stream",
                expected=f"at most {LARGEST:,} bytes",
                got=f"{max(sizes):,}",
                hint="write the file anew with fewer rows a group",
            )
        self.labels = np.concatenate(labels)
        self.bounds = np.concatenate([[0], np.cumsum(rows)])
        self.sizes = np.array(sizes)
        state.update(self.bounds.tobytes() + self.labels.tobytes())
        self.digest = state.hexdigest()
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def where(self, index: int) -> str:
        """See `ImageIndex.where`; rows count from 0 in each file."""
        group = self._group(index)
        file = self._groups[group][0]
        first = next(number for number, (other, _, _) in enumerate(self._groups) if other == file)
        return f"row {index - self.bounds[first]} of {file}"

    def encoded(self, index: int) -> bytes:
        """See `ImageIndex.encoded`."""
        group = self._group(index)
        if group not in self._kept:
            self._kept[group] = self._read(group)
            while len(self._kept) > 1 and sum(self.sizes[g] for g in self._kept) > WINDOW + self.sizes.max():
                self._kept.popitem(last=False)
        self._kept.move_to_end(group)
        content: bytes | None = self._kept[group][index - self.bounds[group]].as_py()
        if content is None:
            raise DataError(f"{self.where(index)} holds no image bytes")
        return content

    def _group(self, index: int) -> int:
        return int(self.bounds.searchsorted(index, side="right")) - 1

    def _read(self, group: int) -> Any:
        """Return the encoded images of a row group, an Arrow array of its number of rows."""
        import pyarrow as pa

        file, number, column = self._groups[group]
        try:
            with _open(file) as table:
                read = table.read_row_group(number, columns=[f"{column}.bytes"], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{file} cannot be read to its end", hint="fetch it again") from error
        return read.column(column).combine_chunks().field("bytes")


def _columns(file: Path, table: Any) -> tuple[str, int]:
    """Return the name of the image column and the number of its leaf with the bytes."""
    image, _ = columns_of(file, table)
    leaves = [table.schema.column(number).path for number in range(len(table.schema))]
    return image, leaves.index(f"{image}.bytes")


def _labels(file: Path, table: Any, spec: DatasetSpec) -> NDArray[np.int64]:
    import numpy as np

    labels, order = labels_of(file, table).to_pylist(), order_of(class_names(file, table), spec)
    known: dict[object, int] = {}
    for row, label in enumerate(labels):
        if label not in known:
            known[label] = checked(in_order(label, order), spec, f"row {row} of {file}")
    return np.array([known[label] for label in labels], np.int64)
