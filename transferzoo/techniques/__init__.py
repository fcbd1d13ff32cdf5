"""Attack techniques: the contract.

A technique is a frozen dataclass of hyper-parameters that wraps a gradient oracle. Its stage fixes its place
in the one attack loop, so `ti+mi+di` and `mi+di+ti` are the same attack. From the model outwards:

    views → estimators → filters → momentum, and `start` before the first step

Inside a stage the order is as written, nearest the model first. State lives in the closure that `wrap`
returns, for one work unit: nothing leaks from one batch to the next. Draws and reductions are per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import TYPE_CHECKING, ClassVar, Protocol

from transferzoo.errors import UsageError
from transferzoo.notation import build, parse_terms, show_term
from transferzoo.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

    Oracle = Callable[[Tensor], Tensor]


class Stage(IntEnum):
    """Where in the loop a technique acts, in the order of wrapping.

    VIEWS transform the image before the model; ESTIMATORS average or correct gradients; FILTERS act on the
    gradient as an image; MOMENTUM accumulates over steps; START chooses the first perturbation.
    """

    VIEWS = 1
    ESTIMATORS = 2
    FILTERS = 3
    MOMENTUM = 4
    START = 5


@dataclass(frozen=True, eq=False)
class Unit:
    """A work unit: the images attacked together and the budget.

    Attributes:
        images: clean images (N, C, H, W) in [0, 1].
        epsilon: radius of the ball, in [0, 1] pixels (L∞) or length (L2).
        step: step size, same unit.
        norm: name of the ball.
        generators: one CPU generator an image, so that draws do not depend on the batch.
    """

    images: Tensor
    epsilon: float
    step: float
    norm: str
    generators: tuple[torch.Generator, ...]

    def uniform(self, *shape: int) -> Tensor:
        """Draw from U[0, 1), every image from its own generator: float64 (N, *shape) on the CPU."""
        import torch

        draws = [torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(draws)

    def normal(self, *shape: int) -> Tensor:
        """Draw from N(0, 1), every image from its own generator: float64 (N, *shape) on the CPU."""
        import torch

        draws = [torch.randn(shape, generator=g, dtype=torch.float64) for g in self.generators]
        return torch.stack(draws)


class Technique(Protocol):
    """What every technique declares; see the module for the contract.

    Attributes:
        stage: its place in the loop.
        cost: gradient evaluations it makes of one.
        paper: where it comes from.
    """

    stage: ClassVar[Stage]
    cost: ClassVar[int]
    paper: ClassVar[str]


class Wrapper(Technique, Protocol):
    """A technique of any stage but START."""

    def wrap(self, oracle: Oracle, unit: Unit) -> Oracle:
        """Return an oracle, images (N, C, H, W) → ascent direction of the same shape, around `oracle`."""
        ...


class Starter(Technique, Protocol):
    """A technique of stage START."""

    def start(self, unit: Unit) -> Tensor:
        """Return the perturbation (N, C, H, W) before the first step; the engine projects it."""
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

    @property
    def cost(self) -> int:
        """Gradient evaluations of one step."""
        return prod(technique.cost for _, technique in self.techniques)


def compose(spec: str) -> Composition:
    """Read a spec string of techniques, such as "mi+di:p=0.7".

    Raises:
        UsageError: it cannot be read, an option is out of range, or a name stands twice.
        UnknownNameError: no such technique or option.
    """
    terms = parse_terms(spec)
    names = [term.name for term in terms]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"technique '{min(repeated)}' stands twice in '{spec}'", expected="each name once")
    built = [(term.name, build(term, TECHNIQUES)) for term in terms]
    for stage in (Stage.MOMENTUM, Stage.START):
        rivals = [name for name, technique in built if technique.stage is stage]
        if len(rivals) > 1:
            raise UsageError(
                f"'{spec}' has {len(rivals)} techniques of the stage {stage.name.lower()}", expected="one",
                got=" and ".join(rivals),
            )  # fmt: skip
    return Composition(tuple(sorted(built, key=lambda pair: pair[1].stage)))
