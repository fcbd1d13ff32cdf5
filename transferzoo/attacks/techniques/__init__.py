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

from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

from transferzoo.base.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit

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

    def draw(self, models: Sequence[nn.Module], unit: WorkUnit) -> list[nn.Module]:
        """Return `n` new models made from the surrogates, which stay as they are.

        Raises:
            ModelError: the surrogates do not go together.
            UsageError: it needs a pool, and there is none.
        """
        ...


class Patch(Technique, Protocol):
    """A technique of the stage PATCHES."""

    def patch(self, model: nn.Module, unit: WorkUnit) -> AbstractContextManager[Callable[[], int]]:
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

    def objective(self, model: nn.Module, unit: WorkUnit) -> AbstractContextManager[Objective]:
        """Give what is maximised, images (N, C, H, W) → (N,), by hooks that live as long as the block.

        Raises:
            ModelError: the model has no such layer.
        """
        ...


class Refinement(Technique, Protocol):
    """A technique of the stage LOGITS."""

    def refine(self, logits: Logits, unit: WorkUnit) -> Logits:
        """Return a function, images (N, C, H, W) → logits (N, K), around `logits`; it is differentiable."""
        ...


class Fusion(Technique, Protocol):
    """A technique of the stage SURROGATES."""

    def evaluations(self, models: int) -> int:
        """Return how many models a gradient of the objective takes."""
        ...

    def join(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> Objective:
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

    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """Return one oracle for several models, from the oracle and the objective of each."""
        ...


class Wrapper(Technique, Protocol):
    """A technique of the stages VIEWS and ESTIMATORS to MOMENTUM."""

    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """Return an oracle, images (N, C, H, W) → ascent direction of the same shape, around `oracle`."""
        ...


class Stepper(Technique, Protocol):
    """A technique of the stage STEP."""

    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """Return a function, ascent direction (N, C, H, W) → what is added to δ, around `stride`."""
        ...


class Starter(Technique, Protocol):
    """A technique of the stage START."""

    def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """Return the perturbation (N, C, H, W) before the first step; the engine projects it.

        Args:
            unit: what is attacked.
            advance: a perturbation and a factor → the perturbation after one step that many times as long.
        """
        ...


TECHNIQUES: Registry[type[Technique]] = Registry("technique", "transferzoo.attacks.techniques")
