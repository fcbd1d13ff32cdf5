"""Minimizers: the contract.

A *rule* is a frozen dataclass of options that says which gradient the base optimizer shall use; a `Minimizer`
joins a rule, a model and a `torch.optim` optimizer, counts the steps and keeps the state. The trainer knows a
minimizer only through `step(closure)` and `collect()`; the closure sets the gradients to None, runs forward
and backward, and returns the loss. A rule may call it as often as it needs.

Conventions that hold for every rule: norms are over all parameters together; the perturbation is made of the
gradient of the loss alone, weight decay is the base optimizer's and acts at the unperturbed weights; every
pass normalises with batch statistics, running averages count the first pass only; weights are restored from
copies. Several closures in one step are micro-batches: each has its own perturbation (m-sharpness with m the
size of a micro-batch), what they leave is averaged, and so are their running averages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from transferzoo.base.errors import TransferZooError, UsageError
from transferzoo.base.on_device import carried
from transferzoo.base.options import Options, Terms
from transferzoo.minimizers.perturbation import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from torch import Tensor, nn

    from transferzoo.minimizers.perturbation import Vector

    Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Averaging:
    """When weights are averaged (SWA).

    Attributes:
        start: fraction of the training after which it begins, in [0, 1).
        per_epoch: how often an epoch, the last time at its end.
        rate: learning rate from then on; 0 keeps the schedule's.
    """

    start: float
    per_epoch: int
    rate: float


BaseOptimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Rule(Options, ABC):
    """Which gradient the base optimizer uses.

    Attributes:
        paper: where it comes from.
        schedule: what its authors let the radius do during a training, as fields of `TrainConfig`; those that
            a user gives are the user's.
    """

    paper: ClassVar[str] = ""
    schedule: ClassVar[dict[str, Any]] = {}

    @property
    @abstractmethod
    def passes(self) -> float:
        """Forward and backward passes a step, in the mean."""

    @property
    def base(self) -> str:
        """Name of the base optimizer, "sgd" or "adamw"; an option of most rules."""
        return "sgd"

    @property
    def averaging(self) -> Averaging | None:
        """When the trainer shall call `Minimizer.collect`; None for never."""
        return None

    @abstractmethod
    def gradients(self, minimizer: Minimizer, closure: Closure) -> Tensor:
        """Leave in `.grad` what the base optimizer shall use, the weights as they were.

        Returns:
            The loss at the unperturbed weights, a scalar.
        """


MINIMIZERS: Terms[Rule] = Terms("minimizer", "transferzoo.minimizers", Rule, "sam:rho=0.05")


class Minimizer:
    """A rule at work on a model.

    Args:
        rule: which gradient to use.
        model: whose parameters are trained.
        optimizer: the base optimizer over these parameters.
        clip: largest norm of the gradient that reaches the base optimizer; 0 for any.
        average: replaces tensors by their means over the processes, in place; None for one process.

    Attributes:
        weights: the model's.
        steps: how many were made.
        rho_factor: what the trainer multiplies the rule's radius with, in [0, 1].
        memory: what the rule keeps from one step to later ones, a tensor a parameter (None for none).
        mean: of the collected weights, a tensor a parameter; empty without any.
        averaged: how many weights are in the mean.
    """

    def __init__(
        self,
        rule: Rule,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        clip: float = 0.0,
        average: Callable[[Sequence[Tensor]], None] | None = None,
    ) -> None:
        self.rule = rule
        self.model = model
        self.weights = Weights(model)
        self.optimizer = optimizer
        self.clip = clip
        self.average = average
        self.steps = 0
        self.rho_factor = 1.0
        self._restores = rule.passes == 1
        self.memory: Vector | None = None
        self.averaged = 0
        self.mean: list[Tensor] = []
        self._remembered: Vector | None = None

    def step(self, *closures: Closure) -> Tensor:
        """Make one step and return the mean loss at the weights before it.

        Args:
            closures: one a micro-batch, all of the same size.

        Raises:
            TransferZooError: in its first step with a radius, a rule of several passes did not restore the
                weights.
            UsageError: there is no closure.
        """
        import torch

        if not closures:
            raise UsageError("a step needs a closure", expected="one a micro-batch", got="none")
        moves = not self._restores and self.rho_factor > 0
        before = [p.detach().clone() for p in self.weights.parameters] if moves else []
        loss, gradients = self.gradients(closures)
        if before and not torch.stack(list(map(_same, before, self.weights.parameters))).all():  # one wait
            raise TransferZooError(
                f"the minimizer '{self.rule.name}' does not leave the weights as they were",
                expected="a rule that restores them from copies, as `perturbation.at_the_worst` does",
            )
        self._restores = self._restores or moves
        self.weights.give(gradients)
        if self._remembered is not None:
            self.memory, self._remembered = self._remembered, None
        if self.clip:
            torch.nn.utils.clip_grad_norm_(self.weights.parameters, self.clip)
        self.optimizer.step()
        self.steps += 1
        return loss

    def gradients(self, closures: Sequence[Closure]) -> tuple[Tensor, Vector]:
        """Return loss and gradient of a step, averaged over micro-batches and processes; weights stay."""
        self._remembered = None
        if len(closures) == 1:
            loss, gradients = self.rule.gradients(self, closures[0]), self.weights.take()
        else:
            loss, gradients = self._over_micro_batches(closures)
        if self.average is not None:
            gradients, *kept = self._averaged(
                loss, [gradients, *([self._remembered] if self._remembered else [])]
            )
            self._remembered = kept[0] if kept else None
        return loss, gradients

    def _averaged(self, loss: Tensor, vectors: Sequence[Vector]) -> list[Vector]:
        """Average vectors, and the loss in place, over processes, which share the same number of tensors.

        None, of weights that are frozen or unused, counts as zero, and stays None where no process has more:
        an optimizer would let such weights decay.
        """
        import torch

        assert self.average is not None
        gaps = [t is None for vector in vectors for t in vector]
        filled = [
            torch.zeros_like(p) if t is None else t
            for vector in vectors
            for p, t in zip(self.weights.parameters, vector, strict=True)
        ]
        there = carried(torch.tensor([not gap for gap in gaps], dtype=loss.dtype), loss.device)
        self.average([loss, there, *filled])
        known = there.tolist() if any(gaps) else [1.0] * len(gaps)  # a GPU is waited for only where it tells
        found = [t if here else None for t, here in zip(filled, known, strict=True)]
        size = len(self.weights.parameters)
        return [found[at : at + size] for at in range(0, len(found), size)]

    def _over_micro_batches(self, closures: Sequence[Closure]) -> tuple[Tensor, Vector]:
        share = 1 / len(closures)
        losses: list[Tensor] = []
        total: Vector = [None for _ in self.weights.parameters]
        with self.weights.averaged_buffers() as between:
            for closure in closures:
                losses.append(self.rule.gradients(self, closure) * share)
                _add(total, self.weights.take(), share)
                between()
        if self._remembered is not None:
            self._remembered = [None if t is None else t * share for t in self._remembered]
        return sum(losses[1:], losses[0]), total

    def remember(self, tensors: Vector) -> None:
        """Keep tensors, one a parameter, as `memory` of the next step; micro-batches' are averaged."""
        if self._remembered is None:
            self._remembered = tensors
        else:
            _add(self._remembered, tensors, 1.0)

    def collect(self) -> None:
        """Take the weights into their mean: w̄ ← w̄ + (w − w̄) / (n + 1)."""
        import torch

        with torch.no_grad():
            weights: list[Tensor] = [p.detach() for p in self.weights.parameters]
            if self.mean:
                torch._foreach_lerp_(self.mean, weights, 1 / (self.averaged + 1))
            else:
                self.mean = [w.clone() for w in weights]
        self.averaged += 1

    def state_dict(self) -> dict[str, Any]:
        """Return everything but the weights that the next step depends on."""
        return {
            "steps": self.steps,
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory,
            "mean": self.mean,
            "averaged": self.averaged,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state that `state_dict` returned."""
        self.steps = state["steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory = state["memory"]
        self.mean = state["mean"]
        self.averaged = state["averaged"]


def _same(one: Tensor, other: Tensor) -> Tensor:
    """Return whether two tensors are the same, NaN being itself: a scalar, bool."""
    return ((one == other) | (one.isnan() & other.isnan())).all()


def _add(total: Vector, tensors: Sequence[Tensor | None], factor: float) -> None:
    """Add `factor` times each tensor to its total, in place; None stands for zero."""
    for index, tensor in enumerate(tensors):
        if tensor is None:
            continue
        known = total[index]
        total[index] = tensor * factor if known is None else known.add_(tensor, alpha=factor)


def __getattr__(name: str) -> Callable[..., Minimizer]:
    """Return a minimizer for a loop of your own, by its registered name in capitals (`-` becomes `_`).

    `GSAM(model, optimizer, alpha=0.2).step(closure)`: the rule's options are keyword arguments, `clip` and
    `average` are those of `Minimizer`.
    """
    if name in (names := _public()):
        return partial(_minimizer, MINIMIZERS[names[name]])
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_public()})


def _public() -> dict[str, str]:
    return {name.upper().replace("-", "_"): name for name in MINIMIZERS}


def _minimizer(
    rule: type[Rule],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    clip: float = 0.0,
    average: Callable[[Sequence[Tensor]], None] | None = None,
    **options: Any,
) -> Minimizer:
    return Minimizer(rule(**options), model, optimizer, clip=clip, average=average)


def read_rule(spec: str) -> Rule:
    """Read a minimizer such as "sam:rho=0.05".

    Raises:
        UsageError: it cannot be read or an option is out of range.
        UnknownNameError: no such minimizer or option.
    """
    return MINIMIZERS.read(spec)


def show_rule(spec: str) -> str:
    """Return the canonical form of a minimizer, every option filled in."""
    return read_rule(spec).spec
