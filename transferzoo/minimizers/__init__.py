"""Minimizers: the contract.

A *rule* is a frozen dataclass of options that says which gradient the base optimizer shall use; a `Minimizer`
joins a rule, a model and a `torch.optim` optimizer, counts the steps and keeps the state. The trainer knows a
minimizer only through `step(closure)`; the closure zeroes the gradients, runs forward and backward, and
returns the loss. A rule may call it as often as it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from transferzoo.errors import UsageError
from transferzoo.notation import build, parse_terms, show_term
from transferzoo.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor, nn

    Closure = Callable[[], Tensor]


class Rule(Protocol):
    """Which gradient the base optimizer uses.

    Attributes:
        passes: forward and backward passes a step.
        paper: where it comes from.
    """

    passes: ClassVar[int]
    paper: ClassVar[str]

    @property
    def base(self) -> str:
        """Name of the base optimizer, "sgd" or "adamw"."""
        ...

    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Leave in `.grad` what the base optimizer shall use, the weights as they were.

        Returns:
            The loss at the unperturbed weights, a scalar.
        """
        ...


MINIMIZERS: Registry[type[Rule]] = Registry("minimizer", "transferzoo.minimizers")


class Minimizer:
    """A rule at work on a model.

    Args:
        rule: which gradient to use.
        model: whose parameters are trained.
        optimizer: the base optimizer over these parameters.
    """

    def __init__(self, rule: Rule, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.rule = rule
        self.model = model
        self.optimizer = optimizer
        self.steps = 0

    def step(self, closure: Closure) -> Tensor:
        """Make one step and return the loss at the weights before it.

        Args:
            closure: zeroes the gradients, runs forward and backward on one batch, returns the loss.
        """
        loss = self.rule.gradients(self, closure)
        self.optimizer.step()
        self.steps += 1
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the weights that the next step depends on."""
        return {"steps": self.steps, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` returned."""
        self.steps = state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])


def read_rule(spec: str) -> Rule:
    """Read a minimizer spec such as "sam:rho=0.05".

    Raises:
        UsageError: it cannot be read or an option is out of range.
        UnknownNameError: no such minimizer or option.
    """
    terms = parse_terms(spec)
    if len(terms) != 1:
        raise UsageError(
            "cannot read the minimizer", expected="one name, as in sam:rho=0.05", got=f"'{spec}'"
        )
    return build(terms[0], MINIMIZERS)


def show_rule(spec: str) -> str:
    """Return the canonical form of a minimizer spec, every option filled in."""
    rule = read_rule(spec)
    return show_term(parse_terms(spec)[0].name, rule)
