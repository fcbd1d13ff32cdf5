"""What a training on images of somebody's own is like where nobody says: by how many and how large they are.

The table is explained in README.md of this folder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from transferzoo.datasets.disk import count_images

if TYPE_CHECKING:
    from transferzoo.zoo.reader import Zoo
    from transferzoo.zoo.schema import DatasetSpec


class Usual(NamedTuple):
    """How images are trained on where there are at most so many.

    Attributes:
        most: training images, those that are held out among them.
        batch_size: images a step.
        epochs: from fresh weights.
        fine_tuning: epochs from the weights of another model.
        learning_rate: from fresh weights; a tenth of it from those of another model.
    """

    most: float
    batch_size: int
    epochs: int
    fine_tuning: int
    learning_rate: float


USUAL = (
    Usual(100, 8, 60, 15, 0.02),
    Usual(500, 16, 50, 10, 0.02),
    Usual(2_000, 32, 30, 5, 0.03),
    Usual(8_000, 64, 12, 3, 0.05),
    Usual(30_000, 128, 6, 2, 0.1),
    Usual(float("inf"), 128, 3, 1, 0.1),
)
"""By the number of training images; the first row that has room."""
ALWAYS = {"schedule": "cosine", "warmup": 0.1}
HELD_OUT, MOST_HELD_OUT = 0.1, 2000
"""Share of the training images that the accuracy is measured on, and how many at most."""
PIXELS = 64
"""Height and width, at most, at which fresh weights read images."""


def usual_options(count: int, *, fine_tuned: bool) -> dict[str, Any]:
    """Return the fields of `TrainConfig` for images of somebody's own.

    Args:
        count: how many there are to train on.
        fine_tuned: whether the training begins with another model's weights.
    """
    row = next(row for row in USUAL if count <= row.most)
    return {
        **ALWAYS,
        "batch_size": row.batch_size,
        "epochs": row.fine_tuning if fine_tuned else row.epochs,
        "learning_rate": row.learning_rate / 10 if fine_tuned else row.learning_rate,
        "validation": min(MOST_HELD_OUT, max(1, round(HELD_OUT * count))),
    }


def as_trained_on(zoo: Zoo, name: str, size: int | None, *, fine_tuned: bool) -> tuple[Zoo, dict[str, Any]]:
    """Return a zoo whose data set is read as a training reads it, and `usual_options` for its images.

    Args:
        zoo: has the data set.
        name: of the data set.
        size: see `read_at`, as for the next.
        fine_tuned: likewise.

    Raises:
        DataError: there are no training images, or they cannot be read.
    """
    spec = read_at(zoo.dataset(name), size, fine_tuned=fine_tuned)
    found = usual_options(count_images(spec, "train", None), fine_tuned=fine_tuned)
    return replace(zoo, datasets={**zoo.datasets, name: spec}), found


def read_at(dataset: DatasetSpec, size: int | None, *, fine_tuned: bool) -> DatasetSpec:
    """Return a data set whose images are read at the size that is trained with.

    Args:
        dataset: with a size.
        size: height and width in pixels that a user wants; None for the usual ones.
        fine_tuned: whether the training begins with another model's weights, which have a size.
    """
    usual = dataset.size if fine_tuned else min(dataset.size, PIXELS)
    wanted = size or usual
    return dataset if wanted == dataset.size else dataset.model_copy(update={"size": wanted, "fit": "crop"})
