"""Checks, before anything runs, that a study measures its claims. Nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.sharpness import Measures, Sharpness
from transferzoo.studies.entries import ACCURACY, ITSELF, ROBUST, SUCCESS
from transferzoo.studies.result_file import CURVE, SHARPNESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transferzoo.studies.cells import GridPoint
    from transferzoo.studies.entries import Claim, Operand
    from transferzoo.studies.schema import Study

_FLAT = Measures(0, 0, (0,), 0, 0, 0, 0, 0, 0)
SHARPNESS_MEASURES = tuple(
    f"{SHARPNESS}.{name}" for name in Sharpness(0, 0, 0, 0, 0, 0, 0, 0, _FLAT, _FLAT).numbers()
)
"""Measures of sharpness."""


def check_claims(study: Study, points: Sequence[GridPoint], targets: Sequence[str]) -> None:
    """Check that both operands of every claim are measured, at a training seed in common.

    Args:
        study: the study.
        points: the surrogates that it measures.
        targets: names of its targets.

    Raises:
        UsageError: one is not measured, or both not on the same images.
    """
    for claim in study.claims:
        for operand in (claim.higher, claim.lower):
            if operand.target == ITSELF:
                problem = f"'{ITSELF}' is a white box, of which no claim is about success"
                raise _claim_error(
                    claim, problem, ["measure: robust, the accuracy under an attack on the model itself"]
                )
            if operand.target is not None and operand.target not in targets:
                raise _claim_error(claim, f"'{operand.target}' is no target", targets)
        sides = {(operand.surrogate, _epoch(operand, points)) for operand in (claim.higher, claim.lower)}
        chooses = ITSELF in study.targets and study.images_correct_for == "all"
        if chooses and len(sides) > 1 and claim.measure == SUCCESS:
            problem = (
                f"its sides are of other images, since '{ITSELF}' is a target that has to be right on them"
            )
            raise _claim_error(claim, problem, ["images_correct_for: target"])
        if not claim_seeds(claim, points):
            raise _claim_error(claim, "its two sides have no training seed in common")


def claim_seeds(claim: Claim, points: Sequence[GridPoint]) -> set[int]:
    """Return the training seeds that both sides of a claim are measured at.

    Raises:
        UsageError: a side is not measured.
    """
    return _seeds(claim, claim.higher, points) & _seeds(claim, claim.lower, points)


def _seeds(claim: Claim, operand: Operand, points: Sequence[GridPoint]) -> set[int]:
    """Return the training seeds that an operand is measured at."""
    own = [point for point in points if point.surrogate == operand.surrogate]
    epochs, epoch = list(dict.fromkeys(point.epoch for point in own)), _epoch(operand, points)
    if epoch not in epochs:
        raise _claim_error(
            claim, f"epoch {epoch} of '{operand.surrogate}' is not measured", [str(each) for each in epochs]
        )
    there = [point for point in own if point.epoch == epoch]
    measures = dict.fromkeys(name for point in there for name in _measures(point))
    if operand.measure not in measures:
        raise _claim_error(claim, f"'{operand.measure}' of '{operand.surrogate}' is not measured", measures)
    return {point.seed for point in there if operand.measure in _measures(point)}


def _epoch(operand: Operand, points: Sequence[GridPoint]) -> int | str:
    """Return the epoch of an operand, where it names none the last that is attacked."""
    if operand.epoch is not None:
        return operand.epoch
    return [point.epoch for point in points if point.surrogate == operand.surrogate and point.attacks][-1]


def _measures(point: GridPoint) -> tuple[str, ...]:
    return (
        *((SUCCESS, ACCURACY) if point.attacks else ()),
        *((ROBUST,) if point.robust else ()),
        *(SHARPNESS_MEASURES if point.sharpness else ()),
        *(CURVE if point.train and isinstance(point.epoch, int) else ()),
    )


def _claim_error(claim: Claim, problem: str, known: Iterable[str] = ()) -> UsageError:
    return UsageError(f"claim '{claim.say}': {problem}", expected=" or ".join(known))
