"""The mean over targets of which not every one has every image, as what each image contributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def contributions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each image contributes to the mean over targets of a rate, of every seed.

    Args:
        values: (targets, seeds, images), NaN where an image does not count.

    Returns:
        (seeds, images) without NaN, of seeds that have any values, and of the N images that count for any
        target. The mean over images is the mean over targets of the means over the images that count, r_t;
        where n_t of N count, an image adds r_t + (N / n_t) (v − r_t) if it counts and r_t otherwise, so that
        also the variance is that of r_t.
    """
    import numpy as np

    counts = ~np.isnan(values)
    kept = counts.any((0, 1))
    values, counts = values[..., kept], counts[..., kept]
    number = counts.sum(2, keepdims=True)
    there = number[..., 0] > 0
    rates = np.where(counts, values, 0.0).sum(2, keepdims=True) / np.maximum(number, 1)
    moved = np.where(counts, values - rates, 0.0) * values.shape[2] / np.maximum(number, 1)
    weights = there / np.maximum(there.sum(0), 1)
    found: NDArray[np.float64] = ((rates + moved) * weights[..., None]).sum(0)[there.any(0)]
    return found
