"""Verdicts on a study's claims, from differences with intervals.

The training seed is the unit where models were trained; the two sides of a claim share seeds, targets and
images, so that the comparison is paired. `statistics.crossed_difference` has the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, isnan, nan
from typing import TYPE_CHECKING, Any

from transferzoo.results.statistics import CONFIDENCE, ENOUGH_SEEDS, crossed_difference
from transferzoo.results.target_means import contributions
from transferzoo.studies.claim_sides import compare
from transferzoo.studies.entries import SHARES, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transferzoo.results.statistics import Difference
    from transferzoo.studies.claim_sides import Compared
    from transferzoo.studies.entries import Claim
    from transferzoo.studies.result_file import Results

SUPPORTED, NOT_SUPPORTED, NO_DIFFERENCE, INCONCLUSIVE, NOT_MEASURED = (
    "supported",
    "not supported",
    "no difference",
    "cannot tell",
    "not measured",
)


@dataclass(frozen=True)
class Verdict:
    """The verdict of the records on a claim.

    Attributes:
        claim: the claim.
        difference: higher minus lower, less the claimed margin, on the scale of the claim; None if something
            is missing, if there is one value a side, which has no interval, or no logarithm of a value.
        higher: mean of the operand that is claimed to be higher, on a log scale the geometric; None likewise.
        lower: of the other.
        seeds: training seeds of both; 0 where both models exist already, whose training nothing is known of.
        images: that count for a target at least; 0 where the measure has none.
        better: targets on which the difference is above zero, and those below, by Holm's correction at 5 %;
            None of fewer than five trainings, which cannot show any.
        targets: how many there are.
        verdict: "supported": the interval is above zero; "not supported": it is below; "no difference": it
            has zero in it and the difference without the margin within the claim's bound; "cannot tell": none
            of these, or one training a side, which shows nothing of others; or "not measured".
    """

    claim: Claim
    difference: Difference | None
    higher: float | None
    lower: float | None
    seeds: int
    images: int
    better: tuple[int, int] | None
    targets: int
    verdict: str

    @property
    def words(self) -> str:
        """The verdict as tables have it, "no difference of 5 points"."""
        limit = self.claim.limit
        if self.verdict != NO_DIFFERENCE or limit is None:
            return self.verdict
        if self.claim.scale == "log":
            return f"{NO_DIFFERENCE} of ×{exp(limit):.3g}"
        return f"{NO_DIFFERENCE} of " + (
            f"{100 * limit:g} points" if self.claim.measure in SHARES else f"{limit:g}"
        )

    @property
    def sentence(self) -> str:
        """The verdict, with the sample size if it is inconclusive."""
        number = in_words(self.seeds)
        if self.verdict == INCONCLUSIVE:
            images = f"{self.images} images and " if self.images else ""
            return f"{INCONCLUSIVE} with n = {images}{number}"
        return self.words


def in_words(seeds: int) -> str:
    """Return how many training seeds results rest on."""
    return f"{seeds or 'no'} training seed{'s' if seeds > 1 else ''}"


def judge(results: Results) -> tuple[Verdict, ...]:
    """Return the verdict on each claim of a study."""
    return tuple(_judge_claim(claim, results) for claim in results.study.claims)


def format_difference(value: float, claim: Claim) -> str:
    """Write a difference on the scale of a claim: in points for shares, as a ratio on a log scale."""
    if claim.scale == "log":
        return f"×{exp(value):.3g}"
    written = f"{100 * value:+.1f}" if claim.measure in SHARES else f"{value:+.3g}"
    return written if float(written) else written[1:]


def _judge_claim(claim: Claim, results: Results) -> Verdict:
    compared = compare(claim, results)
    if compared is None:
        return Verdict(claim, None, None, None, 0, 0, None, 0, NOT_MEASURED)
    higher, lower = compared.on_scale(claim.scale)
    means = (float(higher.mean()), float(lower.mean())) if higher.size else (nan, nan)
    difference = None if any(map(isnan, means)) else crossed_difference(higher - lower - claim.margin)
    seeds, targets = len(higher), len(compared.targets)
    operands = (claim.higher, claim.lower)
    trained = any(not results.study.surrogates[operand.surrogate].model for operand in operands)
    is_success = claim.measure == SUCCESS
    tell_targets = is_success and (seeds >= ENOUGH_SEEDS or not trained)
    if claim.scale == "log":
        means = (exp(means[0]), exp(means[1]))
    return Verdict(
        claim,
        difference,
        means[0],
        means[1],
        seeds if trained else 0,
        higher.shape[1] if is_success else 0,
        _by_target(compared) if tell_targets else None,
        targets if is_success else 0,
        INCONCLUSIVE if trained and seeds == 1 else _verdict(claim, difference),
    )


def _verdict(claim: Claim, difference: Difference | None) -> str:
    if difference is None:
        return INCONCLUSIVE
    if difference.p < 1 - CONFIDENCE:
        return SUPPORTED if difference.mean > 0 else NOT_SUPPORTED
    ends = (difference.low + claim.margin, difference.high + claim.margin)
    within = claim.limit is not None and -claim.limit <= ends[0] and ends[1] <= claim.limit
    return NO_DIFFERENCE if within else INCONCLUSIVE


def _by_target(compared: Compared) -> tuple[int, int]:
    """Return on how many targets the difference is above zero, and below, by Holm."""
    differences = compared.values[0] - compared.values[1]
    each = {
        target: found
        for target, values in zip(compared.targets, differences, strict=True)
        if (shares := contributions(values[None])).size and (found := crossed_difference(shares)) is not None
    }
    rejected = holm({target: found.p for target, found in each.items()})
    better = sum(each[target].mean > 0 for target in rejected)
    return better, len(rejected) - better


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
    """Return a verdict as JSON; on a log scale the difference is a ratio."""
    found = verdict.difference
    numbers = found and dict(vars(found))
    if numbers and verdict.claim.scale == "log":
        numbers |= {name: exp(numbers[name]) for name in ("mean", "low", "high")}
    better = verdict.better or (None, None)
    return {
        "claim": verdict.claim.say,
        "verdict": verdict.words,
        "sentence": verdict.sentence,
        "higher": verdict.higher,
        "lower": verdict.lower,
        "scale": verdict.claim.scale,
        "difference": numbers,
        "seeds": verdict.seeds,
        "images": verdict.images,
        "targets": verdict.targets,
        "targets_higher": better[0],
        "targets_lower": better[1],
    }
