"""Study files and result files: which are read, and which are refused with a sentence."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
import torch

from helpers.refusals import refused
from helpers.studies import results, write_study
from transferzoo.base.errors import DataError, TransferZooError
from transferzoo.cli.interrupted import Interrupted
from transferzoo.cli.study import complete
from transferzoo.studies import estimate
from transferzoo.studies.cells import Grid
from transferzoo.studies.result_file import Outcomes, Value, read_results, write_results
from transferzoo.studies.schema import built_in, find_study
from transferzoo.studies.tables import tables
from transferzoo.studies.worker import Task

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result
    from transferzoo.zoo.schema import DatasetSpec


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
    monkeypatch.setattr(estimate, "LEAST_SECONDS", 0.3)  # as users have it
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


@pytest.mark.parametrize("end", [Interrupted, ZeroDivisionError])
def test_what_ends_a_study_loses_no_results(
    end: type[BaseException], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file is written once a minute; cells that ended since are in it all the same."""
    path, found = tmp_path / "found.jsonl.gz", results({"a": ["10"]})
    monkeypatch.setattr("transferzoo.cli.study.run_cells", Mock(side_effect=end))
    finished = Mock(results=lambda: found)
    with pytest.raises(end):
        complete(Task("", tmp_path), finished, {}, Mock(), path, [], as_json=False)
    assert read_results(path) == found


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
