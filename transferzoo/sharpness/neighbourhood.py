"""How far the loss rises in a neighbourhood of the weights: at worst, and on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transferzoo.minimizers.perturbation import TINY
from transferzoo.sharpness.curvature import mean_and_error

if TYPE_CHECKING:
    import torch

    from transferzoo.sharpness.surface import LossSurface


def worst_rises(surface: LossSurface, rho: float, steps: int) -> tuple[float, float]:
    """Return the rise of the loss after SAM's step, and the largest one in the ball ‖z‖ ≤ ρ that is found.

    Projected gradient ascent from z = 0, z ← P(z + s g / ‖g‖), with g the gradient at z and P the projection
    to the ball. The length s is ρ at first and halved whenever the loss has not risen, in which case z stays.
    The first step is SAM's (Foret et al. 2021, arXiv 2010.01412), and in adaptive coordinates that of ASAM,
    T z = ρ T² ∇L / ‖T ∇L‖. The ascent may end on a lower peak than the highest: a lower bound.

    Args:
        surface: where.
        rho: ρ > 0.
        steps: at least 1; each costs a gradient.
    """
    z, length, rises = surface.origin.new_zeros(surface.size), rho, [0.0]
    start, gradient = surface.gradient()
    for _ in range(steps):
        candidate = z + length * gradient / (gradient.norm() + TINY)
        candidate *= rho / candidate.norm().clamp(min=rho)
        loss, candidate_gradient = surface.gradient(candidate)
        if loss - start > max(rises):
            z, gradient = candidate, candidate_gradient
        else:
            length /= 2
        rises.append(loss - start)
    return rises[1], max(rises)


def average_rise(
    surface: LossSurface, sigma: float, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    """Return the mean rise of the loss over random z of length σ √d, uniform in direction, and its error.

    Each z is tried with both signs, which takes the slope out: (L(w + T z) + L(w − T z)) / 2 − L(w). The mean
    is σ² tr(T H T) / 2 for small σ. Andriushchenko et al. 2023 (arXiv 2302.07011) draw each coordinate from a
    normal distribution of standard deviation σ, whose length is nearly the same in many dimensions.

    Args:
        surface: where.
        sigma: σ > 0.
        draws: at least 2; each costs two forward passes.
        generator: draws them.
    """
    length = sigma * surface.size**0.5

    def rise(direction: torch.Tensor) -> float:
        z = length * direction / direction.norm()
        return (surface.loss_and_accuracy(z)[0] + surface.loss_and_accuracy(-z)[0]) / 2 - surface.loss

    return mean_and_error([rise(surface.draw(generator)) for _ in range(draws)])
