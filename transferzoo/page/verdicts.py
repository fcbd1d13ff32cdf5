"""Verdicts on claims in plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.page.study_series import axis_of
from transferzoo.studies.claims import ABSENT, NOT_SUPPORTED, OPEN, SUPPORTED
from transferzoo.studies.tables import PERCENT, signed

if TYPE_CHECKING:
    from transferzoo.studies.claims import Verdict
    from transferzoo.studies.schema import Operand

MARKS = {SUPPORTED: "✓", NOT_SUPPORTED: "✗", OPEN: "?", ABSENT: "–"}
"""Verdict → a sign that tells it without colour."""


def sentence(verdict: Verdict) -> str:
    """Return the numbers that a verdict stands on, in words."""
    found, claim = verdict.difference, verdict.claim
    if verdict.higher is None or verdict.lower is None:
        return "Not all of it was measured."
    measure = claim.higher.measure
    unit = " points" if measure in PERCENT else ""
    axis = axis_of(measure, [verdict.higher, verdict.lower])
    higher, lower = _named(claim.higher), _named(claim.lower)
    said = f"{axis.label}: {higher} {axis.tell(verdict.higher)}, {lower} {axis.tell(verdict.lower)}. "
    seeds = f"{verdict.seeds} training seed{'s' if verdict.seeds != 1 else ''}"
    stands = f"{verdict.images:,} images and {seeds}" if verdict.images else seeds
    if found is None:
        return f"{said}No interval can be told from {stands}."
    said += (
        f"Difference{_beyond(claim.by, measure)} {signed(found.mean, measure)}{unit}, 95 % interval "
        f"{signed(found.low, measure)} to {signed(found.high, measure)}, from {stands}."
    )
    if verdict.targets:
        better, worse = verdict.better
        said += f" Higher on {better} of {verdict.targets} targets, lower on {worse} (Holm, 5 %)."
    return said


def _named(operand: Operand) -> str:
    details = [] if operand.epoch is None else [f"epoch {operand.epoch}"]
    details += [] if operand.attack is None else [operand.attack]
    details += [] if operand.target is None else [f"on {operand.target}"]
    return f"{operand.surrogate} ({', '.join(details)})" if details else operand.surrogate


def _beyond(by: float, measure: str) -> str:
    if not by:
        return ""
    return f" beyond the {100 * by:g} points claimed" if measure in PERCENT else f" beyond the {by:g} claimed"
