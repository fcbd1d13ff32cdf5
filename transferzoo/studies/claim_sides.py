"""The two sides of a claim: what each image, training seed and target contributes to them, paired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.results.target_means import contributions
from transferzoo.studies.entries import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.studies.entries import Claim, Operand
    from transferzoo.studies.result_file import Outcomes, Results

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """The two sides of a claim, of the seeds, targets and images that both have.

    Attributes:
        targets: their names; a single "" of a measure that has none.
        seeds: of trainings.
        values: of the higher and the lower side, (targets, seeds, images), NaN where one does not count.
    """

    targets: Sequence[str]
    seeds: Sequence[int]
    values: tuple[Array, Array]

    def on_scale(self, scale: str) -> tuple[Array, Array]:
        """Return what images contribute to the mean of the higher and the lower side, (seeds, images).

        On the scale "log" the logarithms, NaN of what has none.
        """
        higher, lower = (contributions(side) for side in self.values)
        return (_logarithms(higher), _logarithms(lower)) if scale == "log" else (higher, lower)


def _logarithms(values: Array) -> Array:
    import numpy as np

    found: Array = np.log(np.where(values > 0, values, np.nan))
    return found


def compare(claim: Claim, results: Results) -> Compared | None:
    """Return the two sides of a claim; None if results have nothing that both have."""
    if not {claim.higher.surrogate, claim.lower.surrogate} <= results.study.surrogates.keys():
        return None
    sides = [_values(operand, results) for operand in (claim.higher, claim.lower)]
    found = Compared(*_pair_sides(sides[0], sides[1]))
    return found if found.targets else None


def _values(operand: Operand, results: Results) -> dict[str, dict[int, Array]]:
    """Return target → seed → a value an image; of another measure, or of one target, that alone as ""."""
    import numpy as np

    epoch = results.own_epoch(operand.surrogate) if operand.epoch is None else operand.epoch
    if operand.measure != SUCCESS:
        found = {
            v.seed: np.array([v.value])
            for v in results.values
            if (v.surrogate, v.epoch, v.measure) == (operand.surrogate, epoch, operand.measure)
        }
        return {"": found} if found else {}
    attack = operand.attack or results.study.attacks[0].label
    by_target = outcomes_by_target(results, operand.surrogate, epoch, attack)
    if operand.target is None:
        return by_target
    return {"": by_target[operand.target]} if operand.target in by_target else {}


def outcomes_by_target(
    results: Results, surrogate: str, epoch: int | str, attack: str
) -> dict[str, dict[int, Array]]:
    """Return target → seed → 1 for an image that fools, 0 for one that does not, NaN for one not counted.

    A target with the surrogate's own weights is left out of the seed that has them.
    """
    by_target: dict[str, dict[int, Array]] = {}
    for one in results.outcomes:
        if (one.surrogate, one.epoch, one.attack) == (surrogate, epoch, attack) and not one.white_box:
            by_target.setdefault(one.target, {})[one.seed] = _outcome_values(one)
    return by_target


def _outcome_values(one: Outcomes) -> Array:
    import numpy as np

    codes = np.frombuffer(one.outcomes.encode(), dtype=np.uint8)
    found: Array = np.where(codes == ord("-"), np.nan, codes == ord("1"))
    return found


def stack_values(
    values: Mapping[str, Mapping[int, Array]], targets: Sequence[str], seeds: Sequence[int]
) -> Array:
    """Return values (targets, seeds, images), NaN where there are none."""
    import numpy as np

    nothing = np.full_like(next(iter(values[targets[0]].values())), np.nan)
    return np.stack([[values[target].get(seed, nothing) for seed in seeds] for target in targets])


def _pair_sides(
    first: Mapping[str, Mapping[int, Array]], second: Mapping[str, Mapping[int, Array]]
) -> tuple[Sequence[str], Sequence[int], tuple[Array, Array]]:
    """Return the targets and seeds of both sides, and their values (targets, seeds, images).

    What one side lacks is NaN in both.
    """
    import numpy as np

    shared = {target: first[target].keys() & second[target] for target in first.keys() & second.keys()}
    targets = sorted(target for target, seeds in shared.items() if seeds)
    seeds = sorted(set().union(*shared.values()))
    if not targets:
        return targets, seeds, (np.empty(0), np.empty(0))
    higher, lower = (stack_values(side, targets, seeds) for side in (first, second))
    gap = np.isnan(higher) | np.isnan(lower)
    return targets, seeds, (np.where(gap, np.nan, higher), np.where(gap, np.nan, lower))
