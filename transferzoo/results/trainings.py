"""What several trainings by one recipe, "NAME@10", "NAME@11", …, do in the mean.

Of one training a table can say what its weights do. Of several it can say what the recipe does: the interval
is then over trainings and images, since both are draws.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Mark, Marked, Table
from transferzoo.results.cell_texts import corrected_p, counted_text, fools, interval_text, rate_text
from transferzoo.results.comparisons import (
    SIGNIFICANT,
    attack_name,
    budget_of,
    comparable,
    noise_mean,
    p_value,
    per_image,
    percent,
    rows_of,
)
from transferzoo.results.records import short
from transferzoo.results.statistics import Difference, crossed_difference, holm_adjusted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.base.table import Cell
    from transferzoo.results.comparisons import Row
    from transferzoo.results.records import Record

_TRAINING = re.compile(r"(?P<recipe>[^:&@]+)@(?P<seed>\d+)")
"""The name of one of several trainings; "hf-hub:OWNER/NAME@REVISION" is none."""


UNLIKE = (
    " Rows of other images, targets or budgets than the first, or with fewer than two of its seeds, are not "
    "compared with it."
)
"""What a caption says where there are such rows."""


@dataclass(frozen=True)
class Trainings:
    """Several trainings by one recipe under one attack, on the same images and targets.

    Attributes:
        recipe: full name of the surrogates, without "@" and seed.
        attack: canonical form.
        cells: training seed → target → record, at least two seeds; targets that are white-box for one of
            them are in none.
        left_out: further seeds, of trainings on other images or targets.
    """

    recipe: str
    attack: str
    cells: Mapping[int, Mapping[str, Record]]
    left_out: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """What a command calls all of them."""
        return f"{short(self.recipe)}@*"

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(next(iter(self.cells.values())))

    def is_rival(self, other: Trainings) -> bool:
        """Return whether another has the same images, targets and budget."""
        one, another = (next(iter(each.cells.values())) for each in (self, other))
        return comparable(one, another) and budget_of(self.attack) == budget_of(other.attack)

    def shares(self, target: str | None = None) -> NDArray[np.float64]:
        """Return (S, N), what each image of a training contributes to the mean over targets, or to one's."""
        import numpy as np

        rows = (cells if target is None else {target: cells[target]} for cells in self.cells.values())
        return np.array([per_image(row) for row in rows])

    def mean(self, target: str | None = None) -> Difference:
        """Return the mean rate, in [0, 1], with its interval over trainings and images."""
        shares = self.shares(target)
        return crossed_difference(shares) or Difference(float(shares.mean()), 0.0, 1.0, 1.0)


def trainings(records: Sequence[Record]) -> list[Trainings]:
    """Return the recipes and attacks that have several trainings, in the order of their first records."""
    found: dict[Row, dict[int, Mapping[str, Record]]] = defaultdict(dict)
    for (surrogate, attack), cells in rows_of(records).items():
        if match := _TRAINING.fullmatch(surrogate):
            found[match["recipe"], attack][int(match["seed"])] = cells
    groups: list[Trainings] = []
    for row, by_seed in found.items():
        group = _most_alike(row, by_seed, next((one.cells for one in groups), {}))
        groups += [group] if len(group.cells) > 1 else []
    return groups


def _most_alike(
    row: Row, by_seed: Mapping[int, Mapping[str, Record]], first: Mapping[int, Mapping[str, Record]]
) -> Trainings:
    """Return as many trainings as have the same images and targets, white boxes aside.

    Of several as many, those that can be compared with the first recipe's, then those of the lowest seed.
    """
    known = {name for cells in by_seed.values() for name, record in cells.items() if record.white_box}
    kept = {seed: {n: r for n, r in cells.items() if n not in known} for seed, cells in by_seed.items()}
    alike = [
        {s: kept[s] for s in sorted(kept) if s == seed or comparable(kept[seed], kept[s])} for seed in kept
    ]

    def order(group: Mapping[int, Mapping[str, Record]]) -> tuple[int, bool, int]:
        lowest = min(group)
        return len(group), any(comparable(cells, group[lowest]) for cells in first.values()), -lowest

    most = max(alike, key=order)
    return Trainings(*row, most, tuple(sorted(kept.keys() - most.keys())))


def in_common(first: Trainings, second: Trainings) -> list[int]:
    """Return the seeds that both have."""
    return sorted(first.cells.keys() & second.cells.keys())


def difference(first: Trainings, second: Trainings) -> Difference | None:
    """Return the second's mean minus the first's over the seeds that both have, with its interval.

    Seeds are paired as in studies: one seed is one order of the images and one initialisation. None where
    they have fewer than two seeds in common, or other images, targets or budgets.
    """
    common = in_common(first, second)
    if len(common) < 2 or not first.is_rival(second):
        return None
    one, other = (
        Trainings(each.recipe, each.attack, {seed: each.cells[seed] for seed in common}).shares()
        for each in (first, second)
    )
    return crossed_difference(other - one)


def trainings_table(groups: Sequence[Trainings]) -> Table:
    """Return a table of recipes: a row each, with the difference to the first."""
    targets = {
        name: record.target_name for g in groups for c in g.cells.values() for name, record in c.items()
    }
    attacks = {group.attack for group in groups}
    lines: list[tuple[Cell, ...]] = []
    for group in groups:
        means = {name: group.mean(name) for name in group.targets}
        lines.append(
            (
                group.name + (f"\n{group.attack}" if len(attacks) > 1 else ""),
                str(len(group.cells)),
                _text(group.mean()),
                *(_against(groups, group) if len(groups) > 1 else ()),
                *(_text(means[name]) if name in means else "–" for name in targets),
            )
        )
    first = f"{groups[0].name}, {attack_name(groups[0].attack)}" if len(attacks) > 1 else groups[0].name
    against = (f"minus {first}", "p") if len(groups) > 1 else ()
    return Table.of_cells(
        title="Over several trainings by one recipe (%, with 95 % intervals)",
        columns=("surrogate", "trainings", "mean", *against, *targets.values()),
        rows=lines,
        caption="Intervals over trainings and images (two-level bootstrap's variance, Student's t): "
        "they speak of the recipe, those of single rows of one training's weights; p is not corrected."
        + _left_out(groups)
        + (UNLIKE if None in [_behind(groups, group) for group in groups[1:]] else ""),
    )


def _left_out(groups: Sequence[Trainings]) -> str:
    """Return what a caption says of trainings that are in no mean."""
    names = [f"{short(group.recipe)}@{seed}" for group in groups for seed in group.left_out]
    others = ", ".join(dict.fromkeys(names))
    return f" On other images or targets than those pooled, and left out: {others}." if names else ""


def _behind(groups: Sequence[Trainings], group: Trainings) -> Difference | None:
    """Return the difference to the first group, of which there is none to itself."""
    return None if group is groups[0] else difference(groups[0], group)


def _against(groups: Sequence[Trainings], group: Trainings) -> tuple[Cell, Cell]:
    if (found := _behind(groups, group)) is None:
        return "–", "–"
    significant = found.p < SIGNIFICANT
    ends = {
        Mark.POSITIVE: significant and found.mean > 0,
        Mark.NEGATIVE: significant and found.mean < 0,
    }
    text = f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    if group.cells.keys() != groups[0].cells.keys():
        text += f"\nover the {len(in_common(groups[0], group))} seeds in common"
    return Marked.where(text, ends), p_value(found.p).removeprefix("= ")


def _text(mean: Difference) -> str:
    return rate_text(mean.mean, max(0.0, mean.low), min(1.0, mean.high))


def trainings_sentence(groups: Sequence[Trainings], noise: Sequence[Record]) -> str:
    """Return what the recipe with the highest mean does, noise beside it, and how far it is ahead.

    Args:
        groups: at least one.
        noise: records of random noise.
    """
    rivals = [group for group in groups if groups[0].is_rival(group)]
    best = max(rivals, key=lambda group: group.mean().mean)
    mean, cells = best.mean(), next(iter(best.cells.values()))
    record = next(iter(cells.values()))
    targets = f"{len(best.targets)} targets in the mean" if len(best.targets) > 1 else short(best.targets[0])
    interval = interval_text(max(0.0, mean.low), min(1.0, mean.high))
    several = len({group.attack for group in groups}) > 1
    named, first = (
        short(each.recipe) + (f" with {attack_name(each.attack)}" if several else "")
        for each in (best, groups[0])
    )
    share = f"{percent(mean.mean)} % ({interval})"
    sentence = f"Over {len(best.cells)} trainings {named} {fools(record, targets)} on {share} of the images"
    sentence += counted_text(record)
    if (beside := noise_mean(noise, cells)) is not None:
        sentence += f"; random noise of the same budget on {percent(beside)} %"
    return f"{sentence}{_lead(rivals, best, first)}."


def _lead(rivals: Sequence[Trainings], best: Trainings, name: str) -> str:
    """Return how far the best is ahead of the first, p corrected for all that it is the best of.

    Args:
        rivals: the first, and all that are compared with it.
        best: one of them.
        name: of the first.
    """
    first, *others = rivals
    found = [(group, behind) for group in others if (behind := difference(first, group))]
    corrected = holm_adjusted([behind.p for _, behind in found])
    for (group, behind), p in zip(found, corrected, strict=True):
        if group is best:
            same = first.cells.keys() == best.cells.keys()
            over = "" if same else f"over the {len(in_common(first, best))} seeds in common "
            chance = "" if p < SIGNIFICANT else ", which may be chance"
            points = f"{over}{100 * behind.mean:+.1f} points over {name}"
            return f"; {points}{chance} (p {corrected_p(p, len(found))})"
    return ""


def to_dict(groups: Sequence[Trainings]) -> list[dict[str, Any]]:
    """Return the pooled rates as JSON can hold them."""
    return [
        {
            "surrogate": group.recipe,
            "attack": group.attack,
            "seeds": list(group.cells),
            "mean": asdict(group.mean()),
            "targets": {name: asdict(group.mean(name)) for name in group.targets},
            "minus_first": None if (found := _behind(groups, group)) is None else asdict(found),
        }
        for group in groups
    ]
