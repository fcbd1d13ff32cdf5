"""Measurements → tables, and rows for CSV; pure functions, without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Table
from transferzoo.results import statistics
from transferzoo.results.comparisons import attack_name, per_image
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.sharpness import LinePoint, Measures, Sharpness, Slice


def sharpness_tables(found: Mapping[str, Sharpness], images: str) -> list[Table]:
    """Return the plain and the adaptive measures, a row for each model.

    Args:
        found: full name → its sharpness; at least one.
        images: which images, for the caption.
    """
    first = next(iter(found.values()))
    counts = f"{first.probes} probes of the trace and {first.draws} pairs of the average rise."
    plain = Table(
        title="Sharpness: largest eigenvalue and trace of the Hessian, worst and average rise of the loss",
        columns=("model", "loss", "accuracy", *_headings(first, first.plain)),
        rows=tuple(
            (short(name), f"{one.loss:.3f}", f"{100 * one.accuracy:.1f}", *_cells(one.plain))
            for name, one in found.items()
        ),
        caption=f"{images}; {_radii(first.plain)}; {counts}",
    )
    adaptive = Table(
        title="Adaptive sharpness: each weight moves in proportion to its size",
        columns=("model", *_headings(first, first.adaptive)),
        rows=tuple((short(name), *_cells(one.adaptive)) for name, one in found.items()),
        caption=f"As above; {_radii(first.adaptive)}.",
    )
    return [plain, adaptive]


def _headings(found: Sharpness, measures: Measures) -> tuple[str, ...]:
    top = "eigenvalues" if len(measures.eigenvalues) > 1 else "eigenvalue"
    steps = f"worst {found.steps} step{'s' if found.steps > 1 else ''}"
    return top, "trace ± s.e.", "worst 1 step", steps, "average ± s.e."


def _cells(measures: Measures) -> tuple[str, ...]:
    return (
        ", ".join(f"{value:.3g}" for value in measures.eigenvalues),
        f"{measures.trace:.3g} ± {measures.trace_error:.2g}",
        f"{measures.step_rise:.3g}",
        f"{measures.worst_rise:.3g}",
        f"{measures.average_rise:.3g} ± {measures.average_error:.2g}",
    )


def _radii(measures: Measures) -> str:
    return f"rho = {measures.rho:g}, sigma = {measures.sigma:g}"


def sharpness_rows(found: Mapping[str, Sharpness]) -> list[dict[str, object]]:
    """Return a row for each model, for CSV."""
    return [
        {
            "model": name,
            **one.numbers(),
            "n": one.n,
            "weights": one.weights,
            "rho": one.plain.rho,
            "sigma": one.plain.sigma,
            "adaptive_rho": one.adaptive.rho,
            "adaptive_sigma": one.adaptive.sigma,
            "probes": one.probes,
            "steps": one.steps,
            "draws": one.draws,
            "seed": one.seed,
        }
        for name, one in found.items()
    ]


# ---------------------------------------------------------------- lines


def mean_rate(point: LinePoint) -> tuple[float, float, float]:
    """Return the mean success rate over the targets of a point that has any, and its 95 % interval."""
    shares = per_image({record.target: record for record in point.records})
    return (sum(shares) / len(shares), *statistics.mean_interval(shares))


def line_table(points: Sequence[LinePoint], ends: tuple[str, str], images: str, attack: str) -> Table:
    """Return loss, accuracy and success rates along a line, a row for each point.

    Args:
        points: in order of position.
        ends: full names of the models at 0 and 1.
        images: which images, for the caption.
        attack: canonical form; empty without one.
    """
    records = points[0].records
    targets = tuple(record.target_name for record in records)
    attacked = f"; {attack_name(attack)}, n = {records[0].n}" if records else ""
    return Table(
        title=f"From {short(ends[0])} (0) to {short(ends[1])} (1)",
        columns=("position", "loss", "accuracy", *(("mean", *targets) if targets else ())),
        rows=tuple(
            (f"{p.position:.2f}", f"{p.loss:.3f}", f"{100 * p.accuracy:.1f}", *_rates(p)) for p in points
        ),
        caption=f"{images}; batch norm's statistics recomputed at every point{attacked}.",
    )


def _rates(point: LinePoint) -> tuple[str, ...]:
    if not point.records:
        return ()
    cells = [mean_rate(point), *((r.rate, r.low, r.high) for r in point.records)]
    return tuple(f"{100 * rate:.1f}\n{100 * low:.1f}–{100 * high:.1f}" for rate, low, high in cells)


def line_rows(points: Sequence[LinePoint]) -> list[dict[str, object]]:
    """Return a row for each point, for CSV."""
    rows: list[dict[str, object]] = []
    for point in points:
        rates: dict[str, Any] = {}
        for record in point.records:
            rates |= {f"{record.target} {key}": getattr(record, key) for key in ("rate", "low", "high")}
        mean = {"success_rate": mean_rate(point)[0]} if point.records else {}
        measured = {"position": point.position, "loss": point.loss, "accuracy": point.accuracy}
        rows.append({**measured, **mean, **rates})
    return rows


# ---------------------------------------------------------------- slices


def slice_table(found: Slice, name: str, images: str) -> Table:
    """Return the losses of a slice, a row for each step along the second direction.

    Args:
        found: the slice.
        name: full name of the model.
        images: which images, for the caption.
    """
    steps = [f"{position:g}" for position in found.positions]
    return Table(
        title=f"Loss around {short(name)}",
        columns=("second / first", *steps),
        rows=tuple(
            (step, *(f"{loss:.3g}" for loss in losses))
            for step, losses in zip(steps, found.losses, strict=True)
        ),
        caption=f"{images}; two random directions, normalised by filters.",
    )


def slice_rows(found: Slice) -> list[dict[str, object]]:
    """Return a row for each point of the grid, for CSV."""
    return [
        {"first": first, "second": second, "loss": loss}
        for second, losses in zip(found.positions, found.losses, strict=True)
        for first, loss in zip(found.positions, losses, strict=True)
    ]
