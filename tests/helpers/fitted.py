"""Last layers that know some images at once, by least squares: models that classify without a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import one_hot

if TYPE_CHECKING:
    from torch import Tensor, nn


@torch.no_grad()
def fit(head: nn.Linear, features: Tensor, labels: Tensor) -> None:
    """Let a layer (D → K) tell features (N, D) apart by their labels (N,)."""
    wanted = one_hot(labels, head.out_features).float() * 10
    ones = torch.cat([features, torch.ones(len(features), 1)], 1).double()
    squares = ones.T @ ones + 1e-3 * len(ones) * torch.eye(ones.shape[1])
    solved = torch.linalg.solve(squares, ones.T @ wanted.double()).float()
    head.weight.copy_(solved[:-1].T)
    head.bias.copy_(solved[-1])
