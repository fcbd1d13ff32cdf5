"""Figures of mean success rates by surrogate and attack, of studies and of runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.page.charts import Axis, Bars, Figure, Heatmap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.page.charts import Level

    Levels = Mapping[str, Mapping[str, Level | None]]
    """Surrogate → attack → mean with its interval."""

MOST_SERIES = 6
"""Bars of a group at most."""


def means(levels: Levels, caption: str) -> Figure | None:
    """Return bars of the means, None where there are none.

    Args:
        levels: the same attacks for all surrogates.
        caption: what bars and whiskers are.
    """
    if not levels:
        return None
    groups, series = _grouped(levels)
    order = " Bars of a group stand in the order of the legend." if len(series) > 1 else ""
    chart = Bars(Axis("Success rate", percent=True), groups, series)
    return Figure("means", "Mean success rate over the targets", caption + order, chart)


def _grouped(levels: Levels) -> tuple[tuple[str, ...], dict[str, tuple[Level | None, ...]]]:
    """Return groups and series; of surrogates and attacks the fewer are the series, if they are few."""
    attacks = list(next(iter(levels.values())))
    if len(attacks) == 1:
        return tuple(levels), {"": tuple(by_attack[attacks[0]] for by_attack in levels.values())}
    if len(levels) == 1:
        ((_, by_attack),) = levels.items()
        return tuple(attacks), {"": tuple(by_attack.values())}
    if len(attacks) <= min(MOST_SERIES, len(levels)):
        return tuple(levels), {a: tuple(by_attack[a] for by_attack in levels.values()) for a in attacks}
    if len(levels) <= MOST_SERIES:
        return tuple(attacks), {name: tuple(by_attack.values()) for name, by_attack in levels.items()}
    names = tuple(f"{name}\n{attack}" for name in levels for attack in attacks)
    return names, {"": tuple(level for by_attack in levels.values() for level in by_attack.values())}


def by_attack(rates: Mapping[str, Mapping[str, float]], what: str) -> Figure:
    """Return a matrix of means: a row an attack, a column a surrogate.

    Args:
        rates: surrogate → attack → mean, in [0, 1].
        what: what the mean is over.
    """
    attacks = dict.fromkeys(attack for by_attack in rates.values() for attack in by_attack)
    cells = tuple(tuple(by_attack.get(attack) for by_attack in rates.values()) for attack in attacks)
    return Figure(
        "attacks",
        "Mean success rates by attack and surrogate",
        f"{what}, in %; the stronger the colour, the higher.",
        Heatmap(tuple(attacks), tuple(rates), cells, means=False),
    )
