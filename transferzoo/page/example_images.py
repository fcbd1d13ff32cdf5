"""What a page shows of each row and cell of a table of runs: example images, outcomes, the command."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from transferzoo.base.errors import TransferZooError
from transferzoo.evaluation.examples import predicted
from transferzoo.results.comparisons import brief, budget_text, percent, rows_of
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.comparisons import Row
    from transferzoo.results.records import Record

    Pixels = NDArray[np.uint8]

MOST_IMAGES = 5
PIXEL_BYTES = 2_000_000
"""Bytes of pixels on a page; a PNG of noise is no smaller."""
VERSIONS = 3
"""Pictures of an image: clean, adversarial, difference."""
OUTCOMES = {"1": "fooled", "0": "not fooled", "-": "not counted"}


@dataclass(frozen=True)
class Picture:
    """An image with its description, for those who do not see it."""

    png: bytes
    alt: str


@dataclass(frozen=True)
class CellExamples:
    """What a target made of the examples of a row.

    Attributes:
        anchor: within the part.
        target: its name.
        rate: on all images, as text.
        outcomes: one an example.
    """

    anchor: str
    target: str
    rate: str
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class RowExamples:
    """A row of the table: its images, and what each target made of them.

    Attributes:
        anchor: within the part.
        title: surrogate and attack.
        caption: of the images.
        columns: class and number of each image; none where there are no images.
        pictures: version (clean, adversarial, difference) → the images.
        cells: one a target.
        commands: those that made it.
    """

    anchor: str
    title: str
    caption: str
    columns: tuple[str, ...]
    pictures: Mapping[str, tuple[Picture, ...]]
    cells: tuple[CellExamples, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """Images of a row that are shown: ids, their classes, and pixels, uint8 (M, C, H, W)."""

    ids: Sequence[int]
    names: Sequence[str]
    clean: Pixels
    adversarial: Pixels


def cell_anchor(row: int, target: int) -> str:
    """Return the anchor of a cell, within its part; both are numbered from 0."""
    return f"cell-{row + 1}-{target + 1}"


def row_examples(
    runs: Sequence[RunFolder], budget: int = PIXEL_BYTES, on_lack: Callable[[str], None] = lambda _: None
) -> list[RowExamples]:
    """Return what is shown of each row of some runs that share a table, in its order.

    Images are the first of those that the run keeps to be looked at, of each class one in turn. Where one
    image of each row is beyond the budget, the last rows have none.

    Args:
        runs: their folders.
        budget: bytes of pixels of all rows.
        on_lack: called with a sentence on a run whose images are missing or damaged.

    Raises:
        DataError: records are damaged.
    """
    cells = rows_of([record for run in runs for record in run.records()])
    records = {run.path: run.records() for run in runs}
    lacking: set[RunFolder] = set()
    made = []
    left = budget
    for number, (row, by_target) in enumerate(cells.items()):
        homes = [run for run in runs if any((r.surrogate, r.attack) == row for r in records[run.path])]
        shown, classes = None, None
        try:
            shown, classes = _shown(homes[0], by_target, left, len(cells) - number)
        except TransferZooError as error:
            if homes[0] not in lacking:
                on_lack(f"no examples of the run {homes[0].path}: {error}")
            lacking.add(homes[0])
        left -= VERSIONS * shown.clean.nbytes if shown else 0
        made.append(_row(number, row, by_target, homes, shown, classes or ()))
    return made


def _shown(
    run: RunFolder, cells: Mapping[str, Record], budget: int, rows: int
) -> tuple[Shown | None, Sequence[str]]:
    """Return as many images as fit the share of one of the rows that are left, if any.

    Raises:
        DataError: they are missing or damaged.
    """
    from transferzoo.evaluation.image_files import read_clean, read_places

    images, ids, classes = read_clean(run.clean_path)
    size = VERSIONS * images[0].numel()
    most = min(MOST_IMAGES, len(ids), max(budget // (rows * size), int(budget >= size)))
    if not most:
        return None, classes
    selection = run.selected()
    every, labels = selection.ids, selection.labels
    places = [every.index(one) for one in ids[:most].tolist()]
    files = (run.unit_path(next(iter(cells.values())).pair, unit) for unit in count())
    adversarial: Pixels = read_places(files, every, places).numpy()
    names = [classes[labels[place]] for place in places]
    return Shown(ids[:most].tolist(), names, images[:most].numpy(), adversarial), classes


def _row(
    number: int,
    row: Row,
    cells: Mapping[str, Record],
    runs: Sequence[RunFolder],
    shown: Shown | None,
    classes: Sequence[str],
) -> RowExamples:
    pictures, times = _pictures(shown) if shown else ({}, 1)
    caption = (
        "Attacked images of each class in turn, drawn by the run's seed. "
        f"Differences are magnified {times} times, around grey."
        if shown
        else "No images are shown of this row."
    )
    surrogate, attack = row
    return RowExamples(
        anchor=f"row-{number + 1}",
        title=f"{short(surrogate)}, {brief(attack)}, {budget_text(attack)}",
        caption=caption,
        columns=_headings(shown) if shown else (),
        pictures=pictures,
        cells=tuple(
            CellExamples(
                cell_anchor(number, at),
                f"{record.target_name}{'*' if record.white_box else ''}",
                f"{percent(record.rate)} % of {record.n}",
                _outcomes(record, runs, shown.ids, classes) if shown else (),
            )
            for at, record in enumerate(cells.values())
        ),
        commands=tuple(dict.fromkeys(text for run in runs if (text := run.started().get("command")))),
    )


def _headings(shown: Shown) -> tuple[str, ...]:
    return tuple(f"{name}\nimage {number}" for name, number in zip(shown.names, shown.ids, strict=True))


def _outcomes(
    record: Record, runs: Sequence[RunFolder], ids: Sequence[int], classes: Sequence[str]
) -> tuple[str, ...]:
    """Return for each image whether the target was fooled, and what it predicted if that is known."""
    found = predicted((one for run in runs for one in run.predictions()), record)
    every = runs[0].selected().ids
    marks = [OUTCOMES[record.outcomes[every.index(identity)]] for identity in ids]
    return tuple(
        f"{classes[found[identity]]}\n{mark}" if identity in found else mark
        for identity, mark in zip(ids, marks, strict=True)
    )


def _pictures(shown: Shown) -> tuple[dict[str, tuple[Picture, ...]], int]:
    """Return the three versions of the images, and how many times the differences are magnified."""
    change = shown.adversarial.astype(int) - shown.clean
    times = max(1, 127 // max(1, int(abs(change).max())))
    magnified = (128 + times * change).clip(0, 255).astype(shown.clean.dtype)
    versions = {"clean": shown.clean, "adversarial": shown.adversarial, "difference": magnified}
    return {
        version: tuple(
            Picture(_png(image), f"{name}, {version}")
            for image, name in zip(images, shown.names, strict=True)
        )
        for version, images in versions.items()
    }, times


def _png(image: Pixels) -> bytes:
    """Return an image, uint8 (1 or 3, H, W), as a PNG file."""
    from PIL import Image

    file, pixels = io.BytesIO(), image.transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
