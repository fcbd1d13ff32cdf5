"""Moving the weights for a moment: the one place where sharpness-aware minimizers leave the trajectory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn


@contextmanager
def displaced(model: nn.Module, displacement: Sequence[Tensor | None]) -> Iterator[None]:
    """Add a displacement to the weights inside the block, then put everything back.

    On leaving, also through an exception, the parameters are restored from saved copies (subtracting would
    drift by rounding), those without a gradient too, and so are all buffers: batch norm normalises with
    the statistics of the batch inside the block, but its running averages count only the passes outside.

    Args:
        model: the model.
        displacement: one tensor a parameter in the order of `model.parameters()`, None for no move.
    """
    import torch

    pairs = [(p, d) for p, d in zip(model.parameters(), displacement, strict=True) if d is not None]
    weights: list[Tensor] = [p for p, _ in pairs]
    moves: list[Tensor] = [d for _, d in pairs]
    buffers = list(model.buffers())
    with torch.no_grad():
        saved_weights = [p.detach().clone() for p in weights]
        saved_buffers = [b.detach().clone() for b in buffers]
        torch._foreach_add_(weights, moves)
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, saved_weights)
            for buffer, saved in zip(buffers, saved_buffers, strict=True):
                buffer.copy_(saved)


def global_norm(tensors: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all tensors together, a scalar."""
    import torch

    return torch.nn.utils.get_total_norm([t for t in tensors if t is not None])
