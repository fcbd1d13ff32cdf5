"""The attacks of a study compared: what each reaches from a surrogate, and what it costs."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from transferzoo.base.table import Table
from transferzoo.results.cell_texts import ends_text
from transferzoo.results.statistics import crossed_difference
from transferzoo.results.target_means import contributions
from transferzoo.studies.claim_sides import outcomes_by_target, stack_values
from transferzoo.studies.entries import GRADIENTS, MOVED, NOISE, OF_ATTACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from transferzoo.results.statistics import Difference
    from transferzoo.studies.result_file import Results

UNKNOWN = "–"


def compares_attacks(results: Results) -> bool:
    """Return whether a study is about its attacks: it has more of them than surrogates and epochs."""
    return len(results.study.attacks) > len({(one.surrogate, one.epoch) for one in results.lines})


def attack_tables(results: Results) -> list[Table]:
    """Return a table a surrogate, of its own epoch: a row an attack, in the study's order."""
    names = dict.fromkeys(one.surrogate for one in results.outcomes)
    return [table for name in names if (table := _attack_table(results, name)).rows]


def _attack_table(results: Results, surrogate: str) -> Table:
    study, epoch = results.study, results.own_epoch(surrogate)
    rows, counted = [], set()
    for entry in study.attacks:
        lines = [
            one
            for one in results.outcomes
            if (one.surrogate, one.epoch, one.attack) == (surrogate, epoch, entry.label)
        ]
        success = mean_success(results, surrogate, entry.label)
        if success is None:
            continue
        mean, interval = success
        measures = attack_measures(results, surrogate, entry.label)
        white = [one.rate for one in lines if one.white_box]
        counted |= {one.n for one in lines}
        rows.append(
            (
                entry.label,
                f"{measures[GRADIENTS]:g}" if GRADIENTS in measures else UNKNOWN,
                entry.step or UNKNOWN,
                _percent(mean),
                f"{_percent(max(0.0, interval.low))} to {_percent(min(1.0, interval.high))}"
                if interval
                else UNKNOWN,
                _percent(measures.get(NOISE)),
                _percent(measures.get(MOVED)),
                _percent(fmean(white) if white else None),
            )
        )
    caption = (
        f"Mean success rate over the targets in %, with its interval over {study.drawn}; {study.dataset}, "
        f"n = {ends_text(sorted(counted) or [0])}. Gradients: evaluations an image. Noise: random noise of "
        "the same budget. |δ| / ε: share of the budget that the mean pixel uses, in %. White box: success "
        "on the surrogate itself."
    )
    columns = ("attack", "gradients", "step", "success", "95 % interval", "noise", "|δ| / ε", "white box")
    return Table(f"Study {study.name}: what was measured from {surrogate}", columns, tuple(rows), caption)


def mean_success(results: Results, surrogate: str, attack: str) -> tuple[float, Difference | None] | None:
    """Return the mean success of an attack from a surrogate at its own epoch, over targets, seeds, images.

    Its interval is over seeds and images; a single image has none. None where nothing was measured.
    """
    found = outcomes_by_target(results, surrogate, results.own_epoch(surrogate), attack)
    if not found:
        return None
    seeds = {seed for by_seed in found.values() for seed in by_seed}
    shares = contributions(stack_values(found, list(found), sorted(seeds)))
    return float(shares.mean()), crossed_difference(shares)


def standings(results: Results, attacks: Iterable[str], gradients: int) -> list[str]:
    """Return a sentence an attack: its place by mean success among those of as many gradients or fewer.

    Args:
        results: of the study.
        attacks: labels, in the order of the sentences; what was not measured is left out.
        gradients: evaluations an image, at most.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in results.study.surrogates}
    for name, label in dict.fromkeys((one.surrogate, one.attack) for one in results.outcomes):
        success = mean_success(results, name, label)
        cost = attack_measures(results, name, label).get(GRADIENTS)
        if success is not None and cost is not None and cost <= gradients:
            found[name][label] = round(success[0], 9)  # equal means differ in their last digits
    return [
        f"{attack}: by mean success, among attacks of at most {gradients} gradients, {'; '.join(places)}."
        for attack in attacks
        if (places := [_place(attack, rates, name) for name, rates in found.items() if attack in rates])
    ]


def _place(attack: str, rates: Mapping[str, float], surrogate: str) -> str:
    best = max(rates, key=lambda label: rates[label])
    first = "" if rates[best] == rates[attack] else f" ({best} has {_percent(rates[best])} %)"
    place = 1 + sum(rate > rates[attack] for rate in rates.values())
    return f"{place} of {len(rates)} from {surrogate}, with {_percent(rates[attack])} %{first}"


def attack_measures(results: Results, surrogate: str, attack: str) -> dict[str, float]:
    """Return the measures of `OF_ATTACK` that there are at a surrogate's own epoch, means over seeds."""
    place = (surrogate, results.own_epoch(surrogate), attack)
    cells = {one.cell for one in results.outcomes if (one.surrogate, one.epoch, one.attack) == place}
    found = {
        measure: [one.value for one in results.values if one.cell in cells and one.measure == measure]
        for measure in OF_ATTACK
    }
    return {measure: fmean(values) for measure, values in found.items() if values}


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.1f}"
