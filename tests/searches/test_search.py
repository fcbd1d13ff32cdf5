"""The search by itself: measured by functions whose best candidate is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from transferzoo.searches.moves import STEP_SIZES, Candidate, additions, neighbours
from transferzoo.searches.search import Round, search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GAINS = {"mi": 0.2, "di": 0.1, "ti": 0.05, "vt": -0.1, "rs": -0.05}


def by(
    rate: Callable[[Candidate], float | None],
) -> Callable[[Sequence[Candidate]], Mapping[Candidate, float]]:
    """Return what measures candidates by a function; None of one that cannot be measured."""
    return lambda some: {one: value for one in some if (value := rate(one)) is not None}


def gains(candidate: Candidate) -> float:
    """Return a success that is the sum of what techniques gain, and best at ε/4."""
    return (
        0.3
        + sum(GAINS[one.partition(":")[0]] for one in candidate.techniques)
        + (candidate.step == "ε/4") / 50
    )


def found(rate: Callable[[Candidate], float | None], names: Sequence[str] = tuple(GAINS)) -> list[Round]:
    rounds: list[Round] = []
    best, value = search(names, 50, by(rate), rounds.append)
    assert (best, value) == (rounds[-1].best, rounds[-1].rate)
    return rounds


def test_every_technique_that_gains_is_found_in_the_order_of_gain() -> None:
    rounds = found(gains)
    assert rounds[-1].best.techniques[:2] == ("mi", "di")
    assert rounds[-1].best.step == "ε/4"
    assert {"vt", "rs"}.isdisjoint(rounds[-1].best.techniques)


def test_the_worse_half_is_not_tried_again() -> None:
    first, second = [one for one in found(gains) if one.move == "add a technique"][:2]
    assert [c.techniques for c in first.rates] == [("mi",), ("di",), ("ti",), ("vt",), ("rs",)]
    assert [c.techniques for c in second.rates] == [("mi", "di"), ("mi", "ti")]


def test_a_technique_that_no_longer_helps_is_taken_out() -> None:
    def rate(one: Candidate) -> float:
        alone = {(): 0.1, ("mi",): 0.4, ("di",): 0.3, ("mi", "di"): 0.5, ("mi:decay=2",): 0.6}
        return alone.get(one.techniques, 0.55 if one.techniques == ("mi:decay=2", "di") else 0.0)

    assert found(rate, ["mi", "di"])[-1].best.techniques == ("mi:decay=2",)


def test_what_cannot_be_measured_is_passed_over() -> None:
    rounds = found(lambda one: None if "mi" in one.techniques else gains(one))
    assert rounds[-1].best.techniques[0] == "di"
    assert all("mi" not in one.techniques for a_round in rounds for one in a_round.rates)


def test_ties_stay_with_what_came_first() -> None:
    rounds = found(lambda one: 0.5)
    assert rounds[-1].best == Candidate((), "ε/T", 50)
    assert [one.improved for one in rounds] == [True, False, False]


def test_nothing_is_measured_twice() -> None:
    asked: list[Candidate] = []

    def measure(some: Sequence[Candidate]) -> dict[Candidate, float]:
        asked.extend(some)
        return {one: gains(one) for one in some}

    search(tuple(GAINS), 50, measure, lambda one: None)
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize(
    ("techniques", "gradients", "steps"),
    [((), 50, 50), (("mi",), 50, 50), (("vt:copies=4",), 50, 10), (("vt:copies=4",), 4, 0), (("rs",), 7, 7)],
)
def test_a_candidate_has_the_steps_that_its_gradients_pay(
    techniques: tuple[str, ...], gradients: int, steps: int
) -> None:
    candidate = Candidate(techniques, "ε", gradients)
    assert candidate.steps == steps
    assert candidate.fits == (steps > 0)
    assert candidate.composition.cost(steps + 1) > gradients


@pytest.mark.parametrize(
    ("name", "steps", "written"),
    [
        ("ε/T", 50, "eps/50"),
        ("2.5 ε/T", 50, "eps/20"),
        ("2.5 ε/T", 12, "eps*5/24"),
        ("2.5 ε/T", 2, "eps"),
        ("ε/10", 3, "eps/10"),
        ("ε", 1, "eps"),
    ],
)
def test_step_sizes(name: str, steps: int, written: str) -> None:
    entry = Candidate((), name, steps).entry
    assert (entry.spec, entry.step, entry.steps) == ("bim", written, steps)


def test_candidates_that_do_not_go_together_are_left_out() -> None:
    best = Candidate(("mi",), "ε/10", 50)
    assert [one.techniques[-1] for one in additions(best, ["mi", "ni", "di", "svre"])] == ["di"]


def test_neighbours_change_one_thing() -> None:
    best = Candidate(("mi", "di:p=0.5"), "ε/10", 50)
    near = list(neighbours(best))
    assert best not in near
    assert {one.step for one in near if one.techniques == best.techniques} == STEP_SIZES.keys() - {"ε/10"}
    assert {("di:p=0.5",), ("mi",)} <= {one.techniques for one in near}
    assert ("mi", "di:p=0.25") in {one.techniques for one in near}
    assert all(one.fits for one in near)
    assert not any("p=2" in one for candidate in near for one in candidate.techniques)  # a probability


@pytest.mark.parametrize(("size", "halved"), [(28, 3), (224, 7), (None, 7)])
def test_what_is_halved_is_the_default_for_images_of_that_size(size: int | None, halved: int) -> None:
    best = Candidate(("ti",), "ε/10", 50, size)
    assert (f"ti:kernel={halved}",) in {one.techniques for one in neighbours(best)}


def test_step_sizes_that_meet_are_one_attack() -> None:
    assert Candidate(("mi",), "2.5 ε/T", 10).attack == Candidate(("mi",), "ε/4", 10).attack
    assert Candidate(("mi",), "2.5 ε/T", 20).attack != Candidate(("mi",), "ε/4", 20).attack
