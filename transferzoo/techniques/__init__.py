"""Attack techniques: the contract.

A technique is a frozen dataclass of hyper-parameters. Its stage fixes its place in the one attack loop, so
`ti+mi+di` and `mi+di+ti` are the same attack. From the model outwards:

    weights → patches → loss or features → logits → surrogates → views → ensembles → estimators → filters
    → momentum → step, and start before the first

Most techniques wrap a function of images by another: a gradient oracle, images (N, C, H, W) → ascent
direction of the same shape. Inside a stage the order is as written, nearest the model first. State lives in
the closure that `wrap` returns, for one work unit: nothing leaks from one batch to the next. Draws and
reductions are per image.

A technique says what it costs: `cost` gradient evaluations where what it wraps has one. Three attributes are
optional: with `after` it joins the attack at that step, from 0, and the engine leaves it out until then; with
`needs` it makes sense only together with a technique of that stage; with `place`, a few words, it wants that
part of the model for itself, and two of the same place exclude each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from transferzoo.errors import UsageError
from transferzoo.notation import build, parse_terms, show_term
from transferzoo.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from transferzoo.techniques.unit import Unit

    Oracle = Callable[[Tensor], Tensor]
    Logits = Callable[[Tensor], Tensor]
    Objective = Callable[[Tensor], Tensor]

DEFAULT_LOSS = "ce"
DEFAULT_FUSION = "ens"


class Stage(IntEnum):
    """Where in the loop a technique acts, in the order of wrapping.

    WEIGHTS make several surrogates of one; PATCHES change a model's passes while it is attacked; LOSS and
    FEATURES say what is maximised, of the logits or of a layer; LOGITS replace what a model says of an image;
    SURROGATES make one objective of several models; VIEWS transform the image before the model; ENSEMBLES
    make one gradient of several models' gradients; ESTIMATORS average or correct gradients; FILTERS act on
    the gradient as an image; MOMENTUM accumulates over steps; STEP changes how far each pixel goes; START
    chooses the first perturbation.
    """

    WEIGHTS = 1
    PATCHES = 2
    LOSS = 3
    FEATURES = 4
    LOGITS = 5
    SURROGATES = 6
    VIEWS = 7
    ENSEMBLES = 8
    ESTIMATORS = 9
    FILTERS = 10
    MOMENTUM = 11
    STEP = 12
    START = 13


SINGLE = (
    (Stage.WEIGHTS,), (Stage.LOSS, Stage.FEATURES), (Stage.SURROGATES, Stage.ENSEMBLES), (Stage.MOMENTUM,),
    (Stage.START,),
)  # fmt: skip
"""Groups of stages that hold one technique at most."""
OUTER = (Stage.ESTIMATORS, Stage.FILTERS, Stage.MOMENTUM)
"""Stages whose techniques wrap the gradient of all models together, in this order."""


class Technique(Protocol):
    """What every technique declares; see the module for the contract.

    Attributes:
        stage: its place in the loop.
        paper: where it comes from.
    """

    stage: ClassVar[Stage]
    paper: ClassVar[str]

    @property
    def cost(self) -> int:
        """Gradient evaluations it makes of one; of START: steps made before the first."""
        ...


class Draw(Technique, Protocol):
    """A technique of the stage WEIGHTS.

    Attributes:
        n: how many surrogates it makes.
    """

    n: int

    def draw(self, models: Sequence[nn.Module], unit: Unit) -> list[nn.Module]:
        """Return `n` new models made from the surrogates, which stay as they are.

        Raises:
            ModelError: the surrogates do not go together.
            UsageError: it needs a pool, and there is none.
        """
        ...


class Patch(Technique, Protocol):
    """A technique of the stage PATCHES."""

    def patch(self, model: nn.Module, unit: Unit) -> AbstractContextManager[Callable[[], int]]:
        """Change the model inside the block and hand it back as it was.

        Gives a function that returns how often the patch has acted so far: a step without is an error.

        Raises:
            ModelError: the model has nothing that can be patched.
        """
        ...


class Loss(Technique, Protocol):
    """A technique of the stage LOSS."""

    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """Return how far the logits (N, K) are from the classes (N,): larger is farther, (N,), not reduced.

        A targeted attack minimises it, with the target classes.
        """
        ...


class Features(Technique, Protocol):
    """A technique of the stage FEATURES."""

    @property
    def setup(self) -> int:
        """Gradient evaluations made once, before the first step."""
        ...

    def objective(self, model: nn.Module, unit: Unit) -> AbstractContextManager[Objective]:
        """Give what is maximised, images (N, C, H, W) → (N,), by hooks that live as long as the block.

        Raises:
            ModelError: the model has no such layer.
        """
        ...


class Refinement(Technique, Protocol):
    """A technique of the stage LOGITS."""

    def refine(self, logits: Logits, unit: Unit) -> Logits:
        """Return a function, images (N, C, H, W) → logits (N, K), around `logits`; it is differentiable."""
        ...


class Fusion(Technique, Protocol):
    """A technique of the stage SURROGATES."""

    def evaluations(self, models: int) -> int:
        """Return how many models a gradient of the objective takes."""
        ...

    def join(self, models: Sequence[Logits], value: Objective, unit: Unit) -> Objective:
        """Return what is maximised of several models, images (N, C, H, W) → (N,).

        Args:
            models: images → logits (N, K).
            value: logits → what is maximised of one model, (N,).
            unit: what is attacked.
        """
        ...


class Ensemble(Technique, Protocol):
    """A technique of the stage ENSEMBLES; it needs two models at least."""

    def evaluations(self, models: int) -> int:
        """Return how many gradients of single models it takes for one."""
        ...

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: Unit) -> Oracle:
        """Return one oracle for several models, from the oracle and the objective of each."""
        ...


class Wrapper(Technique, Protocol):
    """A technique of the stages VIEWS and ESTIMATORS to MOMENTUM."""

    def wrap(self, oracle: Oracle, unit: Unit) -> Oracle:
        """Return an oracle, images (N, C, H, W) → ascent direction of the same shape, around `oracle`."""
        ...


class Stepper(Technique, Protocol):
    """A technique of the stage STEP."""

    def stride(self, stride: Oracle, unit: Unit) -> Oracle:
        """Return a function, ascent direction (N, C, H, W) → what is added to δ, around `stride`."""
        ...


class Starter(Technique, Protocol):
    """A technique of the stage START."""

    def start(self, unit: Unit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """Return the perturbation (N, C, H, W) before the first step; the engine projects it.

        Args:
            unit: what is attacked.
            advance: a perturbation and a factor → the perturbation after one step that many times as long.
        """
        ...


TECHNIQUES: Registry[type[Technique]] = Registry("technique", "transferzoo.techniques")


@dataclass(frozen=True)
class Composition:
    """Techniques in the order of their stages.

    Attributes:
        techniques: name and technique, sorted by stage; inside a stage as written.
    """

    techniques: tuple[tuple[str, Technique], ...]

    @property
    def spec(self) -> str:
        """The spec string with every option filled in, as `compose` reads it; empty without techniques."""
        return "+".join(show_term(name, technique) for name, technique in self.techniques)

    @property
    def canonical(self) -> str:
        """The same for people: "bim" where there is no technique."""
        return self.spec or "bim"

    def of(self, *stages: Stage) -> list[Technique]:
        """Return the techniques of some stages, in order."""
        return [technique for _, technique in self.techniques if technique.stage in stages]

    @property
    def joins(self) -> bool:
        """Whether it says what several surrogates make together: it then takes all weights of a surrogate."""
        return bool(self.of(Stage.WEIGHTS, Stage.SURROGATES, Stage.ENSEMBLES))

    def _models(self, surrogates: int) -> int:
        """Return how many models are attacked: those drawn, where a technique draws."""
        draws = cast("list[Draw]", self.of(Stage.WEIGHTS))
        return draws[0].n if draws else surrogates

    def check(self, surrogates: int) -> None:
        """Check that there are as many surrogates as the techniques need.

        Raises:
            UsageError: none, or one for an ensemble technique.
        """
        if not surrogates:
            raise UsageError("an attack needs a surrogate", expected="one at least", got="none")
        for name, technique in self.techniques:
            if technique.stage is Stage.ENSEMBLES and self._models(surrogates) < 2:
                raise UsageError(
                    f"'{name}' attacks several surrogates together", expected="two at least",
                    got=str(surrogates), hint="name more of them, with --ensemble",
                )  # fmt: skip

    def cost(self, steps: int, models: int = 1) -> int:
        """Return the gradient evaluations an image of an attack of so many steps on so many models."""
        models = self._models(models)
        before = sum(technique.cost for technique in self.of(Stage.START))
        setup = sum(getattr(technique, "setup", 0) for technique in self.of(Stage.FEATURES))
        together = self.of(Stage.SURROGATES, Stage.ENSEMBLES)
        factor = cast("Fusion | Ensemble", together[0]).evaluations(models) if together else models
        by_steps = before * self._cost_at(0) + sum(map(self._cost_at, range(steps)))
        return models * setup + factor * by_steps

    def _cost_at(self, step: int) -> int:
        active = (t for t in self.of(*sorted(set(Stage) - {Stage.START})) if step >= getattr(t, "after", 0))
        return prod(technique.cost for technique in active)


def compose(spec: str) -> Composition:
    """Read a spec string of techniques, such as "mi+di:p=0.7".

    Raises:
        UsageError: it cannot be read, an option is out of range, a name stands twice, or two techniques
            exclude each other.
        UnknownNameError: no such technique or option.
    """
    terms = parse_terms(spec)
    names = [term.name for term in terms]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"technique '{min(repeated)}' stands twice in '{spec}'", expected="each name once")
    built = [(term.name, build(term, TECHNIQUES)) for term in terms]
    for group in SINGLE:
        rivals = [name for name, technique in built if technique.stage in group]
        if len(rivals) > 1:
            kind = " or ".join(stage.name.lower() for stage in group)
            raise UsageError(
                f"'{spec}' has {len(rivals)} techniques of the stage {kind}", expected="one",
                got=" and ".join(rivals),
            )  # fmt: skip
    _check_needs(built)
    _check_places(spec, built)
    told = [(name, technique) for name, technique in built if name != DEFAULT_LOSS]
    return Composition(tuple(sorted(told, key=lambda pair: pair[1].stage)))


def _check_needs(built: list[tuple[str, Technique]]) -> None:
    """Check that techniques have those that they make no sense without."""
    stages = {technique.stage for _, technique in built}
    for name, technique in built:
        needed = getattr(technique, "needs", None)
        if needed is not None and needed not in stages:
            others = ", ".join(n for n in TECHNIQUES if TECHNIQUES[n].stage is needed)
            what = f"'{name}' needs a technique of the stage {needed.name.lower()}"
            raise UsageError(what, expected=others)


def _check_places(spec: str, built: list[tuple[str, Technique]]) -> None:
    """Check that no two techniques change the same part of the model."""
    places: dict[str, str] = {}
    for name, technique in built:
        place = getattr(technique, "place", None)
        if place in places:
            raise UsageError(
                f"'{spec}' has two techniques that change {place}", expected="one",
                got=f"{places[place]} and {name}",
            )  # fmt: skip
        if place is not None:
            places[place] = name
