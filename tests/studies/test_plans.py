"""Studies before they run: how wide their intervals will be, and what they share with others."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from helpers.studies import results
from transferzoo.results.statistics import expected_reach
from transferzoo.studies.cells import Grid, GridPoint
from transferzoo.studies.claims import in_words, judge
from transferzoo.studies.entries import Claim
from transferzoo.studies.expected import as_json, expectations
from transferzoo.studies.result_file import Results, Training, Value, with_shared, write_results
from transferzoo.studies.tables import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

RATES = {"a": ["0011 0000", "0010 0001", "0111 0000"], "b": ["0111 1000", "0111 0011", "1111 1000"]}
TWO = {"say": "b is better", "higher": {"surrogate": "b"}, "lower": {"surrogate": "a"}}
ONE = {"say": "a rises", "higher": {"surrogate": "a", "epoch": 2}, "lower": {"surrogate": "a", "epoch": 1}}
OWN = """\
about: Does it transfer?
dataset: fashion-mnist
seeds: [10, 11, 12, 13]
images: 200
training_images: 20000
train:
  {{architecture: "small_resnet18:width=8", epochs: 9, schedule: cosine, augment: none, validation: 2000}}
surrogates:
  sgd: {{save_every: epoch, select: transfer}}
  sam: {{minimizer: "sam:rho=0.05", batch_size: 64}}
earlier: {earlier}
claims:
  - {{say: SAM improves on SGD, higher: {{surrogate: sam}}, lower: {{surrogate: sgd}}}}
  - say: SAM is as accurate
    higher: {{surrogate: sam, measure: accuracy}}
    lower: {{surrogate: sgd, measure: accuracy}}
"""


def _grid(found: Results, seeds: int, claims: list[dict[str, Any]]) -> Grid:
    """Return a grid that measures everything of results' surrogates, at more seeds."""
    study = found.study.model_copy(update={"claims": tuple(Claim(**claim) for claim in claims)})
    points = tuple(
        GridPoint(name, seed, epoch, "key", {"bim": "key"}, None, "key")
        for name in found.study.surrogates
        for seed in range(seeds)
        for epoch in dict.fromkeys(one.epoch for one in found.outcomes)
    )
    return Grid(study, {}, points, {})


def test_the_same_comparison_tells_first() -> None:
    found = results(RATES, [TWO])
    (one,) = expectations(_grid(found, 8, [TWO]), 500, [found])
    images = {
        name: np.array([[[int(c) for c in t] for t in seed.split()] for seed in RATES[name]])
        for name in RATES
    }
    differences = (images["b"] - images["a"]).mean(1)
    assert one.reach
    assert one.reach == pytest.approx(expected_reach(differences, 8, 500))
    assert (one.seeds, one.images, one.source) == (8, 500, "made-up, 3 seeds")
    assert one.width == f"± {100 * one.reach:.1f}"


def test_else_the_median_of_comparisons_that_are_alike() -> None:
    """Epochs of one training differ less than trainings, so that the two kinds stay apart."""
    other = {"say": "a is", "higher": {"surrogate": "d"}, "lower": {"surrogate": "a"}}
    claims: list[dict[str, Any]] = [TWO, {**TWO, "say": "by much", "by": 0.2}, other, ONE]
    found = results({**RATES, "d": RATES["b"]}, claims, epochs=(1, 2))
    new = results({**RATES, "c": RATES["a"]}, epochs=(1, 2))
    about_c = {"say": "c is better", "higher": {"surrogate": "c"}, "lower": {"surrogate": "a"}}
    rises = {**ONE, "higher": {"surrogate": "c", "epoch": 2}, "lower": {"surrogate": "c", "epoch": 1}}
    two, one = expectations(_grid(new, 6, [about_c, rises]), 4, [found])
    assert two.source == "made-up, median of 2 comparisons"
    assert one.source == "made-up, another comparison"
    (told,) = expectations(_grid(found, 6, [TWO]), 4, [found])
    assert two.reach == pytest.approx(told.reach)
    assert one.reach == 0, "both epochs are equal in these records"


def test_comparisons_are_by_the_measure_and_on_the_scale_that_is_asked_for() -> None:
    traces = {"a": [100.0, 140.0, 90.0], "b": [30.0, 36.0, 33.0]}
    values = [
        Value(n, s, "last", "sharpness.trace", v) for n, each in traces.items() for s, v in enumerate(each)
    ]
    found = results(RATES, [TWO], values)
    sides = {
        side: {"surrogate": name, "measure": "sharpness.trace"}
        for side, name in (("higher", "a"), ("lower", "c"))
    }
    new = results({**RATES, "c": RATES["a"]})
    (one,) = expectations(_grid(new, 5, [{"say": "flatter", "scale": "log", **sides}]), 500, [found])
    differences = np.log(traces["b"]) - np.log(traces["a"])
    assert one.reach
    assert one.reach == pytest.approx(expected_reach(differences[:, None], 5, 1))
    assert one.width == f"×/÷ {np.exp(one.reach):.3g}"
    assert as_json(one)["half_width"] == pytest.approx(np.exp(one.reach))


def test_too_few_trainings_tell_nothing() -> None:
    found = results({name: seeds[:2] for name, seeds in RATES.items()}, [TWO])
    (one,) = expectations(_grid(found, 8, [TWO]), 500, [found])
    assert (one.reach, one.source, one.width) == (None, "", "–")
    enough = results(RATES, [TWO])
    (later,) = expectations(_grid(found, 8, [TWO]), 500, [found, enough])
    assert later.source == "made-up, 3 seeds"
    (alone,) = expectations(_grid(enough, 1, [TWO]), 500, [enough])
    assert alone.width == "–", "one training will have no interval that tells of others"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").write_text("a dry run reads none")
    return tmp_path


def test_a_dry_run_tells_what_to_expect_and_from_which_records(
    place: Path, cli: Callable[..., Result]
) -> None:
    command = ["study", "own.yaml", "--data", "data", "--dry-run"]
    (place / "own.yaml").write_text(OWN.format(earlier="[minimizers]"))
    plan = json.loads(cli(*command, "--json").out)
    success, accuracy = plan["claims"]
    assert success["records"] == accuracy["records"] == "minimizers, 8 seeds"
    assert (success["seeds"], success["images"], accuracy["images"]) == (4, 200, 0)
    assert 0 < success["half_width"] < 0.1
    assert f"± {100 * success['half_width']:.1f}" in cli(*command).out
    (place / "own.yaml").write_text(OWN.format(earlier="[]"))
    assert [one["half_width"] for one in json.loads(cli(*command, "--json").out)["claims"]] == [None, None]


def test_an_earlier_study_has_to_exist(place: Path, cli: Callable[..., Result]) -> None:
    (place / "own.yaml").write_text(OWN.format(earlier="[minimiser]"))
    done = cli("study", "own.yaml", "--data", "data", "--dry-run")
    assert done.code == 2
    assert "unknown study 'minimiser'" in done.err


def test_a_dry_run_names_studies_with_the_same_trainings(place: Path, cli: Callable[..., Result]) -> None:
    """SGD is trained as in `schedule`; SAM in other batches."""
    (place / "own.yaml").write_text(OWN.format(earlier="[]"))
    command = ["study", "own.yaml", "--data", "data", "--dry-run"]
    found = json.loads(cli(*command, "--json").out)["shares_trainings_with"]
    assert {"schedule", "minimizers", "rho"} <= found.keys()
    assert set(map(tuple, found.values())) == {("sgd",)}
    assert f"Shares trainings with {', '.join(found)}: sgd." in " ".join(cli(*command).out.split())


def test_a_table_names_studies_with_the_same_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferzoo.studies.result_file.RESULTS", tmp_path)
    other = replace(results(RATES), trainings=(Training("x", 0, "one"), Training("y", 0, "two")))
    other = replace(other, study=other.study.model_copy(update={"name": "other"}))
    write_results(other, tmp_path / "other.jsonl.gz")
    mine = replace(results(RATES, [TWO]), trainings=(Training("a", 0, "two"), Training("b", 0, "three")))
    write_results(mine, tmp_path / "mine.jsonl.gz")
    found = with_shared(mine)
    assert found.shared == {"other": ("a",)}
    assert tables(found, ())[0].caption.count("Shares") == 0
    assert tables(found, judge(found))[0].caption.endswith(" Shares trainings with other: a.")


def test_a_table_tells_how_much_is_measured() -> None:
    found = results(RATES, [TWO])
    for seeds, sentence in (
        ((0, 1, 2), ""),
        ((0, 1, 2, 3, 4), " So far 6 of 10 pairs of surrogate and seed are measured."),
    ):
        partial = replace(found, study=found.study.model_copy(update={"seeds": seeds}))
        caption = tables(partial, judge(partial))[0].caption
        assert caption.endswith("from 5 training seeds on." + sentence)


def test_existing_models_rest_on_no_training_seed(cli: Callable[..., Result], tmp_path: Path) -> None:
    """And a forecast counts the images that there are."""
    text = """
about: Two models that exist
dataset: fashion-mnist
surrogates: {one: {model: resnet50-sam}, two: {model: resnet50-sgd}}
attacks: [fgsm]
targets: [vgg]
images: 3000
claims: [{say: one is better, higher: {surrogate: one}, lower: {surrogate: two}}]
"""
    (tmp_path / "mine.yaml").write_text(text)
    forecast = cli("study", "mine.yaml", "--dry-run", "--json")
    assert forecast.code == 0, forecast.err
    assert json.loads(forecast.out)["claims"][0]["images"] == 1000, "all of the sample"
    (tmp_path / "mine.yaml").write_text(text.replace("images: 3000", "images: 20"))
    done = cli("study", "mine.yaml")
    assert done.code == 0, done.err
    assert "training seed" not in " ".join(done.out.split())
    (verdict,) = json.loads(cli("study", "mine.yaml", "--json").out)["verdicts"]
    assert (verdict["seeds"], verdict["images"]) == (0, 20)


@pytest.mark.parametrize(
    ("seeds", "words"), [(0, "no training seed"), (1, "1 training seed"), (8, "8 training seeds")]
)
def test_seeds_in_words(seeds: int, words: str) -> None:
    assert in_words(seeds) == words
