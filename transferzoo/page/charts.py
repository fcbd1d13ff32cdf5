"""Charts: the numbers of a figure, which `drawing` plots and `descriptions` puts into words and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class MeanInterval(NamedTuple):
    """A mean with its interval; without one, both ends are the mean."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """An axis of a chart.

    Attributes:
        label: quantity and unit, in words.
        percent: the values are shares in [0, 1], written in percent.
        log: logarithmic.
        whole: only whole numbers are marked.
        signed: differences, written with their sign.
        ticks: where the ticks are; empty for wherever they fit.
    """

    label: str
    percent: bool = False
    log: bool = False
    whole: bool = False
    signed: bool = False
    ticks: tuple[float, ...] = ()

    def format(self, value: float) -> str:
        """Write a value without its unit."""
        if self.percent:
            return f"{100 * value:.1f}"
        if self.signed:
            return f"{value:+.1f}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    def with_unit(self, value: float) -> str:
        """Write a value with its unit."""
        return f"{self.format(value)} %" if self.percent else self.format(value)

    @property
    def heading(self) -> str:
        """The label with the unit, for the head of a column."""
        return f"{self.label} (%)" if self.percent else self.label


@dataclass(frozen=True)
class Heatmap:
    """A matrix of shares.

    Attributes:
        rows: what each row is; may have several lines.
        columns: likewise.
        cells: shares in [0, 1] by row and column; None for none.
        white_box: (row, column) of the cells that are not in the mean.
        mean_column: the first column is the mean of the others.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    white_box: frozenset[tuple[int, int]] = frozenset()
    mean_column: bool = True

    @property
    def scale_max(self) -> float:
        """The end of the colour scale: the highest share, rounded up to a tenth."""
        highest = max((cell for row in self.cells for cell in row if cell is not None), default=0.0)
        return max(0.1, -(-round(1000 * highest) // 100) / 10)


@dataclass(frozen=True)
class CurvePanel:
    """Lines over a common axis.

    Attributes:
        axis: of the values.
        lines: name → values by position on the common axis.
        references: name → a value without a position on it, drawn as a horizontal line.
    """

    axis: Axis
    lines: Mapping[str, Mapping[float, MeanInterval]]
    references: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curves:
    """Panels above each other, over one axis.

    Attributes:
        axis: the common one.
        panels: from above.
        marks: positions on it that are marked in every panel.
        mark_label: what they mark.
    """

    axis: Axis
    panels: tuple[CurvePanel, ...]
    marks: tuple[float, ...] = ()
    mark_label: str = ""


@dataclass(frozen=True)
class ScatterPanel:
    """Points of two quantities.

    Attributes:
        axis: of the first; the second is the common one.
        points: name → pairs.
        correlation: Spearman's rank correlation; None where it is not defined.
    """

    axis: Axis
    points: Mapping[str, tuple[tuple[float, float], ...]]
    correlation: float | None

    @property
    def n(self) -> int:
        """How many points there are."""
        return sum(len(pairs) for pairs in self.points.values())


@dataclass(frozen=True)
class Scatter:
    """Panels of points beside each other.

    Attributes:
        axis: the common one.
        panels: from the left.
    """

    axis: Axis
    panels: tuple[ScatterPanel, ...]


@dataclass(frozen=True)
class Bars:
    """Bars with intervals, in groups.

    Attributes:
        axis: of the values.
        groups: names.
        series: name → a value a group; None for none.
    """

    axis: Axis
    groups: tuple[str, ...]
    series: Mapping[str, tuple[MeanInterval | None, ...]]


@dataclass(frozen=True)
class Differences:
    """Differences from zero, with intervals.

    Attributes:
        axis: of the values.
        rows: what each of them is.
        values: one a row.
    """

    axis: Axis
    rows: tuple[str, ...]
    values: tuple[MeanInterval, ...]


Chart = Heatmap | Curves | Scatter | Bars | Differences


@dataclass(frozen=True)
class Figure:
    """A chart with its title and caption.

    Attributes:
        name: file stem; unique in its part.
        title: what it shows.
        caption: how to read it, and what it is computed from.
        chart: the numbers.
    """

    name: str
    title: str
    caption: str
    chart: Chart
