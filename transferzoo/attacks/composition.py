"""What a spec string of techniques stands for: which of them, in what order, at what cost.

Techniques that exclude each other, or need one another, are known here; what each does is in `techniques`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, TypeVar

from transferzoo.attacks.technique import Stage, Technique
from transferzoo.attacks.techniques import (
    TECHNIQUES,
    Draw,
    Ensemble,
    Features,
    Fusion,
    Joint,
    Refinement,
    Starter,
)
from transferzoo.attacks.techniques.losses import DEFAULT_LOSS
from transferzoo.base.budget import MOST_STEPS
from transferzoo.base.errors import UsageError
from transferzoo.base.spec_strings import parse_terms

if TYPE_CHECKING:
    from transferzoo.base.budget import Budget

T = TypeVar("T", bound=Technique)

SINGLE = (
    (Stage.WEIGHTS,),
    (Stage.LOSS, Stage.FEATURES),
    (Stage.SURROGATES, Stage.ENSEMBLES),
    (Stage.MOMENTUM,),
    (Stage.START,),
)
"""Groups of stages that hold one technique at most."""


@dataclass(frozen=True)
class Composition:
    """Techniques in the order of their stages.

    Attributes:
        techniques: sorted by stage; inside a stage as written.
    """

    techniques: tuple[Technique, ...]

    @property
    def spec(self) -> str:
        """The spec string with every option filled in, as `compose` reads it; empty without techniques."""
        return "+".join(technique.spec for technique in self.techniques)

    @property
    def canonical(self) -> str:
        """The same for people: "bim" where there is no technique."""
        return self.spec or "bim"

    def of(self, *kinds: type[T]) -> list[T]:
        """Return the techniques of some kinds, in order."""
        return [technique for technique in self.techniques if isinstance(technique, kinds)]

    @property
    def joins(self) -> bool:
        """Whether it says what several surrogates make together: it then takes all weights of a surrogate."""
        return bool(self.of(Draw, Joint))

    @property
    def alone(self) -> bool:
        """Whether images have to be attacked one by one."""
        return any(technique.alone for technique in self.techniques)

    def _models(self, surrogates: int) -> int:
        """Return how many models are attacked: those drawn, where a technique draws."""
        draws = self.of(Draw)
        return draws[0].n if draws else surrogates

    def check(self, surrogates: int, *, alone: bool = True) -> None:
        """Check that there are as many surrogates as the techniques need.

        Args:
            surrogates: how many are attacked together.
            alone: let what fuses surrogates have a single one, which it does not change.

        Raises:
            UsageError: none, or one where several are needed.
        """
        if not surrogates:
            raise UsageError("an attack needs a surrogate", expected="one at least", got="none")
        for technique in self.of(Ensemble if alone else Joint):
            if self._models(surrogates) < 2:
                raise UsageError(
                    f"'{technique.name}' attacks several surrogates together",
                    expected="two at least",
                    got=str(surrogates),
                    hint="name more of them, with --ensemble, or one with several weights (train --collect)",
                )

    def check_use(self, budget: Budget, *, targeted: bool) -> None:
        """Check that the techniques can be used with a budget and with each other.

        Args:
            budget: of the attack.
            targeted: whether it has target classes.

        Raises:
            UsageError: one cannot, or none of its steps is among the attack's.
        """
        for technique in self.techniques:
            if technique.after >= budget.steps:
                raise UsageError(
                    f"'{technique.name}' never joins the attack: it begins after step {technique.after}",
                    expected=f"after={budget.steps - 1} at most, or more steps",
                    got=f"{budget.steps} steps",
                )
            technique.check(self, budget, targeted=targeted)

    def cost(self, steps: int, models: int = 1) -> int:
        """Return the gradient evaluations an image of an attack of so many steps on so many models."""
        models = self._models(models)
        starts, features, together = self.of(Starter), self.of(Features), self.of(Joint)
        before = sum(start.cost for start in starts)
        setup = sum(feature.setup for feature in features)
        factor = together[0].evaluations(models) if together else models
        edges = sorted({0, steps, *(t.after for t in self.techniques if 0 < t.after < steps)})
        by_steps = before * self._cost_at(0)
        by_steps += sum(self._cost_at(first) * (end - first) for first, end in pairwise(edges))
        attacked = factor if self.of(Fusion) else models
        besides = attacked * steps * sum(technique.each_step for technique in self.techniques)
        return models * setup + factor * by_steps + besides

    def asked(self, steps: int, models: int = 1) -> int:
        """Return how many gradients an image the techniques may ask for: of what models make together, one.

        Those that a logit, a layer or a joint objective takes besides are made without being asked for.
        """
        ensemble = self.of(Ensemble)
        inner = (Refinement, Fusion, Features, *(() if ensemble else (Draw,)))
        asking = tuple(one for one in self.techniques if not isinstance(one, inner))
        return Composition(asking).cost(steps, models if ensemble else 1)

    def steps_within(self, most: int, models: int = 1) -> int:
        """Return the most steps of at most so many gradient evaluations an image; 0 if there are none."""
        return bisect_right(range(1, min(most, MOST_STEPS) + 1), most, key=lambda n: self.cost(n, models))

    def _cost_at(self, step: int) -> int:
        active = (t for t in self.techniques if t.stage is not Stage.START and step >= t.after)
        return prod(technique.cost for technique in active)


def compose(spec: str, size: int | None = None) -> Composition:
    """Read a spec string of techniques, such as "mi+di:p=0.7".

    Args:
        spec: the spec string.
        size: of the images, in pixels a side, for the defaults that depend on it; None for the others.

    Raises:
        UsageError: it cannot be read, an option is out of range, a name stands twice, or two techniques
            exclude each other.
        UnknownNameError: no such technique or option.
    """
    terms = parse_terms(spec)
    names = [term.name for term in terms]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"technique '{min(repeated)}' stands twice in '{spec}'", expected="each name once")
    built = [TECHNIQUES[term.name].for_images(term, size) for term in terms]
    for group in SINGLE:
        rivals = [technique.name for technique in built if technique.stage in group]
        if len(rivals) > 1:
            kind = " or ".join(stage.name.lower() for stage in group)
            raise UsageError(
                f"'{spec}' has {len(rivals)} techniques of the stage {kind}",
                expected="one",
                got=" and ".join(rivals),
            )
    _check_costs(built)
    _check_refinements(spec, built)
    _check_needs(built)
    _check_places(spec, built)
    explicit = [technique for technique in built if technique != DEFAULT_LOSS]
    return Composition(tuple(sorted(explicit, key=lambda technique: technique.stage)))


def _check_costs(built: list[Technique]) -> None:
    """Check that what techniques cost is counted."""
    for technique in built:
        for name in ("cost", "each_step", "after"):
            if not isinstance(said := getattr(technique, name), int) or said < 0:
                raise UsageError(
                    f"`{name}` of '{technique.name}' is {said!r}", expected="a whole number, from 0"
                )


def _check_refinements(spec: str, built: list[Technique]) -> None:
    """Check that what is made of logits is read: an objective of features reads none."""
    refining = [technique.name for technique in built if isinstance(technique, Refinement)]
    features = [technique.name for technique in built if isinstance(technique, Features)]
    if refining and features:
        raise UsageError(
            f"'{spec}' refines logits, and maximises something of features",
            expected="one of the two",
            got=f"{refining[0]} and {features[0]}",
        )


def _check_needs(built: list[Technique]) -> None:
    """Check that techniques have those that they make no sense without."""
    stages = {technique.stage for technique in built}
    for technique in built:
        needed = technique.needs
        if needed is not None and needed not in stages:
            others = ", ".join(n for n in TECHNIQUES if TECHNIQUES[n].stage is needed)
            what = f"'{technique.name}' needs a technique of the stage {needed.name.lower()}"
            raise UsageError(what, expected=others)


def _check_places(spec: str, built: list[Technique]) -> None:
    """Check that no two techniques change the same part of the model."""
    places: dict[str, str] = {}
    for technique in built:
        place = technique.place
        if place in places:
            raise UsageError(
                f"'{spec}' has two techniques that change {place}",
                expected="one",
                got=f"{places[place]} and {technique.name}",
            )
        if place:
            places[place] = technique.name
