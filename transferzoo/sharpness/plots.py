"""Plots of lines and slices; Matplotlib is the extra `plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.atomic import write_bytes
from transferzoo.base.errors import UsageError
from transferzoo.base.figure_file import figure_bytes
from transferzoo.base.optional import import_optional
from transferzoo.sharpness.tables import mean_rate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from transferzoo.sharpness import LinePoint, Slice

FORMATS = (".png", ".svg", ".pdf")
LEVELS = 20
"""Contours of a slice."""


def check_plot_path(path: Path) -> Path:
    """Return `path` if a plot can be saved there, as far as can be checked in advance.

    Raises:
        UsageError: not .png, .svg or .pdf.
        TransferZooError: Matplotlib is not installed.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"unknown format of {path}", expected="a name in .png, .svg or .pdf")
    import_optional("matplotlib", "plots", "pictures need")
    return path


def plot_line(points: Sequence[LinePoint], ends: tuple[str, str], path: Path) -> None:
    """Plot loss, accuracy and, where there was an attack, success rate along a line.

    Args:
        points: in order of position.
        ends: names of the models at 0 and 1.
        path: checked by `check_plot_path`.

    Raises:
        TransferZooError: the file cannot be written.
    """
    figure = _figure(6, 5)
    ends = (_as_is(ends[0]), _as_is(ends[1]))
    above, below = figure.subplots(2, 1, sharex=True)
    positions = [point.position for point in points]
    above.plot(positions, [point.loss for point in points], marker=".")
    above.set_ylabel("loss")
    below.plot(positions, [100 * point.accuracy for point in points], marker=".", label="accuracy")
    if points[0].records:
        rates = [[100 * value for value in mean_rate(point)] for point in points]
        means, lows, highs = zip(*rates, strict=True)
        below.plot(positions, means, marker=".", label="success rate")
        below.fill_between(positions, lows, highs, alpha=0.2, color="C1", linewidth=0)
        below.legend()
    below.set_ylabel("%")
    below.set_xlabel(f"from {ends[0]} (0) to {ends[1]} (1)")
    _save(figure, path)


def plot_slice(found: Slice, name: str, path: Path) -> None:
    """Plot the contours of the loss on a plane; the model is in the middle.

    Args:
        found: the slice.
        name: of the model.
        path: checked by `check_plot_path`.

    Raises:
        TransferZooError: the file cannot be written.
    """
    figure = _figure(6, 5)
    axes = figure.subplots()
    surface = axes.contourf(found.positions, found.positions, found.losses, levels=LEVELS)
    figure.colorbar(surface, label="loss")
    axes.plot(0, 0, marker="+", color="white")
    axes.set_title(_as_is(name))
    axes.set_xlabel("first direction")
    axes.set_ylabel("second direction")
    _save(figure, path)


def _as_is(name: str) -> str:
    """Return a name for matplotlib, which would set what stands between two "$" as a formula."""
    return name.replace("$", r"\$")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    write_bytes(path, figure_bytes(figure, path.suffix.removeprefix("."), dpi=150))
