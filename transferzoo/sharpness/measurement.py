"""All sharpness measures of one model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from transferzoo.base.spec_strings import require
from transferzoo.sharpness import Measures, Sharpness
from transferzoo.sharpness.curvature import top_eigenvalues, trace
from transferzoo.sharpness.neighbourhood import average_rise, worst_rises
from transferzoo.sharpness.surface import loss_surface
from transferzoo.training.loop import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from transferzoo.sharpness.surface import LossSurface

STAGES = ("eigenvalues", "trace", "worst rise", "average rise")
"""Stages of a measurement, each once plain and once adaptive."""


def measure(
    classifier: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    rho: float = 0.05,
    adaptive_rho: float = 0.2,
    sigma: float = 0.01,
    adaptive_sigma: float = 0.05,
    eigenvalues: int = 1,
    probes: int = 10,
    steps: int = 10,
    draws: int = 10,
    seed: int = 0,
    batch_size: int = 100,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Sharpness:
    """Measure the sharpness of a model: curvature, and rises of the loss, plain and adaptive.

    The result is a function of the arguments, but for rounding. It costs about 11 products with the Hessian
    for one eigenvalue and one for each probe, a gradient for each step and two forward passes for each draw,
    all of it twice. The precision is that of the weights.

    Args:
        classifier: [0, 1] pixels (N, C, H, W) → logits (N, K); it is in evaluation mode meanwhile, and
            as before afterwards. Weights that do not require gradients are not moved.
        images: unaugmented images, uint8 (N, C, H, W).
        labels: true classes, int64 (N,).
        rho: radius of the worst case, > 0, the default is SAM's.
        adaptive_rho: likewise of the adaptive one; of the convention "all" of the minimizer `asam`.
        sigma: standard deviation of the average case, > 0.
        adaptive_sigma: likewise of the adaptive one: 0.05 moves a weight by some 5 % of itself.
        eigenvalues: how many, at least 1.
        probes: of the trace, at least 2.
        steps: of the worst case, at least 1.
        draws: of the average case, at least 2.
        seed: of the random vectors, which all models of an architecture share.
        batch_size: images at a time.
        on_stage: called with one of `STAGES` before it is measured.

    Raises:
        UsageError: a number is out of range.
        DataError: no images.
        ModelError: the loss is not finite, no weight requires gradients, or the eigenvalues do not converge.
    """
    check_numbers(
        rho=rho,
        adaptive_rho=adaptive_rho,
        sigma=sigma,
        adaptive_sigma=adaptive_sigma,
        eigenvalues=eigenvalues,
        probes=probes,
        steps=steps,
        draws=draws,
    )

    def measures(surface: LossSurface, rho: float, sigma: float) -> Measures:
        on_stage("eigenvalues")
        values = top_eigenvalues(surface, eigenvalues, _generator(seed, "start"))
        on_stage("trace")
        estimate, error = trace(surface, probes, _generator(seed, "probes"))
        on_stage("worst rise")
        step_rise, worst_rise = worst_rises(surface, rho, steps)
        on_stage("average rise")
        mean, spread = average_rise(surface, sigma, draws, _generator(seed, "draws"))
        return Measures(rho, sigma, values, estimate, error, step_rise, worst_rise, mean, spread)

    with loss_surface(classifier, images, labels, batch_size) as surface:
        return Sharpness(
            loss=surface.loss,
            accuracy=surface.accuracy,
            n=surface.n,
            weights=surface.size,
            probes=probes,
            steps=steps,
            draws=draws,
            seed=seed,
            plain=measures(surface, rho, sigma),
            adaptive=measures(surface.adaptive(), adaptive_rho, adaptive_sigma),
        )


def check_numbers(
    *,
    rho: float,
    adaptive_rho: float,
    sigma: float,
    adaptive_sigma: float,
    eigenvalues: int,
    probes: int,
    steps: int,
    draws: int,
) -> None:
    """Check the numbers that `measure` takes.

    Raises:
        UsageError: one is out of range.
    """
    radii = {"rho": rho, "adaptive rho": adaptive_rho, "sigma": sigma, "adaptive sigma": adaptive_sigma}
    for name, value in radii.items():
        require(0 < value < math.inf, f"{name} is out of range", expected="a number above 0", got=value)
    counts = {
        "eigenvalues": (eigenvalues, 1),
        "probes": (probes, 2),
        "steps": (steps, 1),
        "draws": (draws, 2),
    }
    for name, (count, least) in counts.items():
        require(count >= least, f"too few {name}", expected=f"at least {least}", got=count)


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, f"sharpness {purpose}"))
