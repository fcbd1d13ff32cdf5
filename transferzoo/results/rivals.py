"""Which rows of the matrix may be compared, and which of them is the highest; pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.results.comparisons import budget_of, comparable, mean_rate, paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.results.comparisons import Mean, Row
    from transferzoo.results.records import Record

    Rows = Mapping[Row, Mapping[str, Record]]


def rivals(rows: Rows) -> dict[Row, Mean]:
    """Return the means of those rows with images, targets and budget of the first that has a mean."""
    means = {name: mean for name, cells in rows.items() if (mean := mean_rate(cells))}
    if not means:
        return {}
    first = next(iter(means))
    return {
        name: mean
        for name, mean in means.items()
        if name == first
        or (comparable(rows[first], rows[name]) and budget_of(first[1]) == budget_of(name[1]))
    }


def best_means(rows: Rows) -> frozenset[Row]:
    """Return the rows with the highest mean of those that may be compared; none where all are equal."""
    return _highest({name: mean[0] for name, mean in rivals(rows).items()})


def best_on(target: str, rows: Rows) -> frozenset[Row]:
    """Return the rows with the highest rate on a target, white-box ones aside; none where all are equal.

    Compared are those with the budget of the first, measured on the same images.
    """
    cells = {name: row[target] for name, row in rows.items() if target in row and not row[target].white_box}
    if not cells:
        return frozenset()
    (_, attack), first = next(iter(cells.items()))
    return _highest(
        {
            name: record.rate
            for name, record in cells.items()
            if paired(first, record) and budget_of(attack) == budget_of(name[1])
        }
    )


def _highest(rates: Mapping[Row, float]) -> frozenset[Row]:
    top = max(rates.values(), default=0.0)
    found = frozenset(name for name, rate in rates.items() if rate == top)
    return found if len(found) < len(rates) else frozenset()
