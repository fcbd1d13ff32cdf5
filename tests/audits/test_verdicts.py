"""Verdicts by hand and by SciPy: bounds, Holm, the held-out attacker, the images that would settle it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from transferzoo.audits.record import Verdict
from transferzoo.audits.verdicts import ERROR, fewest_to_pass, held_out, images_to_settle, judge, worse_of
from transferzoo.results.statistics import (
    clopper_pearson,
    holm_adjusted,
    holm_upper_bounds,
    mcnemar,
    worsening_p,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

N = 300


def attackers(*counts: int, n: int = N) -> NDArray[np.bool_]:
    """Return attackers that fool so many of n images, spread evenly."""
    hits = np.zeros((len(counts), n), bool)
    for row, count in zip(hits, counts, strict=True):
        row[np.linspace(0, n - 1, count).round().astype(int)] = True
    return hits


@pytest.mark.parametrize(("successes", "n"), [(0, 30), (1, 30), (12, 100), (99, 100), (30, 30)])
def test_bounds_are_exact(successes: int, n: int) -> None:
    for error in (0.025, 0.0125, 0.001):
        expected = binomtest(successes, n).proportion_ci(1 - 2 * error, method="exact")
        assert clopper_pearson(successes, n, error) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_upper_bounds_say_what_holms_test_says() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = rng.integers(0, 80, rng.integers(1, 12)).tolist()
        limit = float(rng.uniform(0.05, 0.4))
        tests = [binomtest(count, N, limit, alternative="less").pvalue for count in counts]
        rejected = [p <= ERROR for p in holm_adjusted(tests)]
        assert [bound <= limit for bound in holm_upper_bounds(counts, N, ERROR)] == rejected


def test_upper_bounds_hold_for_one_limit_and_are_no_joint_ones() -> None:
    """By all that two attackers can do: the error of every limit, and that either is above its own bound."""
    n, rates = 40, np.array([0.32, 0.64])
    counts = [(one, other) for one in range(n + 1) for other in range(n + 1)]
    chances = np.array([binom.pmf(pair, n, rates).prod() for pair in counts])
    bounds = np.array([holm_upper_bounds(pair, n, ERROR) for pair in counts])
    for limit in np.linspace(0.01, 0.99, 99):
        assert chances[((bounds <= limit) & (rates > limit)).any(1)].sum() <= ERROR
    assert chances[(bounds.max(1) < rates.max())].sum() <= ERROR
    assert chances[(bounds < rates).any(1)].sum() > ERROR


def test_holms_correction_by_hand() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_adjusted([0.5, 0.9]) == [1.0, 1.0]


def test_a_worsening_is_half_of_mcnemars_test() -> None:
    before, after = [False] * 12 + [True] * 3, [True] * 12 + [False] * 2 + [True]
    assert worsening_p(before, after) == pytest.approx(mcnemar(before, after) / 2)
    assert worsening_p(after, before) > 0.9
    assert worsening_p(before, before) == 1.0


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((30, 20, 10), Verdict.PASS),
        ((60, 20, 10), Verdict.CANNOT_TELL),
        ((75, 20, 10), Verdict.CANNOT_TELL),
        ((120, 20, 10), Verdict.FAIL),
    ],
)
def test_the_verdict_by_hand(counts: tuple[int, ...], verdict: Verdict) -> None:
    found = judge(attackers(*counts), 0.2)
    assert found.verdict is verdict
    assert (found.images_to_settle is None) == (verdict is not Verdict.CANNOT_TELL or counts[0] == 60)
    assert judge(attackers(*counts), None).verdict is None


def test_the_held_out_attacker_is_measured_where_it_was_not_chosen() -> None:
    hits = np.zeros((2, 100), bool)
    hits[0, 0::2], hits[1, 1::2] = True, True  # each is best on one half, and fools nothing of the other
    found = held_out(hits)
    assert (found.rate, found.low, found.chosen) == (0.0, 0.0, (0, 1))
    better = held_out(attackers(90, 30))
    assert better.chosen == (0, 0)
    assert better.rate == pytest.approx(0.3)
    assert better.low == pytest.approx(binomtest(45, 150).proportion_ci(0.975, method="exact").low)


@pytest.mark.parametrize(("rate", "limit"), [(0.15, 0.2), (0.27, 0.2)])
def test_as_many_images_settle_it_and_fewer_do_not(rate: float, limit: float) -> None:
    needed = images_to_settle([rate, rate / 2], rate, limit, 60)
    assert needed is not None
    clear = judge(attackers(round(rate * needed), round(rate / 2 * needed), n=needed), limit)
    fewer = int(0.8 * needed)
    unclear = judge(attackers(round(rate * fewer), round(rate / 2 * fewer), n=fewer), limit)
    assert (clear.verdict, unclear.verdict) == (
        Verdict.PASS if rate < limit else Verdict.FAIL,
        Verdict.CANNOT_TELL,
    )


def test_no_number_of_images_settles_a_rate_at_the_limit() -> None:
    assert images_to_settle([0.2], 0.2, 0.2, 300) is None


@pytest.mark.parametrize(("count", "limit"), [(1, 0.2), (18, 0.2), (18, 0.05)])
def test_fewest_images_that_can_pass(count: int, limit: float) -> None:
    fewest = fewest_to_pass(count, limit)
    assert judge(np.zeros((count, fewest), bool), limit).verdict is Verdict.PASS
    assert judge(np.zeros((count, fewest - 1), bool), limit).verdict is Verdict.CANNOT_TELL


def test_the_worse_verdict_counts_and_has_the_exit_code() -> None:
    assert worse_of([Verdict.PASS, Verdict.CANNOT_TELL]) is Verdict.CANNOT_TELL
    assert worse_of([Verdict.CANNOT_TELL, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL
    assert {one: one.exit_code for one in Verdict} == {"pass": 0, "fail": 3, "cannot tell": 4}
