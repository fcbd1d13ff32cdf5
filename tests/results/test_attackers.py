"""What several attackers do together, counted by loops over the images, and by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers.records import record
from transferzoo.results.attackers import best_on_other_half, many_attackers
from transferzoo.results.comparisons import Findings
from transferzoo.results.records import Record, short
from transferzoo.results.statistics import wilson
from transferzoo.results.tables import tables
from transferzoo.results.writers import to_json

RANDOM = np.random.default_rng(7)


def draws(n: int, rate: float) -> str:
    return "".join("01"[int(hit)] for hit in RANDOM.random(n) < rate)


RECORDS = [
    record(surrogate, target, draws(41, rate))
    for surrogate, rate in (("a", 0.3), ("b", 0.5), ("c", 0.45))
    for target in ("x", "y")
]


def outcomes(records: list[Record]) -> dict[str, dict[str, list[int]]]:
    """Return target → surrogate → what it has of each image."""
    found: dict[str, dict[str, list[int]]] = {}
    for one in records:
        found.setdefault(one.target, {})[one.surrogate_name] = [int(each) for each in one.outcomes]
    return found


def test_as_loops_over_the_images_count() -> None:
    together = many_attackers(RECORDS)
    for target, cells in outcomes(RECORDS).items():
        one = together.targets[target]
        anyone = sum(any(hits) for hits in zip(*cells.values(), strict=True))
        assert (one.tries, one.n, one.any_of.rate) == (3, 41, anyone / 41)
        assert (one.any_of.low, one.any_of.high) == wilson(anyone, 41)
        best = [max(cells, key=lambda name: sum(cells[name][half::2])) for half in (0, 1)]
        assert [surrogate for surrogate, _ in one.chosen] == [f"toys/{name}" for name in best]
        hits = sum(cells[best[1 - at % 2]][at] for at in range(41))
        assert (one.best.rate, one.best.low, one.best.high) == (hits / 41, *wilson(hits, 41))


def test_the_mean_chooses_by_the_mean() -> None:
    found = outcomes(RECORDS)
    means = {name: np.mean([found[target][name] for target in found], axis=0) for name in "abc"}
    best = [max(means, key=lambda name: means[name][half::2].mean()) for half in (0, 1)]
    one = many_attackers(RECORDS).mean
    assert one is not None
    assert [surrogate for surrogate, _ in one.chosen] == [f"toys/{name}" for name in best]
    held_out = [means[best[1 - at % 2]][at] for at in range(41)]
    assert one.best.rate == pytest.approx(np.mean(held_out))
    anyone = [np.mean([any(found[t][name][at] for name in "abc") for t in found]) for at in range(41)]
    assert one.any_of.rate == pytest.approx(np.mean(anyone))
    assert one.any_of.low < one.any_of.rate < one.any_of.high


def test_images_that_do_not_count_are_left_out() -> None:
    """With `--images-correct-for target` each target has its own."""
    records = [
        record("a", "x", "1-0-"),
        record("a", "y", "11--"),
        record("b", "x", "0-1-"),
        record("b", "y", "10--"),
    ]
    together = many_attackers(records)
    assert [(one.n, one.any_of.rate) for one in together.targets.values()] == [(2, 1.0), (2, 1.0)]
    assert together.mean is not None
    assert (together.mean.n, together.mean.any_of.rate) == (3, 1.0)


@pytest.mark.parametrize(
    ("records", "known"),
    [
        (RECORDS[:2], []),
        ([record("x", "x", "1111"), record("x", "y", "1010"), record("y", "x", "0110")], []),
        ([record("a", "x", "1010"), replace(record("b", "x", "0110"), selection="others")], []),
        ([record("a", "x", "1010"), replace(record("b", "x", "0110"), attack="bim@linf,eps=1/255")], []),
        ([record("a", "x", "1"), record("b", "x", "0")], []),
        ([*RECORDS, record("x", "x", "1" * 41)], ["x", "y"]),
    ],
    ids=["one row", "white boxes", "other images", "another budget", "one image", "one more is a white box"],
)
def test_only_what_can_be_compared_is(records: list[Record], known: list[str]) -> None:
    together = many_attackers(records)
    assert [short(target) for target in together.targets] == known
    assert (together.mean is None) == (not known)


def test_a_table_and_json_have_them() -> None:
    matrix = tables(Findings(RECORDS))[0]
    anyone, best = matrix.rows[-2:]
    together = many_attackers(RECORDS)
    assert (anyone[0], best[0]) == ("any of 3", "best of 3,\nheld out")
    for at, target in ((2, "x"), (3, "y")):
        one = together.targets[f"toys/{target}"]
        assert anyone[at].startswith(f"{100 * one.any_of.rate:.1f}\n")
        assert best[at].startswith(f"{100 * one.best.rate:.1f}\n")
    assert "measured on the other half" in matrix.caption
    found = to_json(Findings(RECORDS))["many_attackers"]
    assert found["targets"]["toys/x"]["any_of"]["rate"] == together.targets["toys/x"].any_of.rate
    assert found["mean"]["tries"] == 3


def test_the_best_one_is_not_flattered_by_its_choice() -> None:
    """Of fifteen equally good attackers the best one seems better, but not on the other half."""
    rate, n, times = 0.3, 100, 2000
    hits = RANDOM.random((times, 15, n)) < rate
    held_out = np.array([best_on_other_half(one[None].astype(float))[0].mean() for one in hits])
    flattered = hits.mean(2).max(1)
    error = held_out.std() / times**0.5
    assert abs(held_out.mean() - rate) < 4 * error < 0.005
    assert flattered.mean() > rate + 0.05


def test_no_attacker_is_chosen_for_what_it_does_on_the_other_half() -> None:
    """Where images count for some targets only, a rate over all of them would be in both halves."""
    nan = np.nan
    worse = [[1, 1, 1, 1], [1, 0, 1, nan]]
    better = [[1, 1, 1, 1], [1, 1, 1, nan]]
    values = np.array([[worse[target], better[target]] for target in (0, 1)])
    held_out, chosen = best_on_other_half(values)
    assert chosen == (0, 1), "on even places both are equal, so the first is chosen"
    assert np.array_equal(held_out, np.array([[1, 1, 1, 1], [1, 0, 1, nan]]), equal_nan=True)
