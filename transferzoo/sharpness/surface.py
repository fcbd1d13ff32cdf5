"""The loss as a function of the weights, with its gradient and its Hessian."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from transferzoo.base.errors import DataError, ModelError
from transferzoo.minimizers.perturbation import Weights
from transferzoo.models.classifier import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn


class LossSurface:
    """L(w + T z), the mean cross-entropy of images, as a function of z; see `transferzoo.sharpness`.

    A point z is one flat tensor (d,) with a coordinate a weight, in the order of the parameters. Only inside
    `loss_surface`, which freezes the model.

    Args:
        classifier: [0, 1] pixels (N, C, H, W) → logits (N, K), in evaluation mode.
        images: uint8 (N, C, H, W).
        labels: true classes, int64 (N,).
        batch_size: images at a time; changes the results by rounding only.

    Attributes:
        n: number of images.
        origin: w, (d,).
        scale: the diagonal of T, (d,), or 1.

    Raises:
        DataError: no images.
        ModelError: no parameter requires gradients, or the loss at w is not finite; later, at another point.
    """

    def __init__(self, classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> None:
        self.n = len(images)
        if not self.n:
            raise DataError("no image to measure the loss on", expected="at least one", got="none")
        self._classifier = classifier
        self._weights = Weights(classifier)
        self._movable = [p for p in self._weights.parameters if p.requires_grad]
        if not self._movable:
            raise ModelError("no weight of the model can be moved", expected="a parameter that requires grad")
        self._sizes = [p.numel() for p in self._movable]
        self._batches = [*zip(images.split(batch_size), labels.split(batch_size), strict=True)]
        self.origin = _flat(self._movable).detach()
        self.scale: Tensor | float = 1.0
        self.loss, self.accuracy = self.loss_and_accuracy()

    @property
    def size(self) -> int:
        """The number of weights, d."""
        return len(self.origin)

    def adaptive(self) -> LossSurface:
        """Return the same surface with T = diag(|w|)."""
        scaled = copy.copy(self)
        scaled.scale = self.origin.abs()
        return scaled

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Return a flat tensor (d,) cut into the shapes of the parameters."""
        return [part.view_as(p) for part, p in zip(flat.split(self._sizes), self._movable, strict=True)]

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return a standard normal z, the same on every device."""
        return torch.randn(self.size, generator=generator).to(self.origin)

    @torch.no_grad()
    def loss_and_accuracy(self, z: Tensor | None = None) -> tuple[float, float]:
        """Return loss and accuracy at z; at w by default."""
        loss, right = 0.0, 0
        with self._moved(z):
            for images, labels in self._batches:
                logits, labels = self._logits(images, labels)
                loss += float(cross_entropy(logits, labels, reduction="sum"))
                right += int((logits.argmax(1) == labels).sum())
        return _finite(loss / self.n, z), right / self.n

    def gradient(self, z: Tensor | None = None) -> tuple[float, Tensor]:
        """Return the loss at z, and its gradient in z, (d,)."""
        loss, total = 0.0, torch.zeros_like(self.origin)
        with self._moved(z):
            for images, labels in self._batches:
                part, gradients = self._gradients(images, labels, differentiable=False)
                loss += part
                total += gradients
        return _finite(loss, z), self.scale * total

    def hessian_times(self, vector: Tensor) -> Tensor:
        """Return T H T v at w, for v (d,)."""
        total = torch.zeros_like(self.origin)
        for _, product in self._products([vector]):
            total += product
        return total

    def quadratic_forms(self, vectors: Sequence[Tensor]) -> list[float]:
        """Return vᵀ T H T v at w for each v (d,), of any dtype; cheaper than the products one by one."""
        totals = [0.0] * len(vectors)
        for index, product in self._products(vectors):
            totals[index] += float((vectors[index].to(product) * product).sum())
        return totals

    def _products(self, vectors: Sequence[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Yield the index of a vector and the contribution of one batch to its product, batch by batch.

        H v = ∇ (∇Lᵀ v), by differentiating twice (Pearlmutter 1994). The graph of a gradient serves all
        vectors. Fused attention has no second derivative.
        """
        for images, labels in self._batches:
            with sdpa_kernel(SDPBackend.MATH):
                _, gradients = self._gradients(images, labels, differentiable=True)
            for index, vector in enumerate(vectors):
                along = gradients @ (self.scale * vector.to(gradients))
                last = index == len(vectors) - 1
                yield index, self.scale * self._derivatives(along, retain_graph=not last)

    def _gradients(self, images: Tensor, labels: Tensor, *, differentiable: bool) -> tuple[float, Tensor]:
        """Return the contribution of one batch to the loss and to its gradient in w."""
        logits, labels = self._logits(images, labels)
        loss = cross_entropy(logits, labels, reduction="sum") / self.n
        return float(loss.detach()), self._derivatives(loss, create_graph=differentiable)

    def _derivatives(
        self, value: Tensor, *, create_graph: bool = False, retain_graph: bool = False
    ) -> Tensor:
        return _flat(
            torch.autograd.grad(
                value,
                self._movable,
                create_graph=create_graph,
                retain_graph=create_graph or retain_graph,
                allow_unused=True,
                materialize_grads=True,
            )
        )

    def _logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.to(self.origin) / 255
        logits: Tensor = self._classifier(pixels)
        return logits, labels.to(logits.device)

    @contextmanager
    def _moved(self, z: Tensor | None) -> Iterator[None]:
        if z is None:
            yield
            return
        parts = iter(self.parts(self.scale * z))
        every = self._weights.parameters
        with self._weights.displaced([next(parts) if p.requires_grad else None for p in every]):
            yield


@contextmanager
def loss_surface(
    classifier: nn.Module, images: Tensor, labels: Tensor, batch_size: int
) -> Iterator[LossSurface]:
    """Yield the loss surface of a model in evaluation mode; arguments as of `LossSurface`.

    Afterwards the model is as it was: weights, buffers, modes and gradients.
    """
    movable = [p for p in classifier.parameters() if p.requires_grad]
    with frozen(classifier):
        for parameter in movable:
            parameter.requires_grad_(True)
        yield LossSurface(classifier, images, labels, batch_size)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _finite(loss: float, z: Tensor | None) -> float:
    if math.isfinite(loss):
        return loss
    if z is None:
        raise ModelError("the loss of the model is not finite", got=str(loss))
    raise ModelError(
        "the loss is not finite where the weights move to", got=str(loss), hint="let them move less far"
    )
