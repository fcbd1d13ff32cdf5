"""Heat maps, with the value written in each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.page.canvas import (
    FONT_SIZE,
    LINE_HEIGHT,
    NARROW,
    WIDE,
    Canvas,
    text_width,
    truncate,
    wrap_text,
)
from transferzoo.page.palette import heat, light

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferzoo.page.charts import Heatmap

SMALL = FONT_SIZE - 1


def draw_heatmap(chart: Heatmap, *, wide: bool) -> Figure:
    """Return the drawing of a matrix; the column of means is set apart."""
    names = [wrap_text(name, 34 if wide else 15) for name in chart.rows]
    columns = [truncate(name, 26) for name in chart.columns]
    left = max(text_width(name, SMALL) for name in names) + 10
    gap = 8 if chart.mean_column else 0
    head = max(text_width(name, FONT_SIZE - 2) for name in columns)
    least, room = (46.0, WIDE) if wide else (27.0, NARROW)
    side = min(max(72.0, head), max(least, (room - left - gap - 2) / len(columns)))
    turned = 0 if head <= side else 45 if wide else 90
    top = {0: LINE_HEIGHT + 4, 45: 0.8 * head + 12, 90: head + 8}[turned]
    beyond = 0.72 * text_width(columns[-1], FONT_SIZE - 2) - side / 2 + 8 if turned == 45 else 2.0
    heights = [max(28, LINE_HEIGHT * (name.count("\n") + 1) + 4) for name in names]
    width = max(left + gap + side * len(columns) + max(2.0, beyond), NARROW)
    canvas = Canvas.of(width, top + sum(heights) + 2)
    axes = canvas.axes(0, 0, canvas.width, canvas.height)
    axes.set(xlim=(0, canvas.width), ylim=(canvas.height, 0))
    axes.set_axis_off()
    edges = [left + at * side + (gap if at else 0) for at in range(len(columns))]
    _heads(axes, columns, [edge + side / 2 for edge in edges], top - 5, turned)
    for row, (name, height) in enumerate(zip(names, heights, strict=True)):
        above = top + sum(heights[:row])
        axes.text(
            left - 8, above + height / 2, name, ha="right", va="center", fontsize=SMALL, linespacing=1.15
        )
        for column, edge in enumerate(edges):
            _cell(axes, chart, row, column, (edge, above, side, height))
    return canvas.figure


def _heads(axes: Axes, names: Sequence[str], middles: Sequence[float], low: float, turned: int) -> None:
    place: dict[str, Any] = {"ha": "left", "va": "center"} if turned else {"ha": "center", "va": "bottom"}
    for name, middle in zip(names, middles, strict=True):
        axes.text(
            middle,
            low,
            name,
            fontsize=FONT_SIZE - 2,
            color=light("muted"),
            rotation=turned,
            rotation_mode="anchor",
            **place,
        )


def _cell(axes: Axes, chart: Heatmap, row: int, column: int, box: tuple[float, float, float, float]) -> None:
    """Draw a cell in a box: left, top, width and height."""
    from matplotlib.patches import Rectangle

    left, top, width, height = box
    share = chart.cells[row][column]
    if share is None:
        text, ink = "–", "muted"
    else:
        fill, ink = heat(share / chart.scale_max)
        patch = Rectangle((left + 1, top + 1), width - 2, height - 2, facecolor=light(fill), linewidth=0)
        axes.add_patch(patch)
        star = "*" if (row, column) in chart.white_box else ""
        text = f"{100 * share:.{1 if width >= 40 else 0}f}{star}"
    axes.text(
        left + width / 2,
        top + height / 2,
        text,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=light(ink),
        weight="bold" if chart.mean_column and column == 0 else "normal",
    )
