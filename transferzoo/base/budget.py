"""Budgets: how far an attack may go, in exact numbers and as people write it. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from transferzoo.base.errors import UnknownNameError, UsageError
from transferzoo.base.frozen_model import FrozenModel
from transferzoo.base.spec_strings import parse_epsilon, parse_step, require, show_fraction, show_step

Ball = Literal["linf", "l2"]
MOST_STEPS = 1_000_000
BALLS: tuple[Ball, ...] = get_args(Ball)


@dataclass(frozen=True)
class Budget:
    """How far an attack may go.

    Attributes:
        norm: name of the ball, "linf" or "l2".
        epsilon: its radius, in [0, 1] pixels (L∞) or length (L2); a fraction, so that 16/255 is 16 levels.
        step: length of a step, same unit.
        steps: how many.

    Raises:
        UnknownNameError: no such norm.
        UsageError: a number is out of range, or epsilon or step is no fraction.
    """

    norm: str
    epsilon: Fraction
    step: Fraction
    steps: int

    def __post_init__(self) -> None:
        """Check the values; see the class for the errors."""
        if self.norm not in BALLS:
            raise UnknownNameError("norm", self.norm, BALLS)
        for name, value in (("epsilon", self.epsilon), ("step", self.step)):
            require(
                isinstance(value, Fraction) and value > 0,
                f"{name} of an attack is exact",
                expected="a Fraction above 0, such as Fraction(16, 255)",
                got=repr(value),
            )
        require(
            self.norm != "linf" or self.epsilon <= 1,
            "epsilon is in [0, 1] pixels",
            expected="at most 1 in L∞",
            got=self.epsilon,
        )
        require(
            1 <= self.steps <= MOST_STEPS,
            "the steps of an attack are out of range",
            expected=f"1 to {MOST_STEPS:,}",
            got=self.steps,
        )

    @classmethod
    def read(
        cls, norm: str, epsilon: str | float | Fraction, step: str | float | Fraction, steps: int
    ) -> Budget:
        """Read one as `parse_epsilon` and `parse_step` do: `Budget.read("linf", "8/255", "eps/10", 50)`.

        Raises:
            UsageError: a number is unreadable or out of range, or there is no such norm.
        """
        radius = parse_epsilon(epsilon, norm)
        return cls(norm, radius, parse_step(step, radius), steps)

    @property
    def written(self) -> dict[str, Any]:
        """The fields of a `WrittenBudget`, in the shortest exact form."""
        epsilon, step = show_fraction(self.epsilon), show_step(self.step, self.epsilon)
        return {"norm": self.norm, "epsilon": epsilon, "step": step, "steps": self.steps}


class WrittenBudget(FrozenModel):
    """A budget as people write it and as files keep it.

    Attributes:
        norm: ball of the perturbation.
        epsilon: its radius, in [0, 1] pixels (L∞) or length (L2): "8/255" or a decimal.
        step: length of a step, "eps/10" or a number.
        steps: how many.
    """

    norm: Ball
    epsilon: str
    step: str
    steps: int = Field(ge=1, le=MOST_STEPS)

    @model_validator(mode="after")
    def _readable(self) -> WrittenBudget:
        check_readable(self.norm, self.epsilon, self.step)
        return self

    @property
    def exact(self) -> Budget:
        """The same in numbers."""
        return Budget.read(self.norm, self.epsilon, self.step, self.steps)


class PartialBudget(FrozenModel):
    """What is said of a budget; None where something else decides. The attributes are `WrittenBudget`'s."""

    norm: Ball | None = None
    epsilon: str | None = None
    step: str | None = None
    steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)

    @property
    def said(self) -> dict[str, Any]:
        """The parts that are not None."""
        return self.model_dump(include={*PARTS}, exclude_none=True)


PARTS = tuple(PartialBudget.model_fields)


def check_readable(norm: str, epsilon: str, step: str) -> None:
    """Check a budget inside a pydantic model.

    Raises:
        ValueError: a number is unreadable or out of range.
    """
    try:
        parse_step(step, parse_epsilon(epsilon, norm))
    except UsageError as error:
        raise ValueError(f"a readable budget ({str(error).removesuffix('.')})") from None
