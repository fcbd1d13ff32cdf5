"""Networks of other libraries, before it is known which images they are to read."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from transferzoo.models.classifier import Classifier


class Logits(nn.Module):
    """A network, and of what it returns the logits: models of transformers return them in an object."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        output: Any = self.module(images)
        logits: Tensor = getattr(output, "logits", output)
        return logits


class ForeignNetwork(NamedTuple):
    """A network as torch can call it, and what it says of the images that it reads.

    Attributes:
        module: images (N, C, H, W) → logits or other scores (N, K).
        channels: C; None where the network does not say.
        height: H, likewise.
        width: W, likewise.
    """

    module: nn.Module
    channels: int | None = None
    height: int | None = None
    width: int | None = None

    def classifier(self, channels: int = 3, side: int | None = None, **reading: Any) -> Classifier:
        """Return it as a classifier of [0, 1] pixels, in the mode it is in.

        Args:
            channels: of the images, where it does not say.
            side: height and width that images are resized to where it does not say; None to leave them.
            **reading: further arguments of `Classifier`, which go first.
        """
        height, width = self.height or side, self.width or side
        size = (height, width) if height and width else None
        return Classifier(self.module, **{"channels": self.channels or channels, "size": size, **reading})
