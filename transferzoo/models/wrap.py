"""A network that a program holds, with what it expects of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from transferzoo.base.errors import UsageError
from transferzoo.models.classifier import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence


def wrap(
    module: nn.Module,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size: int | tuple[int, int] | None = None,
) -> Classifier:
    """Return a network of normalised images as a classifier of [0, 1] pixels, which `evaluate` takes.

    Gradients flow through what is done to the pixels. The network is neither copied nor changed; it may
    return logits, or an object with `logits` as a model of transformers does.

        wrap(timm.create_model("resnet18", pretrained=True), mean=(0.485, 0.456, 0.406),
             std=(0.229, 0.224, 0.225), size=224)

    Args:
        module: maps normalised images (N, C, H, W) to logits (N, K).
        mean: subtracted from [0, 1] pixels, a value a channel, C = 1 or 3 of them.
        std: divides them then, likewise.
        size: height and width that images are resized to, with antialiasing; None for any.

    Raises:
        UsageError: it is no `nn.Module`.
        ModelError: mean and std do not fit each other, or are not above zero.
    """
    if not isinstance(module, nn.Module):
        raise UsageError("only a network can be wrapped", expected="an nn.Module", got=type(module).__name__)
    sides = (size, size) if isinstance(size, int) else size
    return Classifier(_Logits(module), channels=len(mean), size=sides, mean=mean, std=std)


class _Logits(nn.Module):
    """A network, and of what it returns the logits."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        output: Any = self.module(images)
        logits: Tensor = getattr(output, "logits", output)
        return logits
