"""A target that nobody can ask here: what it predicted of some images stands in a file."""

from __future__ import annotations

import csv
import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from transferzoo.base.errors import DataError, few
from transferzoo.base.foreign_files import read_csv
from transferzoo.datasets.labels import LABEL_COLUMNS, checked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec

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
        file: CSV with a header: `id`, the image's file or its name without the suffix; `label`, a 0-based
            class or its name, or a column of scores for each class, under its name or number.
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
        raise DataError(f"{file} cannot be read ({error})", expected="a CSV file in UTF-8") from error
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
    rows = {_stem(line[key] or ""): (at, line) for at, line in lines}
    missing = [name for name in names if _stem(name) not in rows]
    if missing:
        raise DataError(
            f"{file} has no prediction of {len(missing)} of {len(names)} images",
            expected=f"a line for each, under its file's name, such as {PurePosixPath(missing[0]).stem}",
            got=f"lines of {few([*rows])}" if rows else "no line",
        )

    def predicted(name: str) -> int:
        at, line = rows[_stem(name)]
        where = f"line {at} of {file}"
        if label is not None:
            return checked(line[label], spec, where)
        assert scores is not None
        return _best([line[column] for column in scores], where)

    found = [predicted(name) for name in names]
    if twins and all(_stem(name) in rows for name in twins):
        return found, [predicted(name) for name in twins]
    if CLEAN not in header:
        return found, None
    beside = [rows[_stem(name)] for name in names[: len(twins) or None]]
    return found, [checked(line[CLEAN], spec, f"line {at} of {file}") for at, line in beside]


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").name if "." in name else PurePosixPath(name).name


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
