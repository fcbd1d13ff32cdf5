"""Figures in words: all their numbers as a table, and what is to be seen for those who do not see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.table import Table
from transferzoo.page.charts import Axis, Bars, Curves, Differences, Heatmap, Scatter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.page.charts import Chart, Cloud, Figure, Level, Panel

ABSENT = "–"


def numbers(figure: Figure) -> Table:
    """Return all numbers of a figure as a table."""
    columns, rows = _listed(figure.chart)
    return Table(f"Numbers: {figure.title}", columns, rows)


def _listed(chart: Chart) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    match chart:
        case Heatmap():
            return _matrix(chart)
        case Curves():
            return _by_place(chart)
        case Scatter():
            return ("surrogate", "against", "there", chart.axis.heading), tuple(
                (name, cloud.axis.heading, cloud.axis.show(x), chart.axis.show(y))
                for cloud in chart.clouds
                for name, pairs in cloud.points.items()
                for x, y in pairs
            )
        case Bars():
            return ("bar", chart.axis.heading, "95 % interval"), tuple(
                (name, *_written(level, chart.axis)) for name, level in _bars(chart).items()
            )
        case Differences():
            return ("claim", chart.axis.heading, "95 % interval"), tuple(
                (row, *_written(value, chart.axis))
                for row, value in zip(chart.rows, chart.values, strict=True)
            )


def _matrix(chart: Heatmap) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    rows = []
    for at, name in enumerate(chart.rows):
        stars = ["*" if (at, column) in chart.white_box else "" for column in range(len(chart.columns))]
        cells = [
            ABSENT if cell is None else f"{100 * cell:.1f}{star}"
            for cell, star in zip(chart.cells[at], stars, strict=True)
        ]
        rows.append((_flat(name), *cells))
    return ("%", *chart.columns), tuple(rows)


def _by_place(chart: Curves) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    names = dict.fromkeys(name for panel in chart.panels for name in panel.lines)
    rows = []
    for name in names:
        places = sorted({place for panel in chart.panels for place in panel.lines.get(name, ())})
        for place in places:
            cells = [(panel.lines.get(name, {}).get(place), panel.axis) for panel in chart.panels]
            rows.append((_flat(name), chart.axis.show(place), *(_level(cell, axis) for cell, axis in cells)))
    for name in dict.fromkeys(name for panel in chart.panels for name in panel.levels):
        found = [(panel.levels.get(name), panel.axis) for panel in chart.panels]
        rows.append((name, ABSENT, *(ABSENT if v is None else axis.show(v) for v, axis in found)))
    return ("line", chart.axis.label, *(panel.axis.heading for panel in chart.panels)), tuple(rows)


def _bars(chart: Bars) -> dict[str, Level | None]:
    return {
        _flat(f"{group}, {name}" if name else group): values[place]
        for place, group in enumerate(chart.groups)
        for name, values in chart.series.items()
    }


def _level(level: Level | None, axis: Axis) -> str:
    if level is None:
        return ABSENT
    mean, interval = _written(level, axis)
    return mean if level.low == level.high else f"{mean} [{interval}]"


def _written(level: Level | None, axis: Axis) -> tuple[str, str]:
    if level is None:
        return ABSENT, ABSENT
    return axis.show(level.mean), f"{axis.show(level.low)} to {axis.show(level.high)}"


def _flat(name: str) -> str:
    return name.replace("\n", ", ")


def told(figure: Figure) -> str:
    """Return what a figure shows in words, for those who do not see it."""
    chart = figure.chart
    match chart:
        case Heatmap():
            return _told_matrix(chart)
        case Curves():
            return " ".join(_told_panel(panel, chart.axis) for panel in chart.panels)
        case Scatter():
            return " ".join(_told_cloud(cloud, chart.axis) for cloud in chart.clouds)
        case Bars():
            return _ends({name: level.mean for name, level in _bars(chart).items() if level}, chart.axis)
        case Differences():
            above = sum(value.low > 0 for value in chart.values)
            below = sum(value.high < 0 for value in chart.values)
            return (
                f"Of {len(chart.values)} intervals {above} lie above zero, {below} below, "
                f"{len(chart.values) - above - below} on both sides."
            )


def _told_matrix(chart: Heatmap) -> str:
    cells = {
        f"{_flat(row)}, {_flat(column)}": cell
        for row, line in zip(chart.rows, chart.cells, strict=True)
        for column, cell in list(zip(chart.columns, line, strict=True))[: 1 if chart.means else None]
    }
    kept = {name: cell for name, cell in cells.items() if cell is not None}
    size = f"{len(chart.rows)} rows and {len(chart.columns)} columns."
    return f"{size} In %, {_ends(kept, Axis('', percent=True))}" if kept else size


def _ends(values: Mapping[str, float], axis: Axis) -> str:
    highest, lowest = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    if len(values) == 1:
        return f"{highest}, {axis.tell(values[highest])}."
    return f"highest: {highest}, {axis.tell(values[highest])}; lowest: {lowest}, {axis.tell(values[lowest])}."


def _told_panel(panel: Panel, axis: Axis) -> str:
    said = []
    for name, line in panel.lines.items():
        first, last = min(line), max(line)
        top = max(line, key=lambda place: line[place].mean)
        said.append(
            f"{_flat(name)} goes from {panel.axis.tell(line[first].mean)} at {axis.show(first)} to "
            f"{panel.axis.tell(line[last].mean)} at {axis.show(last)}, highest at {axis.show(top)}"
        )
    return f"{panel.axis.label}: {'; '.join(said)}."


def _told_cloud(cloud: Cloud, axis: Axis) -> str:
    found = f"{cloud.n} points of {axis.label.lower()} against {cloud.axis.label.lower()}"
    if cloud.correlation is None:
        return f"{found}."
    return f"{found}; rank correlation {cloud.correlation:+.2f}."
