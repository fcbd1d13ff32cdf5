"""What a comparison of techniques tries, chooses and reports; what is measured is made up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from transferzoo.attacks.composition import compose
from transferzoo.base.errors import UsageError
from transferzoo.searches.comparison import (
    CHOSEN_AT,
    LEADERS,
    STEPS,
    Contender,
    choose,
    contenders,
    preset_rows,
    reported,
)
from transferzoo.searches.comparison_study import study_of, study_text, with_more
from transferzoo.searches.moves import STEP_SIZES, Candidate
from transferzoo.studies.entries import ChosenBy
from transferzoo.studies.schema import read_study
from transferzoo.zoo.schema import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transferzoo.studies.schema import Study

NAMES = ("mi", "ni", "di", "vt", "gi", "svre", "ops")
PRESETS = {
    "weaker": Preset(spec="vt+mi", step="eps", steps=2, about="42 gradients"),
    "strong": Preset(spec="di+mi", step="eps/3", steps=150, about="150 gradients"),
}
CHOSEN_BY = ChosenBy(images=9, validators=("v",))


def _rate(candidate: Candidate) -> float:
    """Return a made-up success: longer steps are better for `di`, the shortest for all others."""
    share = float(STEP_SIZES[candidate.step](candidate.steps))
    return len(candidate.techniques) / 4 + (share if "di" in candidate.techniques else -share) / 100


def _measure(candidates: Sequence[Candidate]) -> dict[Candidate, float]:
    """Return what can be measured: all but what has `ni`."""
    return {candidate: _rate(candidate) for candidate in candidates if "ni" not in candidate.techniques}


def _study(names: Sequence[str] = NAMES, presets: Mapping[str, Preset] = PRESETS) -> Study:
    rows = [*reported(choose(contenders(names, plain=True), _measure)), *preset_rows(presets, presets)]
    return study_of(
        rows, name="all", dataset="any", split=None, surrogates=("a", "b"), images=7, chosen_by=CHOSEN_BY
    )


def test_techniques_are_compared_by_themselves_and_on_momentum() -> None:
    found = {one.spec: one.leads for one in contenders(NAMES, plain=True)}
    assert found == {
        "bim": False,
        "mi": False,
        "ni": True,  # a momentum of its own
        "di": False,
        "mi+di": True,
        "vt": False,
        "mi+vt": True,
        "mi+gi": True,  # needs a momentum
    }  # svre needs several surrogates, ops more gradients


def test_of_a_technique_that_is_named_momentum_alone_is_no_part() -> None:
    assert [one.spec for one in contenders(["di"], plain=False)] == ["di", "mi+di"]


def test_the_step_size_with_the_highest_success_is_chosen() -> None:
    every = contenders(NAMES, plain=True)
    chosen = choose(every, _measure)
    assert {gradients for _, gradients in chosen} == set(CHOSEN_AT)
    for (one, gradients), choice in chosen.items():
        rates = {step: _rate(one.at(gradients, step)) for step in STEPS}
        assert choice.rate == rates[choice.step] == max(rates.values())
        assert choice.step == next(step for step in STEPS if rates[step] == choice.rate), (
            "the first of equals"
        )
    assert chosen[Contender(("mi", "di"), leads=True), 50].step == "ε"
    assert chosen[Contender(("mi", "gi"), leads=True), 50].step == "2.5 ε/T"
    assert not any(one.spec == "ni" for one, _ in chosen), "what cannot be measured"
    assert not any(one.spec == "vt" and gradients == 10 for one, gradients in chosen), "21 gradients a step"


def test_leaders_are_reported_at_other_costs_too() -> None:
    names = ("di", "si", "ti", "vt", "emi", "rap", "admix", "ssa", "sia", "maskblock", "gra", "mef", "cos")
    rows = list(reported(choose(contenders(names, plain=True), _measure)))
    leaders = [one for one, gradients, _ in rows if gradients == 200]
    assert len(leaders) == LEADERS
    assert all(one.leads for one in leaders)
    for one, gradients, choice in rows:
        assert one.at(gradients, choice.step).composition.cost(one.at(gradients).steps) <= gradients
    at_all = [choice.rate or 0.0 for _, gradients, choice in rows if gradients == 50]
    assert at_all == sorted(at_all, reverse=True) and all(at_all)
    assert len(at_all) == len(contenders(names, plain=True))


def test_presets_are_reported_as_they_are() -> None:
    """Each at its own cost, the last one at a thousand gradients too."""
    found = [
        (one.preset, gradients, one.entry(gradients, choice.step))
        for one, gradients, choice in preset_rows(PRESETS, PRESETS)
    ]
    assert [(name, gradients) for name, gradients, _ in found] == [
        ("weaker", 50),
        ("strong", 200),
        ("strong", 1000),
    ]
    assert [(entry.spec, entry.step, entry.steps) for *_, entry in found] == [
        ("weaker", "eps", 2),
        ("strong", "eps/3", 150),
        ("strong", "eps/3", 1000),
    ]
    with pytest.raises(UsageError, match="'dear' costs 201 gradients an image: expected 200 at most"):
        preset_rows(["dear"], {"dear": Preset(spec="mi", step="eps", steps=201, about="too much")})
    for other in ({}, {"open": Preset(spec="mi", about="no budget of its own")}):
        with pytest.raises(UsageError, match="'open' cannot be compared: expected a preset with a step size"):
            preset_rows(["open"], other)
    assert preset_rows((), {}) == []


def test_attacks_of_a_study_are_the_candidates() -> None:
    study = _study()
    (entry,) = [one for one in study.attacks if one.name == "mi+vt, 200 gradients"]
    assert (entry.spec, entry.steps, entry.step) == ("mi+vt", 9, "eps/10")
    (entry,) = [one for one in study.attacks if one.name == "mi+gi, 200 gradients"]
    assert (entry.spec, entry.steps, entry.step) == ("mi+gi", 195, f"eps/{195 * 2 // 5}")
    (preset,) = [one for one in study.attacks if one.name == "strong, 1000 gradients"]
    assert (preset.spec, preset.steps) == ("strong", 1000)
    assert study.targets == ("all", "itself")
    assert not study.from_end
    said = [claim.say for claim in study.claims]
    assert "strong, 200 gradients beat mi+di, 200 gradients, from b" in said
    assert len(said) == 2 * 2, "of two surrogates at 50 and 200"


def test_without_presets_leaders_are_compared_with_one_another_and_with_momentum() -> None:
    pairs = {("mi+di", "mi+vt"), ("mi+di", "mi"), ("mi+vt", "mi")}
    assert {claim.say for claim in _study(("di", "vt"), {}).claims} == {
        f"{higher}, 50 gradients beat {lower}, 50 gradients, from {name}"
        for higher, lower in pairs
        for name in ("a", "b")
    }
    assert not _study(("mi",), {}).claims, "nothing leads"


def test_a_study_is_kept_in_a_file(tmp_path: Path) -> None:
    chosen = choose(contenders(NAMES, plain=True), _measure)
    rows = [*reported(chosen), *preset_rows((), {})]
    study, path = _study(presets={}), tmp_path / "all.yaml"
    path.write_text(study_text(study, "Chosen by lot.", rows), encoding="utf-8")
    assert read_study(path) == study
    assert study.chosen_by == CHOSEN_BY
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Chosen by lot.")
    for one, gradients, choice in rows:
        assert choice.rate is not None
        assert f"#   {one.label(gradients)}: step {choice.step}, {100 * choice.rate:.1f}\n" in text
    assert yaml.safe_load(text)["images"] == 7


def test_techniques_are_added_to_a_study() -> None:
    study = _study(("di",))
    rows = list(reported(choose(contenders(["emi"], plain=False), _measure)))
    more = with_more(study, rows, "more")
    assert (more.name, more.chosen_by) == ("more", study.chosen_by)
    assert more.attacks[: len(study.attacks)] == study.attacks
    added = [entry.label for entry in more.attacks[len(study.attacks) :]]
    assert added == [f"{spec} gradients" for spec in ("mi+emi, 50", "emi, 50", "mi+emi, 200")]
    assert [claim.say for claim in more.claims[len(study.claims) :]] == [
        f"mi+emi, 50 gradients beat {rival}, 50 gradients, from {name}"
        for name in ("a", "b")
        for rival in (study.attacks[0].spec, "mi")
    ]
    with pytest.raises(UsageError, match="has 'mi\\+emi, 50 gradients' already"):
        with_more(more, rows, "most")


def test_specs_are_those_of_the_candidates() -> None:
    for one in contenders(NAMES, plain=True):
        assert compose(one.spec if one.techniques else "") == one.at(50).composition
