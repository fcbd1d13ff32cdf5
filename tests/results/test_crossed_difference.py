"""Intervals over trainings and images: limiting cases, the two-level bootstrap, and how often they err."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from transferzoo.results.statistics import Difference, crossed_difference, expected_reach

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

RANDOM = np.random.default_rng(0)


def _difference(values: Array) -> Difference:
    found = crossed_difference(values)
    assert found is not None
    return found


def _crossed(random: np.random.Generator, shape: tuple[int, int], seed: float, image: float) -> Array:
    """Draw differences with deviations of seeds and images, and of 0.3 of each by itself, around zero."""
    rows, columns = random.normal(0, seed, (shape[0], 1)), random.normal(0, image, (1, shape[1]))
    drawn: Array = rows + columns + random.normal(0, 0.3, shape)
    return drawn


def test_one_seed_leaves_the_paired_t_test_over_images() -> None:
    values = RANDOM.normal(0.1, 0.3, 40)
    test = ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.95)
    expected = (values.mean(), interval.low, interval.high, test.pvalue)
    assert tuple(vars(_difference(values[None])).values()) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[1.0, 2.0, 0.7], [0.1, 0.11, 0.1, 0.13, 0.08]])
def test_one_value_a_seed_leaves_the_t_test_over_seeds(values: list[float]) -> None:
    test = ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.95)
    expected = (np.mean(values), interval.low, interval.high, test.pvalue)
    assert tuple(vars(_difference(np.array(values)[:, None])).values()) == pytest.approx(expected)


def test_the_variance_is_that_of_the_two_level_bootstrap() -> None:
    """Of many seeds and images, so that sample variances are as good as those of a draw, and t is normal."""
    values = _crossed(RANDOM, (60, 80), 0.1, 0.15)
    draws = [
        values[RANDOM.integers(60, size=60)][:, RANDOM.integers(80, size=80)].mean() for _ in range(4000)
    ]
    found = _difference(values)
    assert (found.high - found.low) / 2 == pytest.approx(1.98 * np.std(draws), rel=0.05)


def test_seeds_that_disagree_widen_the_interval() -> None:
    images = RANDOM.normal(0, 0.5, (1, 400))
    agree = _difference(np.repeat(images, 3, axis=0) + 0.3 + RANDOM.normal(0, 0.01, (3, 1)))
    disagree = _difference(np.repeat(images, 3, axis=0) + np.array([[-0.3], [0.3], [0.9]]))
    assert agree.low > 0 > disagree.low
    assert agree.p < 0.01 < 0.05 < disagree.p


@pytest.mark.parametrize(("seed", "image"), [(0.0, 0.3), (0.02, 0.3), (0.1, 0.1), (0.3, 0.0)])
def test_three_seeds_rarely_find_what_is_not_there(seed: float, image: float) -> None:
    """At 5 % about 30 of 600 are expected; percentiles of a bootstrap found 110 where seeds dominate."""
    random = np.random.default_rng(1)
    found = [_difference(_crossed(random, (3, 100), seed, image)) for _ in range(600)]
    assert sum(one.low > 0 or one.high < 0 for one in found) <= 48
    assert all((one.p < 0.05) == (one.low > 0 or one.high < 0) for one in found)


NOISE = [(0, 0), (0, 0.1), (0.01, 0.1), (0.02, 0.1), (0.05, 0.1), (0.02, 0), (0, 0.3), (0.02, 0.3)]
"""Deviations of seeds and of images beside 0.3 of each difference: noise alone to seeds that dominate."""


def _rarely_different(
    random: np.random.Generator, shape: tuple[int, int], seed: float, image: float
) -> Array:
    """Draw as `_crossed`, but what is left of each difference is that of one image of twenty."""
    rows, columns = random.normal(0, seed, (shape[0], 1)), random.normal(0, image, (1, shape[1]))
    left = (random.random(shape) < 0.05) - 0.05
    drawn: Array = rows + columns + left * 0.3 / np.sqrt(0.05 * 0.95)
    return drawn


@pytest.mark.parametrize("draw", [_crossed, _rarely_different])
@pytest.mark.parametrize("seeds", [5, 8])
@pytest.mark.parametrize(("seed", "image"), NOISE)
def test_from_five_seeds_on_the_interval_covers_the_truth(
    seeds: int, seed: float, image: float, draw: Callable[..., Array]
) -> None:
    """Of 600, 30 may miss and 17 more by chance (p = .001), with what is left of each not counted apart."""
    random = np.random.default_rng(2)
    found = [_difference(draw(random, (seeds, 150), seed, image)) for _ in range(600)]
    assert sum(one.low > 0 or one.high < 0 for one in found) <= 47


@pytest.mark.parametrize("seeds", [2, 4, 5, 9])
def test_what_is_left_of_each_difference_is_counted_below_five_seeds_alone(seeds: int) -> None:
    values = _crossed(RANDOM, (seeds, 40), 0.05, 0.1)
    rows, columns = values.mean(1), values.mean(0)
    left = values - rows[:, None] - columns + values.mean()
    parts = [(rows.var(ddof=1) / seeds, seeds - 1), (columns.var(ddof=1) / 40, 39)]
    if seeds < 5:
        parts.append(((left**2).sum() / (seeds - 1) / 39 / seeds / 40, (seeds - 1) * 39))
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / number for part, number in parts)
    low, high = t.interval(0.95, degrees, values.mean(), np.sqrt(variance))
    found = _difference(values)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_differences_that_cancel_out_in_all_means_are_not_all_equal() -> None:
    """A Latin square: the means of seeds and of images tell of no variance, what is left of each does."""
    square = np.array([np.roll([1.0, -1.0, 0.0, 0.0, 0.0], shift) for shift in range(5)])
    found = _difference(square)
    assert found.low == pytest.approx(-found.high)
    assert 0 < found.high < 1
    assert found.p == 1


@pytest.mark.parametrize(("seeds", "images"), [(3, 60), (6, 60), (4, 1)])
def test_the_expected_reach_at_the_same_numbers_is_the_reach(seeds: int, images: int) -> None:
    values = _crossed(RANDOM, (seeds, images), 0.3, 0.2)
    found = _difference(values)
    assert expected_reach(values, seeds, images) == pytest.approx((found.high - found.low) / 2)


@pytest.mark.parametrize(("seed", "image"), [(0.03, 0.1), (0.1, 0.1), (0.0, 0.3)])
def test_the_expected_reach_at_other_numbers_is_what_comes_on_average(seed: float, image: float) -> None:
    random = np.random.default_rng(3)
    earlier = [expected_reach(_crossed(random, (10, 100), seed, image), 8, 300) for _ in range(200)]
    later = [_difference(_crossed(random, (8, 300), seed, image)) for _ in range(200)]
    assert np.mean(earlier) == pytest.approx(np.mean([(one.high - one.low) / 2 for one in later]), rel=0.1)


def test_equal_differences_of_images_are_no_certainty() -> None:
    found = _difference(np.full((3, 4), 1.0))
    assert (found.mean, found.p) == (1.0, 2 * 0.5**4)
    assert found.low < 0.5
    assert _difference(np.zeros((3, 4))).p == 1


@pytest.mark.parametrize("values", [[[0.2]], [[0.2], [0.2], [0.2]]])
def test_values_that_tell_of_no_variance_have_no_interval(values: list[list[float]]) -> None:
    assert crossed_difference(np.array(values)) is None
