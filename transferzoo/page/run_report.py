"""Run folders → their part of a page."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from transferzoo.base.foreign_files import read_json
from transferzoo.page.charts import Axis, CurvePanel, Curves, Differences, Figure, Heatmap, MeanInterval
from transferzoo.page.example_images import cell_anchor
from transferzoo.page.mean_rates import mean_rate_bars, mean_rate_matrix
from transferzoo.page.parts import Part, format_range, names_or_count, unique_texts
from transferzoo.results.comparisons import attack_name, brief, mean_rate, paired_tests, rows_of
from transferzoo.results.ranking import ranking_tables
from transferzoo.results.records import short
from transferzoo.results.tables import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from transferzoo.base.table import Table
    from transferzoo.evaluation.run_folder import RunFolder
    from transferzoo.page.example_images import RowExamples
    from transferzoo.results.comparisons import Findings, Row
    from transferzoo.results.records import Record

READING = (
    "Images that are changed a little to mislead a surrogate are shown to the targets, models that had no "
    "part in making them. The success rate is the share of the counted images that a target then {wrong}. A "
    "mean is taken over images and over targets, white-box ones (*) aside. One training for each surrogate: "
    "the intervals are over images, not over trainings."
)


def runs_part(findings: Findings, runs: Sequence[RunFolder], examples: Sequence[RowExamples]) -> Part:
    """Return the part of a page about runs.

    Args:
        findings: of all of them.
        runs: their folders.
        examples: of each row of the table, see `row_examples`.
    """
    shown = tables(findings, visibility=True)
    configurations = {run.path.name: configuration(run) for run in runs}
    wrong = "classifies as the target class" if findings.records[0].targeted else "gets wrong"
    return Part(
        name="runs",
        title="Attack runs" if len(runs) > 1 else f"Attack run {runs[0].path.name}",
        about=f"How often adversarial images fool other models, on {findings.records[0].dataset}.",
        facts=_facts(findings, runs),
        verdicts=(),
        figures=run_figures(findings),
        tables=tuple(shown),
        examples=tuple(examples),
        commands=tuple(command for run in runs if (command := run.started().get("command"))),
        configuration={
            f"{name}/config.json": json.dumps(one, indent=2, ensure_ascii=False)
            for name, one in configurations.items()
        },
        reading=READING.format(wrong=wrong),
        rankings=tuple(ranking_tables(findings)),
        links=cell_links(findings, shown[0]) if examples else {},
    )


def cell_links(findings: Findings, table: Table) -> dict[tuple[int, int], str]:
    """Return where each cell of the table of success rates leads: (row, column) → anchor of its examples."""
    rows = rows_of(findings.records)
    names = list(dict.fromkeys(target for cells in rows.values() for target in cells))
    if len(rows) == 1:
        column = table.columns.index("success rate")
        return {(at, column): cell_anchor(0, at) for at in range(len(names))}
    start = len(table.columns) - len(names)
    return {
        (at, start + names.index(target)): cell_anchor(at, number)
        for at, cells in enumerate(rows.values())
        for number, target in enumerate(cells)
    }


def configuration(run: RunFolder) -> dict[str, Any]:
    """Return all that a run depends on, as `config.json` has it."""
    return dict(read_json(run.path / "config.json"))


def run_figures(findings: Findings) -> tuple[Figure, ...]:
    """Return the figures that the records have the numbers for."""
    rows = rows_of(findings.records)
    names = row_names(rows)
    labels = row_labels(names)
    means: dict[str, dict[str, MeanInterval | None]] = {}
    for row, (surrogate, attack) in names.items():
        means.setdefault(surrogate, {})[attack] = _mean_interval(rows[row])
    attacks = list(dict.fromkeys(attack for _, attack in names.values()))
    full = {name: {attack: each.get(attack) for attack in attacks} for name, each in means.items()}
    rates = {
        name: {attack: mean.mean for attack, mean in each.items() if mean} for name, each in means.items()
    }
    apart = _unlike(rows)
    caption = f"Bars: mean over images and targets{apart}. Whiskers: 95 % t intervals over images."
    shown = (
        mean_rate_matrix(rates, f"Mean over images and targets{apart}")
        if min(len(attacks), len(means)) > 1
        else None,
        _success_matrix(rows, labels),
        mean_rate_bars({n: each for n, each in full.items() if any(each.values())}, caption),
        _paired_differences(findings, labels),
        _step_curves(findings, labels),
    )
    return tuple(figure for figure in shown if figure is not None)


def _unlike(rows: Mapping[Row, Mapping[str, Record]]) -> str:
    """Return, behind a comma, that means are not of the same targets or images; empty where they are."""
    kinds = {
        tuple(sorted((r.target, r.split, r.selection, r.seed) for r in cells.values() if not r.white_box))
        for cells in rows.values()
    }
    if len(kinds) < 2:
        return ""
    return ", which are not the same for all rows: rankings compare these on what they share"


def _paired_differences(findings: Findings, labels: Mapping[Row, str]) -> Figure | None:
    """Return how each row differs from the first on the same images, None where none can be paired."""
    tests = {
        labels[test["surrogate"], test["attack"]]: test["mean_difference"]
        for test in paired_tests(findings.records)
    }
    if not tests:
        return None
    first = labels[next(iter(rows_of(findings.records)))].replace("\n", ", ")
    values = tuple(
        MeanInterval(100 * each["mean"], 100 * each["low"], 100 * each["high"]) for each in tests.values()
    )
    return Figure(
        "differences",
        f"Paired differences from {first}",
        "Dots: mean success rate of the row minus that of the first row, on the same images and targets. "
        "Lines: 95 % intervals over images, paired. Whiskers of rates by themselves hide such differences.",
        Differences(Axis("Difference (percentage points)", signed=True), tuple(tests), values),
    )


def row_names(rows: Iterable[Row]) -> dict[Row, tuple[str, str]]:
    """Return how surrogate and attack of each row are called: by techniques where these are unique."""
    attacks = {attack for _, attack in rows}
    short_names = {attack: brief(attack) for attack in attacks}
    clash = len(set(short_names.values())) < len(attacks)
    return {
        (name, attack): (short(name), attack_name(attack) if clash else short_names[attack])
        for name, attack in rows
    }


def row_labels(names: Mapping[Row, tuple[str, str]]) -> dict[Row, str]:
    """Return a label for each row: what it does not share with all others."""
    surrogates, attacks = ({pair[side] for pair in names.values()} for side in (0, 1))
    if len(attacks) == 1:
        return {row: surrogate for row, (surrogate, _) in names.items()}
    if len(surrogates) == 1:
        return {row: attack for row, (_, attack) in names.items()}
    return {row: f"{surrogate}\n{attack}" for row, (surrogate, attack) in names.items()}


def _facts(findings: Findings, runs: Sequence[RunFolder]) -> dict[str, tuple[str, ...]]:
    records = findings.records
    facts = {
        "Data set": unique_texts(f"{record.dataset}, split {record.split}" for record in records),
        "Attacked images": format_range(record.n for record in records),
        "Seed": unique_texts(record.seed for record in records),
        "Surrogates": unique_texts(record.surrogate_name for record in records),
        "Targets": unique_texts(record.target_name for record in records),
        "Attacks": names_or_count(unique_texts(attack_name(record.attack) for record in records), "attacks"),
        "Target classes": unique_texts(record.targeted for record in records if record.targeted),
        "Gradient evaluations an image": format_range(record.gradients for record in records),
        "Precision": unique_texts(record.precision for record in records),
        "Begun": unique_texts(run.started().get("created", "") for run in runs if run.started()),
        "Made with": unique_texts(
            f"{name} {version}" for r in records for name, version in r.versions.items()
        ),
    }
    return {name: values for name, values in facts.items() if values}


def _success_matrix(rows: Mapping[Row, Mapping[str, Record]], labels: Mapping[Row, str]) -> Figure:
    targets = list(dict.fromkeys(target for cells in rows.values() for target in cells))
    rates = [[found[t].rate if t in found else None for t in targets] for found in rows.values()]
    means = [_mean_interval(found) for found in rows.values()]
    cells = tuple((mean and mean.mean, *line) for mean, line in zip(means, rates, strict=True))
    starred = frozenset(
        (at, column)
        for at, found in enumerate(rows.values())
        for column, target in enumerate(targets, 1)
        if target in found and found[target].white_box
    )
    note = " * White box: left out of the mean." if starred else ""
    return Figure(
        "success",
        "Success rates by surrogate and target",
        f"Success rate in %; the stronger the colour, the higher.{note}",
        Heatmap(tuple(labels[row] for row in rows), ("mean", *map(short, targets)), cells, starred),
    )


def _mean_interval(cells: Mapping[str, Record]) -> MeanInterval | None:
    """Return the mean over images and targets with its interval, None where all targets are white-box."""
    mean = mean_rate(cells)
    return MeanInterval(*mean) if mean else None


def _step_curves(findings: Findings, labels: Mapping[Row, str]) -> Figure | None:
    if not findings.curve:
        return None
    points: dict[Row, dict[int, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in [*findings.curve, *findings.records]:
        points[record.surrogate, record.attack][record.steps][record.target] = record
    lines = {
        labels[row]: {float(step): mean for step, cells in by_step.items() if (mean := _mean_interval(cells))}
        for row, by_step in points.items()
    }
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    if not lines:
        return None
    return Figure(
        "steps",
        "After fewer steps of the attack",
        "Mean success rate over images and targets. Bands: 95 % t intervals over images.",
        Curves(Axis("Step", whole=True), (CurvePanel(Axis("Success rate", percent=True), lines),)),
    )
