"""Sharpness: how much the loss rises when the weights move.

The loss is L(w), the mean cross-entropy of n unaugmented images. The model is in evaluation mode, batch norm
included, and w is all of its parameters that require gradients, biases and batch norm's too. Everything is
measured twice, for weights that move to w + T z:

* plain: T = 1;
* adaptive: T = diag(|w|), after Kwon et al. 2021 (ASAM, arXiv 2102.11600) and Andriushchenko et al. 2023
  (arXiv 2302.07011), whose code has this T. Scaling one layer up and the next one down, which leaves the
  function as it is, leaves these measures as they are. A weight of exactly 0 does not move.

This module holds the records and does not import torch; `measure` is `measurement.measure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transferzoo.results.records import Record
    from transferzoo.sharpness.measurement import measure

__all__ = ["LinePoint", "Measures", "Sharpness", "Slice", "measure"]


@dataclass(frozen=True)
class Measures:
    """How the loss rises around the weights, in the coordinates z of w + T z.

    Attributes:
        rho: radius ρ of the ball ‖z‖ ≤ ρ.
        sigma: standard deviation σ of each coordinate in the average case.
        eigenvalues: the largest of T H T, H the Hessian of L, in falling order.
        trace: estimate of tr(T H T).
        trace_error: its standard error.
        step_rise: L(w + T z) − L(w) after SAM's single step, z = ρ g / ‖g‖ with g = T ∇L(w).
        worst_rise: the largest rise found in the ball by several steps; a lower bound of the true one.
        average_rise: mean of (L(w + T z) + L(w − T z)) / 2 − L(w) over random z of length σ √d, d the number
            of weights.
        average_error: its standard error.
    """

    rho: float
    sigma: float
    eigenvalues: tuple[float, ...]
    trace: float
    trace_error: float
    step_rise: float
    worst_rise: float
    average_rise: float
    average_error: float

    def numbers(self) -> dict[str, float]:
        """Return the results by name, the largest eigenvalue as "top", the next one as "top_2", …."""
        tops = {"top" if i == 1 else f"top_{i}": value for i, value in enumerate(self.eigenvalues, 1)}
        names = ("trace", "trace_error", "step_rise", "worst_rise", "average_rise", "average_error")
        return {**tops, **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Sharpness:
    """The sharpness of a model.

    Attributes:
        loss: L(w).
        accuracy: of the same images, in [0, 1].
        n: how many images.
        weights: how many weights there are, d.
        probes: random vectors of the traces.
        steps: of the worst rises.
        draws: pairs of random vectors of the average rises.
        seed: of the random vectors.
        plain: T = 1.
        adaptive: T = diag(|w|).
    """

    loss: float
    accuracy: float
    n: int
    weights: int
    probes: int
    steps: int
    draws: int
    seed: int
    plain: Measures
    adaptive: Measures

    def numbers(self) -> dict[str, float]:
        """Return the results by name, the adaptive ones behind "adaptive_"."""
        adaptive = {f"adaptive_{name}": value for name, value in self.adaptive.numbers().items()}
        return {"loss": self.loss, "accuracy": self.accuracy, **self.plain.numbers(), **adaptive}


@dataclass(frozen=True)
class LinePoint:
    """A model on the line (1 − a) w₁ + a w₂ between two others.

    Attributes:
        position: a.
        loss: L there.
        accuracy: of the same images, in [0, 1].
        records: of adversarial images crafted on this model, for each target; empty without an attack.
    """

    position: float
    loss: float
    accuracy: float
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Slice:
    """The loss on a plane through the weights.

    Attributes:
        positions: coordinates of the grid along either direction, in rising order, K of them.
        losses: K rows along the second direction of K losses along the first.
    """

    positions: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]


def __getattr__(name: str) -> object:
    if name != "measure":
        raise AttributeError(f"module 'transferzoo.sharpness' has no attribute '{name}'")
    return import_module("transferzoo.sharpness.measurement").measure
