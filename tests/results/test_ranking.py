"""Ranks: against SciPy's tests and Holm's procedure written out, and by simulation where nobody is better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from helpers.records import record
from transferzoo.results.comparisons import Findings
from transferzoo.results.ranking import paired_p_values, ranking_tables, rankings, ranks_by_difference
from transferzoo.results.records import SurrogateAttack
from transferzoo.results.statistics import paired_difference
from transferzoo.results.writers import to_json

RANDOM = np.random.default_rng(3)
IMAGES = 60
HARD = RANDOM.random(IMAGES)
"""How hard each image is to change, so that outcomes on it go together."""


def draws(strength: float) -> str:
    return "".join("01"[int(hit)] for hit in strength > 0.7 * HARD + 0.3 * RANDOM.random(IMAGES))


STRENGTH = {"weak": 0.2, "good": 0.6, "equal": 0.61, "strong": 0.95}
RESISTANCE = {"x": 0.0, "y": 0.02, "z": 0.3}
RECORDS = [
    record(surrogate, target, draws(strength - less), gradients=10 * len(surrogate))
    for surrogate, strength in STRENGTH.items()
    for target, less in RESISTANCE.items()
]
SHARES = {
    name: np.mean([[int(c) for c in r.outcomes] for r in RECORDS if r.surrogate_name == name], axis=0)
    for name in STRENGTH
}


def holm_ranks(values: list[np.ndarray]) -> list[int]:
    """Return the ranks by SciPy's test of each pair and Holm's steps, written out."""
    tests = sorted(
        (float(ttest_rel(values[a], values[b]).pvalue), a, b)
        for a in range(len(values))
        for b in range(a + 1, len(values))
    )
    ranks = [1] * len(values)
    for step, (p, a, b) in enumerate(tests):
        if p >= 0.05 / (len(tests) - step):
            break
        ranks[a if values[a].mean() < values[b].mean() else b] += 1
    return ranks


def test_rows_are_ranked_as_scipy_and_holm_say() -> None:
    (one,) = rankings(Findings(RECORDS, seconds={SurrogateAttack("toys/weak", RECORDS[0].attack): 0.5}))
    wanted = dict(zip(STRENGTH, holm_ranks([*SHARES.values()]), strict=True))
    assert wanted == {"strong": 1, "good": 2, "equal": 2, "weak": 4}, "a draw with a tie and differences"
    assert {each.row[0].removeprefix("toys/"): each.rank for each in one.attackers} == wanted
    assert [each.rank for each in one.attackers] == [1, 2, 2, 4]
    for each in one.attackers:
        name = each.row[0].removeprefix("toys/")
        assert each.mean == pytest.approx(SHARES[name].mean())
        assert (each.gradients, each.seconds) == (10 * len(name), 0.5 if name == "weak" else None)
        assert each.low < each.mean < each.high
    assert (one.budget, one.over, one.images) == ("linf,eps=8/255", ("toys/x", "toys/y", "toys/z"), IMAGES)


def test_targets_are_ranked_by_how_few_images_fool_them() -> None:
    (one,) = rankings(Findings(RECORDS))
    fooled = {
        name: np.mean([[int(c) for c in r.outcomes] for r in RECORDS if r.target_name == name], axis=0)
        for name in RESISTANCE
    }
    wanted = dict(zip(RESISTANCE, holm_ranks([-each for each in fooled.values()]), strict=True))
    assert wanted == {"z": 1, "x": 2, "y": 2}
    assert {each.target.removeprefix("toys/"): each.rank for each in one.targets} == wanted
    assert one.targets[0].mean == pytest.approx(fooled["z"].mean())
    assert [each.mean for each in one.targets] == sorted(each.mean for each in one.targets)


def test_all_pairs_are_tested_as_one_is() -> None:
    values = np.array(
        [
            *SHARES.values(),
            SHARES["weak"],
            0 * SHARES["weak"],
            0 * SHARES["weak"] + 0.5,
            SHARES["weak"] + 0.02,
        ]
    )
    p = paired_p_values(values)
    for at, first in enumerate(values):
        for to, second in enumerate(values):
            wanted = 1.0 if at == to else paired_difference(first.tolist(), second.tolist()).p
            assert p[at, to] == pytest.approx(wanted, rel=1e-9)
    assert paired_p_values(values[:, :1]).max() == 1


def test_equals_are_ranked_apart_in_one_draw_of_twenty_at_most() -> None:
    random, apart, draws = np.random.default_rng(0), 0, 1000
    for _ in range(draws):
        easy = random.random(100)
        apart += max(ranks_by_difference((easy > random.random((5, 100))).astype(float))) > 1
    assert apart <= 0.05 * draws + 3 * np.sqrt(0.05 * 0.95 * draws)
    assert apart > 0, "the tests have power"


def test_only_what_can_be_compared_is_ranked_together() -> None:
    other = [replace(r, selection="t") for r in RECORDS]
    larger = [replace(r, attack="bim@linf,eps=16/255") for r in RECORDS]
    assert [len(one.attackers) for one in rankings(Findings([*RECORDS, *larger]))] == [4, 4]
    moved = [replace(r, surrogate=f"{r.surrogate}2") for r in other]
    assert [len(one.attackers) for one in rankings(Findings([*RECORDS, *moved]))] == [4, 4]
    box = [
        replace(r, white_box=True) if (r.surrogate_name, r.target_name) == ("good", "x") else r
        for r in RECORDS
    ]
    (one,) = rankings(Findings(box))
    assert one.over == ("toys/y", "toys/z")
    assert len(one.attackers) == 4
    assert (
        rankings(Findings([r for r in RECORDS if r.target_name == "x" and r.surrogate_name == "weak"])) == []
    )
    (alone,) = rankings(Findings([r for r in RECORDS if r.surrogate_name == "weak"]))
    assert (alone.attackers, len(alone.targets)) == ((), 3)
    (narrow,) = rankings(Findings([r for r in RECORDS if r.target_name == "x"]))
    assert (len(narrow.attackers), narrow.targets) == (4, ())


def test_targets_are_ranked_on_the_images_that_count_for_all() -> None:
    some = [replace(r, outcomes=f"-{r.outcomes[1:]}") if r.target_name == "x" else r for r in RECORDS]
    (one,) = rankings(Findings(some))
    assert (one.images, one.common_images) == (IMAGES, IMAGES - 1)


def test_tables_and_json_have_the_ranks() -> None:
    attackers, targets = ranking_tables(Findings(RECORDS))
    assert attackers.rows[0][:2] == ("strong", "1")
    assert attackers.rows[0][4] == str(10 * len("strong"))
    assert targets.rows[0][:2] == ("z", "1")
    assert "Holm" in attackers.caption
    (one,) = to_json(Findings(RECORDS))["rankings"]
    assert [each["rank"] for each in one["attackers"]] == [1, 2, 2, 4]
    assert one["targets"][0]["target"] == "toys/z"
