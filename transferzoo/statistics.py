"""Intervals and paired tests of success rates. SciPy is imported when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95


def wilson(successes: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion.

    Args:
        successes: 0 ≤ successes ≤ n.
        n: at least 1.

    Source: Wilson 1927, through `scipy.stats.binomtest`.
    """
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Return the two-sided p-value of McNemar's exact test: do two attacks fool equally often?

    Args:
        first: outcome of one attack on every image.
        second: outcome of the other on the same images.

    Of the b + c images on which they differ, b follows Binomial(b + c, ½) if they are equally good.
    """
    from scipy.stats import binomtest

    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


@dataclass(frozen=True)
class Difference:
    """A paired difference of means.

    Attributes:
        mean: second minus first.
        low: lower end of the 95 % interval.
        high: upper end.
        p: two-sided p-value of no difference.
    """

    mean: float
    low: float
    high: float
    p: float


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Compare two means over the same images with the paired t-test.

    Args:
        first: a value in [0, 1] an image, for example the share of targets that are fooled.
        second: likewise, of the same images in the same order; at least one.

    Where all differences are equal the t-test has no variance to work with: the p-value is then that of the
    sign test, 2·½ⁿ, and the interval Wilson's, both wider.
    """
    from scipy.stats import ttest_rel

    differences = [b - a for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / len(differences)
    if len(set(differences)) == 1:
        low, high = _without_variance((mean + 1) / 2, len(differences))
        p = min(1.0, 2 * 0.5 ** len(differences)) if mean else 1.0
        return Difference(mean, 2 * low - 1, 2 * high - 1, p)
    test = ttest_rel(second, first)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % t interval of a mean over images of values in [0, 1]; Wilson's where all are equal."""
    from scipy.stats import sem, t

    mean = sum(values) / len(values)
    if len(set(values)) == 1:
        return _without_variance(mean, len(values))
    low, high = t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=sem(values))
    return max(0.0, float(low)), min(1.0, float(high))


def _without_variance(mean: float, n: int) -> tuple[float, float]:
    """Return Wilson's interval for `n` equal values in [0, 1]; no such values vary more than a proportion."""
    low, high = wilson(round(mean * n), n)
    return min(low, mean), max(high, mean)
