"""Verdicts on claims, and Holm's procedure by hand; `test_statistics` has the intervals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helpers.studies import results
from transferzoo.studies.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, holm, judge
from transferzoo.studies.entries import ModelEntry
from transferzoo.studies.result_file import Value

SIDES = {"higher": {"surrogate": "b"}, "lower": {"surrogate": "a"}}
CLAIM = {"say": "b is better", **SIDES}


def _about(measure: str) -> dict[str, object]:
    sides = {side: {**operand, "measure": measure} for side, operand in SIDES.items()}
    return {"say": f"b has more {measure}", **sides}


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
        (["0101" * 15] * 3, ["1010" * 15] * 3, INCONCLUSIVE),
        (["0" * 60] * 3, ["1" * 40 + "0" * 20, "0" * 60, "0" * 60], INCONCLUSIVE),
    ],
)
def test_the_interval_decides(first: list[str], second: list[str], verdict: str) -> None:
    (found,) = judge(results({"a": first, "b": second}, [CLAIM]))
    assert found.verdict == verdict
    assert (found.seeds, found.images, found.targets) == (3, 60, 1)


def test_an_inconclusive_verdict_has_the_sample_size() -> None:
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
    values = [
        Value(name, seed, "last", "accuracy", 0.1 * place + 0.01 * seed**place)
        for place, name in enumerate("ab")
        for seed in range(3)
    ]
    (found,) = judge(results({"a": ["0"], "b": ["0"]}, [_about("accuracy")], values))
    assert (found.verdict, found.seeds, found.images, found.targets) == (SUPPORTED, 3, 0, 0)


def test_the_last_of_all_epochs_is_meant_where_none_is_named() -> None:
    values = [Value(name, 0, epoch, "accuracy", 0.5) for name in "ab" for epoch in (1, 2)]
    rates = {"a": ["0" * 30] * 2, "b": ["1" * 30] * 2}
    early = {**CLAIM, "higher": {"surrogate": "a", "epoch": 1}}
    assert judge(results(rates, [CLAIM], values, epochs=(1, 2)))[0].verdict == SUPPORTED
    assert judge(results(rates, [early], values, epochs=(1, 2)))[0].higher == 0


def test_a_missing_measurement_is_reported() -> None:
    (found,) = judge(results({"a": ["0"], "b": ["1"]}, [_about("robust")]))
    assert (found.verdict, found.difference) == ("not measured", None)


def test_white_box_cells_stay_out() -> None:
    found = results({"a": ["0" * 40], "b": ["1" * 40]}, [CLAIM])
    marked = tuple(replace(one, white_box=True, target="w") for one in found.outcomes if one.surrogate == "a")
    mixed = replace(found, outcomes=(*found.outcomes, *marked))
    assert judge(mixed) == judge(found)


def test_a_target_that_is_a_white_box_at_one_seed_is_left_out_there_alone() -> None:
    rates = {"a": ["00000000 00000000"] * 2, "b": ["11111111 11110000"] * 2}
    found = results(rates, [CLAIM])
    white = tuple(
        replace(one, white_box=one.white_box or (one.target == "t1" and one.seed == 0))
        for one in found.outcomes
    )
    (verdict,) = judge(replace(found, outcomes=white))
    assert verdict.seeds == 2
    assert verdict.higher == pytest.approx((1 + 0.75) / 2)


def test_both_sides_leave_out_a_target_that_one_of_them_lacks() -> None:
    """Equal surrogates differ by nothing, though one of them has the weights of a target at one seed."""
    same = ["1111 0000"] * 2
    found = results({"a": same, "b": same}, [CLAIM])
    white = tuple(
        replace(one, white_box=(one.surrogate, one.seed, one.target) == ("a", 0, "t1"))
        for one in found.outcomes
    )
    (verdict,) = judge(replace(found, outcomes=white))
    assert verdict.difference is not None
    assert (verdict.difference.mean, verdict.higher) == (0, 0.75)


def test_images_that_do_not_count_leave_the_mean_of_targets() -> None:
    """Rates of 1 of 1 and 0 of 4 images are 50 % in the mean of targets, as in every table."""
    (found,) = judge(results({"a": ["0--- 0000"] * 3, "b": ["1--- 0000"] * 3}, [CLAIM]))
    assert found.difference is not None
    assert (found.higher, found.lower, found.difference.mean) == (0.5, 0, 0.5)
    (nothing,) = judge(results({"a": ["---0"] * 3, "b": ["---0"] * 3}, [CLAIM]))
    assert (nothing.higher, nothing.verdict) == (0, INCONCLUSIVE)


def test_one_training_does_not_tell_of_others() -> None:
    found = results({"a": ["0" * 60], "b": ["1" * 60]}, [CLAIM])
    (trained,) = judge(found)
    assert (trained.verdict, trained.seeds) == (INCONCLUSIVE, 1)
    exist = found.study.model_copy(update={"surrogates": {name: ModelEntry(model=name) for name in "ab"}})
    (existing,) = judge(replace(found, study=exist))
    assert existing.verdict == SUPPORTED


def test_one_value_a_side_has_no_interval() -> None:
    values = [Value(name, 0, "last", "accuracy", 0.5 + place / 1000) for place, name in enumerate("ab")]
    (found,) = judge(results({"a": ["0"], "b": ["0"]}, [_about("accuracy")], values))
    assert (found.verdict, found.difference, found.higher) == (INCONCLUSIVE, None, 0.501)


def test_sides_without_a_target_in_common_are_not_measured() -> None:
    found = results({"a": ["01 10"] * 2, "b": ["01 10"] * 2}, [CLAIM])
    apart = tuple(one for one in found.outcomes if (one.surrogate, one.target) in {("a", "t0"), ("b", "t1")})
    (verdict,) = judge(replace(found, outcomes=apart))
    assert (verdict.verdict, verdict.difference) == ("not measured", None)


def test_a_claim_may_be_about_one_target_a_side() -> None:
    """Images pair also where the targets are two; those that one of them does not count are left out."""
    rates = {"a": ["0000 1---"] * 2, "b": ["1111 0110"] * 2}
    sides = {"higher": {"surrogate": "b", "target": "t0"}, "lower": {"surrogate": "b", "target": "t1"}}
    (found,) = judge(results(rates, [{"say": "t0 falls more often", **sides}]))
    assert found.difference is not None
    assert (found.higher, found.lower, found.difference.mean, found.targets) == (1, 0.5, 0.5, 1)
    sides = {"higher": {"surrogate": "b", "target": "t0"}, "lower": {"surrogate": "a", "target": "t1"}}
    (found,) = judge(results(rates, [{"say": "or not", **sides}]))
    assert (found.higher, found.lower) == (1, 1)
