"""Intervals over trainings and images: limiting cases, the two-level bootstrap, and how often they err."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from transferzoo.results.statistics import Difference, crossed_difference

if TYPE_CHECKING:
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


def test_equal_differences_of_images_are_no_certainty() -> None:
    found = _difference(np.full((3, 4), 1.0))
    assert (found.mean, found.p) == (1.0, 2 * 0.5**4)
    assert found.low < 0.5
    assert _difference(np.zeros((3, 4))).p == 1


@pytest.mark.parametrize("values", [[[0.2]], [[0.2], [0.2], [0.2]]])
def test_values_that_tell_of_no_variance_have_no_interval(values: list[list[float]]) -> None:
    assert crossed_difference(np.array(values)) is None
