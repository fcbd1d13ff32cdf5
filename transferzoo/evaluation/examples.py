"""Which images of a run are shown to people, and what a target predicts of them; without torch."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from transferzoo.results.records import read_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transferzoo.results.records import Record

MOST = 10
"""Images that are shown at most."""


@dataclass(frozen=True)
class Predictions:
    """What a target predicts of the adversarial images that are shown.

    Attributes:
        surrogate: full name, as in the records.
        attack: canonical form, likewise.
        target: full name.
        ids: of the images.
        classes: predicted, one an image.
    """

    surrogate: str
    attack: str
    target: str
    ids: tuple[int, ...]
    classes: tuple[int, ...]


def read_predictions(line: str) -> Predictions:
    """Return predictions that were kept as a line of JSON.

    Raises:
        ValueError: it holds none, or not one for each image.
    """
    found = read_line(Predictions, line)
    if len(found.ids) != len(found.classes):
        raise ValueError(f"{len(found.classes)} predictions of {len(found.ids)} images")
    return found


def drawn_examples(labels: Sequence[int], seed: int, most: int = MOST) -> list[int]:
    """Return the places of images to show: of each class one in turn, drawn by the seed.

    A smaller number of them is the beginning of a larger one.

    Args:
        labels: classes of all images.
        seed: of the run.
        most: how many, if there are so many.
    """
    by_class: dict[int, list[int]] = defaultdict(list)
    for place in random.Random(seed).sample(range(len(labels)), len(labels)):
        by_class[labels[place]].append(place)
    turns = zip_longest(*by_class.values())
    return [place for turn in turns for place in turn if place is not None][:most]


def shown_target(cells: Iterable[Record]) -> Record:
    """Return the record of the target whose predictions are shown: the first that is no white box, if any."""
    records = list(cells)
    return next((record for record in records if not record.white_box), records[0])


def predicted(lines: Iterable[Predictions], record: Record) -> dict[int, int]:
    """Return id → predicted class of the images of a record; empty where that is not known."""
    return {
        identity: label
        for one in lines
        if (one.surrogate, one.attack, one.target) == (record.surrogate, record.attack, record.target)
        for identity, label in zip(one.ids, one.classes, strict=True)
    }
