"""Line charts of a study: over epochs, and over the radius of the minimizer."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import parse_terms
from transferzoo.minimizers import show_rule
from transferzoo.page.charts import Axis, CurvePanel, Curves, Figure
from transferzoo.page.measurements import (
    attack_specs,
    mean_over_seeds,
    measure_axis,
    measurements,
)
from transferzoo.studies.entries import ACCURACY, ROBUST, SUCCESS
from transferzoo.studies.result_file import SHARPNESS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from transferzoo.page.measurements import Epoch
    from transferzoo.studies.result_file import Results
    from transferzoo.studies.schema import Study

    Fields = frozenset[tuple[str, str]]
    Position = tuple[float, str, Epoch]
    """A position on an axis, and the surrogate and epoch measured there."""

NO_RADIUS = "sgd"
"""The minimizer without a radius."""
RADIUS = ("rho_schedule", "rho_warmup", "rho_floor")
"""Fields of a training that mean nothing without a radius."""
SELECTION = ("save_every", "select", "validators")
"""Fields that select weights and do not change the training."""
MEASURES_BELOW = (ACCURACY, ROBUST, f"{SHARPNESS}.top", f"{SHARPNESS}.trace")
"""Measures that have a panel below success."""


def epoch_curves(results: Results) -> list[Figure]:
    """Return what was measured after each epoch, a figure for trainings whose rates decay alike."""
    epochs: dict[str, set[int]] = defaultdict(set)
    for surrogate, epoch, *_ in measurements(results):
        if isinstance(epoch, int) and not isinstance(results.study.surrogates[surrogate].epoch, int):
            epochs[surrogate].add(epoch)
    found, groups = learning_rate_decays(results), defaultdict[tuple[float, ...], list[str]](list)
    for name in epochs:
        groups[found.get(name, ())].append(name)
    figures = []
    for number, (marks, names) in enumerate(groups.items(), 1):
        lines = {name: [(float(at), name, at) for at in sorted(epochs[name])] for name in names}
        if panels := _panels(results, lines):
            chart = Curves(Axis("Epoch", whole=True), panels, marks, "learning rate decays")
            figures.append(
                _epoch_figure(chart, number if len(groups) > 1 else 0, names, _bands_caption(results))
            )
    return figures


def _epoch_figure(chart: Curves, number: int, names: Sequence[str], bands: str) -> Figure:
    title = "Through the training" + (f": {', '.join(names)}" if number else "")
    caption = f"Measured after each epoch. {bands}"
    caption += " Dashed: the learning rate decays." if chart.marks else ""
    return Figure(f"epochs-{number}" if number else "epochs", title, caption, chart)


def rho_curves(results: Results) -> Figure | None:
    """Return what was measured of trainings that differ in the radius of their minimizer alone."""
    trainings = {name: _training(results.study, name) for name in results.study.surrogates}
    families: dict[_Training, list[Position]] = defaultdict(list)
    for name, (training, rho) in trainings.items():
        if rho is not None:
            families[training].append((rho, name, results.own_epoch(name)))
    families = {one: sorted(each) for one, each in families.items() if len({x for x, _, _ in each}) > 1}
    rests = {_without(one.rest, RADIUS) for one in families}
    plain = {
        name: results.own_epoch(name)
        for name, (training, rho) in trainings.items()
        if training.minimizer == NO_RADIUS and _without(training.rest, RADIUS) in rests
    }
    panels = _panels(results, _name_families(families), plain)
    if not panels:
        return None
    radii = sorted({x for positions in families.values() for x, _, _ in positions})
    return Figure(
        "rho",
        "Over the radius ρ of the minimizer",
        _bands_caption(results) + (" Dotted: the same training without a radius." if plain else ""),
        Curves(Axis("ρ", log=radii[-1] >= 4 * radii[0], ticks=tuple(radii)), panels),
    )


class _Training(NamedTuple):
    """A training but for its radius: the name of its minimizer, its options, and all else."""

    minimizer: str
    options: Fields
    rest: Fields


def _training(study: Study, surrogate: str) -> tuple[_Training, float | None]:
    """Return a surrogate's training and its radius, None where it has none."""
    entry = study.surrogates[surrogate]
    fields = {**study.train, **entry.train}
    spec = str(fields.pop("minimizer", NO_RADIUS))
    try:
        (term,) = parse_terms(show_rule(spec))
    except UsageError:  # a minimizer that this version does not have
        (term,) = parse_terms(spec)
    options = dict(term.options)
    rho = options.pop("rho", None)
    fields |= {"model": entry.model, "data": entry.data, "epoch": entry.epoch}
    training = _Training(term.name, frozenset(options.items()), _without(_hashable(fields), SELECTION))
    return training, None if rho is None else float(rho)


def _hashable(fields: Mapping[str, object]) -> Fields:
    return frozenset((key, json.dumps(value, sort_keys=True)) for key, value in fields.items())


def _without(fields: Fields, keys: Collection[str]) -> Fields:
    return frozenset((key, value) for key, value in fields if key not in keys)


def _name_families(families: Mapping[_Training, list[Position]]) -> dict[str, list[Position]]:
    """Return the families by name: of the minimizer where that is enough, else with its first surrogate's."""
    minimizers = Counter(one.minimizer for one in families)
    return {
        one.minimizer
        if minimizers[one.minimizer] == 1
        else f"{one.minimizer} ({positions[0][1]}, …)": positions
        for one, positions in families.items()
    }


def _panels(
    results: Results,
    lines: Mapping[str, Sequence[Position]],
    references: Mapping[str, Epoch] = MappingProxyType({}),
) -> tuple[CurvePanel, ...]:
    """Return a panel for each measure that there are values of.

    Args:
        results: of the study.
        lines: name → positions; a line needs two at least.
        references: surrogate → epoch of those that have no position on the axis.
    """
    found, attacks = measurements(results), attack_specs(results)
    quantities = [*((SUCCESS, attack) for attack in attacks), *((measure, "") for measure in MEASURES_BELOW)]
    panels = []
    for measure, attack in quantities:
        drawn = {
            name: {
                x: mean_over_seeds(found[key])
                for x, *at in positions
                if (key := (*at, measure, attack)) in found
            }
            for name, positions in lines.items()
        }
        drawn = {name: line for name, line in drawn.items() if len(line) > 1}
        flat = {
            name: mean_over_seeds(found[name, epoch, measure, attack]).mean
            for name, epoch in references.items()
            if (name, epoch, measure, attack) in found
        }
        if drawn:
            ends = [end for line in drawn.values() for level in line.values() for end in level]
            axis = measure_axis(measure, [*ends, *flat.values()], attack if len(attacks) > 1 else "")
            panels.append(CurvePanel(axis, drawn, flat))
    return tuple(panels)


def _bands_caption(results: Results) -> str:
    seeds = len({one.seed for one in results.outcomes})
    return f"Lines: mean over {seeds} training seeds; bands: ± standard deviation." if seeds > 1 else ""


def learning_rate_decays(results: Results) -> dict[str, tuple[float, ...]]:
    """Return surrogate → where its learning rate falls to half or less between two epochs.

    Before or after such a step the rate stays for an epoch: the smooth end of a cosine is none.
    """
    rates: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for value in results.values:
        if value.measure == "learning_rate" and isinstance(value.epoch, int):
            rates[value.surrogate, value.seed][value.epoch] = value.value
    found: dict[str, set[float]] = defaultdict(set)
    for (surrogate, _), line in rates.items():
        for epoch, rate in line.items():
            before = line.get(epoch - 1)
            stays = before is not None and (line.get(epoch - 2) == before or line.get(epoch + 1) == rate)
            if before is not None and stays and rate <= before / 2:
                found[surrogate].add(epoch - 0.5)
    return {surrogate: tuple(sorted(positions)) for surrogate, positions in found.items()}
