"""The sentence below a table says what its rows show: whose rate, on what, beside which noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from helpers.records import record
from transferzoo.results.comparisons import Findings, mean_rate, noise_beside
from transferzoo.results.conclusion import conclusion, notes
from transferzoo.results.records import short
from transferzoo.results.statistics import paired_difference, wilson
from transferzoo.results.tables import tables
from transferzoo.results.writers import to_json

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


def test_targets_that_count_twice_are_told() -> None:
    twin = {"target_sha256": "c"}
    rows = [
        record("a", "c", "1000"),
        record("a", "d", "1000", **twin),
        record("a", "c|jpeg", "1000", **twin),
        record("a", "d|jpeg", "1000", **twin),
        record("a", "e", "1000"),
        record("a", "a", "1000"),
        record("a", "copy", "1000", target_sha256="a", white_box=True),
    ]
    told = [
        "c and d have the same weights; the mean counts each of them.",
        "c|jpeg and d|jpeg have the same weights; the mean counts each of them.",
    ]
    assert notes(Findings(rows)) == told == to_json(Findings(rows))["notes"]
    assert "\n".join(["", *told, ""]) in tables(Findings(rows))[0].caption
    assert notes(Findings([*rows[::4], record("b", "c", "1000")])) == []


@pytest.mark.parametrize("packages", [("torch",), ("torch", "timm"), ("onnxruntime",)])
def test_runs_of_different_versions_have_a_note(packages: tuple[str, ...]) -> None:
    def made(version: str) -> dict[str, str]:
        return {"torch": "2", "timm": "1"} | dict.fromkeys(packages, version)

    old, new = (record(name, "c", "1000", versions=made(v)) for name, v in (("a", "1.9"), ("b", "3")))
    sentence = "The runs were made with different versions of packages."
    assert notes(Findings([old, new])) == [sentence]
    assert sentence in tables(Findings([old, new]))[0].caption
    assert notes(Findings([old, record("b", "c", "1000", versions=made("1.9"))])) == []


@pytest.mark.parametrize(
    ("rule", "caption", "sentence"),
    [
        ("all", "; n = 4; seed", "of the images."),
        ("target", "; n = 4, those that a target classifies correctly; seed", "of the images."),
        (
            "none",
            "; n = 4, whether or not they were classified correctly before; seed",
            "of the images, whether or not classified correctly before.",
        ),
    ],
)
def test_which_images_count_is_said(rule: str, caption: str, sentence: str) -> None:
    found = Findings([record("a", "c", "1000", images_correct_for=rule)])
    assert caption in tables(found)[0].caption
    assert conclusion(found).endswith(sentence)


@pytest.mark.parametrize("pair", [("x/a", "y/a"), ("timm/vgg", "vgg"), ("a/b/c", "b/c")])
def test_models_without_a_data_set_keep_their_whole_names(pair: tuple[str, str]) -> None:
    one, other = pair
    rows = [
        record("s", "t", "1000", surrogate=s, target=t, dataset="")
        for s, t in ((one, other), (other, one), (one, one))
    ]
    matrix = tables(Findings(rows))[0]
    assert {row[0] for row in matrix.rows[:2]} == set(matrix.columns[2:]) == set(pair)
    (single,) = tables(Findings([rows[0], rows[2]]))
    assert [row[0] for row in single.rows] == [other, one, "mean"]
    assert conclusion(Findings(rows[:1])).startswith(f"{one} fools {other} on")


def test_noise_is_that_of_the_same_defence() -> None:
    """A defended model has the digest of the model behind the defence."""
    beside = [noise("vgg", "1000", target_sha256="v"), noise("vgg|jpeg", "1110", target_sha256="v")]
    rows = [record("a", name, "1111", target_sha256="v") for name in ("vgg", "vgg|jpeg")]
    assert [noise_beside(beside, row) for row in rows] == beside
    assert "random noise of the same budget on 50.0 %" in conclusion(Findings(rows, noise=beside))


def test_the_mean_of_noise_is_over_the_targets_of_the_rows() -> None:
    beside = [noise("a", "1111"), noise("b", "0011"), noise("c", "0001")]

    def mean(*rows: Record, without: int = 0) -> str:
        table = tables(Findings(rows, noise=beside[without:]))[0]
        return next(row[1].partition("\n")[0] for row in table.rows if row[0] == "random noise")

    plain, strong = "bim@linf,eps=8/255", "mi@linf,eps=8/255"
    one = [record("a", t, "1111", attack=attack) for attack in (plain, strong) for t in "abc"]
    assert mean(*one) == "37.5", "b and c: a is white box in both rows"
    other = [record(s, t, "1111") for s in "de" for t in "abc"]
    assert mean(*other) == "58.3", "all three"
    assert mean(*one[:3], *other[:3]) == "–", "no mean of noise is like both"
    assert mean(*other, without=1) == "–", "a was asked for no noise"


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


@pytest.mark.parametrize("change", [{"selection": "others"}, {"seed": 1}])
def test_noise_on_other_images_of_one_surrogate_has_a_row_of_its_own(change: dict[str, object]) -> None:
    rows = [record("a", "c", "1000"), record("a", "c", "110000", attack="mi@linf,eps=8/255", **change)]
    beside = [noise("c", "0001"), noise("c", "011100", **change)]
    table = tables(Findings(rows, noise=beside))[0]
    shown = {row[0]: row[-1].partition("\n")[0] for row in table.rows[2:]}
    assert shown == {"random noise\non images of a, bim": "25.0", "random noise\non images of a, mi": "50.0"}


def test_the_best_of_many_rows_has_a_p_for_all_that_it_is_the_best_of() -> None:
    first, best = "0" * 40, "1" * 5 + "0" * 35
    rows = [record("a", "t", first), record("b", "t", best)]
    p = paired_difference([0.0] * 40, [float(hit) for hit in best]).p
    assert 0.05 / 3 < p < 0.05
    assert conclusion(Findings(rows)).endswith(f"; +12.5 points over a, paired p = {p:.3f}.")
    rows += [record(name, "t", "1" * 2 + "0" * 38) for name in "cd"]
    said = f"; +12.5 points over a, which may be chance (paired p = {3 * p:.3f} after Holm's correction)."
    assert conclusion(Findings(rows)).endswith(said)
    rows.append(record("e", "t", "1" * 3 + "0" * 37, attack="bim@linf,eps=16/255"))
    assert f"{3 * p:.3f} after" in conclusion(Findings(rows)), "one of another budget is no rival"
