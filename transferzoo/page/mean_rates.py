"""Figures of mean success rates by surrogate and attack, of studies and of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.page.charts import Axis, Bars, Figure, Heatmap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.page.charts import MeanInterval

    Rates = Mapping[str, Mapping[str, MeanInterval | None]]
    """Surrogate → attack → mean with its interval."""

MOST_SERIES = 6
"""Most bars of a group."""


def mean_rate_bars(rates: Rates, caption: str) -> Figure | None:
    """Return the mean success rates as bars, None where there are none.

    Args:
        rates: the same attacks for all surrogates.
        caption: what bars and whiskers are.
    """
    if not rates:
        return None
    groups, series = _group_bars(rates)
    order = " Bars of a group stand in the order of the legend." if len(series) > 1 else ""
    chart = Bars(Axis("Success rate", percent=True), groups, series)
    return Figure("means", "Mean success rate over the targets", caption + order, chart)


def _group_bars(rates: Rates) -> tuple[tuple[str, ...], dict[str, tuple[MeanInterval | None, ...]]]:
    """Return groups and series; of surrogates and attacks the fewer are the series, if they are few."""
    attacks = list(next(iter(rates.values())))
    if len(attacks) == 1:
        return tuple(rates), {"": tuple(by_attack[attacks[0]] for by_attack in rates.values())}
    if len(rates) == 1:
        ((_, by_attack),) = rates.items()
        return tuple(attacks), {"": tuple(by_attack.values())}
    if len(attacks) <= min(MOST_SERIES, len(rates)):
        return tuple(rates), {a: tuple(by_attack[a] for by_attack in rates.values()) for a in attacks}
    if len(rates) <= MOST_SERIES:
        return tuple(attacks), {name: tuple(by_attack.values()) for name, by_attack in rates.items()}
    names = tuple(f"{name}\n{attack}" for name in rates for attack in attacks)
    return names, {"": tuple(level for by_attack in rates.values() for level in by_attack.values())}


def mean_rate_matrix(rates: Mapping[str, Mapping[str, float]], averaged: str) -> Figure:
    """Return the mean success rates as a matrix: a row for each attack, a column for each surrogate.

    Args:
        rates: surrogate → attack → mean, in [0, 1].
        averaged: what the mean is over, the beginning of the caption.
    """
    attacks = dict.fromkeys(attack for by_attack in rates.values() for attack in by_attack)
    cells = tuple(tuple(by_attack.get(attack) for by_attack in rates.values()) for attack in attacks)
    return Figure(
        "attacks",
        "Mean success rates by attack and surrogate",
        f"{averaged}, in %; the stronger the colour, the higher.",
        Heatmap(tuple(attacks), tuple(rates), cells, mean_column=False),
    )
