"""Intervals and paired tests of success rates. SciPy is imported when first needed."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
ROUNDING = 1e-12
"""What sums of equal numbers may differ by."""
ENOUGH_SEEDS = 5
"""Training seeds from which their means tell of what is left of each difference, too."""


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


def clopper_pearson(successes: int, n: int, error: float) -> tuple[float, float]:
    """Return the lower and the upper bound of a proportion, each wrong with at most the probability `error`.

    Args:
        successes: 0 ≤ successes ≤ n.
        n: at least 1.
        error: in (0, 1).

    Source: Clopper and Pearson 1934; the bounds are quantiles of beta distributions.
    """
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, error)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - error)) if successes < n else 1.0
    return low, high


def holm_upper_bounds(successes: Sequence[int], n: int, error: float) -> list[float]:
    """Return the lowest limit that each proportion is shown to be within where all are held to the same.

    That a bound is at or below a limit is what Holm's step-down test of exact binomial p-values says of the
    hypothesis that the proportion is above it: the fewest successes are tested at `error` over the number of
    proportions, the most at `error`, and after a bound no later one is lower. Whatever the limit, that any
    proportion above it has a bound within it has at most the probability `error`; so has that the highest
    bound is wrong. The bounds are no joint ones: that any proportion is above its own can be likelier.

    Args:
        successes: one number a proportion, each 0 ≤ successes ≤ n.
        n: at least 1.
        error: in (0, 1).

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    bounds: dict[int, float] = {}
    highest = 0.0
    for number in sorted({*successes}):
        left = sum(other >= number for other in successes)
        highest = max(highest, clopper_pearson(number, n, error / left)[1])
        bounds[number] = highest
    return [bounds[number] for number in successes]


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's method.

    Source: Holm 1979.
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = highest
    return adjusted


def worsening_p(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Return the one-sided p-value of McNemar's exact test: does it succeed more often than before?

    Args:
        before: outcome on every image.
        after: outcome on the same images.
    """
    from scipy.special import bdtrc

    only_before = sum(a and not b for a, b in zip(before, after, strict=True))
    only_after = sum(b and not a for a, b in zip(before, after, strict=True))
    return float(bdtrc(only_after - 1, only_before + only_after, 0.5)) if only_after else 1.0


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
    sign test, 2·½ⁿ, and the interval has what Wilson's for images that are otherwise leaves, both wider.
    """
    from scipy.stats import ttest_rel

    differences = [b - a for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / len(differences)
    if max(differences) - min(differences) <= ROUNDING:
        return unanimous(mean, len(differences))
    test = ttest_rel(second, first)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue))


def crossed_difference(differences: NDArray[np.float64]) -> Difference | None:
    """Return the mean of differences of several trainings on the same images, with its 95 % interval.

    The variance of the mean is that of the two-level bootstrap, which draws S seeds and N images with
    replacement, for infinitely many draws: σ_s² / S + σ_i² / N + σ_r² / (S N), of the means of seeds, the
    means of images and what is left of each difference, all with sample variances. Percentiles of such draws
    would be far too narrow for few seeds, so the interval and p are those of Student's t with Satterthwaite's
    degrees of freedom, S − 1 where the seeds dominate. One seed leaves the paired t-test over images.

    The means of seeds and of images vary by σ_r² too, so that it counts three times instead of once. From
    five seeds on the last term is left out: the interval still covers the truth at least as often as it says
    (`tests/results/test_crossed_difference.py`), and is up to a sixth narrower.

    Args:
        differences: (S, N), N = 1 for a measure without images; of images in [-1, 1].

    Returns:
        The difference; None for a single value, or equal values without images, which tell of no variance.
        Where the differences of all images are equal both are as in `paired_difference`.

    Source: Owen 2007, "The pigeonhole bootstrap"; Satterthwaite 1946.
    """
    from scipy.special import stdtr

    seeds, images = differences.shape
    mean = float(differences.mean())
    variance = _variances(differences)
    parts = _variance_of_mean(variance, seeds, images)
    if _total(parts) <= ROUNDING**2:
        parts = _variance_of_mean(variance, seeds, images, left=True)
    if _total(parts) <= ROUNDING**2:
        return unanimous(mean, images) if images > 1 else None
    error, degrees, reach = _student(parts)
    return Difference(mean, mean - reach, mean + reach, float(2 * stdtr(degrees, -abs(mean) / error)))


class Variances(NamedTuple):
    """Sample variances of differences (S, N): of the S means of seeds, the N of images, and what is left."""

    seeds: float
    images: float
    left: float


def expected_reach(differences: NDArray[np.float64], seeds: int, images: int) -> float:
    """Return half of the width that `crossed_difference`'s interval has with other numbers, as far as known.

    Args:
        differences: (S, N) of earlier trainings, at least two seeds.
        seeds: of the trainings to come, at least 2.
        images: that are attacked then; 1 for a measure without images.

    The variances are separated as in an analysis of variance, σ_s² = s_s² − s_r² / N, σ_i² = s_i² − s_r² / S,
    and put together for the other numbers.
    """
    found = _variances(differences)
    count, number = differences.shape
    of_seeds = max(0.0, found.seeds - found.left / number)
    of_images = max(0.0, found.images - found.left / count)
    expected = Variances(of_seeds + found.left / images, of_images + found.left / seeds, found.left)
    parts = _variance_of_mean(expected, seeds, images)
    return _student(parts)[2] if _total(parts) else 0.0


def _variances(differences: NDArray[np.float64]) -> Variances:
    """Return the sample variances of differences; 0 where there is a single value."""
    seeds, images = differences.shape
    mean, rows, columns = differences.mean(), differences.mean(1), differences.mean(0)
    left = differences - rows[:, None] - columns + mean
    return Variances(
        float(((rows - mean) ** 2).sum()) / max(1, seeds - 1),
        float(((columns - mean) ** 2).sum()) / max(1, images - 1),
        float((left**2).sum()) / max(1, (seeds - 1) * (images - 1)),
    )


def _variance_of_mean(
    found: Variances, seeds: int, images: int, *, left: bool = False
) -> list[tuple[float, int]]:
    """Return the parts of the variance of the mean, with their degrees of freedom.

    Args:
        found: variances of differences.
        seeds: how many.
        images: how many.
        left: count what is left of each difference also where there are enough seeds.
    """
    parts = [(found.seeds / seeds, seeds - 1), (found.images / images, images - 1)]
    if left or seeds < ENOUGH_SEEDS:
        parts.append((found.left / (seeds * images), (seeds - 1) * (images - 1)))
    return [(part, degrees) for part, degrees in parts if degrees]


def _total(parts: Sequence[tuple[float, int]]) -> float:
    return sum(part for part, _ in parts)


def _student(parts: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """Return the standard error, Satterthwaite's degrees of freedom and the reach of the 95 % interval."""
    from scipy.special import stdtrit

    variance = _total(parts)
    degrees = variance**2 / sum(part**2 / number for part, number in parts)
    error = sqrt(variance)
    return error, degrees, float(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * error


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % t interval of a mean over images of values in [0, 1]; Wilson's where all are equal."""
    from scipy.stats import sem, t

    mean = sum(values) / len(values)
    if max(values) - min(values) <= ROUNDING:
        return _without_variance(mean, len(values))
    low, high = t.interval(CONFIDENCE, len(values) - 1, loc=mean, scale=sem(values))
    return max(0.0, float(low)), min(1.0, float(high))


def unanimous(mean: float, n: int) -> Difference:
    """Return what `n` equal differences in [-1, 1] tell: p of the sign test, and an interval.

    Wilson's bounds the share of images that are otherwise, of which none was seen; they may be -1 or 1. The
    sign test is of the mean only where the interval excludes zero, or no difference could be larger.
    """
    _, other = wilson(0, n)
    low, high = min(mean, mean - other * (1 + mean)), max(mean, mean + other * (1 - mean))
    of_mean = low > 0 or high < 0 or abs(mean) >= 1 - ROUNDING
    return Difference(mean, low, high, min(1.0, 2 * 0.5**n) if of_mean else 1.0)


def _without_variance(mean: float, n: int) -> tuple[float, float]:
    """Return Wilson's interval for `n` equal values in [0, 1]; no such values vary more than a proportion."""
    low, high = wilson(round(mean * n), n)
    return min(low, mean), max(high, mean)
