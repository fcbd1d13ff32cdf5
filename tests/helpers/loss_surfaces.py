"""Small loss surfaces whose gradient and Hessian are known from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable


def pixels(count: int, size: int, channels: int = 1, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Draw uint8 images and labels."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    return images, torch.randint(classes, (count,), generator=generator)


def seeded(model: Callable[[], nn.Sequential]) -> nn.Sequential:
    """Build a model in double precision, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return model().double()


def perceptron() -> nn.Sequential:
    """Return a network with 215 weights that reads 3×3 pixels and knows three classes."""
    return seeded(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(9, 14), nn.Tanh(), nn.Linear(14, 4), nn.Tanh(), nn.Linear(4, 3)
        )
    )


def convolutional() -> nn.Sequential:
    """Return a network with batch norm, whose averages are not those of its images, and a max-pool."""
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 5, 3),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(20, 3),
        )
    )
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean = torch.linspace(-0.5, 0.5, part.num_features, dtype=torch.float64)
    return model


class Valley(nn.Module):
    """Two weights; the two pixels of an image weigh them."""

    def __init__(self, weights: tuple[float, float] = (0.6, -0.4)) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        bent = torch.sin(2 * images.flatten(1)[:, :2] * self.weights)
        return torch.stack([bent.sum(1), bent[:, 0] * bent[:, 1]], 1)


def flat(model: nn.Module) -> Tensor:
    """Return all weights of a model, (d,)."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the mean cross-entropy of images as a function of all weights (d,), in evaluation mode."""
    model.eval()
    named = dict(model.named_parameters())

    def loss(weights: Tensor) -> Tensor:
        parts = weights.split([p.numel() for p in named.values()])
        values = {name: part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}
        return cross_entropy(functional_call(model, values, (images.double() / 255,)), labels)

    return loss
