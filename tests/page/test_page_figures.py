"""What the figures of a page show, by their numbers: of a study."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np
import pytest

from helpers.pages import (
    ACCURATE,
    CLAIMS,
    COSTS,
    EPOCHS,
    IMAGES,
    SEEDS,
    SHARP,
    STRONG,
    STUDY,
    TARGETS,
    compared_results,
    results,
)
from transferzoo.page import study_report
from transferzoo.page.charts import Bars, Curves, Differences, Heatmap, Scatter
from transferzoo.page.cost_curves import cost_curves
from transferzoo.page.descriptions import describe, numbers_table
from transferzoo.page.study_curves import learning_rate_decays
from transferzoo.results.statistics import crossed_difference
from transferzoo.studies.claims import judge
from transferzoo.studies.result_file import Outcomes, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.page.charts import Figure
    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.result_file import Results


def drawn(found: Results, verdicts: Sequence[Verdict] = ()) -> dict[str, Figure]:
    """Return the figures of results, by name."""
    return {figure.name: figure for figure in study_report.study_figures(found, verdicts)}


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    """Return the figures of the results by hand."""
    found = results()
    return drawn(found, judge(found))


def test_each_figure_is_there_once(figures: dict[str, Figure]) -> None:
    assert list(figures) == ["differences", "success", "means", "epochs", "rho", "sharpness"]


def test_the_matrix_stands_for_the_last_epoch(figures: dict[str, Figure]) -> None:
    chart = figures["success"].chart
    assert isinstance(chart, Heatmap)
    assert chart.rows == tuple(STRONG)
    assert chart.columns == ("mean", *TARGETS)
    for name, row in zip(chart.rows, chart.cells, strict=True):
        rates = [(STRONG[name] + 0.5 + more) / IMAGES for more in TARGETS.values()]
        assert row == pytest.approx((fmean(rates), *rates))
    assert chart.white_box == frozenset()
    assert "White box" not in figures["success"].caption


def test_success_by_cost() -> None:
    """A line of the techniques that have several costs, a panel a surrogate; white boxes are in none."""
    found = compared_results()
    figure = drawn(found)["cost"]
    chart = figure.chart
    assert isinstance(chart, Curves)
    assert chart.axis.log
    assert len(chart.panels) == 2
    for at, panel in enumerate(chart.panels):
        assert {name: [*line] for name, line in panel.lines.items()} == {
            spec: [*line] for spec, line in COSTS.items() if len(line) > 1
        }
        for spec, line in panel.lines.items():
            for cost, level in line.items():
                fooled = COSTS[spec][int(cost)] + at
                values = np.array([[1.0] * fooled + [0.0] * (IMAGES - fooled)])
                interval = crossed_difference(values)
                assert interval is not None
                assert level.mean == pytest.approx(fooled / IMAGES)
                assert (level.low, level.high) == pytest.approx((max(0, interval.low), interval.high))
    table = numbers_table(figure)
    assert table.columns[:2] == ("line", "Gradient evaluations an image")
    assert [row[:2] for row in table.rows] == [
        ("mi", "10"),
        ("mi", "50"),
        ("mi", "200"),
        ("mi+di", "10"),
        ("mi+di", "48"),
    ]
    assert "mi+di goes from 30.0 % at 10 to 65.0 % at 48, highest at 48" in describe(figure)


def test_no_curve_of_attacks_of_one_cost_each() -> None:
    found = compared_results()
    once = tuple(one for one in found.outcomes if one.attack.endswith("50 gradients"))
    assert cost_curves(replace(found, outcomes=once)) is None


def test_white_boxes_are_left_out_of_means() -> None:
    """With one seed of two it is the other one's cell; with both it is starred."""
    found = results(claims=[])

    def own(*seeds: int) -> dict[str, Figure]:
        outcomes = tuple(
            replace(o, white_box=o.surrogate == o.target and o.seed in seeds) for o in found.outcomes
        )
        return drawn(replace(found, outcomes=outcomes))

    one, both = own(0), own(*SEEDS)
    matrix, starred, bars, curves = (
        each.chart for each in (one["success"], both["success"], both["means"], both["epochs"])
    )
    assert isinstance(matrix, Heatmap)
    assert isinstance(starred, Heatmap)
    assert isinstance(bars, Bars)
    assert isinstance(curves, Curves)
    white, *others = ((STRONG["sgd"] + 0.5 + more) / IMAGES for more in TARGETS.values())
    later = white + 0.5 / IMAGES
    assert matrix.cells[0] == pytest.approx((fmean([later, *others]), later, *others))
    assert matrix.white_box == frozenset()
    assert starred.cells[0] == pytest.approx((fmean(others), white, *others))
    assert starred.white_box == {(0, 1)}
    assert "White box" in both["success"].caption
    assert numbers_table(both["success"]).rows[0][2].endswith("*")
    level = bars.series[""][0]
    assert level is not None
    assert level.mean == pytest.approx(fmean(others))
    assert curves.panels[0].lines["sgd"][EPOCHS].mean == pytest.approx(fmean(others))


def test_bars_have_the_interval_over_seeds_and_images(figures: dict[str, Figure]) -> None:
    chart = figures["means"].chart
    assert isinstance(chart, Bars)
    assert chart.groups == tuple(STRONG)
    found = results()
    for name, level in zip(chart.groups, chart.series[""], strict=True):
        assert level is not None
        shares = []
        for seed in SEEDS:
            own = [
                [mark == "1" for mark in o.outcomes]
                for o in found.outcomes
                if (o.surrogate, o.seed, o.epoch) == (name, seed, EPOCHS) and not o.white_box
            ]
            shares.append(np.mean(own, axis=0))
        assert level.mean == pytest.approx(np.mean(shares))
        expected = crossed_difference(np.stack(shares))
        assert expected is not None
        assert (level.low, level.high) == pytest.approx((max(0, expected.low), min(1, expected.high)))


def test_curves_show_mean_and_deviation_over_seeds_and_where_the_rate_decays(
    figures: dict[str, Figure],
) -> None:
    chart = figures["epochs"].chart
    assert isinstance(chart, Curves)
    labels = ["Success rate", "Clean accuracy", "Largest eigenvalue of the Hessian"]
    assert [panel.axis.label for panel in chart.panels] == labels
    assert chart.marks == (2.5,)
    success, accuracy, sharp = chart.panels
    assert (success.axis.percent, accuracy.axis.percent, sharp.axis.percent, sharp.axis.log) == (1, 1, 0, 1)
    for name in STRONG:
        assert list(success.lines[name]) == [1, 2, 3, 4]
        values = [ACCURATE[name] + 0.01 * seed - 0.02 for seed in SEEDS]
        level = accuracy.lines[name][2]
        assert level.mean == pytest.approx(fmean(values))
        assert (level.high - level.low) / 2 == pytest.approx(stdev(values))
    rows = {row[:2]: row[2:] for row in numbers_table(figures["epochs"]).rows}
    assert rows["sam", "2"][1].startswith(f"{100 * (ACCURATE['sam'] + 0.005 - 0.02):.1f} [")


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ((0.1, 0.1, 0.01, 0.01), (2.5,)),
        ((0.1, 0.05, 0.05, 0.02, 0.02), (1.5, 3.5)),
        ((0.1, 0.09, 0.06, 0.03, 0.005), ()),  # a cosine
        ((0.1, 0.06, 0.06), ()),  # not by half
        ((0.01, 0.1, 0.1), ()),  # a warm-up
    ],
)
def test_decays_are_steps_of_the_learning_rate(rates: tuple[float, ...], expected: tuple[float, ...]) -> None:
    values = [Value("sgd", 0, epoch, "learning_rate", rate) for epoch, rate in enumerate(rates, 1)]
    assert learning_rate_decays(replace(results(), values=tuple(values))).get("sgd", ()) == expected


def test_trainings_that_decay_elsewhere_have_a_figure_of_their_own() -> None:
    found = results()
    late = [
        replace(v, value=(0.1, 0.1, 0.1, 0.01)[int(v.epoch) - 1])
        if v.measure == "learning_rate" and v.surrogate == "sam"
        else v
        for v in found.values
    ]
    epochs = [f for name, f in drawn(replace(found, values=tuple(late))).items() if name.startswith("epochs")]
    charts = [figure.chart for figure in epochs if isinstance(figure.chart, Curves)]
    assert [chart.marks for chart in charts] == [(2.5,), (3.5,)]
    assert [list(chart.panels[0].lines) for chart in charts] == [["sgd", "l-sam"], ["sam"]]
    assert epochs[1].title.endswith(": sam")


def test_radii_of_one_minimizer_are_a_line_and_sgd_a_level(figures: dict[str, Figure]) -> None:
    chart = figures["rho"].chart
    assert isinstance(chart, Curves)
    assert chart.axis.ticks == (0.05, 0.2)
    success = chart.panels[0]
    assert {name: list(line) for name, line in success.lines.items()} == {"sam": [0.05, 0.2]}
    assert success.references.keys() == {"sgd"}
    accuracy = chart.panels[1]
    assert accuracy.references["sgd"] == pytest.approx(ACCURATE["sgd"] + 0.005)


@pytest.mark.parametrize(
    "changes",
    [
        {"minimizer": "sam:rho=0.2", "epoch": "all", "epochs": 9},
        {"minimizer": "asam:rho=0.2", "epoch": "all"},
        {"minimizer": "wasam:rho=0.2,start=0.6", "epoch": "all"},
        {"minimizer": "sam", "epoch": "all"},
    ],
)
def test_other_trainings_are_not_on_the_line(changes: dict[str, object]) -> None:
    found = results(surrogates={**STUDY["surrogates"], "l-sam": changes}, claims=[])
    assert "rho" not in drawn(found)


def test_sharpness_is_ranked_against_success(figures: dict[str, Figure]) -> None:
    chart = figures["sharpness"].chart
    assert isinstance(chart, Scatter)
    top, adaptive = chart.panels
    assert [panel.axis.label for panel in chart.panels] == [
        "Largest eigenvalue of the Hessian",
        "Trace of the Hessian, adaptive",
    ]
    assert top.n == len(STRONG) * len(SEEDS)
    assert top.points["sam"][1][0] == pytest.approx(SHARP["sam"] * 1.1)
    assert adaptive.correlation == pytest.approx(-1)
    assert top.correlation is not None
    assert -1 < top.correlation < -0.8


def test_claims_are_drawn_in_points(figures: dict[str, Figure]) -> None:
    chart = figures["differences"].chart
    assert isinstance(chart, Differences)
    assert chart.rows == tuple(claim["say"] for claim in CLAIMS[:3])
    first, second, third = chart.values
    assert first.mean == pytest.approx(second.mean + 90)
    assert first.low > 0 > second.high
    assert third.mean == 0
    assert third.low < 0 < third.high
    assert describe(figures["differences"]) == "Of 3 intervals 1 lie above zero, 1 below, 1 on both sides."


def test_nothing_empty_is_drawn() -> None:
    found = results(claims=[])
    nothing = replace(found, outcomes=(), values=())
    assert drawn(nothing) == {}
    one = replace(nothing, outcomes=(Outcomes("sgd", 0, 4, "bim", "vgg", False, "1-0"),))
    assert list(drawn(one)) == ["success", "means"]
    curves = drawn(replace(found, outcomes=()))
    assert list(curves) == ["epochs", "rho"]
    chart = curves["epochs"].chart
    assert isinstance(chart, Curves)
    assert chart.panels[0].axis.label == "Clean accuracy"


def test_many_attacks_share_figures() -> None:
    """A few have a matrix each; of many, the first does, and all stand in the matrix of means."""
    few = results(attacks=["bim", "mi"], claims=[])
    assert list(drawn(few))[:4] == ["attacks", "success-bim", "success-mi", "means"]
    many = results(attacks=["bim", "mi", "di", "ti", "ni", "si", "vt"], claims=[])
    charts = {name: figure.chart for name, figure in drawn(many).items()}
    assert [name for name in charts if name.startswith(("success", "attacks"))] == ["attacks", "success-bim"]
    matrix, bars = charts["attacks"], charts["means"]
    assert isinstance(matrix, Heatmap)
    assert isinstance(bars, Bars)
    assert (len(matrix.rows), matrix.columns, matrix.mean_column) == (7, tuple(STRONG), False)
    assert len(bars.groups) == 7
    assert tuple(bars.series) == tuple(STRONG)


def test_every_figure_has_a_description_and_its_numbers(figures: dict[str, Figure]) -> None:
    for figure in figures.values():
        table = numbers_table(figure)
        assert table.rows
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert describe(figure).endswith(".")
    assert "highest: l-sam, mean" in describe(figures["success"])
    assert "l-sam goes from" in describe(figures["epochs"])
    assert "rank correlation -1.00" in describe(figures["sharpness"])
