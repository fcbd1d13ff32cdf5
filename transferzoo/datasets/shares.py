"""Splits that share a place: which of the images that lie there each of them has."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rows_of_share(labels: NDArray[np.int64], share: tuple[float, float]) -> NDArray[np.int64]:
    """Return which images a share has: of every class the same share, in an order that is always the same.

    Shares that meet, (0, 0.7) and (0.7, 1), have no image in common and leave none out. What is a copy of
    another image counts as one of its own.

    Args:
        labels: classes of all images, int64 (N,).
        share: from where to where in the order, 0 to 1.

    Returns:
        Positions among all images, ascending, int64 (M,).
    """
    import numpy as np

    found = []
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        order = random.Random(f"transferzoo shares of {len(places)}").sample(range(len(places)), len(places))
        start, end = (round(part * len(places)) for part in share)
        found.append(places[order[start:end]])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)
