"""How oracles are made of oracles: seen through a transform, and the mean of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from transferzoo.attacks.techniques import Oracle


def through(transform: Callable[[Tensor], Tensor], oracle: Oracle) -> Oracle:
    """Return the oracle x ↦ (∂T/∂x)ᵀ g(T(x)).

    Args:
        transform: T, differentiable, images (N, C, H, W) → images.
        oracle: g; it need not be a gradient, and may itself be seen through another view.
    """

    def seen_through(images: Tensor) -> Tensor:
        import torch

        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            view = transform(leaf)
        (direction,) = torch.autograd.grad(view, leaf, oracle(view.detach()))
        return direction

    return seen_through


def mean(directions: Iterable[Tensor]) -> Tensor:
    """Return the mean of directions of the same shape; one at a time is in memory."""
    total, count = None, 0
    for direction in directions:
        total, count = direction if total is None else total + direction, count + 1
    if total is None:
        raise ValueError("the mean of no directions")
    return total / count


def mean_normalised(gradient: Tensor) -> Tensor:
    """Return g / mean|g| of every image, 0 where g is 0 everywhere."""
    size = gradient.abs().mean((1, 2, 3), keepdim=True)
    return (gradient / size).where(size > 0, 0)
