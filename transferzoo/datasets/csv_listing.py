"""A folder of images with a CSV file that lists them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from transferzoo.base.errors import DataError
from transferzoo.base.foreign_files import read_csv
from transferzoo.datasets import READERS, Batch, Contents, Reader
from transferzoo.datasets.archives import archive_of
from transferzoo.datasets.files import names_of
from transferzoo.datasets.folder import Folder
from transferzoo.datasets.labels import LABEL_COLUMNS, checked, names_of_labels
from transferzoo.datasets.members import BY_HAND
from transferzoo.datasets.memory import rows_of, stacked
from transferzoo.datasets.pixels import shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
    """`{split}.csv`, `labels.csv`, `images.csv` or the only list in `ROOT/{split}`, else in `ROOT`.

    The header of a list names its columns, see `COLUMNS`: `file`, relative to the list's folder or to
    `images/` in it, and `label`, a 0-based integer or the name of a class; or `ImageId`, the file's name
    without `.png`, and `TrueLabel`, which counts from 1. Other CSV files beside class folders or a list are
    passed over, and so are hidden ones. The list of an archive names files of the archive alone. Images of
    another size are scaled as `spec.fit` says and turned upright as their EXIF data says. Ids count the rows.
    """

    priority: ClassVar[int] = 2
    layout: ClassVar[str] = "images with a labels.csv (columns file, label)"

    def accepts(self, root: Path, split: str) -> bool:
        """Return whether `root` is or holds a CSV file that is a list, or may be meant as one."""
        if root.is_file():
            return root.suffix == ".csv"
        tables = _tables(root, split)
        return bool(tables) and (_is_list(tables[0]) or not Folder().accepts(root, split))

    def shape(self, root: Path, split: str) -> tuple[int, int, int]:
        """Return channels, height and width of the image that is listed first.

        Raises:
            DataError: a column or the file is missing, it cannot be decoded, or is no part of the archive.
        """
        table = _table(root, split)
        line, name, _ = _lines(table)[1][0]
        (file,) = _files(table, [name])
        return shape_of(file, f"{name} (line {line} of {table})")

    def contents(self, root: Path, split: str) -> Contents:
        """Return the classes that the labels tell, the list and the files in it.

        Raises:
            DataError: there is no list, it cannot be read, lacks a column, or names files beside its archive.
        """
        table = _table(root, split)
        columns, lines = _lines(table)
        classes = names_of_labels((label for _, _, label in lines), columns.first)
        files = _files(table, [name for _, name, _ in lines])
        return Contents(classes, len(lines), (table, *files))

    def read(self, root: Path, split: str, spec: DatasetSpec, on_progress: OnProgress) -> Batch:
        """Read the images in order of the rows.

        Raises:
            DataError: a column or file is missing, a label is no class, or an image cannot be decoded or is
                no part of the archive.
        """
        import torch

        table = _table(root, split)
        columns, lines = _lines(table)
        rows = rows_of(len(lines), spec, split)
        chosen = [lines[row] for row in rows]
        labels = [checked(label, spec, f"line {line} of {table}", columns.first) for line, _, label in chosen]
        names = tuple(name for _, name, _ in chosen)
        places = (f"{name} (line {line} of {table})" for line, name, _ in chosen)
        named = zip(_files(table, names), places, strict=True)
        images = stacked(named, len(rows), spec, spec.fit, on_progress)
        return Batch(images, torch.tensor(labels), torch.tensor(rows), names)


def _files(table: Path, names: Iterable[str]) -> Iterator[Path]:
    """Yield the files that a list names; they need not be there.

    Raises:
        DataError: the list is of an archive, and a file is not.
    """
    folder, archive = table.parent, archive_of(table)
    for name in names:
        places = (folder / name, folder / "images" / name)
        file = next((path for path in places if path.is_file()), places[0])
        if archive is not None and archive not in file.resolve().parents:
            raise DataError(
                f"{table} names a file that is no part of its archive",
                expected="images in the archive",
                got=repr(name[:80]),
                hint=BY_HAND,
            )
        yield file


def _table(root: Path, split: str) -> Path:
    """Return the list of a split.

    Raises:
        DataError: there is none, or none of several is named as the split's.
    """
    if root.is_file():
        return root
    tables = _tables(root, split)
    if len(tables) != 1:
        raise DataError(
            f"{root} holds {'several lists' if tables else 'no list'} of images",
            expected=f"one, or a list called {split or 'labels'}.csv",
            got=", ".join(table.name for table in tables),
            hint="rename it, choose a --split that has one, or give the list itself with --data FILE",
        )
    return tables[0]


def _tables(root: Path, split: str) -> list[Path]:
    """Return the CSV files that may be the list of a split: lists before others, the one named so alone."""
    for folder in (root / split, root):
        found = [path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")]
        found = [path for path in found if _is_list(path)] or found
        usual = [folder / f"{name}.csv" for name in (*names_of(split), "labels", "images")]
        if found:
            return [path for path in usual if path in found][:1] or found
    return []


def _is_list(table: Path) -> bool:
    """Return whether the header of a CSV file, as far as it can be read, has the columns of a list."""
    try:
        return _columns(read_csv(table).fieldnames or ()) is not None
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _columns(header: Iterable[str]) -> Columns | None:
    return next((one for one in COLUMNS if {one.file, one.label} <= set(header)), None)


def _lines(table: Path) -> tuple[Columns, list[tuple[int, str, str]]]:
    """Return the columns of a list and, of each row, line number, file name and label."""
    try:
        reader = read_csv(table)
        header = reader.fieldnames or []
        columns = _columns(header)
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
