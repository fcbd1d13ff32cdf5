"""What the records of runs say, in one sentence, and no more than they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.results import statistics
from transferzoo.results.comparisons import (
    SIGNIFICANT,
    brief,
    p_value,
    paired_tests,
    per_image,
    percent,
    rows_of,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.results.comparisons import Findings, Row
    from transferzoo.results.records import Record


def conclusion(found: Findings) -> str:
    """Return a sentence on the row with the highest mean: its rate, noise beside it, and the first row.

    Empty where no row has a target that is not white-box.
    """
    rows = rows_of(found.records)
    shares = {name: values for name, cells in rows.items() if (values := per_image(cells))}
    if not shares:
        return ""
    best = max(shares, key=lambda name: sum(shares[name]) / len(shares[name]))
    values = shares[best]
    low, high = statistics.mean_interval(values)
    rate = f"{percent(sum(values) / len(values))} % ({percent(low)} to {percent(high)})"
    targets = sum(not record.white_box for record in rows[best].values())
    models = "the target" if targets == 1 else f"{targets} targets in the mean"
    wrong = "makes" if found.records[0].targeted else "fools"
    aim = " predict the target class" if found.records[0].targeted else ""
    sentence = f"{_name(best, rows)} {wrong} {models}{aim} on {rate} of the images"
    if (noise := noise_mean(found.noise, best, rows[best])) is not None:
        sentence += f"; random noise of the same budget on {percent(noise)} %"
    return sentence + _against_the_first(found.records, best, rows) + "."


def noise_mean(noise: Sequence[Record], row: Row, cells: Mapping[str, Record]) -> float | None:
    """Return the mean rate of noise of a row's budget on its targets, white-box ones aside."""
    kept = {target for target, record in cells.items() if not record.white_box}
    beside = {r.target: r for r in noise if r.target in kept and has_budget(r.attack, row[1])}
    shares = per_image(beside) if beside.keys() == kept else []
    return sum(shares) / len(shares) if shares else None


def has_budget(noise: str, attack: str) -> bool:
    """Return whether random noise, as records name it, has the norm and radius of an attack."""
    budget = attack.partition("@")[2].split(",")[:2]
    return noise.partition("@")[2].split(",") == budget


def _against_the_first(records: Sequence[Record], best: Row, rows: Mapping[Row, object]) -> str:
    first = next(iter(rows))
    if len(rows) == 1:
        return ""
    if best == first:
        return "; no other row fools more"
    for test in paired_tests(records):
        if (test["surrogate"], test["attack"]) == best:
            difference = test["mean_difference"]
            points = f"{100 * difference['mean']:+.1f} points over {_name(first, rows)}"
            if difference["p"] < SIGNIFICANT:
                return f"; {points}, paired p {p_value(difference['p'])}"
            return f"; {points}, which may be chance (paired p {p_value(difference['p'])})"
    return ""


def _name(row: Row, rows: Mapping[Row, object]) -> str:
    surrogate, attack = row
    attacks = {other for _, other in rows}
    if len(attacks) == 1:
        return short(surrogate)
    techniques = attack.partition("@")[0]
    alone = sum(other.partition("@")[0] == techniques for other in attacks) == 1
    return f"{short(surrogate)} with {brief(techniques) if alone else attack}"
