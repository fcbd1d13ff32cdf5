"""What the records say of a study's claims: differences with intervals, and verdicts. SciPy is not needed.

The training seed is the unit where models were trained: a two-level bootstrap draws seeds, then images, both
with replacement. The two sides of a claim share seeds and images, so that each draw compares like with like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from transferzoo.errors import DataError
from transferzoo.statistics import CONFIDENCE, Difference
from transferzoo.studies.spec import SUCCESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.studies.results import Outcomes, Results
    from transferzoo.studies.spec import Claim, Operand

    Matrix = NDArray[np.float64]

DRAWS = 10_000
ROUNDING = 1e-12
"""What a mean that is zero may differ from it by the order of its additions, which processors choose."""
SUPPORTED, NOT_SUPPORTED, OPEN, ABSENT = "supported", "not supported", "cannot tell", "not measured"


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim.

    Attributes:
        claim: the claim.
        difference: higher minus lower, less what is claimed at least; None where something is missing.
        higher: mean of the operand that is claimed to be higher; None likewise.
        lower: of the other.
        seeds: training seeds of both.
        images: attacked images; 0 where the measure has none.
        better: targets on which the difference is above zero, and those below, by Holm's correction at 5 %.
        targets: how many there are.
        verdict: "supported": the interval is above zero; "not supported": it is below; "cannot tell"; or
            "not measured".
    """

    claim: Claim
    difference: Difference | None
    higher: float | None
    lower: float | None
    seeds: int
    images: int
    better: tuple[int, int]
    targets: int
    verdict: str

    @property
    def sentence(self) -> str:
        """The verdict with the numbers that it stands on."""
        number = f"{self.seeds} training seed{'s' if self.seeds != 1 else ''}"
        if self.verdict == OPEN:
            images = f"{self.images} images and " if self.images else ""
            return f"{OPEN} with n = {images}{number}"
        return self.verdict


def judge(results: Results) -> tuple[Verdict, ...]:
    """Return the verdict on each claim of a study."""
    return tuple(_judged(claim, results) for claim in results.study.claims)


def _judged(claim: Claim, results: Results) -> Verdict:
    sides = [_values(operand, results) for operand in (claim.higher, claim.lower)]
    if not all(sides):
        return Verdict(claim, None, None, None, 0, 0, (0, 0), 0, ABSENT)
    (higher, lower), seeds = _paired(sides[0], sides[1])
    targets = sorted(higher.keys() & lower.keys())
    means = [_mean([side[target] for target in targets]) for side in (higher, lower)]
    difference = bootstrap(means[0] - means[1] - claim.by)
    each = {target: bootstrap(higher[target] - lower[target]) for target in targets}
    rejected = holm({target: found.p for target, found in each.items()})
    better = sum(each[target].mean > 0 for target in rejected)
    is_success = claim.higher.measure == SUCCESS
    return Verdict(
        claim, difference, float(means[0].mean()), float(means[1].mean()), seeds,
        means[0].shape[1] if is_success else 0, (better, len(rejected) - better),
        len(targets) if is_success else 0, _verdict(difference),
    )  # fmt: skip


def _verdict(difference: Difference) -> str:
    if difference.low > 0:
        return SUPPORTED
    return NOT_SUPPORTED if difference.high < 0 else OPEN


def _mean(matrices: Sequence[Matrix]) -> Matrix:
    import numpy as np

    with np.errstate(invalid="ignore"):
        counts = np.sum([~np.isnan(matrix) for matrix in matrices], axis=0)
        found: Matrix = np.nansum(matrices, axis=0) / np.where(counts, counts, np.nan)
    return found


def _values(operand: Operand, results: Results) -> dict[str, dict[int, Matrix]]:
    """Return target → seed → a value an image, or the one value of another measure; empty for none."""
    import numpy as np

    epoch = _epoch(operand, results)
    if operand.measure != SUCCESS:
        found = {
            v.seed: np.array([v.value]) for v in results.values
            if (v.surrogate, v.epoch, v.measure) == (operand.surrogate, epoch, operand.measure)
        }  # fmt: skip
        return {"": found} if found else {}
    attack = operand.attack or results.study.attacks[0].spec
    by_target: dict[str, dict[int, Matrix]] = {}
    for one in results.outcomes:
        if (one.surrogate, one.epoch, one.attack) == (operand.surrogate, epoch, attack) and not one.white_box:
            by_target.setdefault(one.target, {})[one.seed] = _numbers(one)
    return by_target


def _epoch(operand: Operand, results: Results) -> int | str:
    """Return the epoch meant: the surrogate's own where a claim names none; the last of all by its number."""
    own = results.study.surrogates[operand.surrogate].epoch
    epoch = operand.epoch if operand.epoch is not None else own
    if own != "all" or isinstance(epoch, int):
        return epoch
    numbers = (one.epoch for one in results.values if one.surrogate == operand.surrogate)
    return max((number for number in numbers if isinstance(number, int)), default="last")


def _numbers(one: Outcomes) -> Matrix:
    """Return 1 for an image that fools, 0 for one that does not, NaN for one that does not count."""
    import numpy as np

    codes = np.frombuffer(one.outcomes.encode(), dtype=np.uint8)
    numbers: Matrix = np.where(codes == ord("-"), np.nan, codes == ord("1"))
    return numbers


def _paired(
    first: Mapping[str, Mapping[int, Matrix]], second: Mapping[str, Mapping[int, Matrix]]
) -> tuple[tuple[dict[str, Matrix], dict[str, Matrix]], int]:
    """Return target → values (seeds, images) of both sides, by seed; and the number of seeds.

    A target without outcomes of a seed, as one with the surrogate's own weights, is left out of that seed.

    Raises:
        DataError: they have no seed in common.
    """
    import numpy as np

    sides = [set().union(*(by_seed for by_seed in side.values())) for side in (first, second)]
    seeds = sorted(sides[0] & sides[1])
    if not seeds:
        raise DataError("the two sides of a claim have no training seed in common")
    nothing = np.full_like(next(iter(next(iter(first.values())).values())), np.nan)
    stacked = tuple(
        {target: np.stack([by_seed.get(seed, nothing) for seed in seeds]) for target, by_seed in side.items()}
        for side in (first, second)
    )
    return (stacked[0], stacked[1]), len(seeds)


def bootstrap(differences: Matrix, draws: int = DRAWS) -> Difference:
    """Return the mean of differences with a two-level bootstrap interval.

    Each draw takes as many seeds as there are, with replacement, and as many images, the same ones for all
    seeds; the interval holds the middle 95 % of the means. S seeds that are drawn with replacement vary too
    little, by a factor of √((S − 1) / S), which is made up for by widening the interval around the mean.

    Args:
        differences: (seeds, images); NaN where an image does not count.
        draws: how many.

    Source: Davison and Hinkley 1997, section 3.8 (cluster resampling).
    """
    import numpy as np

    seeds, images = differences.shape
    counts = ~np.isnan(differences)
    filled = np.where(counts, differences, 0.0)
    mean = float(filled.sum() / counts.sum())
    chosen, drawn = _resampled(seeds, images, draws)
    sums, numbers = chosen @ filled.T, chosen @ counts.T.astype(np.float64)  # (draws, seeds)
    rows = np.arange(draws)[:, None]
    means = sums[rows, drawn].sum(1) / np.maximum(numbers[rows, drawn].sum(1), 1)
    means = mean + (means - mean) * np.sqrt(seeds / max(seeds - 1, 1))
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    beyond = min((means <= ROUNDING).mean(), (means >= -ROUNDING).mean())
    return Difference(mean, float(low), float(high), min(1.0, 2 * max(float(beyond), 1 / draws)))


@lru_cache(maxsize=4)
def _resampled(seeds: int, images: int, draws: int) -> tuple[Matrix, NDArray[np.int64]]:
    """Return how often each image is taken in each draw (draws, images), and which seeds (draws, seeds)."""
    import numpy as np

    random = np.random.default_rng(0)
    chosen = random.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float64)
    return chosen, random.integers(seeds, size=(draws, seeds))


def holm(p_values: Mapping[str, float], level: float = 1 - CONFIDENCE) -> list[str]:
    """Return the names of the hypotheses that Holm's step-down procedure rejects.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    rejected: list[str] = []
    ordered = sorted(p_values, key=lambda name: p_values[name])
    for place, name in enumerate(ordered):
        if p_values[name] > level / (len(ordered) - place):
            break
        rejected.append(name)
    return rejected


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON has it."""
    found = verdict.difference
    return {
        "claim": verdict.claim.say, "verdict": verdict.verdict, "sentence": verdict.sentence,
        "higher": verdict.higher, "lower": verdict.lower,
        "difference": found and vars(found), "seeds": verdict.seeds, "images": verdict.images,
        "targets": verdict.targets, "targets_higher": verdict.better[0], "targets_lower": verdict.better[1],
    }  # fmt: skip
