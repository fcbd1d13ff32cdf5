"""Surrogates and attacks ranked by their success, targets by how well they withstand; pure functions.

A rank is one more than the number of those that are significantly better on the same images, so that two
share it where the images do not tell them apart: paired t-tests between all, at 5 % after Holm's correction
for their number.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from transferzoo.base.table import Table
from transferzoo.results import statistics
from transferzoo.results.cell_texts import interval_text, row_label
from transferzoo.results.comparisons import (
    SIGNIFICANT,
    Row,
    budget_of,
    budget_text,
    mean_rate,
    paired,
    per_image,
    percent,
    rows_of,
)
from transferzoo.results.records import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.results.comparisons import Findings
    from transferzoo.results.records import Record

    Rows = Mapping[Row, Mapping[str, Record]]

RULE = (
    "A rank is one more than the number of those that are significantly better on the same images (paired "
    "t-tests between all, 5 % after Holm's correction); those of one rank may differ by chance alone."
)


@dataclass(frozen=True)
class RankedAttacker:
    """A surrogate and attack, and its place.

    Attributes:
        rank: from 1, the most successful.
        row: surrogate and attack, as in the records.
        mean: success rate over images and targets, in [0, 1].
        low: lower end of its 95 % interval.
        high: upper end.
        gradients: evaluations an image.
        seconds: an image took; None where that is not known.
    """

    rank: int
    row: Row
    mean: float
    low: float
    high: float
    gradients: int
    seconds: float | None


@dataclass(frozen=True)
class RankedTarget:
    """A target, and its place.

    Attributes:
        rank: from 1, the one that is fooled least.
        target: full name.
        mean: share of the images, over all rows, that fool it, in [0, 1].
        low: lower end of its 95 % interval.
        high: upper end.
        accuracy: of clean images.
    """

    rank: int
    target: str
    mean: float
    low: float
    high: float
    accuracy: float


@dataclass(frozen=True)
class Ranking:
    """Rows of the same images and budget, on the targets that are a white box of none of them.

    Attributes:
        budget: norm and radius, "linf,eps=16/255".
        over: full names of the targets.
        images: that the ranking of rows is over.
        attackers: best first; none where there is one row.
        common_images: that the ranking of targets is over, those that count for every target.
        targets: most robust first; none where there is one, or where no image counts for all.
    """

    budget: str
    over: tuple[str, ...]
    images: int
    attackers: tuple[RankedAttacker, ...]
    common_images: int
    targets: tuple[RankedTarget, ...]


def rankings(found: Findings) -> list[Ranking]:
    """Return a ranking for each set of rows that have images, budget and a target in common."""
    fields: dict[tuple[str, ...], dict[Row, dict[str, Record]]] = defaultdict(dict)
    for row, cells in rows_of(found.records).items():
        first = next(iter(cells.values()))
        key = (first.dataset, first.split, first.selection, first.targeted, budget_of(row[1]))
        fields[key][row] = cells
    made = (_ranking(rows, found) for rows in fields.values())
    return [one for one in made if one and (one.attackers or one.targets)]


def _ranking(rows: Rows, found: Findings) -> Ranking | None:
    first = next(iter(rows.values()))
    names = tuple(name for name in first if _is_shared(name, rows))
    if not names:
        return None
    kept = {row: {name: cells[name] for name in names} for row, cells in rows.items()}
    hits = _common_outcomes(kept)
    budget = budget_of(next(iter(rows))[1])
    shares = {row: per_image(cells) for row, cells in kept.items()}
    images = len(next(iter(shares.values())))
    return Ranking(
        budget, names, images, _attackers(kept, shares, found), hits.shape[2], _targets(kept, hits)
    )


def _is_shared(target: str, rows: Rows) -> bool:
    """Return whether all rows were tried on a target with other weights than theirs, on the same images."""
    first = next(iter(rows.values())).get(target)
    found = [cells.get(target) for cells in rows.values()]
    return first is not None and all(r and not r.white_box and paired(first, r) for r in found)


def _common_outcomes(rows: Rows) -> NDArray[np.bool_]:
    """Return what succeeds on the images that count for every target: rows × targets × images."""
    import numpy as np

    marks = np.array([[list(r.outcomes) for r in cells.values()] for cells in rows.values()])
    return np.asarray(marks[:, :, (marks != "-").all((0, 1))] == "1")


def _attackers(
    rows: Rows, shares: Mapping[Row, Sequence[float]], found: Findings
) -> tuple[RankedAttacker, ...]:
    import numpy as np

    if len(rows) == 1:
        return ()
    ranks = ranks_by_difference(np.array([*shares.values()]))
    places = []
    for rank, (row, cells) in zip(ranks, rows.items(), strict=True):
        mean, first = mean_rate(cells), next(iter(cells.values()))
        assert mean is not None, "there is a target that is no white box"
        places.append(RankedAttacker(rank, row, *mean, first.gradients, found.seconds.get(first.pair)))
    return tuple(sorted(places, key=lambda one: (one.rank, -one.mean)))


def _targets(rows: Rows, hits: NDArray[np.bool_]) -> tuple[RankedTarget, ...]:
    cells = next(iter(rows.values()))
    if len(cells) == 1 or hits.shape[2] == 0:
        return ()
    fooled = hits.mean(0)
    places = []
    for rank, record, shares in zip(ranks_by_difference(-fooled), cells.values(), fooled, strict=True):
        low, high = statistics.mean_interval(shares.tolist())
        place = RankedTarget(rank, record.target, float(shares.mean()), low, high, record.target_accuracy)
        places.append(place)
    return tuple(sorted(places, key=lambda one: (one.rank, one.mean)))


def ranks_by_difference(values: NDArray[np.float64]) -> list[int]:
    """Return the rank of each row: one more than the number of rows that are significantly higher.

    Args:
        values: (R, N), what each of R has of each of N images, in [-1, 1].

    Tested are all pairs, see `paired_p_values`, at 5 % after Holm's correction: the chance that
    any rank is due to the draw of images is no larger.
    """
    pairs = list(combinations(range(len(values)), 2))
    p = paired_p_values(values)
    adjusted = statistics.holm_adjusted([float(p[pair]) for pair in pairs])
    means, ranks = values.mean(1), [1] * len(values)
    for (first, second), corrected in zip(pairs, adjusted, strict=True):
        if corrected < SIGNIFICANT:
            ranks[first if means[first] < means[second] else second] += 1
    return ranks


def paired_p_values(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the two-sided p-values of no difference between all rows, by the paired t-test.

    They are those of `statistics.paired_difference`, which takes two rows.

    Args:
        values: (R, N), of the same N images in the same order, in [-1, 1].

    Returns:
        (R, R), symmetric, 1 on the diagonal.
    """
    import numpy as np
    from scipy.special import stdtr

    rows, images = values.shape
    p = np.ones((rows, rows))
    for at in range(rows - 1):
        differences = values[at + 1 :] - values[at]
        means = differences.mean(1)
        spread = np.sqrt(((differences - means[:, None]) ** 2).sum(1) / max(1, images - 1))
        equal = spread <= statistics.ROUNDING
        t = np.abs(means) / np.where(equal, 1, spread / np.sqrt(images))
        same = [
            statistics.unanimous(mean, images).p if one else 1.0
            for mean, one in zip(means, equal, strict=True)
        ]
        p[at, at + 1 :] = p[at + 1 :, at] = np.where(equal, same, 2 * stdtr(max(1, images - 1), -t))
    return p


# ---------------------------------------------------------------- tables


def ranking_tables(found: Findings) -> list[Table]:
    """Return the rankings as tables: of rows, with their cost, and of targets."""
    rows = rows_of(found.records)
    tables = []
    for one in rankings(found):
        about = budget_text(f"@{one.budget}")
        if one.attackers:
            tables.append(_attackers_table(one, rows, about))
        if one.targets:
            tables.append(_targets_table(one, about, len(one.attackers) or 1))
    return tables


def _attackers_table(ranking: Ranking, rows: Rows, about: str) -> Table:
    return Table(
        title=f"Surrogates and attacks by success ({about})",
        columns=("surrogate", "rank", "mean (%)", "95 % interval", "gradients", "s an image"),
        rows=tuple(
            (
                row_label(one.row, rows),
                str(one.rank),
                percent(one.mean),
                interval_text(one.low, one.high),
                str(one.gradients),
                "–" if one.seconds is None else f"{one.seconds:.3f}",
            )
            for one in ranking.attackers
        ),
        caption=f"Mean over {ranking.images} images and {_number(len(ranking.over), 'target')}. {RULE} "
        "Cost: gradient evaluations and seconds an image.",
    )


def _targets_table(ranking: Ranking, about: str, attackers: int) -> Table:
    return Table(
        title=f"Targets by robustness ({about})",
        columns=("target", "rank", "fooled by (%)", "95 % interval", "clean accuracy (%)"),
        rows=tuple(
            (
                short(one.target),
                str(one.rank),
                percent(one.mean),
                interval_text(one.low, one.high),
                percent(one.accuracy),
            )
            for one in ranking.targets
        ),
        caption=f"Mean over {ranking.common_images} images, which count for all of these targets, and "
        f"{_number(attackers, 'row')} of adversarial images; least fooled first. {RULE}",
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
