"""A target that nobody can ask here: what it predicted of some images stands in a file."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferzoo.base.errors import DataError, few, refusal
from transferzoo.base.foreign_files import read_csv
from transferzoo.datasets.labels import LABEL_COLUMNS, checked
from transferzoo.datasets.pixels import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

_Row = tuple[int, dict[str, str]]
"""A line of a file: its number and what stands in each column."""
ID_COLUMNS = ("id", "file", "filename", "file_name")
CLEAN = "clean"
"""Column of what the target predicts of the clean images."""


class Answers(nn.Module):
    """[0, 1] pixels (N, C, H, W) → 1 for the class that a list has for each image, 0 elsewhere (N, K).

    Args:
        images: uint8 (N, C, H, W), those that the list is about; of equal ones the first counts.
        labels: of each, int64 (N,).
        classes: how many there are, K.
        name: of the target, for an error.
    """

    table: Tensor

    def __init__(self, images: Tensor, labels: Tensor, classes: int, name: str) -> None:
        super().__init__()
        self.classes, self.name = classes, name
        marks = [_mark(image) for image in images]
        self.known: dict[bytes, int] = {}
        for mark, label in zip(marks, labels.tolist(), strict=True):
            self.known.setdefault(mark, label)
        self.register_buffer("table", torch.tensor([[*mark] for mark in marks], dtype=torch.uint8))
        self.register_buffer("labels", labels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Look each image up.

        Raises:
            DataError: one is in no list.
        """
        found = [self.known.get(_mark(image)) for image in (pixels * 255).round().to(torch.uint8)]
        if None in found:
            raise DataError(f"the predictions of '{self.name}' are not of these images")
        return nn.functional.one_hot(torch.tensor(found, device=pixels.device), self.classes).to(pixels.dtype)


def _mark(image: Tensor) -> bytes:
    return hashlib.sha256(image.contiguous().cpu().numpy().tobytes()).digest()


def read_answers(
    file: Path, names: Sequence[str], spec: DatasetSpec, twins: Sequence[str] = ()
) -> tuple[list[int], list[int] | None]:
    """Read what a target predicted of adversarial images, and of their twins.

    Args:
        file: CSV with a header: `id`, the image's file, with or without folders and suffix; `label`, a
            0-based class or its name, or a column of scores for each class, under its name or number.
        names: of the images' files, in order.
        spec: gives the classes.
        twins: of the clean images' files. They have lines of their own, or a column `clean` in those of the
            first adversarial images, as many.

    Returns:
        The classes, and those of the clean images where the file has them.

    Raises:
        DataError: the file cannot be read, lacks a column or an image, or has a class that there is not.
    """
    try:
        reader = read_csv(file)
        header, lines = list(reader.fieldnames or ()), [(reader.line_num, line) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problem = refusal(error) if isinstance(error, OSError) else error
        raise DataError(f"{file} cannot be read ({problem})", expected="a CSV file in UTF-8") from error
    key = next((column for column in ID_COLUMNS if column in header), None)
    label = next((column for column in LABEL_COLUMNS if column in header), None)
    numbers = [str(number) for number in range(len(spec.classes))]
    scores = next((every for every in (list(spec.classes), numbers) if set(every) <= set(header)), None)
    if key is None or (label is None and scores is None):
        raise DataError(
            f"{file} lacks a column",
            expected="a header with id and label, or id and a score for each class",
            got=", ".join(header) or "an empty file",
        )
    rows = _Rows(file, [(at, line, line[key] or "") for at, line in lines])
    of_names = rows.of(names)
    if missing := [name for name, row in zip(names, of_names, strict=True) if row is None]:
        parts = _parts(missing[0])
        twice = sum(_parts(name)[-1:] == parts[-1:] for name in names) > 1
        raise DataError(
            f"{file} has no prediction of {len(missing)} of {len(names)} images",
            expected=f"a line for each, such as {'/'.join(parts if twice else parts[-1:])}"
            + (", with its folder where several files have its name" if twice else ", under its file's name"),
            got=f"lines of {few([line[key] or '' for _, line in lines])}" if lines else "no line",
        )

    def predicted(row: _Row) -> int:
        at, line = row
        where = f"line {at} of {file}"
        if label is not None:
            return checked(line[label], spec, where)
        assert scores is not None
        return _best([line[column] for column in scores], where)

    kept = [row for row in of_names if row is not None]
    found = [predicted(row) for row in kept]
    of_twins = [row for row in rows.of(twins) if row is not None]
    if twins and len(of_twins) == len(twins):
        return found, [predicted(row) for row in of_twins]
    if CLEAN not in header:
        return found, None
    beside = kept[: len(twins) or None]
    return found, [checked(line[CLEAN], spec, f"line {at} of {file}") for at, line in beside]


class _Rows:
    """Lines of a file, looked up by the name of an image's file without the suffix of images.

    Files of several folders may have the same name: a line is of an image if their paths are the same, else
    if its path ends with the image's, else if it has no folder and no other image has its name.

    Args:
        file: for an error.
        lines: number, content and name of each.
    """

    def __init__(self, file: Path, lines: Sequence[tuple[int, dict[str, str], str]]) -> None:
        self.file = file
        self.paths: dict[tuple[str, ...], list[_Row]] = {}
        self.ends: dict[tuple[str, ...], list[_Row]] = {}
        for at, line, name in lines:
            parts = _parts(name)
            self.paths.setdefault(parts, []).append((at, line))
            for start in range(len(parts)):
                self.ends.setdefault(parts[start:], []).append((at, line))

    def of(self, names: Sequence[str]) -> list[_Row | None]:
        """Return the line of each name, None where there is none.

        Raises:
            DataError: there are two.
        """
        last = Counter(_parts(name)[-1:] for name in names)
        return [self._of(name, alone=last[_parts(name)[-1:]] == 1) for name in names]

    def _of(self, name: str, *, alone: bool) -> _Row | None:
        parts = _parts(name)
        bare = self.paths.get(parts[-1:], []) if alone else []
        found = self.paths.get(parts) or self.ends.get(parts) or bare
        if len(found) > 1:
            (first, _), (second, _) = found[:2]
            raise DataError(
                f"{self.file} has two lines for '{name}', {first} and {second}",
                expected="one for each image, under its path in the folder of images",
            )
        return found[0] if found else None


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name.replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).parts


def _best(scores: Sequence[str | None], where: str) -> int:
    """Return the class with the highest score.

    Raises:
        DataError: one is no finite number.
    """
    try:
        values = torch.tensor([float(score or "") for score in scores], dtype=torch.float64)
    except ValueError:
        values = torch.tensor([torch.nan])
    if not values.isfinite().all():
        raise DataError(f"{where} has a score that is no number", expected="a number for each class")
    return int(values.argmax())
