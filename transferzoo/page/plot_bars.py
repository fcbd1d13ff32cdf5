"""Bars and differences, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.page.canvas import (
    FONT_SIZE,
    LEGEND_ROW,
    LINE_HEIGHT,
    NARROW,
    WIDE,
    Canvas,
    format_axis,
    legend_rows,
    series_colour,
    text_width,
    truncate,
    wrap_text,
)
from transferzoo.page.palette import light

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferzoo.page.charts import Axis, Bars, Differences, MeanInterval


def draw_bars(chart: Bars, *, wide: bool) -> Figure:
    """Return the drawing of bars with whiskers and values, from above in their order."""
    names = [wrap_text(name, 34 if wide else 15) for name in chart.groups]
    series = list(chart.series)
    thick = 20 if len(series) == 1 else 15
    width, right = WIDE if wide else NARROW, 48
    left = max(text_width(name, FONT_SIZE - 1) for name in names) + 12
    rows = legend_rows(series, width - left) if len(series) > 1 else 0
    head = rows * LEGEND_ROW + (12 if rows else 2)
    heights = [max(thick * len(series) + 10, LINE_HEIGHT * (name.count("\n") + 1) + 6) for name in names]
    canvas = Canvas.of(width, head + sum(heights) + 44)
    axes = canvas.axes(left, head, width - left - right, sum(heights))
    below, handles = 0.0, {}
    for place, (name, height) in enumerate(zip(names, heights, strict=True)):
        middle = below + height / 2
        _label_row(axes, name, middle)
        for number, label in enumerate(series):
            value = chart.series[label][place]
            y = middle + (number - (len(series) - 1) / 2) * thick
            if value is not None:
                handles[label] = _bar(axes, y, value, thick - 4, series_colour(number))
                _label_value(axes, y, value, chart.axis.format(value.mean))
        below += height
    axes.set(xlim=(0, None), ylim=(below, 0))
    axes.margins(x=0.02)
    _horizontal(axes, chart.axis)
    if rows:
        canvas.legend(left, list(handles.values()), [truncate(name, 40) for name in handles], rows)
    return canvas.figure


def draw_differences(chart: Differences, *, wide: bool) -> Figure:
    """Return the drawing of differences with intervals; narrow, each below its name."""
    names = [wrap_text(name, 44 if wide else 40) for name in chart.rows]
    width = WIDE if wide else NARROW
    left = max(text_width(name, FONT_SIZE - 1) for name in names) + 14 if wide else 6
    lines = [LINE_HEIGHT * (name.count("\n") + 1) for name in names]
    heights = [max(30, line + 10) if wide else line + 32 for line in lines]
    canvas = Canvas.of(width, sum(heights) + 46)
    axes = canvas.axes(left, 2, width - left - 10, sum(heights))
    below = 0.0
    for name, value, line, height in zip(names, chart.values, lines, heights, strict=True):
        y = below + (height / 2 if wide else line + 18)
        if wide:
            _label_row(axes, name, y)
        else:
            _label_row(axes, name, below + 3, 0, ha="left", va="top")
        axes.plot(
            [value.low, value.high], [y, y], color=series_colour(0), solid_capstyle="butt", linewidth=2.5
        )
        axes.plot([value.mean], [y], color=series_colour(0), marker="o", markersize=7)
        below += height
    axes.axvline(0, color=light("ink"), linewidth=1)
    axes.set_ylim(below, 0)
    axes.margins(x=0.06)
    _horizontal(axes, chart.axis)
    return canvas.figure


def _label_row(axes: Axes, name: str, y: float, left: float = -8, **place: Any) -> None:
    """Write what a row is beside the axes, or on their left edge."""
    place = {"ha": "right", "va": "center", **place}
    axes.annotate(
        name,
        (0, y),
        (left, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        fontsize=FONT_SIZE - 1,
        linespacing=1.15,
        **place,
        bbox={"facecolor": light("paper"), "edgecolor": "none", "pad": 1},
    )


def _bar(axes: Axes, y: float, value: MeanInterval, thick: float, paint: str) -> Any:
    """Draw a pale bar with a strong end, so that the whisker shows on it."""
    bar = axes.barh(y, value.mean, thick, color=paint, alpha=0.45, linewidth=0)
    axes.plot([value.mean] * 2, [y - thick / 2, y + thick / 2], color=paint, linewidth=3)
    if value.low < value.high:
        axes.plot([value.low, value.high], [y, y], color=light("ink"), linewidth=1.5)
    return bar


def _label_value(axes: Axes, y: float, value: MeanInterval, text: str) -> None:
    axes.annotate(
        text,
        (max(value.high, value.mean), y),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=FONT_SIZE - 1,
    )


def _horizontal(axes: Axes, axis: Axis) -> None:
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    format_axis(axes, "x", axis)
    axes.set_yticks([])
    axes.set_xlabel(axis.label)
