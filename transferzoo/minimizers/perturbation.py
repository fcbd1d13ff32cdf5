"""Moving the weights for a moment, and the few vectors that sharpness-aware minimizers reckon with.

A vector is a list with one tensor a parameter in the order of `model.parameters()`, None for zero. Dot
products and norms are over all parameters together. What is done to each tensor alike is one call of PyTorch
for all of them: a ResNet-50 has 161. Nothing here imports torch before it computes.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor, nn

    Vector = list[Tensor | None]
    Closure = Callable[[], Tensor]

TINY = 1e-12
"""Added to the norm of a gradient before dividing by it, as the published codes do."""

TIMM_NORMALISATION = {
    f"timm.layers.{name}" for name in ("norm", "norm_act", "evo_norm", "filter_response_norm")
}
"""Modules of timm with nothing but normalisation layers in them."""


def is_normalisation(module: nn.Module) -> bool:
    """Return whether a layer normalises: one of torch's classes, or of timm's that derive from none."""
    from torch import nn

    ours = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
    return isinstance(module, ours) or type(module).__module__ in TIMM_NORMALISATION


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
        self._model = model

    @cached_property
    def normalising(self) -> list[bool]:
        """Whether each parameter is a normalisation layer's own."""
        layers = (module for module in self._model.modules() if is_normalisation(module))
        own = {id(p) for layer in layers for p in layer.parameters(recurse=False)}
        return [id(p) in own for p in self.parameters]

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
    def displaced(self, displacement: Vector) -> Iterator[None]:
        """Add a displacement to the weights inside the block, then put everything back.

        On leaving, also through an exception, the parameters are restored from saved copies (subtracting
        would drift by rounding), those without a gradient too, and so are all buffers: batch norm normalises
        with the statistics of the batch inside the block, but its running averages count only the passes
        outside.

        Args:
            displacement: a tensor a parameter, None for zero; emptied, so that a pass does not find its
                memory taken.
        """
        import torch

        moved = [p for p, move in zip(self.parameters, displacement, strict=True) if move is not None]
        places = [*moved, *self.buffers]
        saved = copies(places)
        try:
            if moved:
                with torch.no_grad():
                    torch._foreach_add_(moved, _present(displacement))
            displacement.clear()
            yield
        finally:
            copy_into(places, saved)

    @contextmanager
    def averaged_buffers(self) -> Iterator[Callable[[], None]]:
        """Let micro-batches count as one batch in the running averages.

        Gives a function to be called after each micro-batch. Every one starts from the buffers as they are
        now; in the end floating-point buffers are the mean of what the micro-batches left, others the last
        one's.
        """
        import torch

        start = copies(self.buffers)
        seen: list[list[Tensor]] = []

        def between() -> None:
            seen.append(copies(self.buffers))
            copy_into(self.buffers, start)

        yield between
        with torch.no_grad():
            for index, buffer in enumerate(self.buffers):
                values = [contents[index] for contents in seen]
                buffer.copy_(torch.stack(values).mean(0) if buffer.is_floating_point() else values[-1])


def copy_into(places: Sequence[Tensor], contents: Sequence[Tensor]) -> None:
    """Overwrite tensors, in one call for all of a dtype: on a GPU those of several dtypes go one by one."""
    import torch

    pairs = list(zip(places, contents, strict=True))
    with torch.no_grad():
        for kind in dict.fromkeys(place.dtype for place in places):
            some = [pair for pair in pairs if pair[0].dtype == kind]
            torch._foreach_copy_([place for place, _ in some], [content for _, content in some])


def copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return copies of tensors, without their gradients."""
    import torch

    made = [torch.empty_like(tensor, requires_grad=False) for tensor in tensors]
    copy_into(made, tensors)
    return made


def at_the_worst(
    weights: Weights, closure: Closure, displacement: Callable[[Vector], Vector] | None
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


def spherical(gradients: Vector, rho: float) -> Vector:
    """Return ρ g / ‖g‖, the first-order worst case in a ball."""
    return scaled(gradients, rho / (norm(gradients) + TINY))


def elliptic(gradients: Vector, scales: Vector, rho: float) -> Vector:
    """Return ρ T² g / ‖T g‖, the first-order worst case under ‖T⁻¹ e‖ ≤ ρ.

    Args:
        gradients: g.
        scales: the diagonal of T, None where it is 1.
        rho: ρ.
    """
    stretched = products(gradients, scales)
    return products(scaled(stretched, rho / (norm(stretched) + TINY)), scales)


def sizes_of(weights: Weights) -> list[Tensor]:
    """Return |w|, a tensor a parameter."""
    import torch

    return list(torch._foreach_abs([p.detach() for p in weights.parameters]))


def offset(tensors: list[Tensor], number: float) -> list[Tensor]:
    """Add a number to all tensors, in place, and return them."""
    import torch

    torch._foreach_add_(tensors, number)
    return tensors


def products(vector: Vector, scales: Vector) -> Vector:
    """Return the products with scales, None of which is 1."""
    import torch

    both = [(t, s) for t, s in zip(vector, scales, strict=True) if t is not None and s is not None]
    products = iter(torch._foreach_mul([t for t, _ in both], [s for _, s in both]) if both else ())
    pairs = zip(vector, scales, strict=True)
    return [t if t is None or s is None else next(products) for t, s in pairs]


# ---------------------------------------------------------------- vectors


def _present(vector: Sequence[Tensor | None]) -> list[Tensor]:
    """Return the tensors that are not zero."""
    return [tensor for tensor in vector if tensor is not None]


def norm(vector: Sequence[Tensor | None]) -> Tensor:
    """Return the Euclidean norm of all tensors together, a scalar."""
    import torch

    return torch.nn.utils.get_total_norm(_present(vector))


def dot(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> Tensor:
    """Return the sum of the products, a scalar."""
    import torch

    both = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if not both:
        return torch.zeros(())
    products = torch._foreach_mul([a for a, _ in both], [b for _, b in both])
    return torch.stack([product.sum() for product in products]).sum()


def scaled(vector: Vector, factor: Tensor | float) -> Vector:
    """Return factor · vector, in tensors of its own."""
    import torch

    present = _present(vector)
    products = iter(torch._foreach_mul(present, factor) if present else ())
    return [None if tensor is None else next(products) for tensor in vector]


def rejection(vector: Vector, other: Vector) -> Vector:
    """Return the part of a vector that is orthogonal to another, v − (⟨v, o⟩ / ⟨o, o⟩) o; v where o is 0."""
    import torch

    square = norm(other).square()  # a call for all, where the sum of a product is one a tensor
    share = torch.where(square > 0, dot(vector, other) / square, square)  # a GPU need not tell which it is
    return combined(vector, other, -share)


def combined(one: Vector, other: Vector, factor: Tensor | float) -> Vector:
    """Return one + factor · other, in tensors of its own."""
    import torch

    added = scaled(other, factor)
    both = [(a, b) for a, b in zip(one, added, strict=True) if a is not None and b is not None]
    sums = iter(torch._foreach_add([a for a, _ in both], [b for _, b in both]) if both else ())
    result: Vector = []
    for a, b in zip(one, added, strict=True):
        if a is None or b is None:
            result.append(b if a is None else a.clone())
        else:
            result.append(next(sums))
    return result
