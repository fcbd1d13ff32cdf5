"""Tables, their formats and what may share one, from records written by hand."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from helpers.records import record
from helpers.reports import written
from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.base.table import Mark, Marked, Table
from transferzoo.cli.tables import render as render_table
from transferzoo.results.cell_texts import caption
from transferzoo.results.comparisons import Findings, brief, paired_tests
from transferzoo.results.records import Record
from transferzoo.results.statistics import mcnemar, wilson
from transferzoo.results.tables import tables
from transferzoo.results.writers import check_output, to_json, to_markdown

if TYPE_CHECKING:
    from pathlib import Path

ONE = [record("a", "a", "1111"), record("a", "b", "1100"), record("a", "c", "1000")]
MATRIX = [
    record("a", "c", "1" * 4 + "0" * 16),
    record("a", "d", "0" * 20),
    record("b", "c", "1" * 12 + "0" * 8),
    record("b", "d", "0" * 19 + "1"),
]


def test_one_surrogate() -> None:
    (table,) = tables(Findings(ONE))
    assert table.columns == ("target", "clean accuracy", "success rate", "95 % interval", "n")
    assert [row[:3] for row in table.rows] == [
        ("a*", "90.0", "100.0"),
        ("b", "90.0", "50.0"),
        ("c", "90.0", "25.0"),
        ("mean", "", "37.5"),
    ]
    low, high = wilson(2, 4)
    assert table.rows[1][3:] == (f"{100 * low:.1f}–{100 * high:.1f}", "4")
    for part in ("bim@linf", "10 gradient evaluations", "n = 4", "seed 0", "* white box"):
        assert part in table.caption


def test_white_box_alone_has_no_mean() -> None:
    (table,) = tables(Findings(ONE[:1]))
    assert [row[0] for row in table.rows] == ["a*"]


def test_matrix_and_paired_tests() -> None:
    matrix, tests = tables(Findings(MATRIX))
    assert matrix.columns == ("surrogate", "mean", "c", "d")
    first, second, *_ = matrix.rows
    assert [cell.partition("\n")[0] for cell in first] == ["a", "10.0", "20.0", "0.0"]
    assert [cell.partition("\n")[0] for cell in second] == ["b", "32.5", "60.0▲", "5.0"]
    (row,) = tests.rows
    assert row[:2] == ("b", "+22.5")
    assert row[4:] == ("1 of 2", "0 of 2")
    (test,) = paired_tests(MATRIX)
    assert test["baseline"]["surrogate"] == "toys/a"
    assert test["mcnemar_p"]["toys/c"] == mcnemar([True] * 4 + [False] * 16, [True] * 12 + [False] * 8)


def test_white_boxes_are_no_targets_of_a_test() -> None:
    """They may be in one of two rows only."""
    records = [*MATRIX, record("b", "b", "1" * 20)]
    (test,) = paired_tests(records)
    assert [*test["mcnemar_p"]] == ["toys/c", "toys/d"]
    assert tables(Findings(records))[1].rows[0][4:] == ("1 of 2", "0 of 2")


def test_a_caption_names_the_rules_that_images_were_counted_by() -> None:
    one, other = record("a", "c", "1100"), record("b", "c", "1100", images_correct_for="none")
    assert "n = 4, whether or not" in caption([other], {})
    assert "n = 4, counted by --images-correct-for all and none" in caption([one, other], {})


def test_surrogates_with_other_targets_are_not_tested() -> None:
    """Each surrogate is the other's target: no transfer target in common, so no test and no empty table."""
    records = [record("a", "b", "10"), record("b", "a", "11")]
    assert paired_tests(records) == []
    (matrix,) = tables(Findings(records))
    assert [row[2:].count("–") for row in matrix.rows] == [1, 1]


def test_other_images_are_not_paired() -> None:
    other = [replace(r, selection="t") for r in MATRIX[2:]]
    (matrix,) = tables(Findings([*MATRIX[:2], *other]))
    assert "▲" not in matrix.rows[1][2]


def test_counted_images_only() -> None:
    (table,) = tables(Findings([record("a", "b", "1-0-"), record("a", "c", "-10-")]))
    assert table.rows[-1][2:] == ("50.0", table.rows[-1][3], "3")
    assert "n = 2" in table.caption


@pytest.mark.parametrize(
    "change", [{"selection": "t"}, {"seed": 1}, {"surrogate_sha256": "new"}, {"precision": "bf16"}]
)
def test_unlike_runs_cannot_share_a_row(change: dict[str, object]) -> None:
    """Neither silently overwrites the other, nor are their images mixed in one mean."""
    for target in ("b", "d"):
        with pytest.raises(UsageError, match="differ in images, seed, weights or precision"):
            tables(Findings([*ONE, record("a", target, "0000", **change)]))


def test_same_run_twice_is_one_run() -> None:
    assert tables(Findings(ONE * 2))[0].rows == tables(Findings(ONE))[0].rows


def test_several_attacks_and_seeds_are_told() -> None:
    matrix, _ = tables(
        Findings([*ONE[1:], *(replace(r, attack="mi", seed=3, gradients=20) for r in ONE[1:])])
    )
    assert [row[0] for row in matrix.rows] == ["a\nbim@linf,eps=8/255", "a\nmi"]
    assert "seed 0 and 3" in matrix.caption
    assert "10 to 20 gradient evaluations" in matrix.caption


def test_data_sets_cannot_share_a_table() -> None:
    with pytest.raises(UsageError, match=r"different data sets .* got cifar10 and toys"):
        tables(Findings([ONE[0], replace(ONE[1], dataset="cifar10")]))


def test_json_is_complete() -> None:
    content = json.loads(written("x.json", Findings(MATRIX, seconds={MATRIX[0].pair: 0.5})))
    assert [r.pop("seconds") for r in content["records"]] == [0.5, 0.5, None, None]
    assert [Record(**r) for r in content["records"]] == MATRIX
    assert len(content["paired_tests"]) == 1
    assert to_json(Findings(ONE))["paired_tests"] == []
    json.dumps(content, allow_nan=False)


def test_csv_is_complete() -> None:
    rows = list(csv.DictReader(io.StringIO(written("x.csv", Findings(MATRIX)))))
    assert [row["target"] for row in rows] == [r.target for r in MATRIX]
    assert rows[0].keys() == asdict(MATRIX[0]).keys() - {"versions"}
    assert float(rows[0]["high"]) == MATRIX[0].high


ODD = Table("50 % of a_b", ("name", "x|y"), (("a_b & $c$ # ~^{}\\", "1\n[0–2]"), ("<0.1", "▲")), "ε ∞")


def test_markdown() -> None:
    lines = to_markdown([ODD]).splitlines()
    assert lines[0] == "**50 % of a_b**"
    assert lines[2:4] == [r"| name | x\|y |", "| --- | ---: |"]
    assert lines[4].endswith("| 1<br>[0–2] |")
    assert all(line.replace(r"\|", "").count("|") == 3 for line in lines[2:6])
    highest = Marked.where("2.0▲\n1–3", {Mark.BEST: True})
    assert "| a | **2.0▲**<br>1–3 |" in to_markdown([Table.of_cells("t", ("a", "b"), [("a", highest)])])


@pytest.mark.parametrize("name", ["t.json", "t.csv", "t.md", "t.tex"])
def test_formats(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / "new" / "folder" / name)
    assert "toys" in written(name, Findings(MATRIX))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["t.txt", "t", "t.JSON", ".md", "json"])
def test_unknown_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferZooError, match=r"expected a name in \.json, \.csv, \.md or \.tex"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_terminal_tables_fit(width: int) -> None:
    for table in [*tables(Findings(ONE)), *tables(Findings(MATRIX))]:
        console = Console(width=width, file=io.StringIO(), color_system=None)
        console.print(render_table(table, width))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert max(map(len, text.splitlines())) <= width
        for row in table.rows:
            for cell in row[1:]:
                assert all(part in text for part in cell.split())


@pytest.mark.parametrize("width", [30, 120])
@pytest.mark.parametrize("names", [["a", "", "bcd"], ["one\nmore", "b", ""], ["a", "longer than " * 4, "c"]])
def test_the_cells_of_a_row_begin_on_one_line(names: list[str], width: int) -> None:
    rows = tuple((name, f"<{number}>") for number, name in enumerate(names))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_table(Table("t", ("name", "value"), rows), width))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    for name, value in rows:
        (line,) = (line for line in lines if value in line)
        start = (name.splitlines() or [""])[0][:10]
        assert line.partition(value)[0].strip().startswith(start) and (name or not line.split()[1:])


@pytest.mark.parametrize("width", [72, 80])
@pytest.mark.parametrize("long", ["a claim that takes several lines of it " * 2, f"hf-hub:timm/{'x' * 40}"])
def test_sentences_are_folded_and_names_cut_the_table(long: str, width: int) -> None:
    rows = ((long, "+1.25", "supported"), ("a", "-2", "cannot tell"))
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_table(Table("t", ("claim", "difference", "verdict"), rows), width))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    beside = [line for line in lines if "+1.25" in line and "supported" in line]
    assert len(beside) == (" " in long)
    assert all(any(word in line for line in lines) for word in long.split())


def test_a_row_is_named_by_what_it_does_not_share() -> None:
    """Of the attack: no option at its default, nothing of the budget that all have."""
    budget = "@linf,eps=8/255,step=eps/10,steps="
    attacks = [
        f"bim{budget}50",
        f"mi:decay=1,normalise=mean{budget}50",
        f"mi:decay=0.5,normalise=mean{budget}25",
    ]
    records = [replace(r, attack=attack) for attack in attacks for r in ONE[1:]]
    matrix, _ = tables(Findings(records))
    assert [row[0] for row in matrix.rows[:3]] == [
        "a\nbim@steps=50",
        "a\nmi@steps=50",
        "a\nmi:decay=0.5@steps=25",
    ]
    assert all(attack in matrix.caption for attack in attacks)
    several = [replace(r, attack=f"bim{budget}{steps}") for steps in range(1, 6) for r in ONE[1:]]
    assert tables(Findings(several))[0].caption.startswith("5 attacks; ")


def test_brief_specs() -> None:
    for spec in ("", "bim", "mi", "mi:decay=0.5", "vt:copies=5+mi", "unknown:a=1", "ens:fuse=losses"):
        assert brief(spec) == spec
    assert brief("vt:copies=20,beta=1.5+mi:decay=0.9,normalise=mean") == "vt+mi:decay=0.9"
    assert brief("vt:copies=20,beta=1.5+mi:decay=1,normalise=mean") == "vmi"


def test_a_mean_is_within_its_row_whatever_images_count() -> None:
    """Every target counts as much as any other, as in studies."""
    records = [
        record("s", "a", "1" * 8 + "0" * 2),
        record("s", "b", "0" * 8 + "--"),
        record("s", "c", "-" * 9 + "1"),
    ]
    (table,) = tables(Findings(records))
    assert [row[2] for row in table.rows] == ["80.0", "0.0", "100.0", "60.0"]


def test_a_mean_over_images_that_count_for_other_targets_is_told() -> None:
    even = [record("s", "a", "10"), record("s", "b", "01")]
    assert "A mean is over targets" not in caption(even, {})
    for uneven in (record("s", "c", "1-"), record("s", "c", "-0")):
        assert caption([*even, uneven], {}).endswith("each over the images that count for it.")
    assert "A mean is over targets" not in caption([*even, record("s", "s", "1-")], {}), "white box"
