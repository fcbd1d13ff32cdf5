"""What the figures of runs show, by their numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from transferzoo.evaluation.run_folder import RunFolder
from transferzoo.page import run_report
from transferzoo.page.charts import Bars, Curves, Heatmap
from transferzoo.page.html import render_page
from transferzoo.results.comparisons import Findings
from transferzoo.results.records import Record

if TYPE_CHECKING:
    from pathlib import Path


def record(surrogate: str, attack: str, target: str, outcomes: str, steps: int = 4) -> Record:
    return Record.of(
        outcomes,
        surrogate=f"toys/{surrogate}",
        target=f"toys/{target}",
        steps=steps,
        targeted="",
        attack=f"{attack}@linf,eps=8/255,steps=4",
        dataset="toys",
        split="test",
        seed=0,
        selection="s",
        white_box=surrogate == target,
        surrogate_accuracy=0.9,
        target_accuracy=0.9,
        gradients=steps,
        precision="fp32",
        surrogate_sha256=surrogate,
        target_sha256=target,
        versions={"torch": "2"},
    )


def test_figures_of_runs() -> None:
    records = [
        record(surrogate, attack, target, outcomes)
        for surrogate in ("a", "b")
        for attack in ("bim", "mi:decay=1,normalise=mean")
        for target, outcomes in (("a", "1101"), ("c", "100-"))
    ]
    curve = [replace(each, steps=1, outcomes="0000") for each in records]
    drawn = {figure.name: figure.chart for figure in run_report.run_figures(Findings(records, curve))}
    assert list(drawn) == ["attacks", "success", "means", "differences", "steps"]
    matrix, bars, steps = drawn["success"], drawn["means"], drawn["steps"]
    assert isinstance(matrix, Heatmap)
    assert isinstance(bars, Bars)
    assert isinstance(steps, Curves)
    assert matrix.rows == ("a\nbim", "a\nmi", "b\nbim", "b\nmi")
    assert matrix.columns == ("mean", "a", "c")
    assert matrix.white_box == {(0, 1), (1, 1)}
    assert matrix.cells[0] == pytest.approx((1 / 3, 0.75, 1 / 3))
    assert matrix.cells[2] == pytest.approx(((0.75 + 1 / 3) / 2, 0.75, 1 / 3))
    assert (bars.groups, tuple(bars.series)) == (("a", "b"), ("bim", "mi"))
    assert list(steps.panels[0].lines["b\nmi"]) == [1, 4]


def test_means_of_other_targets_are_told_apart() -> None:
    """Another target, other images, or a white box in one row alone; not one that is in none."""
    one = record("a", "bim", "c", "10")

    def captions(*others: Record) -> set[bool]:
        figures = run_report.run_figures(Findings([one, record("a", "mi", "c", "01"), *others]))
        return {"not the same for all rows" in f.caption for f in figures if f.name in ("attacks", "means")}

    assert captions(record("b", "bim", "c", "11"), record("b", "mi", "c", "11")) == {False}
    assert captions(record("b", "bim", "d", "11"), record("b", "mi", "c", "11")) == {True}
    assert captions(replace(record("b", "bim", "c", "11"), selection="t")) == {True}
    assert captions(record("a", "bim", "a", "11"), record("b", "bim", "a", "11")) == {True}


def test_rows_are_named_by_what_tells_them_apart() -> None:
    def rows(*records: Record) -> list[str]:
        (chart,) = [f.chart for f in run_report.run_figures(Findings(records)) if f.name == "success"]
        assert isinstance(chart, Heatmap)
        return list(chart.rows)

    assert rows(record("a", "bim", "c", "10"), record("b", "bim", "c", "10")) == ["a", "b"]
    assert rows(record("a", "bim", "c", "10"), record("a", "mi", "c", "10")) == ["bim", "mi"]
    longer = replace(record("a", "bim", "c", "10"), attack="bim@linf,eps=8/255,steps=9")
    attacks = ["bim@linf,eps=8/255,steps=4", "bim@linf,eps=8/255,steps=9"]
    assert rows(record("a", "bim", "c", "10"), longer) == attacks


def test_a_white_box_alone_has_no_bars() -> None:
    names = [figure.name for figure in run_report.run_figures(Findings([record("a", "bim", "a", "11")]))]
    assert names == ["success"]


# ---------------------------------------------------------------- colours and places


def test_a_page_has_what_all_attackers_do_together(tmp_path: Path) -> None:
    """Half of the images each, three quarters together; neither does better than half on the other half."""
    (tmp_path / "config.json").write_text("{}")
    findings = Findings([record(name, "bim", "c", marks) for name, marks in (("a", "1100"), ("b", "1010"))])
    part = run_report.runs_part(findings, [RunFolder(tmp_path)], [])
    assert [row[0] for row in part.tables[0].rows[-2:]] == ["any of 2", "best of 2,\nheld out"]
    text = render_page([part])
    assert "any of 2" in text and "75.0" in text
