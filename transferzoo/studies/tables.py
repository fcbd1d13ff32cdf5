"""Results of a study → tables; pure functions, without torch."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Mark, Marked, Table
from transferzoo.results.cell_texts import ends_text
from transferzoo.results.statistics import ENOUGH_SEEDS
from transferzoo.studies.attack_tables import attack_tables, compares_attacks
from transferzoo.studies.claims import (
    INCONCLUSIVE,
    NO_DIFFERENCE,
    NOT_SUPPORTED,
    SUPPORTED,
    as_json,
    format_difference,
    in_words,
)
from transferzoo.studies.entries import ACCURACY, ROBUST, SHARES, SUCCESS
from transferzoo.studies.result_file import SHARPNESS, csv_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.base.table import Cell
    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.result_file import Outcomes, Results, Value

COLUMNS = (ACCURACY, ROBUST, f"{SHARPNESS}.top", f"{SHARPNESS}.trace")
"""Measures of a surrogate that its row shows, where they were measured."""


def tables(results: Results, verdicts: Sequence[Verdict]) -> list[Table]:
    """Return the table of verdicts, if there are any, and those of measurements."""
    measured = attack_tables(results) if compares_attacks(results) else [_measurements_table(results)]
    return [*([_verdicts_table(verdicts, results)] if verdicts else []), *measured]


def _verdicts_table(verdicts: Sequence[Verdict], results: Results) -> Table:
    rows = [_row(one) for one in verdicts]
    ratios = ", × for ratios" if any(one.claim.scale == "log" for one in verdicts) else ""
    study = results.study
    how, enough = "paired t-test", ""
    if study.trains:
        how = "two-level bootstrap's variance, Student's t"
        enough = f", from {ENOUGH_SEEDS} training seeds on"
    caption = (
        f"Differences in points, or in the unit of a measure that is no share{ratios}; 95 % intervals over "
        f"{study.drawn} ({how}); targets better / worse by Holm's correction at 5 %{enough}."
    )
    if any(one.claim.by for one in verdicts):
        caption += (
            " Of a claim with a margin (`by`) the difference is that beyond it; targets are counted without."
        )
    if any(one.difference is None and one.verdict == INCONCLUSIVE and one.seeds < 2 for one in verdicts):
        caption += " What has one value, of one model or training, has no interval."
    if any(one.verdict == NO_DIFFERENCE for one in verdicts):
        caption += (
            " No difference of a size: the interval has zero in it and ends within that size, either way."
        )
    columns, rows, same = _alike(
        ("claim", "difference", "95 % interval", "p", "targets", "n", "seeds", "verdict"), rows
    )
    caption += _progress(results) + sharing_sentence(results.shared)
    return Table.of_cells(f"Study {study.name}: {study.about}", columns, rows, same + caption)


def _alike(
    columns: tuple[str, ...], rows: list[tuple[Cell, ...]]
) -> tuple[tuple[str, ...], list[tuple[Cell, ...]], str]:
    """Return a table without the numbers that all of several rows have, and a sentence that says them."""
    said = {"n": "n = {}", "seeds": "{} training seeds"}
    cells = {at: {str(row[at]) for row in rows} for at, name in enumerate(columns) if name in said}
    alike = {at: found.pop() for at, found in cells.items() if len(rows) > 1 and len(found) == 1}
    alike = {at: count for at, count in alike.items() if count != "1"}
    kept = [at for at in range(len(columns)) if at not in alike]
    counts = ", ".join(said[columns[at]].format(count) for at, count in alike.items() if count.isdecimal())
    return (
        tuple(columns[at] for at in kept),
        [tuple(row[at] for at in kept) for row in rows],
        f"Each claim: {counts}. " if counts else "",
    )


def _progress(results: Results) -> str:
    """Return how many of the study's surrogates are measured, in a sentence; nothing if all are."""
    planned = {
        (name, seed)
        for name, entry in results.study.surrogates.items()
        for seed in ((0,) if entry.model else entry.seeds or results.study.seeds)
    }
    attacked: dict[str, dict[int, set[tuple[int | str, str]]]] = defaultdict(lambda: defaultdict(set))
    for one in results.outcomes:
        attacked[one.surrogate][one.seed].add((one.epoch, one.attack))
    labels = {entry.label for entry in results.study.attacks}
    found = set()
    for name, by_seed in attacked.items():
        epochs = {epoch for cells in by_seed.values() for epoch, _ in cells}
        whole = {(epoch, label) for epoch in epochs for label in labels}
        found |= {(name, seed) for seed, cells in by_seed.items() if cells >= whole}
    if planned <= found:
        return ""
    return f" So far {len(planned & found)} of {len(planned)} pairs of surrogate and seed are measured."


def sharing_sentence(shared: Mapping[str, Sequence[str]]) -> str:
    """Return which studies have trainings of this one, so that their verdicts are not independent."""
    if not shared:
        return ""
    surrogates = dict.fromkeys(surrogate for each in shared.values() for surrogate in each)
    return f" Shares trainings with {', '.join(shared)}: {', '.join(surrogates)}."


def _row(one: Verdict) -> tuple[Cell, ...]:
    found = one.difference
    if found is None:
        return (one.claim.say, "–", "–", "–", "–", "–", str(one.seeds or "–"), one.verdict)
    targets = f"{one.better[0]} / {one.better[1]} of {one.targets}" if one.better else "–"
    mean, low, high = (format_difference(value, one.claim) for value in (found.mean, found.low, found.high))
    return (
        one.claim.say,
        mean,
        f"{low} to {high}",
        "< 0.001" if found.p < 0.001 else f"{found.p:.3f}",
        targets,
        str(one.images or "–"),
        str(one.seeds or "–"),
        Marked.where(
            one.words,
            {Mark.POSITIVE: one.verdict == SUPPORTED, Mark.NEGATIVE: one.verdict == NOT_SUPPORTED},
        ),
    )


def _measurements_table(results: Results) -> Table:
    """Return a row a surrogate and epoch: means over seeds, with their standard deviations."""
    attacks = list(dict.fromkeys(one.attack for one in results.outcomes))
    measures = [name for name in COLUMNS if any(v.measure == name for v in results.values)]
    measured: list[Outcomes | Value] = [*results.outcomes, *results.values]
    places = dict.fromkeys((one.surrogate, one.epoch) for one in measured)
    found = {
        place: [
            *((SUCCESS, success_by_seed(results, *place, attack)) for attack in attacks),
            *((measure, values_by_seed(results, *place, measure)) for measure in measures),
        ]
        for place in places
    }
    rows = tuple(
        (name, str(epoch), *(_over_seeds(by_seed, measure) for measure, by_seed in cells))
        for (name, epoch), cells in found.items()
    )
    counts = sorted(
        {
            0 if results.study.surrogates[name].model else len(by_seed)
            for (name, _), cells in found.items()
            for _, by_seed in cells
            if by_seed
        }
    )
    spread = f"; ± standard deviation over {_seeds(counts)}" if results.study.trains else ""
    caption = (
        f"Mean success rate over the targets and accuracy in %{spread}; {results.study.dataset}, "
        f"n = {ends_text(sorted(one.n for one in results.outcomes) or [0])}."
    )
    columns = ("surrogate", "epoch", *attacks, *(name.removeprefix(f"{SHARPNESS}.") for name in measures))
    return Table(f"Study {results.study.name}: what was measured", columns, rows, caption)


def _seeds(counts: Sequence[int]) -> str:
    """Return how many seeds there are, from the smallest to the largest of the counts, in words."""
    first, last = (counts[0], counts[-1]) if counts else (0, 0)
    return in_words(last) if first == last else f"{first or 'no'} to {in_words(last)}"


def success_by_seed(results: Results, surrogate: str, epoch: int | str, attack: str) -> dict[int, float]:
    """Return seed → mean success rate over the targets, white-box ones aside."""
    found: dict[int, list[float]] = {}
    for one in results.outcomes:
        if (one.surrogate, one.epoch, one.attack) == (surrogate, epoch, attack) and not one.white_box:
            found.setdefault(one.seed, []).append(one.rate)
    return {seed: mean(rates) for seed, rates in found.items()}


def values_by_seed(results: Results, surrogate: str, epoch: int | str, measure: str) -> dict[int, float]:
    """Return seed → a measured value."""
    return {
        one.seed: one.value
        for one in results.values
        if (one.surrogate, one.epoch, one.measure) == (surrogate, epoch, measure)
    }


def _over_seeds(found: dict[int, float], measure: str) -> str:
    if not found:
        return "–"
    scale, form = (100.0, ".1f") if measure in SHARES else (1.0, ".3g")
    numbers = [scale * number for number in found.values()]
    spread = f" ± {stdev(numbers):{form}}" if len(numbers) > 1 else ""
    return f"{mean(numbers):{form}}{spread}"


def to_json(results: Results, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return a study, its verdicts and all that was measured as JSON."""
    return {
        "study": results.study.model_dump(mode="json"),
        "verdicts": [as_json(one) for one in verdicts],
        "measured": csv_rows(results),
        "versions": dict(results.versions),
        "shares_trainings_with": {study: list(names) for study, names in results.shared.items()},
    }
