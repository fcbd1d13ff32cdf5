"""What the records of runs say, in one sentence, no more than they say, and what may mislead in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.results.cell_texts import corrected_p, counted_text, fools
from transferzoo.results.comparisons import (
    SIGNIFICANT,
    attack_name,
    brief,
    mean_rate,
    noise_mean,
    paired_tests,
    percent,
    rows_of,
    same_weights,
)
from transferzoo.results.rivals import rivals
from transferzoo.results.statistics import holm_adjusted
from transferzoo.results.trainings import trainings, trainings_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.results.comparisons import Findings, Mean, Row
    from transferzoo.results.records import Record

    Rows = Mapping[Row, Mapping[str, Record]]


def conclusion(found: Findings) -> str:
    """Return a sentence on the row with the highest mean: its rate, noise beside it, and the first row.

    Only rows with the images, targets and budget of the first that has a mean are compared. The best of many
    equal rows is above the first by chance, so its p is corrected for all of them. Empty where no row has a
    target that is not white-box. Where there are several trainings by one recipe, the sentence is on recipes,
    since the best of several trainings is so by chance too.
    """
    if groups := trainings(found.records):
        return trainings_sentence(groups, found.noise)
    rows = rows_of(found.records)
    means = rivals(rows)
    if not means:
        return ""
    best = max(means, key=lambda name: means[name][0])
    rate, low, high = means[best]
    targets = [record for record in rows[best].values() if not record.white_box]
    models = targets[0].target_name if len(targets) == 1 else f"{len(targets)} targets in the mean"
    verb = fools(found.records[0], models, several=" & " in best[0])
    share = f"{percent(rate)} % ({percent(low)} to {percent(high)})"
    sentence = f"{_name(best, rows)} {verb} on {share} of the images{counted_text(found.records[0])}"
    if (noise := noise_mean(found.noise, rows[best])) is not None:
        sentence += f"; random noise of the same budget on {percent(noise)} %"
    sentence += _against_the_first(found.records, best, means, rows)
    others = sum(mean_rate(cells) is not None for cells in rows.values()) - len(means)
    return sentence + ("; rows of other images, targets or budgets are not compared." if others else ".")


def notes(found: Findings) -> list[str]:
    """Return sentences on what may mislead: runs of different versions, targets that count twice."""
    versions = {tuple(sorted(record.versions.items())) for record in found.records}
    different = [] if len(versions) == 1 else ["The runs were made with different versions of packages."]
    twice = [
        f"{' and '.join(names)} have the same weights; the mean counts each of them."
        for names in same_weights(found.records)
    ]
    return [*different, *twice]


def _against_the_first(records: Sequence[Record], best: Row, means: Mapping[Row, Mean], rows: Rows) -> str:
    first = next(iter(rows))
    if len(means) == 1:
        return ""
    if best == next(iter(means)):
        return "; no other row has a higher mean"
    tests = {(test["surrogate"], test["attack"]): test["mean_difference"] for test in paired_tests(records)}
    tests = {row: difference for row, difference in tests.items() if row in means}
    if best not in tests:
        return ""
    p = dict(zip(tests, holm_adjusted([each["p"] for each in tests.values()]), strict=True))[best]
    points = f"{100 * tests[best]['mean']:+.1f} points over {_name(first, rows)}"
    said = f"paired p {corrected_p(p, len(tests))}"
    return f"; {points}, {said}" if p < SIGNIFICANT else f"; {points}, which may be chance ({said})"


def _name(row: Row, rows: Rows) -> str:
    surrogate, attack = next(iter(rows[row].values())).surrogate_name, row[1]
    attacks = {other for _, other in rows}
    if len(attacks) == 1:
        return surrogate
    techniques = attack.partition("@")[0]
    alone = sum(other.partition("@")[0] == techniques for other in attacks) == 1
    return f"{surrogate} with {brief(attack) if alone else attack_name(attack)}"
