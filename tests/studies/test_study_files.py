"""Study files and result files: which are read, and which are refused with a sentence."""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from helpers.refusals import refused
from helpers.studies import STUDY, results, write_study
from transferzoo.base.errors import DataError, TransferZooError, UsageError
from transferzoo.studies import estimate
from transferzoo.studies.cells import Grid
from transferzoo.studies.result_file import Outcomes, Value, read_results, write_results
from transferzoo.studies.schema import built_in, find_study, read_study
from transferzoo.studies.tables import tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result
    from transferzoo.zoo.schema import DatasetSpec

WRONG = {
    "an unknown field": (STUDY + "colour: red\n", "line 17, key 'colour': unknown key 'colour'"),
    "an unknown field of a part that may be absent": (
        STUDY.replace("images: 32", "image: 3"),
        "unknown key 'image': expected one of draws, epochs, images, only,",
    ),
    "an unknown field in a list": (
        STUDY + "attacks: [{spec: bim, stps: 3}]\n",
        "key 'attacks.0.stps': unknown key 'stps': expected one of epsilon, norm, spec, step, steps; did you",
    ),
    "an unknown field of a part of a list": (
        STUDY.replace("{surrogate: sam}", "{surrogat: sam}"),
        "unknown key 'surrogat': expected one of attack, epoch, measure, surrogate, target; did you mean",
    ),
    "a field of no training": (STUDY.replace("epochs: 2", "epoch: 2"), "key 'train': wrong value"),
    "the seed of a training": (STUDY.replace("epochs: 2", "seed: 2"), "not 'seed'"),
    "no surrogate": (STUDY.replace("  sgd: {epoch: all}\n", ""), "unknown surrogate 'sgd'"),
    "a claim about another attack": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, attack: mi}"),
        "unknown attack 'mi'",
    ),
    "derived data that are not there": (
        STUDY.replace("sgd: {epoch: all}", "sgd: {data: robust}"),
        "unknown derived data set 'robust'",
    ),
    "a model that is also trained": (
        STUDY.replace("sgd: {epoch: all}", "sgd: {model: sgd, epochs: 3}"),
        "either a model",
    ),
    "an attack twice": (STUDY + "attacks: [bim, {spec: bim, steps: 3}]\n", "attacks of different specs"),
    "a name twice": (STUDY.replace("  judge:", "  sgd:"), "key 'others.sgd'"),
    "no mapping": ("- a\n", "expected a mapping"),
    "a seed twice": (STUDY.replace("seeds: [0, 1]", "seeds: [1, 1]"), "seeds that differ"),
    "an epoch twice": (STUDY.replace("epoch: all", "epoch: [1, 1]"), "epochs that differ"),
    "no epochs": (STUDY.replace("epoch: all", "epoch: []"), "epochs that differ"),
    "sharpness at no epochs": (STUDY.replace("only: [sam]", "epochs: []"), "epochs that differ"),
    "the sharpness of a seed that is not trained": (
        STUDY.replace("only: [sam]", "seeds: [0, 7]"),
        "key 'sharpness.seeds': 7 is no training seed: expected 0, 1",
    ),
    "no epoch": (STUDY.replace("epoch: all", "epoch: 0"), "key 'surrogates.sgd.epoch"),
    "two measures in a claim": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, measure: accuracy}"),
        "the same measure on both",
    ),
    "a log scale of success": (
        STUDY.replace("SAM is better,", "SAM is better, scale: log,"),
        "a log scale for a measure",
    ),
    "a bound of nothing": (
        STUDY.replace("SAM is better,", "SAM is better, bound: 0,"),
        "key 'claims.0.bound'",
    ),
    "a target on one side of a claim": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, target: judge}"),
        "a target on both sides or on",
    ),
    "a target's accuracy": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, target: judge, measure: accuracy}"),
        "a target for success alone",
    ),
    "the sharpness of a stranger": (STUDY.replace("only: [sam]", "only: [sdg]"), "unknown surrogate 'sdg'"),
}
LATER = {
    "an architecture that does not exist": (STUDY.replace("small_vgg", "small_vg"), "small_vg"),
    "a minimizer that does not exist": (STUDY.replace("sam:rho", "sem:rho"), "surrogate 'sam'"),
    "a target that does not exist": (STUDY.replace("[judge]", "[nobody]"), "unknown target 'nobody'"),
    "a technique that does not exist": (STUDY.replace("spec: pgd", "spec: nothing"), "unknown attack"),
    "an epoch after the last": (STUDY.replace("epoch: all", "epoch: 3"), "expected 1 to 2, got 3"),
    "an epoch of several after the last": (
        STUDY.replace("epoch: all", "epoch: [1, 3]"),
        "expected 1 to 2, got 3",
    ),
    "sharpness at an epoch after the last": (
        STUDY.replace("only: [sam]", "only: [sam], epochs: [3]"),
        "surrogate 'sam': there is no such epoch: expected 1 to 2, got 3",
    ),
    "a selected epoch where none is selected": (
        STUDY.replace("epoch: all", "epoch: selected"),
        "surrogate 'sgd': no epoch is selected",
    ),
    "a claim about an epoch after the last": (
        STUDY.replace("{surrogate: sgd}", "{surrogate: sgd, epoch: 3}"),
        "claim 'SAM is better': epoch 3 of 'sgd' is not measured: expected 1 or 2",
    ),
    "a claim about a measure that is not measured": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, measure: sharpness.top}").replace(
            "{surrogate: sgd}", "{surrogate: sgd, measure: sharpness.top}"
        ),
        "'sharpness.top' of 'sgd' is not measured: expected success or accuracy or robust",
    ),
    "a claim about another target": (
        STUDY.replace("{surrogate: sam}", "{surrogate: sam, target: sgd}").replace(
            "{surrogate: sgd}", "{surrogate: sgd, target: sgd}"
        ),
        "'sgd' is no target: expected judge",
    ),
    "a claim without a seed in common": (
        STUDY.replace('"sam:rho=0.1"', '"sam:rho=0.1", seeds: [2]'),
        "no training seed in common",
    ),
    "two targets of one name": (
        STUDY.replace("[judge]", "[vgg, fashion-mnist/vgg]")
        .replace("judge:", "vgg:")
        .replace("dataset: stripes", "dataset: fashion-mnist"),
        "two targets are named 'vgg'",
    ),
    "a data set that does not exist": (STUDY.replace("dataset: stripes", "dataset: dots"), "data set 'dots'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_reported_by_line_and_key(case: str, tmp_path: Path) -> None:
    text, reason = WRONG[case]
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"wrong\.yaml") as raised:
        read_study(tmp_path / "wrong.yaml")
    assert reason in str(raised.value)


@pytest.mark.parametrize("case", LATER)
def test_what_names_mean_is_checked_before_anything_runs(
    case: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    text, reason = LATER[case]
    done = cli(*write_study(tmp_path, text))
    assert done.code == 2
    assert reason in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_an_unknown_study_and_an_absent_folder_are_reported(
    tmp_path: Path, cli: Callable[..., Result]
) -> None:
    done = cli("study", "minimiser")
    assert done.code == 2
    assert "did you mean minimizers" in done.err
    command = write_study(tmp_path)
    done = cli(*command[:2], "--data", str(tmp_path / "nowhere"), *command[4:])
    assert done.code == 1
    assert "nowhere" in done.err
    assert cli(*command, "--jobs", 2, "--ray", "local").code == 2


def test_missing_images_are_reported_once(tmp_path: Path, cli: Callable[..., Result]) -> None:
    command = write_study(tmp_path)
    for file in (tmp_path / "data").glob("train*"):
        file.unlink()
    done = cli(*command)
    assert done.code == 1
    assert done.err.startswith("Error: ")
    assert "train" in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_without_ray_one_sentence_says_what_to_install(
    tmp_path: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = cli(*write_study(tmp_path), "--ray", "local")
    refused(done, 1, "--ray needs ray, which is not installed", "pip install 'transferzoo[ray]'")
    assert not (tmp_path / "store").exists()


def test_the_studies_of_the_package_can_be_read() -> None:
    for name in built_in():
        study = find_study(name)
        assert study.name == name
        assert study.about.endswith("?")
        assert study.claims


def test_fields_of_a_training_stand_beside_the_others() -> None:
    study = find_study("minimizers")
    assert study.surrogates["early"].epoch == "selected"
    assert study.surrogates["early"].train == {"save_every": "epoch", "select": "transfer"}


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    values = [Value("a", 0, 1, "sharpness.top", 12.5)]
    found = results({"a": ["0110", "01-1"], "b": ["0000", "1111"]}, values=values)
    write_results(found, tmp_path / "one.jsonl.gz")
    write_results(found, tmp_path / "two.jsonl.gz")
    assert read_results(tmp_path / "one.jsonl.gz") == found
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x1f\x8b\x08\x00"])
def test_damaged_results_are_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.jsonl.gz").write_bytes(content)
    with pytest.raises(DataError, match="cannot read the results"):
        read_results(tmp_path / "bad.jsonl.gz")


def test_a_changed_byte_of_results_is_reported_or_harmless(tmp_path: Path) -> None:
    write_results(results({"a": ["0110", "01-1"]}), tmp_path / "whole.jsonl.gz")
    content = (tmp_path / "whole.jsonl.gz").read_bytes()
    whole, reported = read_results(tmp_path / "whole.jsonl.gz"), 0
    for at in range(0, len(content), 7):
        damaged = bytes([*content[:at], content[at] ^ 255, *content[at + 1 :]])
        (tmp_path / "bad.jsonl.gz").write_bytes(damaged)
        try:
            assert read_results(tmp_path / "bad.jsonl.gz") == whole, at
        except DataError:
            reported += 1
    assert reported > len(content) // 7 - 3  # the head has bytes that mean nothing


@pytest.mark.parametrize(
    "lines",
    ["[]", '["study"]', '{"study": {}}', "{STUDY}", "{STUDY, VERSIONS}\n3", '{"schema": 2, STUDY, VERSIONS}'],
)
def test_results_of_another_form_are_reported(tmp_path: Path, lines: str) -> None:
    study = json.dumps(results({"a": ["01"]}).study.model_dump(mode="json"))
    text = lines.replace("STUDY", f'"study": {study}').replace("VERSIONS", '"versions": {}')
    (tmp_path / "bad.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(DataError, match="cannot read the results"):
        read_results(tmp_path / "bad.jsonl.gz")


def test_a_rate_is_of_the_images_that_count() -> None:
    one = Outcomes("a", 0, "last", "bim", "t", False, "1-01")
    assert (one.n, one.rate) == (3, 2 / 3)


def test_an_error_is_the_same_after_a_way_between_processes() -> None:
    import pickle

    from transferzoo.base.errors import UnknownNameError

    for error in (
        UnknownNameError("surrogate", "x", ["y"]),
        DataError("a", expected="b", got="c", hint="d"),
        TransferZooError("really?"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


def test_a_dry_run_shows_the_grid_and_an_estimate(tmp_path: Path, cli: Callable[..., Result]) -> None:
    done = cli(*write_study(tmp_path), "--dry-run", "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert [cell["done"] for cell in plan["cells"]] == [False] * len(plan["cells"])
    assert plan["estimated_seconds"] >= 0
    behind = {key for cell in plan["cells"] for key in cell["needs"]}
    assert behind <= {cell["key"] for cell in plan["cells"] if cell["kind"] == "train"}
    assert not (tmp_path / "store").exists()
    assert "cells" in cli(*write_study(tmp_path), "--dry-run").out


class Slow(torch.nn.Module):
    """A model that needs 5 s to warm up, then 0.2 and 0.15 s a pass, in one thread, by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.last = torch.nn.Linear(144, 3)
        self.clock, self.passes = 0.0, iter([5.0, 0.2, 0.15])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert torch.get_num_threads() == 1
        self.clock += next(self.passes)
        found: torch.Tensor = self.last(images.flatten(1))
        return found


def test_the_fastest_pass_counts_but_the_one_that_warms_up(
    monkeypatch: pytest.MonkeyPatch, stripes: DatasetSpec
) -> None:
    model = Slow()
    monkeypatch.setattr("transferzoo.models.build.create", lambda *_: (model, {}))
    monkeypatch.setattr("transferzoo.studies.estimate.time.monotonic", lambda: model.clock)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        took = estimate._pass_seconds("slow", Grid(find_study("rho"), {}, (), {}), stripes)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert took * estimate.BATCH == pytest.approx(0.15)


@pytest.mark.parametrize("name", ["found.csv", "folder.jsonl.gz", "own.yaml/found.jsonl.gz"])
def test_where_results_go_is_checked_before_anything_runs(
    name: str, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    (tmp_path / "folder.jsonl.gz").mkdir()
    (tmp_path / "own.yaml").touch()
    done = cli(*write_study(tmp_path), "--results", name)
    refused(done, 2 if name == "found.csv" else 1, name, "expected")
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("rates", "caption"),
    [
        ({"a": ["10"] * 3, "b": ["11"] * 3}, "over 3 training seeds;"),
        ({"a": ["10"] * 3, "b": ["11"]}, "over 1 to 3 training seeds;"),
        ({"a": ["10"]}, "over 1 training seed;"),
    ],
)
def test_a_table_counts_the_seeds_that_are_there(rates: dict[str, list[str]], caption: str) -> None:
    """A surrogate may have seeds of its own, and a training may have failed."""
    (table,) = tables(results(rates), ())
    assert caption in table.caption
