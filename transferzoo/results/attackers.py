"""Several attackers: on how many images one of them at least succeeds, and on how many the best one does.

Who may try them all succeeds where one of them does. Who has to settle for one beforehand takes the one that
did best on other images: it is chosen on one half of the images and measured on the other, and the other way
round, so that the choice does not flatter the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.results import statistics
from transferzoo.results.comparisons import budget_of, paired, rows_of
from transferzoo.results.target_means import contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.results.comparisons import Row
    from transferzoo.results.records import Record


@dataclass(frozen=True)
class Share:
    """A share of images, in [0, 1], and the ends of its 95 % interval."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class ManyAttackers:
    """What several attackers do to one target, or in the mean over several.

    Attributes:
        tries: how many attackers.
        n: images.
        any_of: images on which one of them at least succeeds.
        best: images on which the best single one does, chosen on the other half of the images.
        chosen: the best ones, surrogate and attack, on the first, third, … image in order of id, which is
            measured on the second, fourth, …; and the other way round.
    """

    tries: int
    n: int
    any_of: Share
    best: Share
    chosen: tuple[Row, Row]


@dataclass(frozen=True)
class Together:
    """What all rows of a matrix do together.

    Attributes:
        targets: by target, those with two attackers at least that can be compared.
        mean: over all targets; None unless these have the same attackers.
    """

    targets: Mapping[str, ManyAttackers]
    mean: ManyAttackers | None


def many_attackers(records: Sequence[Record]) -> Together:
    """Return what all rows of the matrix do together.

    Attackers of a target have it on the same images, two at least, with the same budget, and other weights
    than its own.
    """
    rows = rows_of(records)
    targets = list(dict.fromkeys(record.target for record in records))
    attackers = {name: cells for name in targets if (cells := _attackers(rows, name))}
    found = {
        name: _judge(cells, [cells])
        for name, cells in attackers.items()
        if len(cells) > 1 and next(iter(cells.values())).n > 1
    }
    alike = len({frozenset(cells) for cells in attackers.values()}) == 1
    every = list(attackers.values())
    mean = _judge(every[0], every) if alike and len(found) == len(every) else None
    return Together(found, mean)


def best_on_other_half(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Choose an attacker on either half of the images, and measure it on the other.

    Args:
        values: (T, A, N), what each of A attackers has on T targets of each of N ≥ 2 images, in [0, 1], NaN
            where an image does not count; each counts for one target at least.

    Returns:
        What the chosen ones have of the images that they were not chosen on, (T, N), and the indices of those
        chosen on the even and on the odd places. Of several best ones the first is chosen.
    """
    held_out = values[:, 0].copy()
    chosen = [int(contributions(values[..., half::2]).mean(1).round(12).argmax()) for half in (0, 1)]
    for half, attacker in enumerate(chosen):
        held_out[:, 1 - half :: 2] = values[:, attacker, 1 - half :: 2]
    return held_out, (chosen[0], chosen[1])


def _attackers(rows: Mapping[Row, Mapping[str, Record]], target: str) -> dict[Row, Record]:
    """Return the cells of those that can be compared on a target, all with the first's images and budget."""
    cells = {row: found[target] for row, found in rows.items() if target in found}
    cells = {row: record for row, record in cells.items() if not record.white_box}
    first = next(iter(cells.values()), None)
    return {
        row: record
        for row, record in cells.items()
        if first and paired(first, record) and budget_of(record.attack) == budget_of(first.attack)
    }


def _judge(attackers: Mapping[Row, object], targets: Sequence[Mapping[Row, Record]]) -> ManyAttackers:
    """Return what attackers do in the mean over targets, each with their cells."""
    import numpy as np

    outcomes = np.array([[list(cells[row].outcomes) for row in attackers] for cells in targets])  # (T, A, N)
    outcomes = outcomes[..., (outcomes != "-").any((0, 1))]
    counted, hits = outcomes != "-", outcomes == "1"
    anyone = contributions(np.where(counted.any(1), hits.any(1), np.nan)[:, None])[0]
    others, chosen = best_on_other_half(np.where(counted, hits, np.nan))
    held_out = contributions(others[:, None])[0]
    names = tuple(attackers)
    first, second = (names[each] for each in chosen)
    single = len(targets) == 1
    return ManyAttackers(
        len(names), len(anyone), _share(anyone, single), _share(held_out, single), (first, second)
    )


def _share(values: NDArray[np.float64], single: bool) -> Share:
    """Return the mean over images: with Wilson's interval for one target, else the t interval."""
    successes = round(float(values.sum()))
    interval = (
        statistics.wilson(successes, len(values)) if single else statistics.mean_interval(values.tolist())
    )
    return Share(float(values.mean()), *interval)
