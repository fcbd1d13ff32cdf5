"""The rows of random noise in a table: one a budget and images, beside the rows of what was crafted."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from transferzoo.results.cell_texts import row_label
from transferzoo.results.comparisons import mean_rate, noise_beside, rows_of
from transferzoo.results.records import NOISE_SURROGATE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transferzoo.results.comparisons import Findings, Mean
    from transferzoo.results.records import Record

    Images = tuple[str, int]


class NoiseRow(NamedTuple):
    """Noise of one budget on the images of one selection.

    Attributes:
        label: what the row is called; others have other names.
        mean: over the targets that all rows beside it have in their means; None where these differ, as where
            each surrogate is a target of the others.
        cells: records by target.
    """

    label: str
    mean: Mean | None
    cells: Mapping[str, Record]


def noise_rows(found: Findings) -> list[NoiseRow]:
    """Return the rows of noise."""
    rows: dict[tuple[str, Images], dict[str, Record]] = defaultdict(dict)
    for record in found.noise:
        rows[record.attack, (record.selection, record.seed)][record.target] = record
    budgets = {attack for attack, _ in rows}
    images = _images(found.records)
    return [
        NoiseRow(
            NOISE_SURROGATE
            + (f"\n{attack.partition('@')[2]}" if len(budgets) > 1 else "")
            + (f"\non images of {images[those]}" if len(images) > 1 else ""),
            _mean_beside(found.records, cells),
            cells,
        )
        for (attack, those), cells in rows.items()
        if those in images
    ]


def _images(records: Sequence[Record]) -> dict[Images, str]:
    """Return what each selection of images is called: by its first surrogate, with the attack if need be."""
    rows = rows_of(records)
    firsts = {(r.selection, r.seed): r for r in reversed(records)}
    names = [first.surrogate_name for first in firsts.values()]
    return {
        those: row_label((first.surrogate, first.attack), rows).replace("\n", ", ")
        if names.count(first.surrogate_name) > 1
        else first.surrogate_name
        for those, first in firsts.items()
    }


def _mean_beside(records: Sequence[Record], noise: Mapping[str, Record]) -> Mean | None:
    """Return the mean of noise over the targets of the means beside it.

    None where these have different ones, or one of which there is no noise.
    """
    averaged = [
        {name for name, r in cells.items() if not r.white_box}
        for cells in rows_of(records).values()
        if any(noise_beside(list(noise.values()), r) for r in cells.values())
    ]
    if not averaged or any(names != averaged[0] for names in averaged) or not averaged[0] <= noise.keys():
        return None
    return mean_rate({name: record for name, record in noise.items() if name in averaged[0]})
