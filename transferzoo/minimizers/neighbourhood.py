"""Moving the weights for a moment, and the few vectors that sharpness-aware minimizers reckon with.

A vector is a list with one tensor a parameter in the order of `model.parameters()`, None for zero. Dot
products and norms are over all parameters together. What is computed tensor by tensor comes as an iterator,
so that not all of it is in memory at once. Nothing here imports torch before it computes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from transferzoo.notation import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn

    Vector = list[Tensor | None]
    Moves = Iterator[Tensor | None]
    Closure = Callable[[], Tensor]

TINY = 1e-12
"""Added to the norm of a gradient before dividing by it, as the published codes do."""


def require_radius(name: str, rho: float) -> None:
    """Check the radius of a rule.

    Raises:
        UsageError: negative, NaN or infinite.
    """
    valid = 0 <= rho < float("inf")
    require(valid, f"rho of {name} is out of range", expected="a number of at least 0", got=rho)


class Weights:
    """The parameters and buffers of a model, and what a minimizer does to them for the length of a pass.

    They are listed once: to walk the modules of a ResNet-50 takes as long as to add up its weights.

    Args:
        model: whose they are. No parameter or buffer may be replaced by another tensor later on.

    Attributes:
        names: of the parameters.
        parameters: in the order of `model.parameters()`.
        buffers: in the order of `model.buffers()`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names: list[str] = [name for name, _ in model.named_parameters()]
        self.parameters: list[Tensor] = [*model.parameters()]
        self.buffers: list[Tensor] = [*model.buffers()]

    def take(self) -> Vector:
        """Return the gradients and leave none, so that no later pass can write into them."""
        gradients = [p.grad for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        return gradients

    def give(self, gradients: Iterable[Tensor | None]) -> None:
        """Make these the gradients."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient

    @contextmanager
    def displaced(self, displacement: Iterable[Tensor | None]) -> Iterator[None]:
        """Add a displacement to the weights inside the block, then put everything back.

        On leaving, also through an exception, the parameters are restored from saved copies (subtracting
        would drift by rounding), those without a gradient too, and so are all buffers: batch norm normalises
        with the statistics of the batch inside the block, but its running averages count only the passes
        outside.

        Args:
            displacement: a tensor a parameter, None for zero; made one by one, so that a pass does not find
                its memory taken.
        """
        import torch

        saved: list[tuple[Tensor, Tensor]] = []
        try:
            with torch.no_grad():
                self._move(displacement, saved)
            yield
        finally:
            with torch.no_grad():
                if saved:
                    torch._foreach_copy_([tensor for tensor, _ in saved], [content for _, content in saved])

    def _move(self, displacement: Iterable[Tensor | None], saved: list[tuple[Tensor, Tensor]]) -> None:
        """Move the parameters, and note what they and the buffers were; no move outlives its turn."""
        for parameter, move in zip(self.parameters, displacement, strict=True):
            if move is not None:
                saved.append((parameter, parameter.detach().clone()))
                parameter.add_(move)
        saved.extend((buffer, buffer.detach().clone()) for buffer in self.buffers)

    @contextmanager
    def averaged_buffers(self) -> Iterator[Callable[[], None]]:
        """Let micro-batches count as one batch in the running averages.

        Gives a function to be called after each micro-batch. Every one starts from the buffers as they are
        now; in the end floating-point buffers are the mean of what the micro-batches left, others the last
        one's.
        """
        import torch

        start = [b.detach().clone() for b in self.buffers]
        seen: list[list[Tensor]] = []

        def between() -> None:
            with torch.no_grad():
                seen.append([b.detach().clone() for b in self.buffers])
                for buffer, content in zip(self.buffers, start, strict=True):
                    buffer.copy_(content)

        yield between
        with torch.no_grad():
            for index, buffer in enumerate(self.buffers):
                values = [contents[index] for contents in seen]
                buffer.copy_(torch.stack(values).mean(0) if buffer.is_floating_point() else values[-1])


def at_the_worst(
    weights: Weights, closure: Closure, displacement: Callable[[Vector], Moves] | None
) -> Tensor:
    """Leave in `.grad` the gradient at the displaced weights; return the loss at the weights themselves.

    Args:
        weights: the model's.
        closure: as `Minimizer.step` takes it.
        displacement: the gradient at the weights → how to move them; None for not at all, in one pass.
    """
    loss = closure()
    if displacement is not None:
        with weights.displaced(displacement(weights.take())):
            closure()
    return loss


# ---------------------------------------------------------------- displacements


def spherical(gradients: Vector, rho: float) -> Moves:
    """Return ρ g / ‖g‖, the first-order worst case in a ball."""
    factor = rho / (norm(gradients) + TINY)
    return (None if g is None else g * factor for g in gradients)


def elliptic(gradients: Vector, scales: Vector, rho: float) -> Moves:
    """Return ρ T² g / ‖T g‖, the first-order worst case under ‖T⁻¹ e‖ ≤ ρ.

    Args:
        gradients: g.
        scales: the diagonal of T, None where it is 1.
        rho: ρ.
    """
    scaled = [_product(g, t) for g, t in zip(gradients, scales, strict=True)]
    factor = rho / (norm(scaled) + TINY)
    return (None if s is None else _product(s * factor, t) for s, t in zip(scaled, scales, strict=True))


def _product(vector: Tensor | None, scale: Tensor | None) -> Tensor | None:
    return vector if vector is None or scale is None else vector * scale


# ---------------------------------------------------------------- vectors


def norm(vector: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all tensors together, a scalar."""
    import torch

    return torch.nn.utils.get_total_norm([t for t in vector if t is not None])


def dot(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> Tensor:
    """Return the sum of the products, a scalar."""
    import torch

    pairs = zip(one, other, strict=True)
    parts = [(a * b).sum() for a, b in pairs if a is not None and b is not None]
    return torch.stack(parts).sum() if parts else torch.zeros(())


def rejection(vector: Vector, other: Vector) -> Moves:
    """Return the part of a vector that is orthogonal to another, v − (⟨v, o⟩ / ⟨o, o⟩) o; v where o is 0."""
    square = dot(other, other)
    share = dot(vector, other) / square if square > 0 else square
    return combined(vector, other, -share)


def combined(one: Vector, other: Iterable[Tensor | None], factor: Tensor | float) -> Moves:
    """Return one + factor · other, in tensors of its own."""
    return (_sum(a, None if b is None else b * factor) for a, b in zip(one, other, strict=True))


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        only = other if one is None else one
        return None if only is None else only.clone()
    return one + other
