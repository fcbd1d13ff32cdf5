"""Techniques compared at equal cost, each with the step size that suits it: the attacks that are reported.

Step sizes are chosen by what a search measures, on validation targets. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from transferzoo.base.errors import UsageError
from transferzoo.searches.moves import STEP_SIZES, Candidate
from transferzoo.studies.entries import AttackEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from transferzoo.searches.search import Measure
    from transferzoo.zoo.schema import Preset

    Choices = Mapping[tuple["Contender", int], "Choice"]
    """Contender and gradients → the step size that was chosen."""
    Row = tuple["Contender", int, "Choice"]
    """An attack that is reported: contender, gradients and step size."""

STEPS = tuple(name for name in STEP_SIZES if name != "ε/T")
"""Step sizes to choose from; ε/T reaches the border of the ball only if no sign ever flips."""
CHOSEN_AT = (10, 50)
"""Gradients an image at which step sizes are chosen; attacks of more have the choice of the most."""
REPORTED_AT, LEADERS_AT, PRESET_AT = 50, (10, 200), 1000
"""Gradients an image of all attacks, and of the leaders and the last of the presets besides."""
LEFT_OUT = (
    f"since a step costs more than {REPORTED_AT} gradients, or it needs several surrogates or one of another "
    "kind"
)
"""Why a technique is in no contender."""
LEADERS = 10
MOMENTUM = "mi"


@dataclass(frozen=True)
class Contender:
    """Techniques that are compared: one by itself, one on momentum, or those of a preset.

    Attributes:
        techniques: terms of a spec string.
        preset: name of the preset that has them; empty where there is none.
        steps: of the preset; 0 for as many as the gradients allow.
        leads: whether it may be a leader: a technique on momentum, or by itself where momentum does not go
            with it.
    """

    techniques: tuple[str, ...]
    preset: str = ""
    leads: bool = False
    steps: int = 0

    @property
    def spec(self) -> str:
        """What the study calls it."""
        return self.preset or "+".join(self.techniques) or "bim"

    def label(self, gradients: int) -> str:
        """Return what tables call its attack of so many gradients."""
        return f"{self.spec}, {gradients} gradients"

    def at(self, gradients: int, step: str = STEPS[0]) -> Candidate:
        """Return its attack of so many gradients."""
        return Candidate(self.techniques, step, gradients)

    def entry(self, gradients: int, step: str) -> AttackEntry:
        """Return its attack of so many gradients, as a study names it."""
        name = self.label(gradients)
        if self.preset:
            steps = self.steps or self.at(gradients).steps
            return AttackEntry(spec=self.preset, name=name, step=step, steps=steps)
        return self.at(gradients, step).entry.model_copy(update={"spec": self.spec, "name": name})


@dataclass(frozen=True)
class Choice:
    """The step size of a contender at a number of gradients.

    Attributes:
        step: name in `STEP_SIZES`; of a preset its own, as a budget says it.
        rate: success on the validation targets with it, in [0, 1]; None where it was not measured.
    """

    step: str
    rate: float | None = None


def contenders(names: Iterable[str], *, plain: bool) -> tuple[Contender, ...]:
    """Return what is compared: each technique by itself and on momentum, where it goes with one surrogate.

    Args:
        names: techniques.
        plain: BIM and momentum too.
    """
    found = [Contender(()), Contender((MOMENTUM,))] if plain else []
    for name in names:
        joined = Contender((MOMENTUM, name), leads=True)
        fits = joined.at(REPORTED_AT).fits
        found += [Contender((name,), leads=not fits and name != MOMENTUM), *([joined] if fits else [])]
    first: dict[str, Contender] = {}
    for one in found:
        if (attack := one.at(REPORTED_AT)).fits:
            first.setdefault(attack.composition.canonical, one)
    return tuple(first.values())


def choose(every: Sequence[Contender], measure: Measure) -> Choices:
    """Return the step size of each contender that has the highest success, at each of `CHOSEN_AT`.

    Ties are for the first of `STEPS`. What cannot be measured, or costs more in one step, has none.

    Args:
        every: contenders.
        measure: candidates → success on validation targets, as that of a search.
    """
    tried = {
        (one, gradients): [one.at(gradients, step) for step in STEPS]
        for one in every
        for gradients in CHOSEN_AT
        if one.at(gradients).fits
    }
    rates = measure(list(dict.fromkeys(candidate for each in tried.values() for candidate in each)))
    found = {}
    for place, candidates in tried.items():
        if known := [candidate for candidate in candidates if candidate in rates]:
            best = max(known, key=lambda candidate: rates[candidate])
            found[place] = Choice(best.step, rates[best])
    return found


def ranked(chosen: Choices, gradients: int) -> list[Contender]:
    """Return the contenders by success on the validation targets after so many gradients, highest first."""
    rates = {one: choice.rate or 0.0 for (one, number), choice in chosen.items() if number == gradients}
    return sorted(rates, key=lambda one: -rates[one])


def reported(chosen: Choices) -> Iterator[Row]:
    """Yield the attacks that are reported: contender, gradients and step size; the highest success first.

    All at `REPORTED_AT`, the `LEADERS` of the highest success also at `LEADERS_AT`. Which of them lead is
    decided on the validation targets too.
    """
    order = ranked(chosen, REPORTED_AT)
    leaders = [one for one in order if one.leads][:LEADERS]
    rows = [(one, REPORTED_AT) for one in order]
    rows += [(one, number) for number in LEADERS_AT for one in leaders]
    for one, gradients in rows:
        at = max(number for number in CHOSEN_AT if number <= gradients)
        if (one, at) in chosen:
            yield one, gradients, chosen[one, at]


def preset_rows(names: Iterable[str], presets: Mapping[str, Preset]) -> list[Row]:
    """Return the attacks of presets that are reported: each as it is, and the last one at `PRESET_AT` too.

    What one costs is called by the next number of gradients at which leaders are reported.

    Args:
        names: of presets that say step size and steps.
        presets: name → preset.

    Raises:
        UsageError: a name is none of such a preset, or it costs more than leaders are reported at.
    """
    rows: list[Row] = []
    for name in names:
        preset = presets.get(name)
        if preset is None or preset.step is None or preset.steps is None:
            raise UsageError(f"'{name}' cannot be compared", expected="a preset with a step size and steps")
        one = Contender(tuple(preset.spec.split("+")), name, steps=preset.steps)
        cost = one.at(PRESET_AT).composition.cost(preset.steps)
        fitting = [number for number in sorted((REPORTED_AT, *LEADERS_AT)) if number >= cost]
        if not fitting:
            raise UsageError(
                f"'{name}' costs {cost} gradients an image", expected=f"{max(LEADERS_AT)} at most"
            )
        rows.append((one, fitting[0], Choice(preset.step)))
    return [*rows, *((replace(one, steps=0), PRESET_AT, choice) for one, _, choice in rows[-1:])]


def unchosen(every: Iterable[Contender]) -> list[Row]:
    """Return the attacks that would be reported, as of `reported`, before a step size is chosen."""
    return [(one, REPORTED_AT, Choice(STEPS[0])) for one in every if one.at(REPORTED_AT).fits]
