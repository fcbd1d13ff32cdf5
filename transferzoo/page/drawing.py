"""Charts drawn with matplotlib, wide for a desk and narrow for a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.page.charts import Bars, Curves, Differences, Heatmap, Scatter
from transferzoo.page.plot_bars import draw_bars, draw_differences
from transferzoo.page.plot_lines import draw_curves, draw_scatter
from transferzoo.page.plot_matrix import draw_heatmap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from transferzoo.page.charts import Chart


def draw(chart: Chart, *, wide: bool) -> Figure:
    """Return the drawing of a chart; inside `canvas.style` only."""
    match chart:
        case Heatmap():
            return draw_heatmap(chart, wide=wide)
        case Curves():
            return draw_curves(chart, wide=wide)
        case Scatter():
            return draw_scatter(chart, wide=wide)
        case Bars():
            return draw_bars(chart, wide=wide)
        case Differences():
            return draw_differences(chart, wide=wide)
