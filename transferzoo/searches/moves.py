"""Candidates of a search, and the moves from one to others. Nothing here imports torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from transferzoo.attacks.composition import compose
from transferzoo.attacks.techniques import TECHNIQUES
from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import parse_terms
from transferzoo.studies.entries import AttackEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from transferzoo.attacks.composition import Composition
    from transferzoo.base.spec_strings import Term

STEP_SIZES: Mapping[str, Callable[[int], Fraction]] = {
    "ε/T": lambda steps: Fraction(1, steps),
    "2.5 ε/T": lambda steps: min(Fraction(1), Fraction(5, 2 * steps)),
    "ε/10": lambda steps: Fraction(1, 10),
    "ε/4": lambda steps: Fraction(1, 4),
    "ε": lambda steps: Fraction(1),
}
"""Step sizes that are tried: name → share of ε, of an attack of T steps.

ε/T reaches the border of the ball only if no sign ever flips; how much longer a step should be depends on how
steady the directions of a technique are.
"""


@dataclass(frozen=True)
class Candidate:
    """An attack that is tried: as many steps as the gradients allow.

    Attributes:
        techniques: terms of a spec string, in the order in which they were added.
        step: name in `STEP_SIZES`.
        gradients: evaluations an image, at most.
        size: of the images, in pixels a side, which some defaults depend on; None for those of large images.
    """

    techniques: tuple[str, ...]
    step: str
    gradients: int
    size: int | None = None

    @cached_property
    def composition(self) -> Composition:
        """The techniques.

        Raises:
            UsageError: they do not go together.
        """
        return compose("+".join(self.techniques), self.size)

    @property
    def name(self) -> str:
        """What tables call it: "mi+di, step 2.5 ε/T"."""
        return f"{'+'.join(self.techniques) or 'bim'}, step {self.step}"

    @property
    def label(self) -> str:
        """What records call it, apart from every other candidate."""
        return f"{self.name}, {self.gradients} gradients"

    @property
    def steps(self) -> int:
        """How many steps the gradients allow; 0 if not even one."""
        return self.composition.steps_within(self.gradients)

    @property
    def entry(self) -> AttackEntry:
        """The attack, as a study names it."""
        share = STEP_SIZES[self.step](self.steps)
        step = f"eps/{share.denominator}" if share.numerator == 1 else f"eps*{share}"
        return AttackEntry(
            spec="+".join(self.techniques) or "bim",
            name=self.label,
            step="eps" if share == 1 else step,
            steps=self.steps,
        )

    @property
    def attack(self) -> tuple[str, str | None, int | None]:
        """Techniques, step and steps, by which two of one effect are equal: ε/4 and 2.5 ε/10 are."""
        entry = self.entry
        return entry.spec, entry.step, entry.steps

    @property
    def fits(self) -> bool:
        """Whether it is an attack of one surrogate: of techniques that go together, in at least one step."""
        try:
            self.composition.check(1)
            return self.steps > 0
        except UsageError:
            return False

    def with_step(self, step: str) -> Candidate:
        """Return it with another step size."""
        return dataclasses.replace(self, step=step)

    def with_techniques(self, techniques: Iterable[str]) -> Candidate:
        """Return it with other techniques."""
        return dataclasses.replace(self, techniques=tuple(techniques))


def additions(best: Candidate, names: Iterable[str]) -> Iterator[Candidate]:
    """Yield a candidate with each technique of some names added, by its defaults, where they go together."""
    for name in names:
        candidate = best.with_techniques((*best.techniques, name))
        if candidate.fits and candidate.composition.canonical != best.composition.canonical:
            yield candidate


def neighbours(best: Candidate) -> Iterator[Candidate]:
    """Yield the candidates one move away: another step size, a technique less, an option changed."""
    yield from (best.with_step(step) for step in STEP_SIZES if step != best.step)
    for place, text in enumerate(best.techniques):
        rest = best.techniques
        for other in ((), *((changed,) for changed in _changed(text, best.size))):
            candidate = best.with_techniques((*rest[:place], *other, *rest[place + 1 :]))
            if candidate.fits:
                yield candidate


def _changed(text: str, size: int | None) -> Iterator[str]:
    """Yield a term with one of its numbers halved, and doubled, where its technique takes that."""
    (term,) = parse_terms(text)
    technique = TECHNIQUES[term.name].for_images(term, size)
    for field in dataclasses.fields(technique):
        value = getattr(technique, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        for other in dict.fromkeys((_halved(value), 2 * value)):
            changed = _with_option(term, field.name, other)
            if other != value and changed is not None:
                yield changed


def _halved(value: float) -> float:
    return max(1, value // 2) if isinstance(value, int) else value / 2


def _with_option(term: Term, key: str, value: float) -> str | None:
    """Return a term with an option set; None if its technique does not take that value."""
    options: dict[str, Any] = {**term.options, key: f"{value:g}"}
    text = f"{term.name}:{','.join(f'{name}={one}' for name, one in options.items())}"
    try:
        compose(text)
    except UsageError:
        return None
    return text
