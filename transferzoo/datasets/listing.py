"""A folder of images with a CSV file that lists them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar

from transferzoo.datasets import READERS, Batch
from transferzoo.datasets.labels import checked
from transferzoo.datasets.pixels import decode
from transferzoo.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.specs import DatasetSpec


@READERS.register("listing")
class Listing:
    """`ROOT/labels.csv`, or the only CSV file in ROOT, or in `ROOT/{split}` where that holds one.

    Its header names the columns: `file` (or `filename`), relative to the CSV file's folder, and `label`, a
    0-based integer. Images of another size are scaled to `spec.size` (Pillow, bilinear; the aspect ratio is
    not kept) and turned upright as their EXIF data says. Ids count the rows.
    """

    priority: ClassVar[int] = 2
    layout: ClassVar[str] = "images with a labels.csv (columns file, label)"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is or holds one CSV file."""
        return _table(root, split) is not None

    def read(self, root: Path, split: str, spec: DatasetSpec) -> Batch:
        """Read the images in order of the rows.

        Raises:
            DataError: a column or file is missing, a label is no class, or an image cannot be decoded.
        """
        import numpy as np
        import torch

        table = _table(root, split)
        if table is None:
            raise DataError(f"{root} holds no list of images", expected=self.layout)
        rows = _rows(table)
        images = np.empty((len(rows), spec.channels, spec.size, spec.size), dtype=np.uint8)
        labels = []
        for index, (line, name, label) in enumerate(rows):
            labels.append(checked(label, spec, f"line {line} of {table}"))
            images[index] = decode(table.parent / name, spec, f"{name} (line {line} of {table})", resize=True)
        return Batch(torch.from_numpy(images), torch.tensor(labels), torch.arange(len(rows)))


def _table(root: Path, split: str) -> Path | None:
    if root.is_file():
        return root if root.suffix == ".csv" else None
    for folder in (root / split, root):
        if (folder / "labels.csv").is_file():
            return folder / "labels.csv"
        found = list(folder.glob("*.csv"))
        if len(found) == 1:
            return found[0]
    return None


def _rows(table: Path) -> list[tuple[int, str, str]]:
    """Return (line number, file name, label) of each row."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = reader.fieldnames or []
            name = next((column for column in ("file", "filename") if column in columns), "")
            if not name or "label" not in columns:
                raise DataError(
                    f"{table} lacks a column",
                    expected="a header with file (or filename) and label (a 0-based integer)",
                    got=", ".join(columns) or "an empty file",
                )
            rows = [(reader.line_num, row[name] or "", row["label"] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error})", expected="a CSV file in UTF-8") from error
    if not rows:
        raise DataError(f"{table} lists no image")
    return rows
