"""The published algorithms once more, on one flat vector of weights, each as short as its paper has it.

Nothing here shares code with `transferzoo.minimizers`. `Literal` is the surroundings: the model at any flat
weights, batch norm that counts the first pass of a step only (its momentum is set to 0 for the others, as in
davda54/sam), and SGD with momentum and weight decay written out. A direction is a function of the weights,
the gradient as a function of the weights, and the number of the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.minimizers import DECAY, MOMENTUM, RATE, Net, batch

if TYPE_CHECKING:
    from collections.abc import Callable

    Slope = Callable[[Tensor], Tensor]
    Direction = Callable[[Tensor, Slope, int], Tensor]


class Literal:
    """SGD along a direction, on a flat vector."""

    def __init__(self, model: Net, direction: Direction) -> None:
        self.model, self.direction = model, direction
        self.weights = nn.utils.parameters_to_vector(model.parameters()).detach()
        self.velocity = torch.zeros_like(self.weights)
        self.mean, self.averaged = torch.zeros_like(self.weights), 0
        self._norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def step(self, step: int) -> float:
        """Make one step and return the loss before it."""
        images, labels = batch(step)
        losses: list[float] = []

        def slope(weights: Tensor) -> Tensor:
            for norm in self._norms:
                norm.momentum = 0.0 if losses else 0.1
            nn.utils.vector_to_parameters(weights, self.model.parameters())
            loss = functional.cross_entropy(self.model(images), labels)
            losses.append(loss.item())
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(self.model.parameters()))])

        used = self.direction(self.weights, slope, step)
        self.velocity = MOMENTUM * self.velocity + used + DECAY * self.weights
        self.weights = self.weights - RATE * self.velocity
        nn.utils.vector_to_parameters(self.weights, self.model.parameters())
        return losses[0]

    def collect(self) -> None:
        """Take the weights into their mean, as Izmailov et al. write it."""
        self.mean = (self.mean * self.averaged + self.weights) / (self.averaged + 1)
        self.averaged += 1


def plain(w: Tensor, slope: Slope, step: int) -> Tensor:
    """SGD."""
    return slope(w)


def sam(rho: float) -> Direction:
    """SAM: Foret et al. 2021, equations 2 and 3; davda54/sam adds 1e-12 to the norm."""
    return lambda w, slope, step: slope(w + sam_move(slope(w), rho))


def sam_move(g: Tensor, rho: float) -> Tensor:
    move: Tensor = rho * g / (g.norm() + 1e-12)
    return move


def sam_on(rho: float, chosen: Tensor) -> Direction:
    """SAM-ON: Müller et al. 2023: SAM's move of some weights, with the norm of their gradient alone."""
    return lambda w, slope, step: slope(w + sam_move(torch.where(chosen, slope(w), 0), rho))


def named(model: nn.Module, *parts: str) -> Tensor:
    """Return which weights belong to parameters with one of these in their names."""
    return torch.cat(
        [torch.full((p.numel(),), any(part in n for part in parts)) for n, p in model.named_parameters()]
    )


def f_sam(rho: float, sigma: float, lmbda: float) -> Direction:
    """F-SAM: Li et al. 2024, as nblt/F-SAM computes it: d = g − σ m, then m ← λ m + (1 − λ) g."""
    kept: list[Tensor] = []

    def direction(w: Tensor, slope: Slope, step: int) -> Tensor:
        g = slope(w)
        d = g - sigma * kept[0] if kept else g
        kept[:] = [lmbda * kept[0] + (1 - lmbda) * g if kept else g]
        return slope(w + sam_move(d, rho))

    return direction


def le_sam(sigma: float, largest: float) -> Direction:
    """LE-SAM: Wang et al. 2026: the radius at which the loss rises by σ to first order, within limits."""

    def direction(w: Tensor, slope: Slope, step: int) -> Tensor:
        g = slope(w)
        return slope(w + sam_move(g, min(sigma / float(g.norm()), largest)))

    return direction


def asam(rho: float, scales: Callable[[Tensor], Tensor]) -> Direction:
    """ASAM: Kwon et al. 2021, equation 9, for a diagonal T of the weights."""
    return lambda w, slope, step: slope(w + asam_move(slope(w), scales(w), rho))


def asam_move(g: Tensor, t: Tensor, rho: float) -> Tensor:
    move: Tensor = rho * t**2 * g / ((t * g).norm() + 1e-12)
    return move


def official_scales(model: nn.Module, eta: float = 0.01) -> Callable[[Tensor], Tensor]:
    """T of SamsungLabs/ASAM: |w| + η where the parameter's name has "weight" in it, 1 elsewhere."""
    weights = named(model, "weight")
    return lambda w: torch.where(weights, w.abs() + eta, torch.ones_like(w))


def gsam(alpha: float, move: Callable[[Tensor, Tensor], Tensor]) -> Direction:
    """GSAM: Zhuang et al. 2022, algorithm 1, for a move that depends on the weights and their gradient."""

    def direction(w: Tensor, slope: Slope, step: int) -> Tensor:
        g = slope(w)
        g_s = slope(w + move(w, g))
        cosine = (g @ g_s) / (g.norm() * g_s.norm())
        used: Tensor = g_s - alpha * (g - cosine * g.norm() * g_s / g_s.norm())
        return used

    return direction


def agsam_paper_move(w: Tensor, g: Tensor, rho: float) -> Tensor:
    """|w| scales the move but not the norm, as the algorithm box of the GSAM paper has it."""
    move: Tensor = rho * w.abs() * g / (g.norm() + 1e-12)
    return move


def looksam(rho: float, k: int, alpha: float) -> Direction:
    """LookSAM: Liu et al. 2022, algorithm 1, with norms over all weights together.

    The paper's g_v = ‖g_s‖ sin θ · (its unit vector) is what is left of g_s after its part along g.
    """
    kept: list[Tensor] = []

    def direction(w: Tensor, slope: Slope, step: int) -> Tensor:
        g = slope(w)
        if step % k == 0:
            g_s = slope(w + sam_move(g, rho))
            along = g / g.norm()
            kept[:] = [g_s - (g_s @ along) * along]
            return g_s
        used: Tensor = g + alpha * g.norm() / kept[0].norm() * kept[0]
        return used

    return direction
