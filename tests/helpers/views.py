"""What the tests of views share: a smooth objective, and the gradient of a literal transform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from helpers.attacks import DOUBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def slopes(shape: Iterable[int]) -> Tensor:
    """Return the A of `objective`, of the shape of an image."""
    return 3 * torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))


def objective(image: Tensor) -> Tensor:
    """Return J(x) = Σ sin(A·x) of one image (C, H, W)."""
    return (slopes(image.shape) * image).sin().sum()


def gradient(images: Tensor) -> Tensor:
    """Return ∂J/∂x of every image (N, C, H, W): the oracle that a view is given."""
    a = slopes(images.shape[1:]).to(images)
    return a * (a * images).cos()


def chained(image: Tensor, views: Iterable[Callable[[Tensor], Tensor]]) -> Tensor:
    """Return the gradient of the mean of J over views of one image."""
    leaf = image.clone().requires_grad_()
    values = [objective(view(leaf)) for view in views]
    (slope,) = torch.autograd.grad(torch.stack(values).mean(), leaf)
    return slope


def noise_images(n: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.rand(n, *shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, dtype=DOUBLE, generator=generator)
