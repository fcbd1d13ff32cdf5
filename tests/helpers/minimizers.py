"""What the tests of minimizers share: small models in float64, batches, and closures of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from transferzoo.minimizers import MINIMIZERS, Minimizer, read_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMES = list(MINIMIZERS)
VARIANTS = (
    "sam:base=adamw",
    "asam:convention=all",
    "agsam:convention=paper",
    "looksam:k=1",
    "looksam:k=2,base=adamw",
    "f-sam:sigma=0.5,lmbda=0.6",
    "le-sam:sigma=0.01",
)
SPECS = [*NAMES, *VARIANTS]
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


class Net(nn.Module):
    """Two convolutions with batch norm; in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.norm1 = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.linear = nn.Linear(6, 3)
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm1(self.conv1(images)))
        logits: Tensor = self.linear(torch.relu(self.norm2(self.conv2(features))).mean((2, 3)))
        return logits


class Branches(nn.Module):
    """One branch is always used, one never, and one where `extra` says so."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused, self.sometimes = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)
        self.scale = nn.LayerNorm(4)
        self.extra = False
        self.double()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.used(self.scale(inputs))
        return logits + self.sometimes(inputs) if self.extra else logits


class Bowl(nn.Module):
    """A quadratic ½ wᵀHw − bᵀw whose w lies in two parameters, only the first named as a weight."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
        self.hessian, self.linear = root @ root.T + torch.eye(5), torch.arange(5.0, dtype=torch.float64)
        self.weight = nn.Parameter(torch.randn(2, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))

    def point(self) -> Tensor:
        return torch.cat([self.weight, self.bias])

    def slope(self, point: Tensor) -> Tensor:
        return self.hessian @ point - self.linear

    def forward(self) -> Tensor:
        w = self.point()
        return 0.5 * w @ self.hessian @ w - self.linear @ w


def make(
    spec: str,
    model: nn.Module,
    *,
    rate: float = RATE,
    clip: float = 0.0,
    average: Callable[[Sequence[Tensor]], None] | None = None,
) -> Minimizer:
    rule = read_rule(spec)
    optimizer: torch.optim.Optimizer
    if rule.base == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=DECAY)
    return Minimizer(rule, model, optimizer, clip=clip, average=average)


def batch(step: int, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(16, *shape, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (16,), generator=generator)


def closure_of(
    model: nn.Module, loss_of: Callable[[], Tensor], before: Callable[[int], None] = lambda call: None
) -> Callable[[], Tensor]:
    """Return a closure of the contract; `before` hears the number of every call, from 1."""
    calls: list[None] = []

    def closure() -> Tensor:
        calls.append(None)
        before(len(calls))
        model.zero_grad()
        loss = loss_of()
        loss.backward()
        return loss.detach()

    return closure


def closure_on(
    model: nn.Module,
    step: int,
    before: Callable[[int], None] = lambda call: None,
    part: slice = slice(None),
) -> Callable[[], Tensor]:
    """Return the closure of one batch, or of a part of it."""
    images, labels = batch(step, (4,) if isinstance(model, Branches) else (1, 8, 8))
    return closure_of(model, lambda: functional.cross_entropy(model(images[part]), labels[part]), before)


def walk(minimizer: Minimizer, steps: range) -> list[float]:
    """Make steps, a batch each, and return the losses."""
    return [float(minimizer.step(closure_on(minimizer.model, step))) for step in steps]


def weights(model: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def flat(vector: Sequence[Tensor | None]) -> Tensor:
    """Return a vector as one tensor; it has no gaps."""
    return torch.cat([tensor.flatten() for tensor in vector if tensor is not None])


def same(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> bool:
    """Return whether two lists of tensors are equal bit by bit."""
    pairs = list(zip(one, other, strict=True))
    return all(a is b if a is None or b is None else torch.equal(a, b) for a, b in pairs)
