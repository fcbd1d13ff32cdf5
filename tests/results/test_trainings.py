"""Several trainings by one recipe: their means against loops over the outcomes, and the words about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from helpers.records import record
from transferzoo.results.comparisons import Findings, p_value
from transferzoo.results.conclusion import conclusion
from transferzoo.results.statistics import crossed_difference, holm_adjusted
from transferzoo.results.tables import tables
from transferzoo.results.trainings import difference, trainings
from transferzoo.results.writers import to_json
from transferzoo.zoo.reader import load_zoo
from transferzoo.zoo.selection import listed

if TYPE_CHECKING:
    from transferzoo.results.records import Record

RANDOM = np.random.default_rng(3)
RATES = {"sgd@10": 0.2, "sgd@11": 0.25, "sgd@12": 0.3, "sam@10": 0.5, "sam@11": 0.6, "sam@12": 0.55}


def draws(rate: float) -> str:
    return "".join("01"[int(hit)] for hit in RANDOM.random(60) < rate)


RECORDS = [record(name, target, draws(rate)) for name, rate in RATES.items() for target in ("x", "y")]


def hits(name: str, target: str) -> list[int]:
    (one,) = (r for r in RECORDS if (r.surrogate, r.target) == (f"toys/{name}", f"toys/{target}"))
    return [int(each) for each in one.outcomes]


def test_means_and_differences_are_those_of_loops() -> None:
    sgd, sam = trainings(RECORDS)
    assert (sgd.recipe, sam.name, list(sam.cells)) == ("toys/sgd", "sam@*", [10, 11, 12])
    plain = [hits(f"sam@{seed}", target) for seed in (10, 11, 12) for target in "xy"]
    assert sam.mean().mean == pytest.approx(np.mean(plain))
    assert sam.mean("toys/y").mean == pytest.approx(np.mean([hits(f"sam@{s}", "y") for s in (10, 11, 12)]))
    apart = [
        np.mean([np.subtract(hits(f"sam@{s}", t), hits(f"sgd@{s}", t)) for t in "xy"], axis=0)
        for s in (10, 11, 12)
    ]
    assert difference(sgd, sam) == crossed_difference(np.array(apart))


def test_an_interval_over_trainings_is_wider_than_one_over_images() -> None:
    """Where the seeds differ by more than images could."""
    rates = {"sgd@1": 0.1, "sgd@2": 0.5, "sgd@3": 0.9}
    records = [record(name, "x", draws(rate)) for name, rate in rates.items()]
    (group,) = trainings(records)
    assert group.mean().high - group.mean().low > 2 * max(r.high - r.low for r in records)


ALONE = {
    "one training": ["sgd@10", "sgd"],
    "revisions": ["hf-hub:me/net@1", "hf-hub:me/net@2"],
    "ensembles": ["sgd@1 & sam@1", "sgd@2 & sam@2"],
    "no seeds": ["sgd@a", "sgd@b"],
}


@pytest.mark.parametrize("names", ALONE.values(), ids=ALONE)
def test_other_names_are_not_pooled(names: list[str]) -> None:
    records = [record(name, "x", draws(0.5)) for name in names]
    assert not trainings(records)
    assert to_json(Findings(records))["trainings"] == []


def test_a_target_that_is_white_box_for_one_training_is_left_out() -> None:
    records = [*RECORDS, *(record(f"sam@{s}", "sam@10", draws(0.9)) for s in (10, 11, 12))]
    records = [r for r in records if r.surrogate.startswith("toys/sam")]
    (group,) = trainings(records)
    assert group.targets == ["toys/x", "toys/y"]


def test_trainings_on_other_images_are_not_pooled() -> None:
    records = [record("sgd@1", "x", draws(0.5)), record("sgd@2", "x", draws(0.5), selection="other")]
    assert not trainings(records)


def test_the_largest_group_of_like_trainings_is_pooled_in_any_order() -> None:
    other = record("sgd@10", "x", draws(0.5), selection="other")
    like = [record(f"sgd@{seed}", "x", draws(0.5)) for seed in (11, 12)]
    sam = [record(f"sam@{seed}", "x", draws(0.5)) for seed in (11, 12)]
    for records in ([other, *like, *sam], [*reversed(like), *sam, other]):
        sgd, _ = trainings(records)
        assert (list(sgd.cells), sgd.left_out) == ([11, 12], (10,))
        pooled = next(t for t in tables(Findings(records)) if t.title.startswith("Over several"))
        assert "than those pooled, and left out: sgd@10." in pooled.caption


def words(records: list[Record]) -> tuple[str, list[str]]:
    """Return the conclusion, and the titles of the tables."""
    return conclusion(Findings(records)), [table.title for table in tables(Findings(records))]


def test_the_sentence_is_on_recipes_and_never_on_the_best_training() -> None:
    said, titles = words(RECORDS)
    sgd, sam = trainings(RECORDS)
    found = difference(sgd, sam)
    assert found is not None
    assert said.startswith(
        f"Over 3 trainings sam fools 2 targets in the mean on {100 * sam.mean().mean:.1f} % ("
    )
    assert f"; {100 * found.mean:+.1f} points over sgd (p " in said and "@1" not in said
    assert titles[1].startswith("Over several trainings")
    assert not any("trainings" in title for title in words(RECORDS[:2])[1])


def test_a_difference_over_some_of_the_seeds_says_so() -> None:
    both, more = ("sgd@10", "sgd@11", "sam@10", "sam@11"), ("sam@12", "sam@13")
    records = [record(name, "x", draws(0.3)) for name in both] + [record(n, "x", draws(0.9)) for n in more]
    sgd, sam = trainings(records)
    found = difference(sgd, sam)
    assert found is not None and sam.mean().mean - sgd.mean().mean > found.mean + 0.1
    assert f"; over the 2 seeds in common {100 * found.mean:+.1f} points over sgd" in words(records)[0]
    assert tables(Findings(records))[1].rows[1][3].endswith("]\nover the 2 seeds in common")
    assert "in common" not in words(RECORDS)[0] + tables(Findings(RECORDS))[1].rows[1][3]


def test_the_best_of_many_recipes_has_a_p_for_all_that_it_is_the_best_of() -> None:
    others = [record(f"swa@{seed}", t, draws(0.2)) for seed in (10, 11, 12) for t in "xy"]
    sgd, *rest = trainings([*RECORDS, *others])
    p = holm_adjusted([found.p for group in rest if (found := difference(sgd, group))])[0]
    assert f" points over sgd (p {p_value(p)} after Holm's correction)." in words([*RECORDS, *others])[0]


def test_attacks_of_other_budgets_are_not_compared() -> None:
    weak = [record(name, "x", draws(rate)) for name, rate in RATES.items() if name.startswith("sgd")]
    strong = [
        record(name, "x", draws(0.9), attack="bim@linf,eps=16/255,steps=10", targeted="random")
        for name in ("sgd@10", "sgd@11", "sgd@12")
    ]
    first, second = trainings([*weak, *strong])
    assert difference(first, second) is None
    said = conclusion(Findings([*strong, *weak]))
    assert "; +" not in said and "; -" not in said
    assert said.startswith("Over 3 trainings sgd with bim@linf,eps=16/255")
    assert "makes x predict the target class on 9" in said
    pooled = next(t for t in tables(Findings([*strong, *weak])) if t.title.startswith("Over several"))
    assert pooled.columns[3].startswith("minus sgd@*, bim") and pooled.caption.endswith(
        "not compared with it."
    )
    assert [row[3] for row in pooled.rows] == ["–", "–"]


def test_trainings_of_which_one_image_tells_nothing_have_no_end() -> None:
    (group,) = trainings([record(f"sgd@{seed}", "x", "1") for seed in (1, 2)])
    assert (group.mean().mean, group.mean().low, group.mean().high) == (1, 0, 1)


def test_the_sentence_has_the_noise_beside_it() -> None:
    quiet = [
        record(
            "random noise", target, "1" + "0" * 59, surrogate="random noise", attack="noise@linf,eps=8/255"
        )
        for target in ("x", "y")
    ]
    assert "; random noise of the same budget on 1.7 %; +" in conclusion(Findings(RECORDS, noise=quiet))


def test_the_table_marks_what_is_beyond_chance() -> None:
    table = tables(Findings(RECORDS))[1]
    assert table.columns == ("surrogate", "trainings", "mean", "minus sgd@*", "p", "x", "y")
    assert [row[:2] for row in table.rows] == [("sgd@*", "3"), ("sam@*", "3")]
    assert table.rows[0][3:5] == ("–", "–") and table.rows[1][3].startswith("+")


def test_json_has_the_pooled_rates() -> None:
    sgd, sam = to_json(Findings(RECORDS))["trainings"]
    assert (sgd["seeds"], sgd["minus_first"]) == ([10, 11, 12], None)
    assert sam["mean"]["low"] < sam["mean"]["mean"] < sam["mean"]["high"]
    assert sam["targets"].keys() == {"toys/x", "toys/y"} and sam["minus_first"]["p"] < 0.05


def test_no_pattern_without_an_at_sign_stands_for_further_trainings() -> None:
    zoo = load_zoo()

    def names(pattern: str) -> set[str]:
        return {model.name for model in listed(zoo, pattern, "fashion-mnist", "surrogate")}

    assert names("resnet50-sam@*") == {f"resnet50-sam@{seed}" for seed in (13, 14, 15)}
    assert names("resnet50-sam@14") == {"resnet50-sam@14"}
    for pattern in ("resnet50-s*", "all"):
        assert "resnet50-sam" in names(pattern) and not any("@" in name for name in names(pattern))


def test_of_two_groups_as_large_the_one_that_can_be_compared_is_pooled() -> None:
    """In any order; the first recipe's is that of its lowest seed."""
    places = {10: "a", 11: "a", 12: "b", 13: "b"}
    every = [
        record(f"{recipe}@{seed}", "x", draws(0.5), selection=place)
        for recipe in ("sgd", "sam")
        for seed, place in places.items()
    ]
    for records in (every, [*every[2:4], *every[:2], *every[6:], *every[4:6]], [*every[:4], *every[:3:-1]]):
        sgd, sam = trainings(records)
        assert list(sgd.cells) == list(sam.cells) == [10, 11]
        assert difference(sgd, sam)
