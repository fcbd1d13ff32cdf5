"""Curves in panels above each other, and scatter plots beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.page.canvas import (
    DASHES,
    FONT_SIZE,
    LEGEND_ROW,
    LINE_HEIGHT,
    MARKERS,
    NARROW,
    WIDE,
    Canvas,
    format_axis,
    legend_rows,
    series_colour,
    spread_apart,
    text_width,
    truncate,
)
from transferzoo.page.palette import light

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferzoo.page.charts import CurvePanel, Curves, Scatter, ScatterPanel

MOST_LABELLED = 10
"""Most lines that are labelled at their ends; more have a legend."""


def draw_curves(chart: Curves, *, wide: bool) -> Figure:
    """Return the drawing of panels above each other; lines are named at their ends if there is room."""
    names = list(dict.fromkeys(name for panel in chart.panels for name in panel.lines))
    labels = [truncate(name, 26 if wide else 30) for name in names]
    named = wide and 1 < len(names) <= MOST_LABELLED
    width, left = (WIDE, 58) if wide else (NARROW, 52)
    right = max(text_width(label) for label in labels) + 14 if named else 14
    rows = 0 if named or len(names) == 1 else legend_rows(labels, width - left)
    high = max(135 if wide else 110, LINE_HEIGHT * len(names) if named else 0)
    head, pitch = rows * LEGEND_ROW + (12 if rows else 2), high + 44
    canvas = Canvas.of(width, head + pitch * len(chart.panels) + 26)
    drawn: Axes | None = None
    for number, panel in enumerate(chart.panels):
        above = head + number * pitch
        canvas.write(0, above, panel.axis.label, weight="bold")
        drawn = canvas.axes(left, above + 28, width - left - right, high, like=drawn)
        _panel(drawn, panel, chart, names, width - left - right)
        if number == 0 and chart.marks:
            _label_mark(drawn, chart)
        if named:
            _label_line_ends(drawn, panel, names, labels, high)
        if number + 1 < len(chart.panels):
            drawn.tick_params(labelbottom=False)
    assert drawn is not None, "a chart has a panel"
    drawn.set_xlabel(chart.axis.label)
    if rows:
        handles = [_handle(at) for at in range(len(names))]
        canvas.legend(left, handles, labels, rows)
    return canvas.figure


def _handle(number: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=series_colour(number), linestyle=DASHES[number % len(DASHES)])


def _panel(axes: Axes, panel: CurvePanel, chart: Curves, names: Sequence[str], room: float) -> None:
    for name, line in panel.lines.items():
        number, places = names.index(name), sorted(line)
        few = "o" if len(places) <= 20 else None
        axes.plot(
            places,
            [line[x].mean for x in places],
            color=series_colour(number),
            marker=few,
            markersize=4,
            linestyle=DASHES[number % len(DASHES)],
            solid_capstyle="round",
        )
        if any(level.low < level.high for level in line.values()):
            low, high = [line[x].low for x in places], [line[x].high for x in places]
            axes.fill_between(places, low, high, color=series_colour(number), alpha=0.16, linewidth=0)
    for name, level in panel.references.items():
        axes.axhline(level, color=light("muted"), linewidth=1.2, linestyle=(0, (2, 2)))
        axes.annotate(
            name,
            (1, level),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=FONT_SIZE - 1,
            color=light("muted"),
        )
    for mark in chart.marks:
        axes.axvline(mark, color=light("muted"), linewidth=1, linestyle=(0, (4, 3)))
    format_axis(axes, "y", panel.axis)
    format_axis(axes, "x", chart.axis, room)
    axes.margins(x=0.03, y=0.1)


def _label_mark(axes: Axes, chart: Curves) -> None:
    axes.annotate(
        chart.mark_label,
        (chart.marks[0], 1),
        (0, 3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=FONT_SIZE - 2,
        color=light("muted"),
    )


def _label_line_ends(
    axes: Axes, panel: CurvePanel, names: Sequence[str], labels: Sequence[str], high: float
) -> None:
    """Write each line's name to the right of its end."""
    axes.get_ylim()  # settles the limits, which the transform needs
    to_axes = axes.transScale + axes.transLimits
    ends = [to_axes.transform((max(line), line[max(line)].mean))[1] for line in panel.lines.values()]
    places = spread_apart([end * high for end in ends], LINE_HEIGHT, LINE_HEIGHT / 2, high - LINE_HEIGHT / 2)
    for name, place in zip(panel.lines, places, strict=True):
        number = names.index(name)
        axes.text(
            1.015,
            place / high,
            labels[number],
            transform=axes.transAxes,
            va="center",
            color=series_colour(number),
        )


def draw_scatter(chart: Scatter, *, wide: bool) -> Figure:
    """Return the drawing of scatter plots, two beside each other if there is room."""
    names = list(dict.fromkeys(name for panel in chart.panels for name in panel.points))
    labels = [truncate(name, 30) for name in names]
    across = min(2 if wide else 1, len(chart.panels))
    width, left, gap = (WIDE if wide else NARROW), 52, 28
    rows = legend_rows(labels, width - left)
    head = rows * LEGEND_ROW + 10
    side = min(420.0, (width - gap * (across - 1)) / across - left - 6)
    high, pitch = min(side, 260.0), min(side, 260.0) + 92
    down = -(-len(chart.panels) // across)
    canvas = Canvas.of(width, head + pitch * down)
    for at, panel in enumerate(chart.panels):
        x, y = at % across * (left + side + gap), head + at // across * pitch
        _write_correlation(canvas, panel, chart, x, y)
        axes = canvas.axes(x + left, y + 40, side, high)
        for name, pairs in panel.points.items():
            number = names.index(name)
            axes.plot(
                [a for a, _ in pairs],
                [b for _, b in pairs],
                color=series_colour(number),
                linestyle="none",
                marker=MARKERS[number % len(MARKERS)],
                markersize=8,
                markeredgecolor=light("paper"),
                markeredgewidth=0.7,
            )
        format_axis(axes, "x", panel.axis)
        format_axis(axes, "y", chart.axis)
        axes.set_xlabel(panel.axis.label)
        axes.margins(0.08)
    canvas.legend(left, [_marker(at) for at in range(len(names))], labels, rows)
    return canvas.figure


def _write_correlation(canvas: Canvas, panel: ScatterPanel, chart: Scatter, x: float, y: float) -> None:
    canvas.write(x, y, chart.axis.label, weight="bold")
    if panel.correlation is not None:
        text = f"rank correlation {panel.correlation:+.2f}, {panel.n} points"
        canvas.write(x, y + 17, text.replace("-", "−"), color=light("muted"), fontsize=FONT_SIZE - 1)


def _marker(number: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D(
        [],
        [],
        color=series_colour(number),
        linestyle="none",
        marker=MARKERS[number % len(MARKERS)],
        markersize=8,
    )
