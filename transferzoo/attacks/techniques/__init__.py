"""Attack techniques: the contract.

A technique is a frozen dataclass of options on the base class of its stage, which says what it has to do. The
stage fixes its place in the one attack loop, so `ti+mi+di` and `mi+di+ti` are the same attack. From the model
outwards:

    weights → patches → loss or features → logits → surrogates → views → ensembles → estimators → filters
    → momentum → step, and start before the first

Most techniques wrap a function of images by another: a gradient oracle, images (N, C, H, W) → ascent
direction of the same shape. Inside a stage the order is as written, nearest the model first. State lives in
the closure that `wrap` returns, for one work unit: nothing leaks from one batch to the next. Draws and
reductions are per image.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from transferzoo.attacks.technique import SMALL as SMALL
from transferzoo.attacks.technique import Stage as Stage
from transferzoo.attacks.technique import Technique as Technique
from transferzoo.base.options import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from transferzoo.attacks.techniques.work_unit import WorkUnit

    Oracle = Callable[[Tensor], Tensor]
    Logits = Callable[[Tensor], Tensor]
    Objective = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Draw(Technique):
    """A technique that makes several surrogates of those that are given."""

    stage: ClassVar[Stage] = Stage.WEIGHTS

    @property
    @abstractmethod
    def n(self) -> int:
        """How many surrogates it makes."""

    @abstractmethod
    def draw(self, models: Sequence[nn.Module], unit: WorkUnit) -> list[nn.Module]:
        """Return `n` new models made from the surrogates, which stay as they are.

        Raises:
            ModelError: the surrogates do not go together.
            UsageError: it needs a pool, and there is none.
        """


@dataclass(frozen=True)
class Patch(Technique):
    """A technique that changes a model's passes."""

    stage: ClassVar[Stage] = Stage.PATCHES

    @abstractmethod
    def patch(self, model: nn.Module, unit: WorkUnit) -> AbstractContextManager[Callable[[], int]]:
        """Change the model inside the block and hand it back as it was.

        Gives a function that returns how often the patch has acted so far: a step without is an error.

        Raises:
            ModelError: the model has nothing that can be patched.
        """


@dataclass(frozen=True)
class Loss(Technique):
    """What is maximised of the logits.

    Attributes:
        never_negative: untargeted, it is at least 0; some ensembles divide by losses.
    """

    stage: ClassVar[Stage] = Stage.LOSS
    never_negative: ClassVar[bool] = False

    @abstractmethod
    def value(self, logits: Tensor, classes: Tensor, *, targeted: bool = False) -> Tensor:
        """Return how far the logits (N, K) are from the classes (N,): larger is farther, (N,), not reduced.

        A targeted attack minimises it, with the target classes.
        """


@dataclass(frozen=True)
class Features(Technique):
    """What is maximised of the output of a layer."""

    stage: ClassVar[Stage] = Stage.FEATURES

    @property
    @abstractmethod
    def setup(self) -> int:
        """Gradient evaluations made once, before the first step."""

    @abstractmethod
    def objective(self, model: nn.Module, unit: WorkUnit) -> AbstractContextManager[Objective]:
        """Give what is maximised, images (N, C, H, W) → (N,), by hooks that live as long as the block.

        Raises:
            ModelError: the model has no such layer.
        """


@dataclass(frozen=True)
class Refinement(Technique):
    """Logits of an image made of the logits of others."""

    stage: ClassVar[Stage] = Stage.LOGITS

    @abstractmethod
    def refine(self, logits: Logits, unit: WorkUnit) -> Logits:
        """Return a function, images (N, C, H, W) → logits (N, K), around `logits`; it is differentiable."""


@dataclass(frozen=True)
class Joint(Technique):
    """What several models make together."""

    @abstractmethod
    def evaluations(self, models: int) -> int:
        """Return how many gradients of single models it takes for one."""


@dataclass(frozen=True)
class Fusion(Joint):
    """One objective of several models."""

    stage: ClassVar[Stage] = Stage.SURROGATES

    @abstractmethod
    def join(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> Objective:
        """Return what is maximised of several models, images (N, C, H, W) → (N,).

        Args:
            models: images → logits (N, K).
            value: logits → what is maximised of one model, (N,).
            unit: what is attacked.
        """


@dataclass(frozen=True)
class Ensemble(Joint):
    """One gradient of the gradients of several models, two at least."""

    stage: ClassVar[Stage] = Stage.ENSEMBLES

    def parts(self, models: Sequence[Logits], value: Objective, unit: WorkUnit) -> list[Objective]:
        """Return what is maximised of each model, images (N, C, H, W) → (N,).

        Args:
            models: images → logits (N, K).
            value: logits → what is maximised of one model, (N,).
            unit: what is attacked.
        """
        return [lambda images, model=model: value(model(images)) for model in models]  # type: ignore[misc]

    @abstractmethod
    def combine(self, oracles: Sequence[Oracle], objectives: Sequence[Objective], unit: WorkUnit) -> Oracle:
        """Return one oracle for several models, from the oracle and the objective of each."""


@dataclass(frozen=True)
class Wrapper(Technique):
    """A gradient oracle made of another."""

    @abstractmethod
    def wrap(self, oracle: Oracle, unit: WorkUnit) -> Oracle:
        """Return an oracle, images (N, C, H, W) → ascent direction of the same shape, around `oracle`."""


@dataclass(frozen=True)
class View(Wrapper):
    """The gradient of one model through transformed images."""

    stage: ClassVar[Stage] = Stage.VIEWS


@dataclass(frozen=True)
class Estimator(Wrapper):
    """An average or a correction of gradients; this and what follows is of all models together."""

    stage: ClassVar[Stage] = Stage.ESTIMATORS


@dataclass(frozen=True)
class Filter(Wrapper):
    """The gradient filtered as an image."""

    stage: ClassVar[Stage] = Stage.FILTERS


@dataclass(frozen=True)
class Accumulator(Wrapper):
    """Gradients accumulated over steps."""

    stage: ClassVar[Stage] = Stage.MOMENTUM


@dataclass(frozen=True)
class Stepper(Technique):
    """How far each value goes along the direction."""

    stage: ClassVar[Stage] = Stage.STEP

    @abstractmethod
    def stride(self, stride: Oracle, unit: WorkUnit) -> Oracle:
        """Return a function, ascent direction (N, C, H, W) → what is added to δ, around `stride`."""


@dataclass(frozen=True)
class Starter(Technique):
    """The perturbation before the first step."""

    stage: ClassVar[Stage] = Stage.START

    @property
    def cost(self) -> int:
        """Steps made before the first."""
        return 0

    @abstractmethod
    def start(self, unit: WorkUnit, advance: Callable[[Tensor, float], Tensor]) -> Tensor:
        """Return the perturbation (N, C, H, W) before the first step; the engine projects it.

        Args:
            unit: what is attacked.
            advance: a perturbation and a factor → the perturbation after one step that many times as long.
        """


TECHNIQUES: Terms[Technique] = Terms("technique", "transferzoo.attacks.techniques", Technique, "di:p=0.7")
