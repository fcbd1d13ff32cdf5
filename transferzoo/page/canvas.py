"""A matplotlib figure measured in CSS pixels: one of its points is one pixel of the page.

pyplot and the user's own settings stay out, so that equal charts give equal figures.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import inf, log
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from transferzoo.page.palette import SERIES, light

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from transferzoo.page.charts import Axis

WIDE, NARROW = 800, 340
"""Widths that every figure is drawn in: for a desk and for a phone."""
FONT_SIZE = 12
LINE_HEIGHT = 15
"""Height of a line of text, in pixels."""
LETTER_WIDTH = 0.6
"""Mean width of a letter, in sizes of its font, of the widest fonts."""
RELAXATIONS = 50
"""Rounds in which labels that are too close are moved apart."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
MARKERS = "osD^vPX"
"""One fewer than there are colours: series share both only after as many as their product."""
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "transferzoo",
    "text.parse_math": False,
    "font.size": FONT_SIZE,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": light("muted"),
    "axes.labelcolor": light("ink"),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": light("rule"),
    "grid.linewidth": 1.0,
    "text.color": light("ink"),
    "xtick.color": light("muted"),
    "ytick.color": light("muted"),
    "xtick.labelsize": FONT_SIZE - 1,
    "ytick.labelsize": FONT_SIZE - 1,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.handlelength": 2.2,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.4,
    "figure.facecolor": light("paper"),
    "axes.facecolor": "none",
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "figure.dpi": 72.0,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw and save in the style of the page."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's fonts may have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        yield


@dataclass(frozen=True)
class Canvas:
    """A figure of a size in pixels.

    Attributes:
        figure: what is drawn on.
        width: in pixels.
        height: likewise.
    """

    figure: Figure
    width: float
    height: float

    @classmethod
    def of(cls, width: float, height: float) -> Canvas:
        """Return an empty canvas."""
        from matplotlib.figure import Figure

        return cls(Figure(figsize=(width / 72, height / 72)), width, height)

    def axes(self, left: float, top: float, width: float, height: float, *, like: Axes | None = None) -> Axes:
        """Return axes in a box, measured from the upper left corner, with the x axis of others if given."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box, sharex=like)

    def write(self, left: float, top: float, text: str, **options: Any) -> None:
        """Write text whose upper left corner, or that of `ha` and `va`, is at a place."""
        options = {"ha": "left", "va": "top", **options}
        self.figure.text(left / self.width, 1 - top / self.height, text, **options)

    def legend(self, left: float, handles: Sequence[Any], names: Sequence[str], rows: int) -> None:
        """Write at the top what lines, markers or bars are called, in so many rows."""
        self.figure.legend(
            handles,
            names,
            loc="upper left",
            ncols=-(-len(names) // rows),
            fontsize=FONT_SIZE - 1,
            bbox_to_anchor=(left / self.width, 1 - 2 / self.height),
        )


LEGEND_ROW = 19


def legend_rows(names: Sequence[str], width: float) -> int:
    """Return how many rows a legend has in a width."""
    entry = max(text_width(name, FONT_SIZE - 1) for name in names) + 46
    columns = max(1, int(width // entry))
    return -(-len(names) // columns)


def text_width(text: str, size: float = FONT_SIZE) -> float:
    """Return about how wide text is, in pixels."""
    return max(len(line) for line in text.split("\n")) * size * LETTER_WIDTH


def wrap_text(text: str, letters: int) -> str:
    """Return text in lines of at most so many letters."""
    return "\n".join(part for line in text.split("\n") for part in wrap(line, letters) or [""])


def truncate(text: str, letters: int) -> str:
    """Return text in one line of at most so many letters."""
    line = text.replace("\n", ", ")
    return line if len(line) <= letters else line[: letters - 1] + "…"


def series_colour(number: int) -> str:
    """Return the colour of a series."""
    return light(f"series-{number % SERIES + 1}")


def spread_apart(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places moved apart to keep a gap, in their order and, if there is room, within bounds."""
    order = sorted(range(len(places)), key=places.__getitem__)
    moved = list(places)
    for before, after in [*pairwise(order)] * RELAXATIONS:
        lacking = max(0.0, gap - (moved[after] - moved[before]))
        moved[before] -= lacking / 2
        moved[after] += lacking / 2
    limit = high
    for at in reversed(order):
        moved[at] = min(moved[at], limit)
        limit = moved[at] - gap
    shift = max(0.0, low - min(moved))
    return [place + shift for place in moved]


def format_axis(axes: Axes, which: str, axis: Axis, length: float = 0.0) -> None:
    """Set scale and ticks of an axis on which everything is drawn.

    Args:
        axes: where.
        which: "x" or "y".
        axis: its record.
        length: in pixels, where ticks are given that shall not run into each other.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    side = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        low, high = side.get_data_interval()
        side.set_major_locator(LogLocator(subs=(1.0, 3.0) if high > 20 * low else (1.0, 2.0, 5.0)))
        side.set_minor_locator(NullLocator())
    else:
        steps = [1, 2, 5, 10] if axis.whole else [1, 2, 2.5, 5, 10]
        bins = 6 if which == "x" else 4
        side.set_major_locator(MaxNLocator(nbins=bins, steps=steps, integer=axis.whole))
    if axis.ticks:
        side.set_major_locator(FixedLocator(_separate_ticks(axis, length)))
    side.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value, axis)))


def _separate_ticks(axis: Axis, length: float) -> list[float]:
    """Return those ticks of an axis whose labels do not run into each other."""
    scale = log if axis.log else float
    first, last = axis.ticks[0], axis.ticks[-1]
    kept, free = [], -inf
    for value in axis.ticks:
        place = length * (scale(value) - scale(first)) / ((scale(last) - scale(first)) or 1)
        half = text_width(format_tick(value, axis), FONT_SIZE - 1) / 2
        if place - half > free:
            kept.append(value)
            free = place + half + 6
    return kept


def format_tick(value: float, axis: Axis) -> str:
    """Write a value at a tick, with its unit and as short as it can be."""
    if axis.percent:
        return f"{100 * value:.4g} %"
    sign = "+" if axis.signed and value > 0 else ""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"
    return sign + text.replace("-", "−")
