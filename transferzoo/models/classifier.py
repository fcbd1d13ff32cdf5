"""From [0, 1] pixels to logits: every model brings its own channels, size and normalisation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import center_crop

from transferzoo.base.errors import DataError, ModelError
from transferzoo.datasets.labels import class_order
from transferzoo.models import checkpoint
from transferzoo.models.hard_labels import require_known
from transferzoo.models.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transferzoo.zoo.schema import DatasetSpec


class Classifier(nn.Module):
    """A model that reads pixels; gradients flow through all it does to them.

    Args:
        model: maps normalised images (N, channels, H, W) to logits (N, K).
        channels: 1 (grey) or 3 (RGB). Grey images are repeated for an RGB model.
        size: height and width that images are resized to, with antialiasing; None for any.
        mean: subtracted from the pixels, a value a channel; None for a model that reads them as they are.
        std: divides them then, likewise.
        order: where each class of the data set stands in the model's logits; None for the same order.
        crop: height and width of the middle part that the model reads; None for all of it.
        interpolation: of the resizing, "bilinear" or "bicubic".

    Raises:
        ModelError: mean or std do not fit the channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        channels: int,
        size: tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        order: Sequence[int] | None = None,
        crop: tuple[int, int] | None = None,
        interpolation: str = "bilinear",
    ) -> None:
        super().__init__()
        for name, given, plain in (("mean", mean, 0.0), ("std", std, 1.0)):
            values = [plain] * channels if given is None else given
            if len(values) != channels or (name == "std" and min(values) <= 0):
                raise ModelError(
                    f"the model's {name} does not fit its {channels} channel(s)",
                    expected=f"{channels} value(s)" + (" above zero" if name == "std" else ""),
                    got=str(list(values)),
                )
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1), False)
        self.model = model
        self.size = size
        self.crop = crop
        self.interpolation = interpolation
        self.channels = channels
        self.order = None if order is None else list(order)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) in [0, 1], on the device of the weights.

        Weights of fewer bits than the images see them rounded; the logits have the images' dtype again.

        Raises:
            DataError, ModelError: see `read`.
        """
        normalised = self.read(images)
        weight = next((p for p in self.model.parameters() if p.is_floating_point()), normalised)
        logits: Tensor = self.model(normalised.to(weight.dtype))
        if self.order is not None:
            logits = logits[:, self.order]
            logits = require_known(logits) if self.labels_only else logits
        return logits if weight.dtype == normalised.dtype else logits.to(normalised.dtype)

    @property
    def labels_only(self) -> bool:
        """Whether the model, once it was asked, has said classes alone and no scores."""
        return isinstance(self.model, Predictor) and self.model.labels_only

    def read(self, images: Tensor) -> Tensor:
        """Return what the model is given of images (N, C, H, W) in [0, 1]: resized, cropped, normalised.

        Raises:
            DataError: the images are not floating point.
            ModelError: the images have other channels than the model can read.
        """
        if not images.is_floating_point():
            raise DataError(
                "the classifier reads pixels in [0, 1]",
                expected="floating point",
                got=str(images.dtype),
                hint="divide 8-bit images by 255",
            )
        images = self._with_channels(images)
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = self._resized(images, self.size)
        if self.crop is not None and tuple(images.shape[-2:]) != self.crop:
            images = center_crop(images, list(self.crop))
        return (images - self.mean) / self.std

    def _resized(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Return images of another size.

        Bicubically it is done as Pillow and torch do it with 8-bit images: along the width, then along the
        height, and each time what overshoots black and white is cut off.
        """
        if self.interpolation == "bilinear":
            return functional.interpolate(images, size, mode="bilinear", antialias=True)
        for sides in ((images.shape[-2], size[1]), size):
            images = functional.interpolate(images, sides, mode="bicubic", antialias=True).clamp(0, 1)
        return images

    def _with_channels(self, images: Tensor) -> Tensor:
        given = images.shape[1]
        if given == self.channels:
            return images
        if given != 1:
            raise ModelError(
                "the model cannot read these images",
                expected=f"{self.channels} channel(s)",
                got=str(given),
                hint="choose a model trained on images of this kind",
            )
        return images.expand(-1, self.channels, -1, -1)


def load_checkpoint(folder: Path, dataset: DatasetSpec, weights: Path | None = None) -> Classifier:
    """Load a checkpoint folder as a classifier of a data set's images: float32, evaluation mode, on the CPU.

    Args:
        folder: the checkpoint.
        dataset: whose classes it has.
        weights: file of the weights; None for the checkpoint's main ones.

    Raises:
        ModelError: the checkpoint is damaged, or does not fit the data set.
    """
    model, pretrained = checkpoint.load_network(folder, len(dataset.classes), weights)
    channels, height, width = pretrained["input_size"]
    classifier = Classifier(
        model,
        size=(height, width),
        channels=channels,
        mean=pretrained["mean"],
        std=pretrained["std"],
        order=class_order(checkpoint.class_names(pretrained), dataset.classes),
    )
    return classifier.to(memory_format=torch.channels_last).eval()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Hold a model still: evaluation mode, no gradients for its parameters.

    Afterwards, and after an exception, every submodule has its own mode and every parameter its own
    `requires_grad` again (one `train()` would wake layers that were frozen on purpose). `.grad` is not
    touched.
    """
    modes = [(part, part.training) for part in module.modules()]
    wishes = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    try:
        for part, _ in modes:
            part.training = False
        for parameter, _ in wishes:
            parameter.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for parameter, wish in wishes:
            parameter.requires_grad_(wish)
