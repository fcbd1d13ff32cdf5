"""What every attack technique declares, and where in the loop it acts; `techniques` has the kinds of them."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from transferzoo.base.options import Options

if TYPE_CHECKING:
    from typing import Self

    from transferzoo.attacks.composition import Composition
    from transferzoo.base.budget import Budget
    from transferzoo.base.spec_strings import Term


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


SMALL = 64
"""Images of fewer pixels a side are small."""


@dataclass(frozen=True)
class Technique(Options, ABC):
    """What every technique declares; what it leaves out is as here.

    Attributes:
        stage: its place in the loop.
        paper: where it comes from.
        needs: a stage without a technique of which it makes no sense.
        place: the part of the model that it wants for itself, in a few words: two of the same place exclude
            each other.
        alone: it changes the surrogate for the sake of an image, so the engine attacks images one by one.
        small: options that have another default on `SMALL` images; none that its cost depends on.
    """

    stage: ClassVar[Stage]
    paper: ClassVar[str] = ""
    needs: ClassVar[Stage | None] = None
    place: ClassVar[str] = ""
    alone: ClassVar[bool] = False
    small: ClassVar[MappingProxyType[str, Any]] = MappingProxyType({})

    @classmethod
    def for_images(cls, term: Term, size: int | None) -> Self:
        """Make what a term of a spec string stands for, with the defaults for images of a size.

        Args:
            term: the term.
            size: pixels a side; None for the defaults that do not depend on it.

        Raises:
            UnknownNameError: no such option, or none of its words.
            UsageError: a value is of the wrong type or out of range.
        """
        made = cls.of(term)
        if size is None or size >= SMALL:
            return made
        return replace(made, **{key: value for key, value in cls.small.items() if key not in term.options})

    @property
    def cost(self) -> int:
        """Gradient evaluations it makes of one; of START: steps made before the first."""
        return 1

    @property
    def each_step(self) -> int:
        """Gradient evaluations that it makes once a step besides, of every model that the step attacks."""
        return 0

    @property
    def after(self) -> int:
        """The step at which it joins the attack, from 0; the engine leaves it out until then."""
        return 0

    def check(self, composition: Composition, budget: Budget, *, targeted: bool) -> None:
        """Refuse what it cannot be used with, before a model is loaded; by default there is nothing.

        Args:
            composition: it and the others.
            budget: of the attack.
            targeted: whether there are target classes.

        Raises:
            UsageError: there is.
        """
