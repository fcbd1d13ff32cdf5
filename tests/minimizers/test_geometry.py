"""Where minimizers climb to and what they decompose: closed forms on a quadratic, and angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from helpers.minimizers import DECAY, RATE, Bowl, Net, closure_of, closure_on, flat, make, walk, weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from transferzoo.minimizers import Minimizer

pytestmark = pytest.mark.usefixtures("one_thread")

ETA = 0.01
NAMED_WEIGHT = torch.tensor([True, True, False, False, False])
SCALES: dict[str, Callable[[Tensor], Tensor]] = {
    "sam": torch.ones_like,
    "wasam": torch.ones_like,
    "gsam": torch.ones_like,
    "looksam": torch.ones_like,
    "asam:convention=official": lambda w: torch.where(NAMED_WEIGHT, w.abs() + ETA, torch.ones_like(w)),
    "asam:convention=all": torch.abs,
    "agsam:convention=repository": torch.abs,
}
"""Spec → diagonal of T, where the ball is ‖T⁻¹ e‖ ≤ ρ."""


def climb(spec: str, rho: float) -> tuple[Bowl, Tensor, Tensor, float]:
    """Make a step; return the bowl, where it began, how far the second pass was from there, and the loss."""
    bowl, seen = Bowl(), []
    minimizer = make(spec + ("," if ":" in spec else ":") + f"rho={rho}", bowl)
    start = bowl.point().detach()
    loss = minimizer.step(closure_of(bowl, bowl, lambda call: seen.append(bowl.point().detach())))
    assert len(seen) == 2
    return bowl, start, seen[1] - start, float(loss)


@pytest.mark.parametrize("rho", [1e-3, 0.7])
@pytest.mark.parametrize("spec", list(SCALES))
def test_the_second_pass_is_at_the_first_order_worst_case(spec: str, rho: float) -> None:
    """On the edge of the ball; and the slope's rise is ρ ‖T g‖, the most that Cauchy and Schwarz allow."""
    bowl, start, move, loss = climb(spec, rho)
    scales, slope = SCALES[spec](start), bowl.slope(start)
    assert float((move / scales).norm()) == pytest.approx(rho, rel=1e-10)
    assert float(slope @ move) == pytest.approx(rho * float((scales * slope).norm()), rel=1e-10)
    assert loss == pytest.approx(float(0.5 * start @ bowl.hessian @ start - bowl.linear @ start), rel=1e-12)


@pytest.mark.parametrize("rho", [1e-3, 0.7])
def test_agsam_of_the_paper_scales_the_move_but_not_its_norm(rho: float) -> None:
    bowl, start, move, _ = climb("agsam:convention=paper", rho)
    slope = bowl.slope(start)
    torch.testing.assert_close(move, rho * start.abs() * slope / slope.norm(), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("spec", [spec for spec in SCALES if "gsam" not in spec])
def test_the_gradient_there_is_used_where_the_step_began(spec: str) -> None:
    """Weight decay is that of the unperturbed weights."""
    bowl, start, move, _ = climb(spec, 0.7)
    used = bowl.slope(start + move) + DECAY * start
    torch.testing.assert_close(bowl.point().detach(), start - RATE * used, rtol=1e-11, atol=0)


# ---------------------------------------------------------------- decompositions


def gradient(minimizer: Minimizer, step: int) -> Tensor:
    """Return what the base optimizer would get at a batch."""
    return flat(minimizer.gradients([closure_on(minimizer.model, step)])[1]).clone()


def cosine(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


@pytest.mark.parametrize("spec", ["gsam:rho=0.2", "agsam:rho=0.5", "agsam:rho=0.5,convention=paper"])
def test_gsam_ascends_what_is_orthogonal_to_the_perturbed_gradient(spec: str) -> None:
    """g⊥, seen from outside as (g_s − d) / α, is at a right angle to g_s, and g less it is along g_s."""
    for step in range(5):
        net = Net()
        walk(make("sgd", net), range(step))
        plain = gradient(make("sgd", net), step)
        perturbed = gradient(make(f"{spec},alpha=0", net), step)
        for alpha in (0.5, 1.0):
            used = gradient(make(f"{spec},alpha={alpha}", net), step)
            orthogonal = (perturbed - used) / alpha
            assert orthogonal.norm() > 1e-3 * plain.norm()
            assert abs(cosine(orthogonal, perturbed)) < 1e-10
            assert abs(cosine(plain - orthogonal, perturbed)) == pytest.approx(1, abs=1e-10)


@pytest.mark.parametrize("k", [2, 5])
def test_looksam_remembers_what_is_orthogonal_to_the_gradient(k: int) -> None:
    """g_v ⟂ g, and SAM's gradient less g_v is along g; on plain steps α ‖g‖ of it is added."""
    net = Net()
    minimizer = make(f"looksam:rho=0.2,k={k},alpha=0.7", net)
    for step in range(2 * k):
        plain = gradient(make("sgd", net), step)
        perturbed = gradient(make("sam:rho=0.2", net), step)
        used = gradient(minimizer, step)
        minimizer.step(closure_on(net, step))
        assert minimizer.memory is not None
        kept = flat(minimizer.memory)
        if step % k == 0:
            assert torch.equal(used, perturbed)
            assert abs(cosine(kept, plain)) < 1e-10
            assert abs(cosine(perturbed - kept, plain)) == pytest.approx(1, abs=1e-10)
        else:
            assert float((used - plain).norm() / plain.norm()) == pytest.approx(0.7, rel=1e-10)
            assert cosine(used - plain, kept) == pytest.approx(1, abs=1e-10)


def test_looksams_plain_steps_are_not_sgds() -> None:
    """From the same weights and momentum, a plain step goes elsewhere than SGD's."""
    ours, theirs = make("looksam", Net()), make("sgd", Net())
    walk(ours, range(1))
    theirs.model.load_state_dict(ours.model.state_dict())
    theirs.optimizer.load_state_dict(ours.optimizer.state_dict())
    walk(ours, range(1, 2))
    walk(theirs, range(1, 2))
    gaps = [float((a - b).norm()) for a, b in zip(weights(ours.model), weights(theirs.model), strict=True)]
    assert max(gaps) > 1e-4
