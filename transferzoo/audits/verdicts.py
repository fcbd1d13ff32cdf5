"""Verdicts: from which image which attacker fools to pass, fail or cannot tell. Pure functions.

Every bound is exact (Clopper and Pearson) and one-sided. *Pass* says that each attacker's rate is at most the
limit: all upper bounds, corrected for their number by Holm, are, which is wrong in at most 2.5 % of cases.
*Fail* says that some attacker's rate is above it: an attacker is chosen on either half of the images and
measured on the other, and one of the two lower bounds, each wrong in at most 1.25 % of cases, is above. The
two halves are not pooled for the bound, because what one half chooses depends on what the other measures: a
pooled bound of 2.5 % is wrong in up to 5 % (`tests/benchmarks/verdicts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log2
from typing import TYPE_CHECKING

from transferzoo.audits.record import Change, Comparison, HeldOut, Share, Verdict
from transferzoo.base.errors import DataError
from transferzoo.results.attackers import best_on_other_half
from transferzoo.results.statistics import clopper_pearson, holm_adjusted, holm_upper_bounds, worsening_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from transferzoo.audits.record import Attacker, AuditRecord

    Hits = NDArray[np.bool_]

ERROR = 0.025
"""How often, at most, a pass or a fail is wrong; each bound that is printed, too."""
MOST_IMAGES = 1_000_000
"""Most images that are said to settle a verdict."""


@dataclass(frozen=True)
class Judgement:
    """A verdict by a limit.

    Attributes:
        verdict: by the limit; None without one.
        uppers: of each attacker the lowest limit that it is shown to be within, see `holm_upper_bounds`.
        lowers: likewise the highest that it is shown to be above.
        held_out: the best single attacker.
        images_to_settle: how many images would settle it, at these rates; None where it is settled, or no
            number up to `MOST_IMAGES` would.
    """

    verdict: Verdict | None
    uppers: list[float]
    lowers: list[float]
    held_out: HeldOut
    images_to_settle: int | None


def share_of(hits: Sequence[bool]) -> Share:
    """Return the share of images that are fooled; at least one image."""
    low, high = clopper_pearson(sum(hits), len(hits), ERROR)
    return Share(rate=sum(hits) / len(hits), low=low, high=high)


def judge(hits: Hits, limit: float | None) -> Judgement:
    """Judge attackers by a limit.

    Args:
        hits: (A, N), whether each of A ≥ 1 attackers fools each of N ≥ 2 images.
        limit: the highest rate that passes, in [0, 1]; None where nothing is judged.
    """
    count = hits.shape[1]
    uppers = holm_upper_bounds(hits.sum(1).tolist(), count, ERROR)
    lowers = [1 - bound for bound in holm_upper_bounds((~hits).sum(1).tolist(), count, ERROR)]
    best = held_out(hits)
    if limit is None:
        return Judgement(None, uppers, lowers, best, None)
    verdict = by_limit(uppers, best.low, limit)
    if verdict is not Verdict.CANNOT_TELL:
        return Judgement(verdict, uppers, lowers, best, None)
    needed = images_to_settle(hits.mean(1).tolist(), best.rate, limit, count)
    return Judgement(verdict, uppers, lowers, best, needed)


def by_limit(uppers: Sequence[float], low: float, limit: float) -> Verdict:
    """Return the verdict by a limit.

    Args:
        uppers: of all attackers, see `Judgement`.
        low: lower bound of the best one.
        limit: the highest rate that passes.
    """
    if max(uppers) <= limit:
        return Verdict.PASS
    return Verdict.FAIL if low > limit else Verdict.CANNOT_TELL


def held_out(hits: Hits) -> HeldOut:
    """Return what the best single attacker does on images that it was not chosen on; see `judge`."""
    (outcomes,), chosen = best_on_other_half(hits[None].astype(float))
    halves = (outcomes[1::2], outcomes[0::2])
    lows = tuple(clopper_pearson(round(float(half.sum())), len(half), ERROR / 2)[0] for half in halves)
    return HeldOut(rate=float(outcomes.mean()), low=max(lows), chosen=chosen, lows=(lows[0], lows[1]))


def images_to_settle(rates: Sequence[float], best: float, limit: float, count: int) -> int | None:
    """Return how many images make the verdict clear if the rates stay as they are; see `Judgement`.

    Args:
        rates: of all attackers.
        best: of the best single one, held out.
        limit: what is judged by.
        count: images that there were.
    """

    def settled(number: int) -> bool:
        uppers = holm_upper_bounds([ceil(rate * number - 1e-9) for rate in rates], number, ERROR)
        half = number // 2
        low = clopper_pearson(floor(best * half), half, ERROR / 2)[0]
        return by_limit(uppers, low, limit) is not Verdict.CANNOT_TELL

    above = max(count, 2)
    while not settled(above):
        above *= 2
        if above > MOST_IMAGES:
            return None
    below = max(count, above // 2)
    while above - below > max(1, above // 100):  # to one percent: it is a forecast
        middle = (above + below) // 2
        above, below = (middle, below) if settled(middle) else (above, middle)
    return above


def fewest_to_pass(attackers: int, limit: float) -> int:
    """Return the number of images below which not even attackers that fool none of them pass; limit > 0."""
    number = 1
    while holm_upper_bounds([0] * attackers, number, ERROR)[0] > limit:
        number += 1
    return number


def fewest_to_worsen(attackers: int) -> int:
    """Return the number of images below which not even an attacker that now fools all of them is shown to."""
    return ceil(log2(attackers / ERROR))


def compare(now: AuditRecord, before: AuditRecord) -> Comparison:
    """Return how an audit differs from an earlier one, with the same attackers on the same images.

    Raises:
        DataError: the attackers differ.
    """
    earlier = {_who(one): one for one in before.attackers}
    mine = [_who(one) for one in now.attackers]
    if {*mine} != {*earlier}:
        odd = len({*mine} ^ {*earlier})
        raise DataError(
            "the baseline is of other attackers",
            expected=f"the same {len(mine)}",
            got=f"{odd} that only one of both audits has",
            hint="audit the earlier model again by this command",
        )
    places = {(image.id, image.sha256): at for at, image in enumerate(before.images)}
    pairs = [(at, places.get((image.id, image.sha256))) for at, image in enumerate(now.images)]
    found = []
    for attacker, key in zip(now.attackers, mine, strict=True):
        other = earlier[key].outcomes
        both = [
            (other[old], attacker.outcomes[new])
            for new, old in pairs
            if old is not None and "-" not in (other[old], attacker.outcomes[new])
        ]
        old_hits, new_hits = ([pair[side] == "1" for pair in both] for side in (0, 1))
        difference = (sum(new_hits) - sum(old_hits)) / max(1, len(both))
        found.append((len(both), difference, worsening_p(old_hits, new_hits)))
    adjusted = holm_adjusted([p for _, _, p in found])
    changes = tuple(
        Change(attacker=at, n=n, difference=difference, p=p, adjusted=corrected)
        for at, ((n, difference, p), corrected) in enumerate(zip(found, adjusted, strict=True))
    )
    worse = any(change.adjusted <= ERROR for change in changes)
    verdict = Verdict.FAIL if worse else Verdict.PASS
    if max(change.n for change in changes) < fewest_to_worsen(len(changes)):
        verdict = Verdict.CANNOT_TELL
    return Comparison(model=before.model.name, sha256=before.model.sha256, verdict=verdict, changes=changes)


def _who(attacker: Attacker) -> tuple[str, str]:
    """Return what makes an attacker the same one in two audits; replicas are made anew for each release."""
    replica = attacker.kind == "replica"
    return attacker.surrogate if replica else attacker.surrogate_sha256, attacker.attack


def worse_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the worst of at least one verdict: a fail, else one that cannot be told, else a pass."""
    return next(one for one in (Verdict.FAIL, Verdict.CANNOT_TELL, Verdict.PASS) if one in verdicts)
