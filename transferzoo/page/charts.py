"""Charts: records of numbers, which `drawing` draws and `words` tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Level(NamedTuple):
    """A value with its interval; one without an interval is its own ends."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """What is told along an axis.

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

    def show(self, value: float) -> str:
        """Write a value without its unit."""
        if self.percent:
            return f"{100 * value:.1f}"
        if self.signed:
            return f"{value:+.1f}"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

    def tell(self, value: float) -> str:
        """Write a value with its unit."""
        return f"{self.show(value)} %" if self.percent else self.show(value)

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
        means: the first column is the mean of the others.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]
    white_box: frozenset[tuple[int, int]] = frozenset()
    means: bool = True

    @property
    def top(self) -> float:
        """The end of the scale: the highest share, rounded up to a tenth."""
        highest = max((cell for row in self.cells for cell in row if cell is not None), default=0.0)
        return max(0.1, -(-round(1000 * highest) // 100) / 10)


@dataclass(frozen=True)
class Panel:
    """Lines over a common axis.

    Attributes:
        axis: of the values.
        lines: name → values by place on the common axis.
        levels: name → a value that has no place on it.
    """

    axis: Axis
    lines: Mapping[str, Mapping[float, Level]]
    levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curves:
    """Panels above each other, over one axis.

    Attributes:
        axis: the common one.
        panels: from above.
        marks: places on it that are marked in every panel.
        mark: what is there.
    """

    axis: Axis
    panels: tuple[Panel, ...]
    marks: tuple[float, ...] = ()
    mark: str = ""


@dataclass(frozen=True)
class Cloud:
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
    """Clouds beside each other.

    Attributes:
        axis: the common one.
        clouds: from the left.
    """

    axis: Axis
    clouds: tuple[Cloud, ...]


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
    series: Mapping[str, tuple[Level | None, ...]]


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
    values: tuple[Level, ...]


Chart = Heatmap | Curves | Scatter | Bars | Differences


@dataclass(frozen=True)
class Figure:
    """A chart with what is said of it.

    Attributes:
        name: file stem; unique in its part.
        title: what it shows.
        caption: how to read it, and what it stands on.
        chart: the numbers.
    """

    name: str
    title: str
    caption: str
    chart: Chart
