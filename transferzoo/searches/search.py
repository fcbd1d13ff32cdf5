"""The search: greedy over compositions, then local over step sizes, options and removals.

What it measures is given to it, so that it is the same in one process and on a cluster, and a killed search
that measures again what it had measured takes the same way. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferzoo.searches.moves import STEP_SIZES, Candidate, additions, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Measure = Callable[[Sequence[Candidate]], Mapping[Candidate, float]]

MOST_LOCAL = 10
"""Local rounds at most: each has to gain, but on few images there is always something to gain."""


@dataclass(frozen=True)
class Round:
    """What one round of a search tried.

    Attributes:
        move: "step size", "add a technique" or "change one thing".
        rates: success of each candidate that could be measured, in [0, 1].
        best: the best attack so far, after it.
        rate: its success.
        improved: whether this round found it.
    """

    move: str
    rates: Mapping[Candidate, float]
    best: Candidate
    rate: float
    improved: bool


def search(
    names: Sequence[str],
    gradients: int,
    measure: Measure,
    on_round: Callable[[Round], None],
    size: int | None = None,
) -> tuple[Candidate, float]:
    """Return the strongest attack that was found, and its success on the images of the search.

    From plain BIM with the best of the step sizes, the technique is added that gains most, as long as one
    gains; of the others the better half stays for the next round. Then the best single change of step size or
    options, or removal, is made as long as one gains. Ties stay with the attack that came first.

    Args:
        names: techniques to choose from.
        gradients: evaluations an image, at most.
        measure: candidates → success of those that can be measured, in [0, 1]; the same whenever it is asked.
        on_round: called after each round.
        size: of the images, in pixels a side.
    """
    walk = _Walk(measure, on_round)
    walk.round("step size", [Candidate((), step, gradients, size) for step in STEP_SIZES])
    left = list(names)
    while left:
        tried = {candidate: candidate.techniques[-1] for candidate in additions(walk.best, left)}
        rates = walk.round("add a technique", list(tried))
        if rates is None:
            break
        ranked = sorted(rates, key=lambda candidate: -rates[candidate])
        left = [tried[candidate] for candidate in ranked[1 : (len(ranked) + 1) // 2]]
    for _ in range(MOST_LOCAL):
        if walk.round("change one thing", list(neighbours(walk.best))) is None:
            break
    return walk.best, walk.rate


class _Walk:
    """The best attack so far, and what was measured on the way."""

    def __init__(self, measure: Measure, on_round: Callable[[Round], None]) -> None:
        self._measure, self._on_round = measure, on_round
        self._known: dict[Candidate, float] = {}
        self.best, self.rate = Candidate((), "", 0), -1.0

    def round(self, move: str, candidates: Sequence[Candidate]) -> Mapping[Candidate, float] | None:
        """Measure candidates and take the best; return their success, None if none is better than before."""
        new = [candidate for candidate in dict.fromkeys(candidates) if candidate not in self._known]
        self._known |= self._measure(new) if new else {}
        rates = {c: self._known[c] for c in candidates if c in self._known}
        winner = max(rates, key=lambda candidate: rates[candidate], default=self.best)
        improved = rates.get(winner, -1.0) > self.rate
        if improved:
            self.best, self.rate = winner, rates[winner]
        self._on_round(Round(move, rates, self.best, self.rate, improved))
        return rates if improved else None
