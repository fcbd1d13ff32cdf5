"""Records → tables; pure functions, without torch.

One source of images: a row a target. Several: a row a surrogate and attack, a column a target, and below it
the paired tests against the first row. The mean is over all targets but white-box ones, of each over its
images. Random noise of the same budget stands beside or below; a sentence says what it all means.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.base.table import Mark, Marked, Table
from transferzoo.results.attackers import many_attackers
from transferzoo.results.cell_texts import (
    TOGETHER,
    caption,
    interval_text,
    mean_text,
    rate_text,
    row_label,
    together_rows,
)
from transferzoo.results.comparisons import (
    SIGNIFICANT,
    budget_of,
    mcnemar_p,
    mean_rate,
    noise_beside,
    noise_mean,
    p_value,
    paired,
    paired_tests,
    per_image,
    percent,
    rows_of,
)
from transferzoo.results.conclusion import conclusion, notes
from transferzoo.results.noise_rows import noise_rows
from transferzoo.results.rivals import best_means, best_on
from transferzoo.results.trainings import trainings, trainings_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.base.table import Cell
    from transferzoo.results.comparisons import Findings, Row
    from transferzoo.results.records import Record, SurrogateAttack, Visibility


def tables(found: Findings, *, visibility: bool = False) -> list[Table]:
    """Return the tables of one or several runs.

    Args:
        found: what they found.
        visibility: with a table of how visible the perturbations are.

    Raises:
        UsageError: records of several data sets.
    """
    if len(datasets := {r.dataset for r in found.records}) > 1:
        raise UsageError(
            "runs of different data sets cannot share a table", got=" and ".join(sorted(datasets))
        )
    rows = rows_of(found.records)
    more = [_curve([*found.curve, *found.records])] if found.curve else []
    if visibility and found.visibility:
        more.append(_visibility(found.visibility, rows))
    if len(rows) == 1:
        (cells,) = rows.values()
        return [_concluded(_single(list(cells.values()), found), found), *more]
    tests, groups = _tests(rows), trainings(found.records)
    pooled = [trainings_table(groups)] if groups else []
    return [_concluded(_matrix(rows, found), found), *pooled, *([tests] if tests.rows else []), *more]


def _concluded(table: Table, found: Findings) -> Table:
    """Return a table whose caption ends with what is to be known of it, and with what it says."""
    lines = (table.caption, *notes(found), conclusion(found))
    return replace(table, caption="\n".join(line for line in lines if line))


def _single(records: Sequence[Record], found: Findings) -> Table:
    first, seconds = records[0], found.seconds
    noise = {r.target: other for r in records if (other := noise_beside(found.noise, r))}
    rows: list[tuple[Cell, ...]] = [
        tuple(
            Marked.where(text, {Mark.ASIDE: r.white_box})
            for text in (
                r.target_name + ("*" if r.white_box else ""),
                percent(r.target_accuracy),
                percent(r.rate),
                interval_text(r.low, r.high),
                *((percent(noise[r.target].rate) if r.target in noise else "–",) if noise else ()),
                str(r.n),
            )
        )
        for r in records
    ]
    cells = {r.target: r for r in records}
    if (mean := mean_rate(cells)) and len(records) > 1:
        beside = noise_mean(found.noise, cells)
        rows.append(
            (
                "mean",
                "",
                percent(mean[0]),
                interval_text(*mean[1:]),
                *(("–" if beside is None else percent(beside),) if noise else ()),
                str(len(per_image(cells))),
            )
        )
    return Table.of_cells(
        title=f"Success rate of {first.surrogate_name}{_on(records)} (%)",
        columns=(
            "target",
            "clean accuracy",
            "success rate",
            "95 % interval",
            *(("noise",) if noise else ()),
            "n",
        ),
        rows=rows,
        caption=caption(records, seconds),
    )


def _on(records: Sequence[Record]) -> str:
    """Return which data set it was, where that is known: images that a program brings have no name."""
    return f" on {records[0].dataset}" if records[0].dataset else ""


def _matrix(rows: Mapping[Row, Mapping[str, Record]], found: Findings) -> Table:
    seconds = found.seconds
    targets = {name: record.target_name for cells in rows.values() for name, record in cells.items()}
    baseline = next(iter(rows.values()))
    highest, best = best_means(rows), {target: best_on(target, rows) for target in targets}
    lines: list[tuple[Cell, ...]] = []
    for name, cells in rows.items():
        rates = (_matrix_cell(cells.get(t), baseline.get(t), best=name in best[t]) for t in targets)
        average = Marked.where(mean_text(cells), {Mark.BEST: name in highest})
        lines.append((row_label(name, rows), average, *rates))
    records = [record for cells in rows.values() for record in cells.values()]
    extra, costs = _costs(rows, seconds)
    for label, mean, cells in noise_rows(found):
        shown = (_matrix_cell(cells.get(target), None) for target in targets)
        lines.append((label, rate_text(*mean) if mean else "–", *shown))
        costs.append(("0", "–") if extra else ())
    note = (
        "▲ ▼ above or below the first row on the same images (McNemar's exact test, p < 0.05, uncorrected)."
    )
    if together := together_rows(many_attackers(records), tuple(targets)):
        lines += together
        costs += [("–", "–") if extra else ()] * len(together)
        note += f" {TOGETHER}"
        if len({budget_of(record.attack) for record in records}) > 1:
            note += (
                " Both are, for each target, of the rows with the budget of the first that is no white box."
            )
    return Table.of_cells(
        title=f"Success rates{_on(records)} (%, with 95 % intervals)",
        columns=("surrogate", *extra, "mean", *targets.values()),
        rows=[(line[0], *cost, *line[1:]) for line, cost in zip(lines, costs, strict=True)],
        caption=f"{caption(records, {} if extra else seconds)} {note}",
    )


def _costs(
    rows: Mapping[Row, Mapping[str, Record]], seconds: Mapping[SurrogateAttack, float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return columns that say what each row cost an image, and their cells; none where all cost the same."""
    firsts = [next(iter(cells.values())) for cells in rows.values()]
    if len({first.gradients for first in firsts}) == 1:
        return (), [()] * len(firsts)
    times = [seconds.get(first.pair) for first in firsts]
    return ("gradients", "s an image"), [
        (str(first.gradients), "–" if time is None else f"{time:.3f}")
        for first, time in zip(firsts, times, strict=True)
    ]


def _curve(records: Sequence[Record]) -> Table:
    """Return a table of the mean rate after each of the steps."""
    rows: dict[Row, dict[int, dict[str, Record]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        rows[record.surrogate, record.attack][record.steps][record.target] = record
    steps = sorted({record.steps for record in records})
    named = {name: points[max(points)] for name, points in rows.items()}
    best = {
        step: best_means({name: points[step] for name, points in rows.items() if step in points})
        for step in steps
    }
    lines: list[tuple[Cell, ...]] = [
        (
            row_label(name, named),
            *(Marked.where(mean_text(points.get(s, {})), {Mark.BEST: name in best[s]}) for s in steps),
        )
        for name, points in rows.items()
    ]
    return Table.of_cells(
        title=f"Success rate by steps{_on(records)} (%, mean over targets, with 95 % intervals)",
        columns=("surrogate", *(f"{step} step{'s' if step > 1 else ''}" for step in steps)),
        rows=lines,
        caption=caption(records, {}),
    )


def _visibility(found: Sequence[Visibility], rows: Mapping[Row, Mapping[str, Record]]) -> Table:
    """Return a table of norms and similarities, a row a source."""

    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return Table(
        title="How visible the perturbations are (means over images)",
        columns=("surrogate", "L∞ (levels)", "L2", "L0 (% of pixels)", "PSNR (dB)", "SSIM", "unchanged"),
        rows=tuple(
            (
                row_label((one.surrogate, one.attack), rows),
                shown(one.linf, ".1f"),
                shown(one.l2, ".3f"),
                percent(one.l0),
                shown(one.psnr, ".1f"),
                shown(one.ssim, ".3f"),
                f"{one.unchanged} of {one.n}",
            )
            for one in found
        ),
        caption="L2 in [0, 1] pixels. PSNR and SSIM of the changed images.",
    )


def _tests(rows: Mapping[Row, Mapping[str, Record]]) -> Table:
    records = [record for cells in rows.values() for record in cells.values()]
    baseline = next(iter(rows))
    lines = []
    for test in paired_tests(records):
        difference, ps = test["mean_difference"], test["mcnemar_p"]
        name = (test["surrogate"], test["attack"])
        signs = [_sign(rows[name][t], rows[baseline][t]) for t, p in ps.items() if p < SIGNIFICANT]
        significant = difference["p"] < SIGNIFICANT
        ends = {
            Mark.POSITIVE: significant and difference["mean"] > 0,
            Mark.NEGATIVE: significant and difference["mean"] < 0,
        }
        interval = f"[{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
        lines.append(
            (
                row_label(name, rows),
                Marked.where(f"{100 * difference['mean']:+.1f}", ends),
                interval,
                p_value(difference["p"]).removeprefix("= "),
                f"{signs.count(1)} of {len(ps)}",
                f"{signs.count(-1)} of {len(ps)}",
            )
        )
    return Table.of_cells(
        title=f"Paired tests against {row_label(baseline, rows)}, on the same images",
        columns=("surrogate", "mean difference (points)", "95 % interval", "p", "targets better", "worse"),
        rows=lines,
        caption="Difference of the means: paired t-test over images. "
        "Targets: McNemar's exact test, p < 0.05, uncorrected. "
        "One training run a surrogate: the tests speak of these weights, not of the training method.",
    )


def _matrix_cell(record: Record | None, baseline: Record | None, *, best: bool = False) -> Cell:
    if record is None:
        return "–"
    sign = 0
    if baseline is not None and not (record.white_box or baseline.white_box) and paired(baseline, record):
        sign = _sign(record, baseline) if mcnemar_p(baseline, record) < SIGNIFICANT else 0
    star = "*" if record.white_box else ""
    return Marked.where(
        rate_text(record.rate, record.low, record.high, star + {1: "▲", -1: "▼", 0: ""}[sign]),
        {Mark.BEST: best, Mark.ASIDE: record.white_box, Mark.POSITIVE: sign > 0, Mark.NEGATIVE: sign < 0},
    )


def _sign(record: Record, baseline: Record) -> int:
    return (record.successes > baseline.successes) - (record.successes < baseline.successes)
