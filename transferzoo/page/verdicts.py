"""Verdicts on claims in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.page.measurements import measure_axis
from transferzoo.studies.claims import (
    INCONCLUSIVE,
    NO_DIFFERENCE,
    NOT_MEASURED,
    NOT_SUPPORTED,
    SUPPORTED,
    format_difference,
    in_words,
)
from transferzoo.studies.entries import SHARES

if TYPE_CHECKING:
    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.entries import Claim, Operand

MARKS = {SUPPORTED: "✓", NOT_SUPPORTED: "✗", NO_DIFFERENCE: "≈", INCONCLUSIVE: "?", NOT_MEASURED: "–"}
"""Verdict → its sign, so that it does not depend on colour."""


def verdict_sentence(verdict: Verdict) -> str:
    """Return the numbers behind a verdict, in a sentence."""
    found, claim = verdict.difference, verdict.claim
    if verdict.higher is None or verdict.lower is None:
        return "Not all of it was measured."
    unit = " points" if claim.measure in SHARES and claim.scale == "linear" else ""
    axis = measure_axis(claim.measure, [verdict.higher, verdict.lower])
    higher = f"{_describe_operand(claim.higher)} {axis.with_unit(verdict.higher)}"
    lower = f"{_describe_operand(claim.lower)} {axis.with_unit(verdict.lower)}"
    text = f"{axis.label}: {higher}, {lower}. "
    seeds = in_words(verdict.seeds)
    sample = f"{verdict.images:,} images and {seeds}" if verdict.images else seeds
    if found is None:
        return f"{text}There is no interval from {sample}."
    difference, low, high = (format_difference(x, claim) for x in (found.mean, found.low, found.high))
    text += (
        f"{'Ratio' if claim.scale == 'log' else 'Difference'}{_describe_margin(claim)} {difference}{unit}, "
        f"95 % interval {low} to {high}, from {sample}."
    )
    if verdict.better:
        better, worse = verdict.better
        text += f" Higher on {better} of {verdict.targets} targets, lower on {worse} (Holm, 5 %)."
    return text


def _describe_operand(operand: Operand) -> str:
    details = [] if operand.epoch is None else [f"epoch {operand.epoch}"]
    details += [] if operand.attack is None else [operand.attack]
    details += [] if operand.target is None else [f"on {operand.target}"]
    return f"{operand.surrogate} ({', '.join(details)})" if details else operand.surrogate


def _describe_margin(claim: Claim) -> str:
    if not claim.by:
        return ""
    if claim.scale == "log":
        return f" beyond the ×{1 + claim.by:g} claimed"
    points = claim.measure in SHARES
    return f" beyond the {100 * claim.by:g} points claimed" if points else f" beyond the {claim.by:g} claimed"
