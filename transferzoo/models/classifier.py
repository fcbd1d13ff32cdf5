"""From [0, 1] pixels to logits: every model brings its own channels, size and normalisation."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import center_crop

from transferzoo.base.errors import DataError, ModelError, TransferZooError, reason
from transferzoo.datasets.labels import class_order
from transferzoo.models import checkpoint
from transferzoo.models.hard_labels import are_labels, as_scores, require_known

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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
        weight = next(self.model.parameters(), normalised)
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


class Predictor(nn.Module):
    """A model outside of PyTorch: it says what it sees, and no gradient comes back.

    Args:
        answer: maps images, float32 (N, C, H, W) on the CPU, to logits or other scores (N, K), or to a class
            of each, integers (N,); a tensor or an array.
        classes: K.
        name: what errors call it.

    Attributes:
        labels_only: whether its last answer was classes.
    """

    def __init__(self, answer: Callable[[Tensor], object], classes: int, name: str) -> None:
        super().__init__()
        self.answer = answer
        self.classes = classes
        self.name = name
        self.labels_only = False

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores, float32 (N, K) on the CPU; of classes, their log-probabilities, 0 or −∞.

        Raises:
            ModelError: what came is something else, or not a number.
        """
        output = self.answer(images.detach().to("cpu", torch.float32))
        found = as_tensor(output, len(images), self.classes, self.name)
        self.labels_only = are_labels(found, len(images))
        if self.labels_only:
            return as_scores(found.cpu(), self.classes, self.name)
        return checked(found, len(images), self.classes, self.name).detach().to("cpu", torch.float32)


def _wanted(images: int, classes: int) -> str:
    return f"logits of shape ({images}, {classes})"


def as_tensor(output: object, images: int, classes: int, name: str) -> Tensor:
    """Return what a model that nobody knows returned as a tensor; arguments as `checked` takes them.

    Raises:
        ModelError: it is none.
    """
    try:
        return torch.as_tensor(output)
    except (TypeError, ValueError, RuntimeError):
        wanted = _wanted(images, classes)
        raise ModelError(f"'{name}' returns no scores", expected=wanted, got=type(output).__name__) from None


def checked(output: object, images: int, classes: int, name: str) -> Tensor:
    """Return the scores of a model that nobody knows, as a tensor.

    Args:
        output: what it returned.
        images: how many it was shown, N.
        classes: how many it should know, K.
        name: what the error calls it.

    Raises:
        ModelError: no numbers (N, K), or NaN among them.
    """
    wanted, scores = _wanted(images, classes), as_tensor(output, images, classes, name)
    if tuple(scores.shape) != (images, classes):
        raise ModelError(
            f"'{name}' does not classify like the data set",
            expected=wanted,
            got=f"shape {tuple(scores.shape)}",
        )
    if scores.isnan().any():
        raise ModelError(f"'{name}' returns NaN", expected=wanted)
    return scores


def tried(loaded: Classifier, name: str, dataset: DatasetSpec) -> Classifier:
    """Return a model that nobody knows once it has classified two black images.

    Args:
        loaded: the model, on the CPU.
        name: what errors call it.
        dataset: whose images it shall classify.

    Raises:
        ModelError: it has not.
    """
    images = torch.zeros(2, dataset.channels, dataset.size, dataset.size)
    try:
        with torch.no_grad():
            logits: object = loaded(images)
    except TransferZooError:
        raise
    except Exception as error:  # whatever a module of the user's raises
        raise ModelError(
            f"'{name}' cannot classify images of '{dataset.name}': {reason(error)}",
            expected=f"a model of [0, 1] pixels {tuple(images.shape[1:])}",
        ) from error
    checked(logits, len(images), len(dataset.classes), name)
    return loaded


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


def state_digest(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers, 64 hexadecimal digits."""
    state = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        state.update(key.encode() + _bytes_of(tensor))
    return state.hexdigest()


def weights_digest(model: nn.Module) -> str | None:
    """Return the SHA-256 of a model's parameters, whatever they are called and whatever file they came in.

    The rows of a weight, which are the classes in the last one, may come in another order. None where it has
    no parameter.
    """
    parts = sorted(_rows_digest(weight.detach().cpu()) for weight in model.parameters())
    return hashlib.sha256(b"".join(parts)).hexdigest() if parts else None


def _rows_digest(weight: Tensor) -> bytes:
    """Return a digest of the rows of a tensor (N, …), in whatever order they are."""
    if weight.ndim > 1:
        rows = b"".join(sorted(hashlib.sha256(_bytes_of(row)).digest() for row in weight))
    else:
        rows = _bytes_of(weight.flatten().sort().values)
    return hashlib.sha256(repr(tuple(weight.shape)).encode() + rows).digest()


def _bytes_of(value: object) -> bytes:
    """Return what tells an entry of a state dict from others; quantised modules have more than tensors there.

    Raises:
        TypeError: it is of a type that is not read.
    """
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        if tensor.is_quantized:
            return _bytes_of(tensor.int_repr()) + _bytes_of(tensor.dequantize())
        dense = tensor if tensor.layout == torch.strided else tensor.to_dense()
        return dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, tuple | list):
        return b"".join(_bytes_of(part) for part in value)
    if isinstance(value, dict):
        return b"".join(_bytes_of(part) for entry in sorted(value.items()) for part in entry)
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype):
        return repr(value).encode()
    raise TypeError(f"{type(value).__name__} beside its weights")
