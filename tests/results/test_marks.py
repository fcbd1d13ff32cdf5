"""Which cells of a table stand out, and how the terminal shows them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from helpers.pages import results
from helpers.records import record
from transferzoo.base.table import Mark, Marked, Table
from transferzoo.cli.tables import render
from transferzoo.page.html import render_page
from transferzoo.page.study_report import study_part
from transferzoo.results.comparisons import Findings
from transferzoo.results.tables import tables
from transferzoo.studies.claims import NOT_SUPPORTED, SUPPORTED, judge
from transferzoo.studies.tables import tables as study_tables

if TYPE_CHECKING:
    from transferzoo.base.table import Cell
    from transferzoo.results.records import Record

BEST, POSITIVE, NEGATIVE, ASIDE = Mark.BEST, Mark.POSITIVE, Mark.NEGATIVE, Mark.ASIDE
LOW, HIGH = "1" * 4 + "0" * 16, "1" * 12 + "0" * 8
ROWS = [record("a", "c", LOW), record("a", "d", LOW), record("b", "c", HIGH), record("b", "d", LOW)]
CASES: dict[str, tuple[list[Record], dict[tuple[int, int], set[Mark]]]] = {
    "the mean and one target": (ROWS, {(1, 1): {BEST}, (1, 2): {BEST, POSITIVE}}),
    "the first is the best": ([*ROWS[2:], *ROWS[:2]], {(0, 1): {BEST}, (0, 2): {BEST}, (1, 2): {NEGATIVE}}),
    "no row is better": ([*ROWS[:2], *(replace(r, surrogate="toys/b") for r in ROWS[:2])], {}),
    "two that lead share it": (
        [*ROWS, *(replace(r, surrogate="toys/e") for r in ROWS[2:])],
        {(1, 1): {BEST}, (1, 2): {BEST, POSITIVE}, (2, 1): {BEST}, (2, 2): {BEST, POSITIVE}},
    ),
    "white box": (
        [record("c", "c", "1" * 20), record("c", "d", LOW), record("b", "c", LOW), record("b", "d", HIGH)],
        {(0, 2): {ASIDE}, (1, 3): {BEST, POSITIVE}},
    ),
    "other images": ([*ROWS[:2], *(replace(r, selection="t") for r in ROWS[2:])], {}),
    "another budget": ([*ROWS[:2], *(replace(r, attack="bim@linf,eps=32/255") for r in ROWS[2:])], {}),
    "other targets": ([*ROWS[:2], ROWS[2]], {(1, 2): {BEST, POSITIVE}}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_out_in_the_matrix(case: str) -> None:
    records, wanted = CASES[case]
    marks = dict(tables(Findings(records))[0].marks)
    if case == "another budget":  # whose significance is told all the same: it is on the same images
        assert marks.pop((1, 2)) == {POSITIVE}
    assert marks == wanted


def test_a_white_box_target_of_one_surrogate_is_aside() -> None:
    (table,) = tables(Findings([record("a", "a", "1111"), record("a", "b", "1100")]))
    assert table.marks == {(0, column): {ASIDE} for column in range(5)}


def test_significant_differences() -> None:
    """Means of one target each: a paired t-test of 12 against 4 of 20 images, and of as many."""
    for records, wanted in ((ROWS, {(0, 1): {POSITIVE}}), ([*ROWS[2:], *ROWS[:2]], {(0, 1): {NEGATIVE}})):
        _, tests = tables(Findings(records))
        assert float(tests.rows[0][3].strip("< ")) < 0.05
        assert tests.marks == wanted
    _, tests = tables(Findings([*ROWS[:2], record("b", "c", "1" * 5 + "0" * 15), record("b", "d", LOW)]))
    assert float(tests.rows[0][3]) > 0.05
    assert not tests.marks


def test_the_best_after_each_number_of_steps() -> None:
    after_one = [replace(r, steps=1) for r in (*ROWS[2:], *ROWS[:2])]
    early = [replace(r, surrogate=s) for r, s in zip(after_one, ["toys/a"] * 2 + ["toys/b"] * 2, strict=True)]
    *_, curve = tables(Findings(ROWS, early))
    assert curve.columns == ("surrogate", "1 step", "10 steps")
    assert curve.marks == {(0, 1): {BEST}, (1, 2): {BEST}}


def test_verdicts() -> None:
    found = results()
    verdicts = judge(found)
    table = study_tables(found, verdicts)[0]
    signs = {SUPPORTED: {POSITIVE}, NOT_SUPPORTED: {NEGATIVE}}
    assert {one.verdict for one in verdicts} >= signs.keys(), "or nothing is tested"
    assert table.marks == {
        (at, 7): signs[one.verdict] for at, one in enumerate(verdicts) if one.verdict in signs
    }


def printed(table: Table, width: int, *, colour: bool) -> str:
    console = Console(
        width=width, file=io.StringIO(), force_terminal=True, color_system="standard", no_color=not colour
    )
    console.print(render(table, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


SHOWN = {BEST: "1", POSITIVE: "32", NEGATIVE: "31", ASIDE: "2"}
"""Mark → parameter of the terminal's code (ECMA-48, 8.3.117)."""


@pytest.mark.parametrize("width", [20, 80])
@pytest.mark.parametrize("lines", ["", "\n[1–3]"])
@pytest.mark.parametrize("mark", Mark)
def test_the_terminal_shows_marks(mark: Mark, lines: str, width: int) -> None:
    cells: list[tuple[Cell, ...]] = [
        ("a", "1.0", Marked.where(f"2.0{lines}", {mark: True})),
        ("b", "4.0", f"5.0{lines}"),
    ]
    table = Table.of_cells("t", ("name", "first one", "second one"), cells)
    text = printed(table, width, colour=True)
    assert re.search(rf"\x1b\[{SHOWN[mark]}m *2\.0", text)
    assert not re.search(r"\x1b\[[1-9][0-9;]*m *[145]\.0", text)
    uncoloured = printed(table, width, colour=False)
    assert ("\x1b[3" in text) == (mark in (POSITIVE, NEGATIVE)) and "\x1b[3" not in uncoloured


def test_marks_that_meet() -> None:
    table = Table.of_cells("t", ("a", "b"), [("c", Marked.where("2.0", {BEST: True, POSITIVE: True}))])
    assert "\x1b[1;32m2.0\x1b[0m" in printed(table, 80, colour=True)


def test_a_page_has_the_highest_in_bold() -> None:
    table = Table.of_cells("t", ("a", "b"), [("c", Marked.where("-2.0", {BEST: True})), ("d", "-3.0")])
    page = render_page([replace(study_part(results()), tables=(table,), figures=())])
    assert "<strong>−2.0</strong>" in page and "<strong>−3.0" not in page


def test_no_line_begins_with_a_percent_sign() -> None:
    """Neither in the caption, whose lines are as long as before otherwise, nor in a heading."""
    caption = "About 51.9 % of 300 images, 95 % of\n  them grey: a-hyphenated-word 5 %."
    table = Table("t", ("name", "top-1 %", "95 % interval"), (("a" * 12, "1.0", "2.0"),), caption)
    for width in range(20, 80):
        lines = [line.strip() for line in printed(table, width, colour=False).splitlines()]
        assert not any(re.match(r"(\x1b\[\d*m)*%", line) for line in lines), lines
        assert not any(re.search(r"\s{2}%", line) for line in lines), lines
        assert max(map(len, map(uncoloured, lines))) <= width
        words = " ".join(map(uncoloured, lines)).split()
        assert words[-len(caption.split()) :] == caption.split()


def uncoloured(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_the_widest_column_is_folded_before_a_table_is_cut(at: int) -> None:
    """Where its words stay whole: wherever it stands, all columns are beside it."""
    cells = ["resnet", "1.0", "2.0"]
    cells[at] = "words that say what it is, and more of them, as long as a line"
    table = Table("t", ("name", "first", "second"), (tuple(cells),))
    lines = printed(table, 60, colour=False).splitlines()
    assert sum("first" in line for line in lines) == sum("second" in line for line in lines) == 1
    assert next(line for line in lines if "first" in line).count("second") == 1
    cells[at - 1] = "mi:decay=0.9+ti"
    beside = printed(Table("t", table.columns, (tuple(cells),)), 60, colour=False)
    assert "mi:decay=0.9+ti" in beside, "no other column is folded"
    cells[at] = "w" * 59
    cut = printed(Table("t", table.columns, (tuple(cells),)), 60, colour=False)
    assert sum("name" in line for line in cut.splitlines()) > 1
