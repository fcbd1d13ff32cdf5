"""Does a model classify the images it is asked about, and if not, what is likely to be wrong?

The clean accuracy on n images is known up to its 95 % Wilson interval. Two numbers are held against it:
chance, 1/K of K classes, and √(1/K), halfway between chance and 1 on a logarithmic scale, 31.6 % for ten.

    accuracy ≥ √(1/K)                                          it classifies
    interval reaches down to chance, but not up to √(1/K)      it does not, and is refused
    anything else                                              doubtful: a warning

So a few images, which can show neither, are never refused. A model that would be right on more images beyond
chance if its classes were in another order is told of whatever its accuracy: of ten classes two that are
interchanged show on some hundred images, of a hundred on thousands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from transferzoo.base.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

ONE_CLASS = 0.5
"""Share of the images, beyond that of the images themselves, that one class gets where pixels are misread."""


@dataclass(frozen=True)
class CleanAccuracy:
    """How often a model is right on clean images.

    Attributes:
        right: number of images.
        n: of so many.
        classes: K.
    """

    right: int
    n: int
    classes: int

    @property
    def rate(self) -> float:
        """Share of the images that it classifies correctly."""
        return self.right / self.n

    @property
    def least(self) -> float:
        """The accuracy from which on nothing is said, √(1/K)."""
        return float(self.classes**-0.5)

    @property
    def doubtful(self) -> bool:
        """Whether it is lower than that."""
        return self.rate < self.least

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the rate."""
        from scipy.stats import binomtest

        found = binomtest(self.right, self.n).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)

    @property
    def refused(self) -> bool:
        """Whether it may well be chance, and cannot be much more."""
        low, high = self.interval
        return low <= 1 / self.classes and high < self.least

    def __str__(self) -> str:
        """Return it with its interval and chance, for a sentence."""
        low, high = self.interval
        return (
            f"{self.rate:.1%} ({self.right} of {self.n} images, 95 % interval {low:.1%} to {high:.1%}; "
            f"chance is {1 / self.classes:.1%})"
        )


def require_accuracy(
    name: str,
    predictions: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    *,
    sizes: str = "",
    allowed: bool = False,
) -> tuple[float, str]:
    """Return the clean accuracy of a model, and what is doubtful about it, in a sentence; empty for nothing.

    Args:
        name: what sentences call it.
        predictions: its classes of clean images, int64 (N,).
        labels: true classes, int64 (N,).
        classes: their names.
        sizes: how the size that it reads differs from the images'; empty where it does not.
        allowed: warn where it would be refused.

    Raises:
        ModelError: it is refused.
    """
    found = _counted(predictions, labels, classes)
    order = _other_order(predictions, labels, classes)
    if not found.doubtful:
        return found.rate, order and f"the clean accuracy of '{name}' is {found}; {order}."
    cause = _one_class(predictions, labels, classes) or order or sizes
    hint = cause or "check its normalisation, class order and data set"
    if found.refused and not allowed:
        raise ModelError(
            f"'{name}' does not classify these images",
            expected=f"a clean accuracy of at least {found.least:.1%}",
            got=str(found),
            hint=f"{hint}; --allow-inaccurate attacks it all the same",
        )
    return found.rate, f"the clean accuracy of '{name}' is {found}; {hint}."


def _one_class(predictions: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """Return that pixels are misread, where it looks so; else empty.

    They look alike to a model then, so that it sees one class nearly everywhere.

    Args:
        predictions: its classes of clean images, int64 (N,).
        labels: true classes, int64 (N,).
        classes: their names.
    """
    seen, shown = (
        torch.bincount(each, minlength=len(classes)) / len(labels) for each in (predictions, labels)
    )
    most = int(seen.argmax())
    if seen[most] - shown[most] <= ONE_CLASS:
        return ""
    return (
        f"it takes {float(seen[most]):.0%} of them for '{classes[most]}', as a model does that is used "
        "to pixels of another normalisation or range: check its mean and std"
    )


def _other_order(predictions: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """Return that classes are in another order, of all or of two of them, where it looks so; else empty.

    The order that fits half of the images best is the right one for the other half then, beyond chance.

    Args:
        predictions: a model's classes of clean images, int64 (N,).
        labels: true classes, int64 (N,).
        classes: their names.
    """
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    fit, held = drawn[::2], drawn[1::2]
    if not len(held):
        return ""
    renamed = _renaming(predictions[fit], labels[fit], len(classes))[predictions[held]]
    plainly = _counted(predictions, labels, classes)
    otherwise = _counted(renamed, labels[held], classes)
    if otherwise.interval[0] <= max(plainly.least, plainly.interval[1]):
        return ""
    return (
        f"with its classes in another order it would be right on {otherwise.rate:.0%}: state the order "
        "of its classes with --classes FILE, or mend its label_names where it has some"
    )


def _renaming(predictions: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the order of classes, number → class, (K,), in which most predictions are right."""
    from scipy.optimize import linear_sum_assignment

    found = torch.arange(count)
    known, numbers = torch.cat([predictions, labels]).unique(return_inverse=True)
    counts = torch.zeros(len(known), len(known), dtype=torch.int64)
    places = numbers[: len(predictions)], numbers[len(predictions) :]
    counts.index_put_(places, torch.tensor(1), accumulate=True)
    rows, columns = linear_sum_assignment(counts.numpy(), maximize=True)
    found[known[torch.from_numpy(rows)]] = known[torch.from_numpy(columns)]
    return found


def _counted(predictions: Tensor, labels: Tensor, classes: Sequence[str]) -> CleanAccuracy:
    return CleanAccuracy(int((predictions == labels).sum()), len(labels), len(classes))
