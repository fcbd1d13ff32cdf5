"""Rises of the loss around the weights, against grids, integrals and the steps of the minimizers."""

from __future__ import annotations

from math import pi

import pytest
import torch
from torch import Tensor

from helpers.loss_surfaces import Valley, flat, loss_of, perceptron, pixels
from transferzoo.minimizers.perturbation import elliptic, spherical
from transferzoo.sharpness.neighbourhood import average_rise, worst_rises
from transferzoo.sharpness.surface import loss_surface

pytestmark = pytest.mark.usefixtures("one_thread")
WEIGHTS = Valley()
PIXELS = pixels(30, 2, classes=2)
PEAK = (0.9178995022670581, -2.526021314136996)
"""Where gradient ascent from the weights of the valley ends."""


def rises(scale: Tensor, points: Tensor) -> Tensor:
    """Return how much the loss of the valley rises from its weights to each of the points z (M, 2)."""
    loss, weights = loss_of(WEIGHTS, *PIXELS), flat(WEIGHTS)
    found: Tensor = torch.vmap(loss)(weights + scale * points) - loss(weights)
    return found.detach()


def circle(radius: float, points: int) -> Tensor:
    angles = torch.arange(points, dtype=torch.float64) * 2 * pi / points
    return radius * torch.stack([angles.cos(), angles.sin()], 1)


def scale_of(adaptive: bool) -> Tensor:
    return flat(WEIGHTS).abs() if adaptive else torch.ones(2, dtype=torch.float64)


@pytest.mark.parametrize(("adaptive", "rho"), [(False, 0.3), (False, 1.5), (True, 0.5), (True, 2.0)])
def test_several_steps_find_the_maximum_of_a_grid(adaptive: bool, rho: float) -> None:
    disc = torch.cat([circle(rho * share / 10, 180) for share in range(1, 11)])
    highest = float(rises(scale_of(adaptive), disc).max())
    with loss_surface(WEIGHTS, *PIXELS, 30) as surface:
        _, found = worst_rises(surface.adaptive() if adaptive else surface, rho, 30)
    assert highest <= found + 1e-12
    assert found == pytest.approx(highest, rel=1e-3)


def test_a_peak_inside_the_ball_is_found() -> None:
    """Steps that only fall do not make the worst rise negative: the weights themselves are in the ball."""
    with loss_surface(Valley(PEAK), *PIXELS, 30) as surface:
        highest = surface.loss
        step, worst = worst_rises(surface, 0.5, 3)
    assert step < 0 == worst
    with loss_surface(Valley((PEAK[0] - 0.3, PEAK[1] + 0.2)), *PIXELS, 30) as surface:
        _, worst = worst_rises(surface, 1.0, 40)
        assert worst == pytest.approx(highest - surface.loss, rel=1e-6)
        assert worst > 0.001


def test_one_step_is_that_of_sam_and_of_asam() -> None:
    model, (images, labels) = perceptron(), pixels(20, 3)
    loss, weights = loss_of(model, images, labels), flat(model).requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(weights), weights)
    sizes = weights.detach().abs()
    with loss_surface(model, images, labels, 8) as surface:
        for found, (move,) in (
            (worst_rises(surface, 0.3, 1), spherical([gradient], 0.3)),
            (worst_rises(surface.adaptive(), 0.7, 1), elliptic([gradient], [sizes], 0.7)),
        ):
            assert move is not None
            rise = float((loss(weights + move) - loss(weights)).detach())
            assert found == pytest.approx((rise, rise), rel=1e-9)


def test_more_steps_find_no_less() -> None:
    with loss_surface(perceptron(), *pixels(20, 3), 20) as surface:
        found = [worst_rises(surface, 1.0, steps) for steps in (1, 3, 10)]
    assert found[0][0] == found[0][1] < found[1][1] <= found[2][1]
    assert len({first for first, _ in found}) == 1


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_average_is_the_integral(adaptive: bool) -> None:
    sigma, draws = 0.7, 300
    around = rises(scale_of(adaptive), circle(sigma * 2**0.5, 720))
    pairs = (around[:360] + around[360:]) / 2
    with loss_surface(WEIGHTS, *PIXELS, 30) as surface:
        measured = surface.adaptive() if adaptive else surface
        mean, error = average_rise(measured, sigma, draws, torch.Generator().manual_seed(0))
    assert abs(mean - float(around.mean())) < 4 * error
    assert error == pytest.approx(float(pairs.std()) / draws**0.5, rel=0.15)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_average_of_small_moves_is_the_trace(adaptive: bool) -> None:
    """σ² tr(T H T) / 2, the same as tr(T H T) ρ² / (2 d) for z of length ρ."""
    sigma = 1e-3
    with loss_surface(perceptron(), *pixels(20, 3), 20) as surface:
        measured = surface.adaptive() if adaptive else surface
        trace = sum(measured.quadratic_forms([*torch.eye(surface.size, dtype=torch.int8)]))
        generator = torch.Generator().manual_seed(0)
        mean, error = average_rise(measured, sigma, 200, generator)
        directions = [measured.draw(torch.Generator().manual_seed(seed)) for seed in range(200)]
        forms = [
            f / float(u.square().mean())
            for f, u in zip(measured.quadratic_forms(directions), directions, strict=True)
        ]
    assert abs(mean - sigma**2 * trace / 2) < 4 * error
    spread = sigma**2 / 2 * float(torch.tensor(forms).std()) / 200**0.5
    assert error == pytest.approx(spread, rel=0.25)
