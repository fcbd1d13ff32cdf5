"""Intervals and tests against their formulas, written out."""

from __future__ import annotations

import json
import math
import random
from math import comb

import pytest

from transferzoo.results.statistics import mcnemar, mean_interval, paired_difference, wilson

Z = 1.959963984540054


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 500), (500, 500), (7, 20), (321, 500), (1, 1000)])
def test_wilson(k: int, n: int) -> None:
    p, square = k / n, Z**2 / n
    middle = (p + square / 2) / (1 + square)
    half = Z / (1 + square) * math.sqrt(p * (1 - p) / n + square / (4 * n))
    assert wilson(k, n) == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_wilson_known_value() -> None:
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 0), (3, 9), (9, 3), (10, 10), (40, 61)])
def test_mcnemar(b: int, c: int) -> None:
    first = [True] * b + [False] * c + [True, False] * 7
    second = [False] * b + [True] * c + [True, False] * 7
    tail = sum(comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), abs=1e-12)


def test_paired_difference() -> None:
    """Student's sleep data: mean 1.58, t = 4.0621 on 9 degrees of freedom."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    difference = paired_difference(first, second)
    assert difference.mean == pytest.approx(1.58)
    assert (difference.low, difference.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert difference.p == pytest.approx(0.00283289, abs=1e-7)


def test_paired_difference_is_antisymmetric() -> None:
    draws = random.Random(0)
    first, second = ([draws.random() for _ in range(30)] for _ in range(2))
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == pytest.approx(there.p)


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (2, 0.5), (3, 0.25), (20, 2 / 2**20)])
def test_differences_that_do_not_vary(n: int, p: float) -> None:
    """One image proves nothing, however large the difference."""
    difference = paired_difference([0.0] * n, [1.0] * n)
    assert (difference.mean, difference.high) == pytest.approx((1.0, 1.0))
    assert difference.p == pytest.approx(p)
    assert difference.low == pytest.approx(2 * wilson(n, n)[0] - 1)
    same = paired_difference([0.5] * n, [0.5] * n)
    bound = 1.96**2 / (n + 1.96**2)  # Wilson's for none of n
    assert (same.mean, same.p) == (0.0, 1.0)
    assert (-same.low, same.high) == pytest.approx((bound, bound), rel=1e-3)


def test_mean_interval() -> None:
    values = [0.25, 0.5, 0.75, 0.5, 0.25]
    mean = sum(values) / 5
    error = math.sqrt(sum((v - mean) ** 2 for v in values) / 4 / 5)
    assert mean_interval(values) == pytest.approx(
        (mean - 2.776445 * error, mean + 2.776445 * error), abs=1e-6
    )
    low, high = mean_interval([1.0] * 9 + [0.99])
    assert low < 0.999 < high <= 1.0


@pytest.mark.parametrize("value", [0.0, 1 / 3, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 2, 50])
def test_mean_of_equal_values_is_no_certainty(value: float, n: int) -> None:
    low, high = mean_interval([value] * n)
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.05


def test_everything_is_json() -> None:
    json.dumps([wilson(0, 1), mean_interval([0.0]), vars(paired_difference([0.0], [1.0]))], allow_nan=False)
