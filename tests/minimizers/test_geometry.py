"""Where minimizers climb to and what they decompose: closed forms on a quadratic, and angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch
from timm.layers.norm import RmsNorm
from torch import Tensor, nn

from helpers.minimizers import DECAY, RATE, Bowl, Net, closure_of, closure_on, flat, make, walk, weights
from transferzoo.base.errors import UsageError
from transferzoo.minimizers.perturbation import Weights, copies, dot, norm, rejection

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


def test_vectors_are_reckoned_with_to_the_last_bit_as_their_tensors_would_be_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = ([torch.randn(size, 3, generator=generator) for size in (1, 50, 7)] for _ in range(2))
    products = [(a * b).sum() for a, b in zip(one, other, strict=True)]
    assert torch.equal(dot([*one, None], [*other, one[0]]), torch.stack(products).sum())
    share = dot(one, other) / norm(other).square()
    expected = [a + b * -share for a, b in zip(one, other, strict=True)]
    found = torch.cat([part for part in rejection([*one], [*other]) if part is not None])
    assert torch.equal(found, torch.cat(expected))
    left = rejection([*one], [torch.zeros_like(b) for b in other])
    assert torch.equal(torch.cat([part for part in left if part is not None]), torch.cat(one))


def test_copies_of_several_dtypes_are_exact() -> None:
    tensors = [torch.tensor([0.1, float("nan"), -0.0]), torch.tensor(2**60 + 1), torch.ones(2).double() / 3]
    made = copies(tensors)
    assert [one.dtype for one in made] == [torch.float32, torch.int64, torch.float64]
    for place, content in zip(made, tensors, strict=True):
        assert place.numpy().tobytes() == content.numpy().tobytes()
        assert place.data_ptr() != content.data_ptr()


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


@pytest.mark.parametrize(("sigma", "largest"), [(1e-3, 9.0), (0.5, 9.0), (50.0, 0.1)])
def test_le_sam_raises_the_loss_by_sigma(sigma: float, largest: float) -> None:
    """To first order: slope · move is σ, or what the largest radius allows; along the gradient."""
    bowl, seen = Bowl(), []
    start = bowl.point().detach()
    minimizer = make(f"le-sam:sigma={sigma},rho_max={largest}", bowl)
    minimizer.step(closure_of(bowl, bowl, lambda call: seen.append(bowl.point().detach())))
    move, slope = seen[1] - start, bowl.slope(start)
    assert float(slope @ move) == pytest.approx(min(sigma, largest * float(slope.norm())), rel=1e-10)
    assert cosine(move, slope) == pytest.approx(1, abs=1e-12)


class Layers(nn.Module):
    """Layers that normalise under other names, and one that does not under theirs; in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.GroupNorm(2, 4), RmsNorm(4), nn.BatchNorm1d(4)
        self.norm, self.bn = nn.Linear(4, 4), nn.Linear(4, 3)
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.bn(torch.tanh(self.norm(self.third(self.second(self.first(inputs))))))
        return logits


def test_sam_on_moves_the_layers_that_normalise() -> None:
    """By type, whatever their names; ρ is the length of their move alone."""
    model, seen = Layers(), []
    start = weights(model)
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def look(call: int) -> None:
        seen.append(weights(model))

    make("sam-on:rho=0.3", model).step(closure_of(model, lambda: model(inputs).square().mean(), look))
    moves = {
        name: after - before
        for (name, _), before, after in zip(model.named_parameters(), start, seen[1], strict=True)
    }
    moved = {name for name, move in moves.items() if float(move.norm()) > 0}
    assert moved == {"first.weight", "first.bias", "second.weight", "third.weight", "third.bias"}
    assert float(flat(list(moves.values())).norm()) == pytest.approx(0.3, rel=1e-10)


def test_sam_on_needs_a_layer_that_normalises() -> None:
    bowl = Bowl()
    with pytest.raises(UsageError, match=r"sam-on has nothing to perturb: expected a model with normali"):
        make("sam-on", bowl).step(closure_of(bowl, bowl))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "swin_tiny_patch4_window7_224"])
def test_every_layer_norm_of_timm_is_found(name: str) -> None:
    """In these networks every one-dimensional weight is a normalisation's, and there is no other."""
    model = timm.create_model(name)
    found = dict(zip(Weights(model).names, Weights(model).normalising, strict=True))
    expected = {n for n, p in model.named_parameters() if p.ndim == 1 and n.endswith("weight")}
    assert {n for n, chosen in found.items() if chosen and n.endswith("weight")} == expected
    assert {n for n, chosen in found.items() if chosen and n.endswith("bias")} == {
        n.removesuffix("weight") + "bias" for n in expected
    }


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
