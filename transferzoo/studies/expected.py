"""How wide the intervals of a study's claims will be, from how much earlier trainings differed.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

from transferzoo.base.table import Table
from transferzoo.results.statistics import expected_reach
from transferzoo.studies.claim_checks import claim_seeds
from transferzoo.studies.claim_sides import compare
from transferzoo.studies.entries import SHARES, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.studies.cells import Grid
    from transferzoo.studies.entries import Claim
    from transferzoo.studies.result_file import Results

LEAST_SEEDS = 3
"""Trainings whose differences tell a standard deviation, if only within a factor of two."""


@dataclass(frozen=True)
class Expectation:
    """What is known beforehand of a claim's interval.

    Attributes:
        claim: the claim.
        seeds: trainings that both sides will have.
        images: attacked images; 1 where the measure has none.
        reach: half of the 95 % interval's width, on the scale of the claim; None if nothing tells.
        source: the records that tell, in words.
    """

    claim: Claim
    seeds: int
    images: int
    reach: float | None
    source: str

    @property
    def width(self) -> str:
        """Half of the interval's width in words, "± 3.1" or "×/÷ 1.2"."""
        if self.reach is None:
            return "–"
        if self.claim.scale == "log":
            return f"×/÷ {exp(self.reach):.3g}"
        return f"± {100 * self.reach:.1f}" if self.claim.measure in SHARES else f"± {self.reach:.3g}"


def expectations(grid: Grid, images: int, records: Sequence[Results]) -> list[Expectation]:
    """Return what is known beforehand of each claim of a study.

    The same comparison tells, in the first records that have it; where none have, the median of comparisons
    that are alike in the first that have any: two epochs of one surrogate, or two surrogates, as their claims
    name them, by the measure of this one.

    Args:
        grid: of the study.
        images: that it attacks.
        records: the study's own, as far as they are, then earlier ones.
    """
    found = []
    for claim in grid.study.claims:
        surrogates = {side.surrogate for side in (claim.higher, claim.lower)}
        trained = any(not grid.study.surrogates[name].model for name in surrogates)
        seeds = len(claim_seeds(claim, grid.points)) if trained else 0
        planned = (seeds, images if claim.measure == SUCCESS else 1)
        told = (known(claim, one, *planned) for known in (_of_the_same, _of_others) for one in records)
        source, reach = next((one for one in told if one is not None), ("", None))
        found.append(Expectation(claim, *planned, reach, source))
    return found


def _of_the_same(claim: Claim, records: Results, seeds: int, images: int) -> tuple[str, float] | None:
    """Return what the very comparison of a claim tells in records, and its source."""
    earlier = _differences(claim, records)
    if earlier is None or seeds < 2:
        return None  # images alone would tell nothing of other trainings
    return f"{records.study.name}, {len(earlier)} seeds", expected_reach(earlier, seeds, images)


def _of_others(claim: Claim, records: Results, seeds: int, images: int) -> tuple[str, float] | None:
    """Return what comparisons that are alike tell; two claims about the same pair are one."""
    pairs = {
        frozenset((side.surrogate, side.epoch, side.attack) for side in (other.higher, other.lower)): other
        for other in records.study.claims
        if _has_one_surrogate(other) == _has_one_surrogate(claim)
    }
    alike = (_differences(_measured_like(other, claim), records) for other in pairs.values())
    reaches = [expected_reach(each, seeds, images) for each in alike if each is not None and seeds > 1]
    if not reaches:
        return None
    comparisons = f"median of {len(reaches)} comparisons" if len(reaches) > 1 else "another comparison"
    return f"{records.study.name}, {comparisons}", median(reaches)


def _differences(claim: Claim, records: Results) -> NDArray[np.float64] | None:
    """Return the differences (seeds, images) behind a claim; None if too few seeds have them."""
    compared = compare(claim, records)
    if compared is None:
        return None
    higher, lower = compared.on_scale(claim.scale)
    usable = len(higher) >= LEAST_SEEDS and isfinite(higher.sum() - lower.sum())
    return higher - lower if usable else None


def _has_one_surrogate(claim: Claim) -> bool:
    return claim.higher.surrogate == claim.lower.surrogate


def _measured_like(claim: Claim, model: Claim) -> Claim:
    """Return a claim by the measure, and on the scale, of another; about all targets."""
    changes = {"measure": model.measure, "target": None}
    sides = {side: getattr(claim, side).model_copy(update=changes) for side in ("higher", "lower")}
    return claim.model_copy(update={**sides, "scale": model.scale})


def expectations_table(found: Sequence[Expectation]) -> Table:
    """Return a row a claim."""
    rows = tuple(
        (
            one.claim.say,
            str(one.seeds or "–"),
            str(one.images) if one.claim.measure == SUCCESS else "–",
            one.width,
            one.source or "–",
        )
        for one in found
    )
    caption = (
        "Expected half-width of the 95 % interval, in points for shares, as a factor of ratios: variances of "
        "seeds, images and what is left, as these records have them, at the numbers of this study. The "
        "standard deviation of three seeds is itself uncertain by a factor of two."
    )
    return Table("Expected intervals", ("claim", "seeds", "n", "95 %", "records"), rows, caption)


def as_json(one: Expectation) -> dict[str, Any]:
    """Return an expectation as JSON; on a log scale the half-width is a factor."""
    is_ratio = one.reach is not None and one.claim.scale == "log"
    return {
        "claim": one.claim.say,
        "scale": one.claim.scale,
        "seeds": one.seeds,
        "images": one.images if one.claim.measure == SUCCESS else 0,
        "half_width": exp(one.reach) if is_ratio and one.reach is not None else one.reach,
        "records": one.source,
    }
