"""Verdicts on claims, and Holm's procedure by hand; `test_statistics` has the intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import gmean, ttest_1samp

from helpers.studies import results
from transferzoo.studies.claims import INCONCLUSIVE, NOT_SUPPORTED, SUPPORTED, as_json, holm, judge
from transferzoo.studies.entries import ModelEntry
from transferzoo.studies.result_file import Value
from transferzoo.studies.tables import tables

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


@pytest.mark.parametrize(("seeds", "better"), [(1, None), (4, None), (5, (1, 0))])
def test_targets_are_counted_by_holm_from_five_seeds_on(seeds: int, better: tuple[int, int] | None) -> None:
    """Fewer show no single one beyond chance, however large it is, after the correction for nine."""
    first = "0" * 100
    second = f"{'1' * 60}{'0' * 40} {'1' * 2}{'0' * 98} {'0' * 100}"
    every = results({"a": [f"{first} {first} {first}"] * seeds, "b": [second] * seeds}, [CLAIM])
    (found,) = judge(every)
    assert (found.better, found.targets) == (better, 3)
    (table, _) = tables(every, (found,))
    assert table.rows[0][4] == ("1 / 0 of 3" if better else "–")
    counts = (as_json(found)["targets_higher"], as_json(found)["targets_lower"])
    assert counts == (better or (None, None))
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.62 / 3)


def test_images_that_count_for_no_target_are_no_evidence() -> None:
    """Two images are two, however many were attacked."""
    uncounted = "-" * 98
    few = results({"a": [f"00{uncounted}"], "b": [f"11{uncounted}"]}, [CLAIM])
    study = few.study.model_copy(
        update={"surrogates": {name: ModelEntry(model="vgg") for name in ("a", "b")}}
    )
    (found,) = judge(replace(few, study=study))
    assert (found.verdict, found.images) == (INCONCLUSIVE, 2)
    assert tables(replace(few, study=study), ())[0].caption.endswith("n = 2.")
    assert found.difference is not None and found.difference.p == 0.5


def test_equal_outcomes_are_judged_by_their_interval_where_there_is_a_margin() -> None:
    """The sign test is no test of a margin."""
    for images, verdict in ((50, INCONCLUSIVE), (500, NOT_SUPPORTED)):
        same = results({name: ["01" * (images // 2)] * 2 for name in "ab"}, [{**CLAIM, "by": 0.05}])
        (found,) = judge(same)
        assert "the difference is that beyond it" in tables(same, (found,))[0].caption
        assert found.verdict == verdict
        assert found.difference is not None
        assert (found.difference.high < 0) == (verdict == NOT_SUPPORTED)


def test_a_pair_is_measured_when_all_its_attacks_are() -> None:
    rates = {name: ["01" * 30] * 2 for name in "ab"}
    every = results(rates, [CLAIM], epochs=(1, 2))
    study = every.study.model_copy(update={"seeds": (0, 1)})
    part = replace(every, study=study, outcomes=every.outcomes[:-1])
    assert "So far" not in tables(replace(every, study=study), judge(every))[0].caption
    assert "So far 3 of 4 pairs" in tables(part, judge(every))[0].caption


def test_counts_that_all_claims_share_are_said_once() -> None:
    """Columns that say the same in every row cost the width that keeps a claim on one line."""
    rates = {name: ["01" * 30] * 3 for name in "abc"} | {"d": ["01" * 30] * 2}
    pairs = [{**CLAIM, "say": f"{other} wins", "lower": {"surrogate": other}} for other in "acd"]
    alike, mixed = (
        tables(every, judge(every))[0] for every in (results(rates, pairs[:2]), results(rates, pairs))
    )
    assert alike.columns[-2:] == ("targets", "verdict")
    assert alike.caption.startswith("Each claim: n = 60, 3 training seeds. ")
    assert mixed.columns[-2:] == ("seeds", "verdict") and [row[-2] for row in mixed.rows] == ["3", "3", "2"]
    assert mixed.caption.startswith("Each claim: n = 60. ")


def test_a_margin_is_taken_off() -> None:
    rates = {"a": ["0" * 50] * 2, "b": ["1" * 20 + "0" * 30] * 2}
    (found,) = judge(results(rates, [{**CLAIM, "by": 0.9}]))
    assert found.verdict == NOT_SUPPORTED
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(0.4 - 0.9)


def _values(measure: str, **sides: list[float]) -> list[Value]:
    return [Value(name, s, "last", measure, v) for name, each in sides.items() for s, v in enumerate(each)]


def test_a_log_scale_compares_ratios() -> None:
    """The interval is the t-test's of the logarithms; a margin of 0.1 is a factor of 1.1."""
    a, b = [10.0, 20.0, 15.0, 12.0], [14.0, 31.0, 22.0, 17.0]
    values = _values("sharpness.trace", a=a, b=b)
    rates = {"a": ["0"] * 4, "b": ["0"] * 4}
    for by in (0.0, 0.1):
        (found,) = judge(results(rates, [{**_about("sharpness.trace"), "scale": "log", "by": by}], values))
        test = ttest_1samp(np.log(b) - np.log(a), np.log(1 + by))
        interval = ttest_1samp(np.log(b) - np.log(a) - np.log(1 + by), 0).confidence_interval(0.95)
        told = as_json(found)
        assert found.verdict == SUPPORTED
        assert told["difference"]["p"] == pytest.approx(test.pvalue)
        ends = [told["difference"][end] for end in ("low", "high")]
        assert ends == pytest.approx([np.exp(interval.low), np.exp(interval.high)])
        assert told["difference"]["mean"] == pytest.approx(gmean(b) / gmean(a) / (1 + by))
        assert (told["higher"], told["lower"]) == pytest.approx((gmean(b), gmean(a)))
    (table, _) = tables(results(rates, (), values), (found,))
    assert table.rows[0][1] == f"×{gmean(b) / gmean(a) / 1.1:.3g}"


def test_what_has_no_logarithm_cannot_be_told() -> None:
    values = _values("sharpness.trace", a=[1.0, -0.5, 2.0], b=[3.0, 4.0, 5.0])
    claim = {**_about("sharpness.trace"), "scale": "log"}
    (found,) = judge(results({"a": ["0"] * 3, "b": ["0"] * 3}, [claim], values))
    assert (found.verdict, found.difference, found.seeds) == (INCONCLUSIVE, None, 3)


@pytest.mark.parametrize(
    ("differences", "changed", "words"),
    [
        ([0.01, -0.012, 0.0, 0.004], {}, "no difference of 5 points"),
        ([0.01, -0.012, 0.0, 0.004], {"bound": 0.02}, "no difference of 2 points"),
        ([0.01, -0.012, 0.0, 0.004], {"bound": 0.01}, "cannot tell"),
        ([0.05, -0.05, 0.0, 0.02], {}, "cannot tell"),
        ([0.01, 0.012, 0.011, 0.009], {}, "supported"),
        ([0.03, 0.028, 0.032, 0.04], {"by": 0.03}, "no difference of 5 points"),
        ([0.045, 0.043, 0.047, 0.055], {"by": 0.045}, "cannot tell"),
    ],
)
def test_a_small_interval_around_zero_tells_that_there_is_no_difference(
    differences: list[float], changed: dict[str, float], words: str
) -> None:
    """The bound is of the difference itself, also where a margin is claimed."""
    values = _values("accuracy", a=[0.5] * 4, b=[0.5 + one for one in differences])
    rates = {"a": ["0"] * 4, "b": ["0"] * 4}
    every = results(rates, [{**_about("accuracy"), **changed}], values)
    (found,) = judge(every)
    assert found.words == words
    assert tables(every, (found,))[0].rows[0][-1] == words


def test_measures_that_are_no_shares_have_a_bound_where_one_is_given() -> None:
    values = _values("sharpness.top", a=[10.0, 10.1, 9.9], b=[9.9, 10.1, 10.05])
    claim = _about("sharpness.top")
    for changed, words in (
        ({}, "cannot tell"),
        ({"bound": 0.5}, "no difference of 0.5"),
        ({"scale": "log"}, "cannot tell"),
        ({"scale": "log", "bound": 0.1}, "no difference of ×1.1"),
    ):
        (found,) = judge(results({"a": ["0"] * 3, "b": ["0"] * 3}, [{**claim, **changed}], values))
        assert found.words == words


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
