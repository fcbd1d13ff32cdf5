"""Tables of a study that compares attacks."""

from __future__ import annotations

from dataclasses import replace

from helpers.pages import COSTS, IMAGES, compared_results, results
from transferzoo.studies.result_file import csv_rows, read_results, write_results
from transferzoo.studies.tables import tables


def test_a_row_an_attack_from_each_surrogate() -> None:
    found = tables(compared_results(), ())
    assert [table.title.rpartition(" ")[2] for table in found] == ["first", "second"]
    labels = [f"{spec}, {cost} gradients" for spec, line in COSTS.items() for cost in line]
    for at, table in enumerate(found):
        assert [row[0] for row in table.rows] == labels
        for row, (spec, cost) in zip(table.rows, [(s, c) for s in COSTS for c in COSTS[s]], strict=True):
            cells = dict(zip(table.columns, row, strict=True))
            assert cells["gradients"] == str(cost)
            assert cells["step"] == "eps/10"
            assert cells["success"] == f"{100 * (COSTS[spec][cost] + at) / IMAGES:.1f}", "white boxes aside"
            assert (cells["noise"], cells["white box"]) == ("5.0", "100.0")
            assert cells["|δ| / ε"] == ("50.0", "62.5")[at]


def test_no_table_of_white_boxes_alone() -> None:
    every = compared_results()
    white = [replace(one, white_box=True) for one in every.outcomes]
    assert tables(replace(every, outcomes=tuple(white)), ()) == []


def test_trainings_keep_a_row_a_surrogate() -> None:
    (table,) = tables(results(claims=[]), ())
    assert table.columns[:2] == ("surrogate", "epoch")


def test_measures_of_attacks_are_kept_in_files(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "found.jsonl.gz"
    write_results(compared_results(), path)
    assert read_results(path) == compared_results()
    moved = [row for row in csv_rows(read_results(path)) if row["measure"] == "moved"]
    assert {row["attack"] for row in moved} == {f"{s}, {c} gradients" for s in COSTS for c in COSTS[s]}
