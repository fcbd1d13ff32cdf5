"""The sentence below a table says what its rows show: whose rate, on what, beside which noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.records import record
from transferzoo.results.comparisons import Findings, mean_rate, noise_beside, short
from transferzoo.results.conclusion import conclusion
from transferzoo.results.statistics import wilson
from transferzoo.results.tables import tables

if TYPE_CHECKING:
    from transferzoo.results.records import Record

MI_DEM = (
    "dem:copies=5,smallest=1.14,largest=1.66+mi:decay=1,normalise=mean@linf,eps=8/255,step=eps/10,steps=50"
)
NOISE = {"surrogate": "random noise", "attack": "noise@linf,eps=8/255", "white_box": False}


def noise(target: str, outcomes: str, **changes: object) -> Record:
    return record("noise", target, outcomes, **(NOISE | changes))


def test_one_target_is_named_and_has_the_interval_of_its_row() -> None:
    found = Findings([record("a", "b", "1100000000")], noise=[noise("b", "0" * 10)])
    low, high = wilson(2, 10)
    assert conclusion(found) == (
        f"a fools b on 20.0 % ({100 * low:.1f} to {100 * high:.1f}) of the images; "
        "random noise of the same budget on 0.0 %."
    )
    (table,) = tables(found)
    assert table.rows[0][3] == f"{100 * low:.1f}–{100 * high:.1f}"


def test_white_box_targets_leave_one() -> None:
    cells = {r.target: r for r in (record("a", "a", "1111"), record("a", "b", "1000"))}
    assert mean_rate(cells) == (0.25, *wilson(1, 4))
    assert mean_rate({"a": record("a", "a", "1111")}) is None


def test_all_techniques_are_named() -> None:
    rows = [record("a", "b", "1110", attack=MI_DEM), record("a", "b", "1000")]
    assert conclusion(Findings(rows)).startswith("a with dem+mi fools b")


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (record("b", "d", "1111"), "targets"),
        (record("b", "c", "1111", selection="others"), "images"),
        (record("b", "c", "1111", attack="bim@linf,eps=32/255"), "budget"),
    ],
)
def test_rows_that_differ_in_more_than_the_surrogate_are_no_rivals(other: Record, kind: str) -> None:
    sentence = conclusion(Findings([record("a", "c", "1000"), other]))
    assert sentence.startswith("a "), kind
    assert sentence.endswith("; rows of other images, targets or budgets are not compared.")
    assert "no other row" not in sentence


def test_an_ensemble_is_several_and_has_all_its_names() -> None:
    one = record("a", "b", "1000", surrogate="toys/x/a & toys/y/a")
    assert short(one.surrogate) == "x/a & y/a"
    assert conclusion(Findings([one])).startswith("x/a & y/a fool b on")
    targeted = record("a", "b", "1000", targeted="next")
    assert conclusion(Findings([targeted])).startswith("a makes b predict the target class on")


@pytest.mark.parametrize("change", [{"selection": "others"}, {"seed": 1}])
def test_noise_is_that_of_the_same_images(change: dict[str, object]) -> None:
    rows = [record("a", "c", "1000"), record("b", "c", "1100", **change)]
    own, others = noise("c", "0001"), noise("c", "0111", **change)
    for beside in ([own, others], [others, own]):
        assert [noise_beside(beside, row) for row in rows] == [own, others]
        table = tables(Findings(rows, noise=beside))[0]
        shown = {row[0]: row[-1].partition("\n")[0] for row in table.rows}
        assert shown["random noise\non images of a"] == "25.0"
        assert shown["random noise\non images of b"] == "75.0"
    assert noise_beside([others], rows[0]) is None
    assert "random noise" not in conclusion(Findings(rows[:1], noise=[others]))
