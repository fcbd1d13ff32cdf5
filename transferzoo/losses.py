"""What an attack maximises: one value an image, larger is better for the attacker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return J = −log softmax(z)_y of every image.

    Not reduced: a mean over the batch would make the gradient of an image depend on its neighbours' number.

    Args:
        logits: z, (N, K).
        labels: y, classes 0..K−1, int64, (N,).

    Returns:
        J ≥ 0 in nats, (N,).
    """
    return functional.cross_entropy(logits, labels, reduction="none")
