"""Verdicts: intervals against SciPy's bootstrap and closed forms, Holm's procedure by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from studying import results

from transferzoo.studies.claims import NOT_SUPPORTED, OPEN, SUPPORTED, bootstrap, holm, judge
from transferzoo.studies.results import Value

CLAIM = {"say": "b is better", "higher": {"surrogate": "b"}, "lower": {"surrogate": "a"}}


def _random(seed: int, shape: tuple[int, int], mean: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def test_one_seed_is_the_plain_bootstrap_over_images() -> None:
    differences = _random(0, (1, 80), 0.2)
    ours = bootstrap(differences)
    theirs = scipy_bootstrap(
        (differences[0],), np.mean, n_resamples=10_000, method="percentile", random_state=1
    ).confidence_interval
    assert ours.mean == pytest.approx(differences.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_one_value_a_seed_varies_as_seeds_do() -> None:
    """Without images the spread of the interval is that of the mean of S seeds, by the unbiased variance."""
    differences = _random(1, (12, 1), 0.5)
    ours = bootstrap(differences)
    error = differences.std(ddof=1) / np.sqrt(12)
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_seeds_that_disagree_widen_the_interval() -> None:
    images = _random(2, (1, 400), 0.0)
    agree = bootstrap(np.repeat(images, 3, axis=0) + 0.3)
    disagree = bootstrap(np.repeat(images, 3, axis=0) + np.array([[-0.3], [0.3], [0.9]]))
    assert agree.mean == pytest.approx(disagree.mean)
    assert agree.low > 0 > disagree.low
    assert agree.p < 0.01 < disagree.p


def test_images_that_do_not_count_are_left_out() -> None:
    differences = np.array([[1.0, np.nan, 1.0, np.nan]])
    assert bootstrap(differences).mean == 1


def test_the_draws_are_the_same_at_every_call() -> None:
    differences = _random(3, (3, 50), 0.1)
    assert bootstrap(differences) == bootstrap(differences)


def test_holm_steps_down_until_one_is_kept() -> None:
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p_values) == ["d", "a"]
    assert holm({"a": 0.05}) == ["a"]
    assert holm({"a": 0.03, "b": 0.04}) == []
    assert holm({}) == []


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (["0" * 60] * 3, ["1" * 40 + "0" * 20] * 3, SUPPORTED),
        (["1" * 40 + "0" * 20] * 3, ["0" * 60] * 3, NOT_SUPPORTED),
        (["0101" * 15] * 3, ["1010" * 15] * 3, OPEN),
        (["0" * 60] * 3, ["1" * 40 + "0" * 20, "0" * 60, "0" * 60], OPEN),
    ],
)
def test_the_interval_decides(first: list[str], second: list[str], verdict: str) -> None:
    (found,) = judge(results({"a": first, "b": second}, [CLAIM]))
    assert found.verdict == verdict
    assert (found.seeds, found.images, found.targets) == (3, 60, 1)


def test_an_open_verdict_tells_how_much_it_saw() -> None:
    (found,) = judge(results({"a": ["01"], "b": ["10"]}, [CLAIM]))
    assert found.sentence == "cannot tell with n = 2 images and 1 training seed"


def test_targets_are_counted_by_holm() -> None:
    first = "0" * 100
    second = f"{'1' * 60}{'0' * 40} {'1' * 2}{'0' * 98} {'0' * 100}"
    (found,) = judge(results({"a": [f"{first} {first} {first}"], "b": [second]}, [CLAIM]))
    assert (found.better, found.targets) == ((1, 0), 3)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.62 / 3)


def test_a_margin_is_taken_off() -> None:
    rates = {"a": ["0" * 50] * 2, "b": ["1" * 20 + "0" * 30] * 2}
    (found,) = judge(results(rates, [{**CLAIM, "by": 0.9}]))
    assert found.verdict == NOT_SUPPORTED
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.4 - 0.9)


def test_only_seeds_of_both_sides_are_compared() -> None:
    (found,) = judge(results({"a": ["0" * 50] * 2, "b": ["1" * 50] * 3}, [CLAIM]))
    assert (found.seeds, found.lower, found.higher) == (2, 0.0, 1.0)


def test_other_measures_have_seeds_alone() -> None:
    values = [Value(name, seed, "last", "accuracy", 0.1 * place + 0.01 * seed)
              for place, name in enumerate("ab") for seed in range(3)]  # fmt: skip
    claim = {
        "say": "b is more accurate",
        "higher": {"surrogate": "b", "measure": "accuracy"},
        "lower": {"surrogate": "a", "measure": "accuracy"},
    }
    (found,) = judge(results({"a": ["0"], "b": ["0"]}, [claim], values))
    assert (found.verdict, found.seeds, found.images, found.targets) == (SUPPORTED, 3, 0, 0)


def test_the_last_of_all_epochs_is_meant_where_none_is_named() -> None:
    values = [Value(name, 0, epoch, "accuracy", 0.5) for name in "ab" for epoch in (1, 2)]
    found = results({"a": ["0" * 30], "b": ["1" * 30]}, [CLAIM], values, epochs=(1, 2))
    early = {**CLAIM, "higher": {"surrogate": "a", "epoch": 1}}
    assert judge(found)[0].verdict == SUPPORTED
    assert judge(results({"a": ["0" * 30], "b": ["1" * 30]}, [early], values, epochs=(1, 2)))[0].higher == 0


def test_what_was_not_measured_is_said() -> None:
    claim = {**CLAIM, "higher": {"surrogate": "b", "measure": "robust"}}
    (found,) = judge(results({"a": ["0"], "b": ["1"]}, [claim]))
    assert (found.verdict, found.difference) == ("not measured", None)


def test_white_box_cells_stay_out() -> None:
    from dataclasses import replace

    found = results({"a": ["0" * 40], "b": ["1" * 40]}, [CLAIM])
    marked = tuple(replace(one, white_box=True, target="w") for one in found.outcomes if one.surrogate == "a")
    mixed = replace(found, outcomes=(*found.outcomes, *marked))
    assert judge(mixed) == judge(found)


def test_a_target_that_is_a_white_box_at_one_seed_is_left_out_there_alone() -> None:
    from dataclasses import replace

    rates = {"a": ["00000000 00000000"] * 2, "b": ["11111111 11110000"] * 2}
    found = results(rates, [CLAIM])
    white = tuple(
        replace(one, white_box=one.white_box or (one.target == "t1" and one.seed == 0))
        for one in found.outcomes
    )
    (verdict,) = judge(replace(found, outcomes=white))
    assert verdict.seeds == 2
    assert verdict.higher == pytest.approx((1 + 0.75) / 2)
