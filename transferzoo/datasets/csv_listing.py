"""A folder of images with a CSV file that lists them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from transferzoo.base.errors import DataError
from transferzoo.datasets import READERS, Batch, Contents, Reader
from transferzoo.datasets.labels import LABEL_COLUMNS, checked, names_of_labels
from transferzoo.datasets.memory import rows_of, stacked
from transferzoo.datasets.pixels import shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from transferzoo.datasets import OnProgress
    from transferzoo.zoo.schema import DatasetSpec


class Columns(NamedTuple):
    """What the columns of a list are called and mean.

    Attributes:
        file: header of the column with the files.
        label: header of the column with the labels.
        suffix: what a file's name ends with that is not in the list.
        first: label of the first class.
    """

    file: str
    label: str
    suffix: str = ""
    first: int = 0


COLUMNS = (
    *(
        Columns(file, label)
        for file in ("file", "filename", "file_name", "filepath")
        for label in LABEL_COLUMNS
    ),
    Columns("ImageId", "TrueLabel", ".png", 1),
)
"""The last is the list of the images of the NIPS 2017 competition on adversarial examples."""


@READERS.register("listing")
class CsvListing(Reader):
    """`ROOT/labels.csv`, `ROOT/images.csv` or the only CSV file in ROOT, or in `ROOT/{split}` if it has one.

    Its header names the columns: `file` or `filename`, relative to the CSV file's folder or to `images/` in
    it, and `label`, a 0-based integer; or `ImageId`, the file's name without `.png`, and `TrueLabel`, which
    counts from 1. Images of another size are scaled to `spec.size` (Pillow, bilinear; the aspect ratio is not
    kept) and turned upright as their EXIF data says. Ids count the rows.
    """

    priority: ClassVar[int] = 2
    layout: ClassVar[str] = "images with a labels.csv (columns file, label)"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is or holds one CSV file."""
        return _table(root, split) is not None

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels, height and width of the image that is listed first.

        Raises:
            DataError: a column or the file is missing, or it cannot be decoded.
        """
        table = _table(root, split)
        assert table is not None, "an accepted folder has a list"
        line, name, _ = _lines(table)[1][0]
        return shape_of(_file(table.parent, name), f"{name} (line {line} of {table})")

    def contents(self, root: Path, split: str) -> Contents:
        """Return the classes that the labels tell, the list and the files in it.

        Raises:
            DataError: there is no list, it cannot be read, or it lacks a column.
        """
        table = _table(root, split)
        if table is None:
            raise DataError(f"{root} holds no list of images", expected=self.layout)
        columns, lines = _lines(table)
        classes = names_of_labels((label for _, _, label in lines), columns.first)
        files = (_file(table.parent, name) for _, name, _ in lines)
        return Contents(classes, len(lines), (table, *files))

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read the images in order of the rows.

        Raises:
            DataError: a column or file is missing, a label is no class, or an image cannot be decoded.
        """
        import torch

        table = _table(root, split)
        if table is None:
            raise DataError(f"{root} holds no list of images", expected=self.layout)
        columns, lines = _lines(table)
        rows = rows_of(len(lines), spec, split)
        chosen = [lines[row] for row in rows]
        labels = [checked(label, spec, f"line {line} of {table}", columns.first) for line, _, label in chosen]
        named = ((_file(table.parent, name), f"{name} (line {line} of {table})") for line, name, _ in chosen)
        images = stacked(named, len(rows), spec, "squash", on_progress)
        names = tuple(name for _, name, _ in chosen)
        return Batch(images, torch.tensor(labels), torch.tensor(rows), names)


def _file(folder: Path, name: str) -> Path:
    return next((path for path in (folder / name, folder / "images" / name) if path.is_file()), folder / name)


def _table(root: Path, split: str) -> Path | None:
    if root.is_file():
        return root if root.suffix == ".csv" else None
    for folder in (root / split, root):
        found = sorted(folder.glob("*.csv"))
        usual = [folder / name for name in ("labels.csv", "images.csv") if folder / name in found]
        if usual or len(found) == 1:
            return (usual or found)[0]
    return None


def _lines(table: Path) -> tuple[Columns, list[tuple[int, str, str]]]:
    """Return the columns of a list and, of each row, line number, file name and label."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            header = reader.fieldnames or []
            columns = next((one for one in COLUMNS if {one.file, one.label} <= set(header)), None)
            if columns is None:
                raise DataError(
                    f"{table} lacks a column",
                    expected="a header with file (or filename, file_name, filepath) and "
                    f"{LABEL_COLUMNS[0]} (or {', '.join(LABEL_COLUMNS[1:])})",
                    got=", ".join(header) or "an empty file",
                )
            lines = [
                (reader.line_num, f"{row[columns.file] or ''}{columns.suffix}", row[columns.label] or "")
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error})", expected="a CSV file in UTF-8") from error
    if not lines:
        raise DataError(f"{table} lists no image")
    return columns, lines
