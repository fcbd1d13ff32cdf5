"""Example images of a run: clean, adversarial, and their difference."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from transferzoo.base.errors import DataError
from transferzoo.base.foreign_files import read_json
from transferzoo.evaluation.examples import drawn_examples, predicted, shown_target
from transferzoo.results.comparisons import brief, budget_text, rows_of
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.datasets import Batch
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.results.comparisons import Row
    from transferzoo.results.records import Record
    from transferzoo.zoo.reader import Zoo

    Pixels = NDArray[np.uint8]

MOST_IMAGES, MOST_ROWS = 5, 3
PIXEL_BYTES = 2_000_000
"""Bytes of pixels on a page; a PNG of noise is no smaller."""


@dataclass(frozen=True)
class Picture:
    """An image with its description.

    Attributes:
        png: the file.
        alt: description, for those who do not see it.
        note: below it; empty for nothing.
    """

    png: bytes
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Examples:
    """A table of images: a column for each image, a row for each version of it.

    Attributes:
        title: of the table.
        caption: below it.
        columns: class and number of each image.
        rows: version (clean, adversarial, difference), and the images.
    """

    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Picture, ...]], ...]


def example_images(run: RunFolder, zoo: Zoo, root: Path | None, budget: int = PIXEL_BYTES) -> Examples:
    """Return some images of a run: clean, and adversarial with the difference for its first rows.

    They are a draw by the run's seed, of each class one in turn. Below an adversarial image stands what a
    target predicts, and how many targets it fools.

    Args:
        run: its folder.
        zoo: it has the data set.
        root: the user's own images, as `--data` takes them.
        budget: bytes of pixels, as far as one image allows.

    Raises:
        DataError: there are no images, they are not those of the run, or a file of it is damaged.
    """
    config = read_json(run.path / "config.json")["config"]
    clean, classes = _clean_images(run, config, zoo, root)
    shown = dict(list(rows_of(run.records()).items())[:MOST_ROWS])
    most = min(MOST_IMAGES, max(1, budget // (clean.images[0].numel() * (1 + 2 * len(shown)))))
    every, labels_of_all = run.selected()
    drawn = drawn_examples(labels_of_all, config["seed"], most)
    ids, labels = ([each[place] for place in drawn] for each in (every, labels_of_all))
    places = {name: place for place, name in enumerate(clean.ids.tolist())}
    chosen = clean.select([places[name] for name in ids if name in places])
    if chosen.labels.tolist() != labels:
        raise DataError("the images are not those of the run", hint="check --data")
    before = chosen.images.numpy()
    after = {row: _adversarial_images(run, cells, every, drawn) for row, cells in shown.items()}
    changes = {row: images.astype(int) - before for row, images in after.items()}
    times = max(1, 127 // max(1, *(int(abs(change).max()) for change in changes.values())))
    names = [classes[label] for label in labels]
    rows = [("clean", _row(before, names, "clean"))]
    for row, cells in shown.items():
        notes = _notes(run, cells, {every[place]: place for place in drawn}, classes)
        rows.append((_row_title(row), _row(after[row], names, "adversarial", notes)))
        magnified = (128 + times * changes[row]).clip(0, 255).astype(before.dtype)
        rows.append(("difference", _row(magnified, names, "difference, magnified")))
    return Examples(
        f"Examples from run {run.path.name}",
        "Attacked images of each class in turn, drawn by the run's seed. "
        f"Differences are magnified {times} times, around grey.",
        tuple(f"{name}\nimage {number}" for name, number in zip(names, ids, strict=True)),
        tuple(rows),
    )


def _clean_images(
    run: RunFolder, config: Mapping[str, Any], zoo: Zoo, root: Path | None
) -> tuple[Batch, Sequence[str]]:
    """Return the clean images that the run keeps, or those of its data set, and the names of the classes."""
    import torch

    from transferzoo.datasets import Batch
    from transferzoo.datasets.sources import load_split, measured
    from transferzoo.evaluation.image_files import read_clean

    if run.clean_path.exists():
        images, ids, classes = read_clean(run.clean_path)
        label_of = dict(zip(*run.selected(), strict=True))
        return Batch(images, torch.tensor([label_of[one] for one in ids.tolist()]), ids), classes
    dataset = measured(zoo, config["dataset"], config["split"], root).dataset(config["dataset"])
    return load_split(dataset, config["split"], root=root), dataset.classes


def _row_title(row: Row) -> str:
    surrogate, attack = row
    return f"adversarial\n{short(surrogate)}\n{brief(attack)}\n{budget_text(attack)}"


def _adversarial_images(
    run: RunFolder, cells: Mapping[str, Record], ids: Sequence[int], places: Sequence[int]
) -> Pixels:
    """Return the adversarial images of a row at some places of all ids."""
    from transferzoo.evaluation.image_files import read_places

    pair = next(iter(cells.values())).pair
    images: Pixels = read_places((run.unit_path(pair, unit) for unit in count()), ids, places).numpy()
    return images


def _notes(
    run: RunFolder, cells: Mapping[str, Record], places: Mapping[int, int], classes: Sequence[str]
) -> list[str]:
    """Return what a target predicts of each image and how many it fools; `places` by id."""
    record = shown_target(cells.values())
    found = predicted(run.predictions(), record)
    counts = _fooled_counts(cells)
    return [
        "\n".join(
            [
                *([f"{record.target_name}: {classes[found[identity]]}"] if identity in found else []),
                *counts[place : place + 1],
            ]
        )
        for identity, place in places.items()
    ]


def _fooled_counts(cells: Mapping[str, Record]) -> list[str]:
    """Return how many targets each image fools, white-box ones aside."""
    marks = zip(*(record.outcomes for record in cells.values() if not record.white_box), strict=True)
    counted = ["".join(image).replace("-", "") for image in marks]
    return [f"fools {image.count('1')} of {len(image)}" for image in counted]


def _row(
    images: Pixels, names: Sequence[str], version: str, notes: Sequence[str] = ()
) -> tuple[Picture, ...]:
    return tuple(
        Picture(_png(image), f"{name}, {version}", note)
        for image, name, note in zip(images, names, notes or [""] * len(names), strict=True)
    )


def _png(image: Pixels) -> bytes:
    """Return an image, uint8 (1 or 3, H, W), as a PNG file."""
    from PIL import Image

    file, pixels = io.BytesIO(), image.transpose(1, 2, 0)
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return file.getvalue()
