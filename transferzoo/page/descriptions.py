"""Figures as text: all their numbers as a table, and a description for screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.table import Table
from transferzoo.page.charts import Axis, Bars, Curves, Differences, Heatmap, Scatter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.page.charts import Chart, CurvePanel, Figure, MeanInterval, ScatterPanel

MISSING = "–"


def numbers_table(figure: Figure) -> Table:
    """Return all numbers of a figure as a table."""
    columns, rows = _table_cells(figure.chart)
    return Table(f"Numbers: {figure.title}", columns, rows)


def _table_cells(chart: Chart) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    match chart:
        case Heatmap():
            return _matrix_cells(chart)
        case Curves():
            return _curve_cells(chart)
        case Scatter():
            return ("surrogate", "against", "there", chart.axis.heading), tuple(
                (name, panel.axis.heading, panel.axis.format(x), chart.axis.format(y))
                for panel in chart.panels
                for name, pairs in panel.points.items()
                for x, y in pairs
            )
        case Bars():
            return ("bar", chart.axis.heading, "95 % interval"), tuple(
                (name, *_format_interval(level, chart.axis)) for name, level in _bars(chart).items()
            )
        case Differences():
            return ("claim", chart.axis.heading, "95 % interval"), tuple(
                (row, *_format_interval(value, chart.axis))
                for row, value in zip(chart.rows, chart.values, strict=True)
            )


def _matrix_cells(chart: Heatmap) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    rows = []
    for at, name in enumerate(chart.rows):
        stars = ["*" if (at, column) in chart.white_box else "" for column in range(len(chart.columns))]
        cells = [
            MISSING if cell is None else f"{100 * cell:.1f}{star}"
            for cell, star in zip(chart.cells[at], stars, strict=True)
        ]
        rows.append((_one_line(name), *cells))
    return ("%", *chart.columns), tuple(rows)


def _curve_cells(chart: Curves) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    names = dict.fromkeys(name for panel in chart.panels for name in panel.lines)
    rows = []
    for name in names:
        positions = sorted({x for panel in chart.panels for x in panel.lines.get(name, ())})
        for x in positions:
            cells = [(panel.lines.get(name, {}).get(x), panel.axis) for panel in chart.panels]
            rows.append(
                (
                    _one_line(name),
                    chart.axis.format(x),
                    *(_format_mean(cell, axis) for cell, axis in cells),
                )
            )
    for name in dict.fromkeys(name for panel in chart.panels for name in panel.references):
        found = [(panel.references.get(name), panel.axis) for panel in chart.panels]
        rows.append((name, MISSING, *(MISSING if v is None else axis.format(v) for v, axis in found)))
    return ("line", chart.axis.label, *(panel.axis.heading for panel in chart.panels)), tuple(rows)


def _bars(chart: Bars) -> dict[str, MeanInterval | None]:
    return {
        _one_line(f"{group}, {name}" if name else group): values[place]
        for place, group in enumerate(chart.groups)
        for name, values in chart.series.items()
    }


def _format_mean(level: MeanInterval | None, axis: Axis) -> str:
    if level is None:
        return MISSING
    mean, interval = _format_interval(level, axis)
    return mean if level.low == level.high else f"{mean} [{interval}]"


def _format_interval(level: MeanInterval | None, axis: Axis) -> tuple[str, str]:
    if level is None:
        return MISSING, MISSING
    return axis.format(level.mean), f"{axis.format(level.low)} to {axis.format(level.high)}"


def _one_line(name: str) -> str:
    return name.replace("\n", ", ")


def describe(figure: Figure) -> str:
    """Return a description of a figure, for those who do not see it."""
    chart = figure.chart
    match chart:
        case Heatmap():
            return _describe_matrix(chart)
        case Curves():
            return " ".join(_describe_curves(panel, chart.axis) for panel in chart.panels)
        case Scatter():
            return " ".join(_describe_points(panel, chart.axis) for panel in chart.panels)
        case Bars():
            return _extremes({name: level.mean for name, level in _bars(chart).items() if level}, chart.axis)
        case Differences():
            above = sum(value.low > 0 for value in chart.values)
            below = sum(value.high < 0 for value in chart.values)
            return (
                f"Of {len(chart.values)} intervals {above} lie above zero, {below} below, "
                f"{len(chart.values) - above - below} on both sides."
            )


def _describe_matrix(chart: Heatmap) -> str:
    cells = {
        f"{_one_line(row)}, {_one_line(column)}": cell
        for row, line in zip(chart.rows, chart.cells, strict=True)
        for column, cell in list(zip(chart.columns, line, strict=True))[: 1 if chart.mean_column else None]
    }
    kept = {name: cell for name, cell in cells.items() if cell is not None}
    size = f"{len(chart.rows)} rows and {len(chart.columns)} columns."
    return f"{size} In %, {_extremes(kept, Axis('', percent=True))}" if kept else size


def _extremes(values: Mapping[str, float], axis: Axis) -> str:
    highest, lowest = (
        f"{name}, {axis.with_unit(values[name])}"
        for name in (max(values, key=values.__getitem__), min(values, key=values.__getitem__))
    )
    return f"highest: {highest}; lowest: {lowest}." if len(values) > 1 else f"{highest}."


def _describe_curves(panel: CurvePanel, axis: Axis) -> str:
    sentences = []
    for name, line in panel.lines.items():
        first, last = min(line), max(line)
        top = max(line, key=lambda x: line[x].mean)
        sentences.append(
            f"{_one_line(name)} goes "
            f"from {panel.axis.with_unit(line[first].mean)} at {axis.format(first)} to "
            f"{panel.axis.with_unit(line[last].mean)} at {axis.format(last)}, highest at {axis.format(top)}"
        )
    return f"{panel.axis.label}: {'; '.join(sentences)}."


def _describe_points(panel: ScatterPanel, axis: Axis) -> str:
    text = f"{panel.n} points of {axis.label.lower()} against {panel.axis.label.lower()}"
    if panel.correlation is None:
        return f"{text}."
    return f"{text}; rank correlation {panel.correlation:+.2f}."
