"""Figures of a study about its surrogates at the epoch that stands for each."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean
from typing import TYPE_CHECKING

from transferzoo.page.charts import Axis, Differences, Figure, Heatmap, MeanInterval, Scatter, ScatterPanel
from transferzoo.page.mean_rates import mean_rate_bars, mean_rate_matrix
from transferzoo.page.measurements import (
    SHARPNESS_LABELS,
    attack_specs,
    measure_axis,
    measurements,
)
from transferzoo.page.parts import slug
from transferzoo.studies.attack_tables import mean_success
from transferzoo.studies.entries import SHARES, SUCCESS
from transferzoo.studies.result_file import SHARPNESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.result_file import Outcomes, Results

MOST_ATTACKS = 3
"""Most attacks that all have figures of their own."""
LEAST_POINTS = 4
"""Fewest points that a rank correlation is given for."""


def claim_differences(verdicts: Sequence[Verdict]) -> Figure | None:
    """Return the differences behind verdicts on shares; None where there are none."""
    found = {
        one.claim.say: one.difference
        for one in verdicts
        if one.difference is not None and one.claim.measure in SHARES and one.claim.scale == "linear"
    }
    if not found:
        return None
    drawn = "training seeds and images" if any(one.seeds for one in verdicts) else "images"
    values = tuple(MeanInterval(100 * each.mean, 100 * each.low, 100 * each.high) for each in found.values())
    return Figure(
        "differences",
        "Differences behind the claims",
        "Dots: the side that is claimed to be higher minus the other, less what is claimed at least. Lines: "
        f"95 % intervals over {drawn}. Right of zero speaks for the claim, left of it against.",
        Differences(Axis("Difference (percentage points)", signed=True), tuple(found), values),
    )


def success_matrices(results: Results) -> list[Figure]:
    """Return success rates by surrogate and target, and their means by attack where there are several."""
    attacks = attack_specs(results)
    found = [(attack, _success_matrix(results, attack)) for attack in charted_attacks(attacks)]
    mean = ", mean over training seeds" if results.study.trains else ""
    figures = [
        Figure(
            slug(f"success {attack}") if len(attacks) > 1 else "success",
            "Success rates by surrogate and target" + (f", {attack}" if len(attacks) > 1 else ""),
            f"Success rate in %{mean}; the stronger the colour, the higher."
            + (" * White box: left out of the mean." if chart.white_box else ""),
            chart,
        )
        for attack, chart in found
    ]
    return [*([_attack_matrix(results)] if len(attacks) > 1 else []), *figures]


def charted_attacks(attacks: Sequence[str]) -> Sequence[str]:
    """Return the attacks that have figures of their own: all if they are few, the first one else."""
    return attacks if len(attacks) <= MOST_ATTACKS else attacks[:1]


def _attack_matrix(results: Results) -> Figure:
    found = measurements(results)
    last = {name: results.own_epoch(name) for name in results.study.surrogates}
    return mean_rate_matrix(
        {
            name: {
                attack: fmean(rates.values())
                for attack in attack_specs(results)
                if (rates := found.get((name, epoch, SUCCESS, attack)))
            }
            for name, epoch in last.items()
        },
        f"Mean over targets{' and training seeds' if results.study.trains else ''}",
    )


def _success_matrix(results: Results, attack: str) -> Heatmap:
    cells: dict[tuple[str, str], list[Outcomes]] = defaultdict(list)
    last = {name: results.own_epoch(name) for name in results.study.surrogates}
    for one in results.outcomes:
        if (one.epoch, one.attack) == (last[one.surrogate], attack):
            cells[one.surrogate, one.target].append(one)
    rows = list(dict.fromkeys(row for row, _ in cells))
    targets = list(dict.fromkeys(target for _, target in cells))
    table: list[tuple[float | None, ...]] = []
    starred = set()
    for at, row in enumerate(rows):
        line: list[float | None] = []
        kept = []
        for column, target in enumerate(targets, 1):
            every = cells.get((row, target), [])
            others = [one for one in every if not one.white_box]
            line.append(fmean(one.rate for one in others or every) if every else None)
            if others:
                kept.append(fmean(one.rate for one in others))
            elif every:
                starred.add((at, column))
        table.append((fmean(kept) if kept else None, *line))
    return Heatmap(tuple(rows), ("mean", *targets), tuple(table), frozenset(starred))


def mean_rates(results: Results) -> Figure | None:
    """Return the mean success rate of every surrogate under every attack, with intervals."""
    drawn = results.study.drawn
    means = {
        name: {attack: mean_interval(results, name, attack) for attack in attack_specs(results)}
        for name in results.study.surrogates
    }
    return mean_rate_bars(
        {name: by_attack for name, by_attack in means.items() if any(by_attack.values())},
        f"Bars: mean over targets, {drawn}. Whiskers: 95 % intervals over {drawn}.",
    )


def mean_interval(results: Results, surrogate: str, attack: str) -> MeanInterval | None:
    """Return the mean rate of a surrogate with its interval over seeds and images, which one image lacks."""
    found = mean_success(results, surrogate, attack)
    if found is None:
        return None
    mean, interval = found
    return (
        MeanInterval(mean, max(0.0, interval.low), min(1.0, interval.high))
        if interval
        else MeanInterval(mean, mean, mean)
    )


def sharpness_scatter(results: Results) -> list[Figure]:
    """Return success against each measure of sharpness, a figure an attack."""
    found, last = (
        measurements(results),
        {name: results.own_epoch(name) for name in results.study.surrogates},
    )
    measures = [f"{SHARPNESS}.{kind}{name}" for name in SHARPNESS_LABELS for kind in ("", "adaptive_")]
    attacks = attack_specs(results)
    figures = []
    for attack in charted_attacks(attacks):
        panels = []
        for measure in measures:
            points: dict[str, tuple[tuple[float, float], ...]] = {}
            for name, epoch in last.items():
                sharp = found.get((name, epoch, measure, ""), {})
                rates = found.get((name, epoch, SUCCESS, attack), {})
                if shared := sharp.keys() & rates.keys():
                    points[name] = tuple((sharp[seed], rates[seed]) for seed in sorted(shared))
            if len(points) > 1:
                values = [x for pairs in points.values() for x, _ in pairs]
                panels.append(ScatterPanel(measure_axis(measure, values), points, _correlation(points)))
        if panels:
            several = len(attacks) > 1
            figures.append(
                Figure(
                    slug(f"sharpness {attack}") if several else "sharpness",
                    "Success against sharpness" + (f", {attack}" if several else ""),
                    "A point a surrogate and training seed, at the epoch that stands for the surrogate. "
                    "Spearman's rank correlation; points of one surrogate are not independent.",
                    Scatter(Axis("Success rate", percent=True), tuple(panels)),
                )
            )
    return figures


def _correlation(points: Mapping[str, tuple[tuple[float, float], ...]]) -> float | None:
    """Return Spearman's rank correlation, None where there are few points or one of the two is constant."""
    from scipy.stats import spearmanr

    pairs = [pair for each in points.values() for pair in each]
    first, second = [x for x, _ in pairs], [y for _, y in pairs]
    if len(pairs) < LEAST_POINTS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(spearmanr(first, second).statistic)
