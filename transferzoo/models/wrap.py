"""Models that a program holds, of torch and other libraries: what `evaluate`, `measure` and `craft` take."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from torch import Tensor, nn

from transferzoo.base.errors import UsageError
from transferzoo.models.foreign_network import ForeignNetwork, Logits
from transferzoo.models.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferzoo.models.classifier import Classifier


class Session(Protocol):
    """What is used of an `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[Any]:
        """Return name, type and shape of each input."""

    def run(self, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
        """Return the outputs for inputs by name."""


Model: TypeAlias = nn.Module | Session | Callable[[Tensor], object]
"""An nn.Module, a model of Keras (on torch, one too), an ONNX session, or a function of images."""
_PROBE = 64
"""Height and width of the image on which an image processor is compared with what stands in for it."""


def wrap(
    model: Model,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: int | tuple[int, int] | None = None,
    processor: Any = None,
) -> Classifier:
    """Return a model of normalised images as a classifier of [0, 1] pixels, which `evaluate` takes.

    Gradients flow through what is done to the pixels, and through the model where it has any. It is neither
    copied nor changed; it may return logits, or an object with `logits` as a model of transformers does.

        wrap(timm.create_model("resnet18", pretrained=True), mean=(0.485, 0.456, 0.406),
             std=(0.229, 0.224, 0.225), size=224)
        wrap(AutoModelForImageClassification.from_pretrained("./my-vit"),
             processor=AutoImageProcessor.from_pretrained("./my-vit"))

    A model that reads [0, 1] pixels, of Keras and ONNX among others, needs no wrapping: see `as_network`.

    Args:
        model: maps normalised images (N, C, H, W) to logits (N, K); see `as_network` for its kinds.
        mean: subtracted from [0, 1] pixels, a value a channel, C = 1 or 3 of them.
        std: divides them then, likewise.
        size: height and width that images are resized to, antialiased; None for the model's own, or any.
        processor: image processor of transformers that says all three instead, and where to crop.

    Raises:
        UsageError: it is no model, or mean and std, or a processor instead, are not given.
        ModelError: mean and std do not fit each other, or are not above zero; or the processor does more
            than resize, crop and normalise.
    """
    name = type(model).__name__
    network = _KINDS.get(_library(model), _of_torch)(model, name)
    if processor is not None:
        if mean is not None or std is not None or size is not None:
            raise UsageError("the image processor states mean, std and size", hint="leave them out")
        from transferzoo.models.transformers_folder import reading_as

        return reading_as(processor, network, f"the {name}", _PROBE)
    if mean is None or std is None:
        raise UsageError(
            f"nothing says how images of a {name} are normalised",
            expected="mean=… and std=…, or processor=… for a model of transformers",
        )
    sides = (size, size) if isinstance(size, int) else size
    reading: dict[str, Any] = {} if sides is None else {"size": sides}
    return network.classifier(**reading, channels=len(mean), mean=mean, std=std)


def as_network(model: Model, name: str, channels: int) -> nn.Module:
    """Return a model of [0, 1] pixels as a network: as `evaluate`, `measure` and `craft` do with all.

    An `nn.Module` is returned as it is. Keras reads [0, 1] pixels, or 0 to 255 where its first layer rescales
    them, channels first or last, and its last softmax is left out while it is asked. An ONNX session reads
    [0, 1] pixels, or 8-bit ones. A function is given float32 (N, C, H, W) in [0, 1] on the CPU. No gradient
    comes back from sessions and functions, which are targets only.

    Args:
        model: one of these.
        name: what errors call it.
        channels: of the images, where the model does not say how many it reads.

    Raises:
        UsageError: it is none of them, or one of transformers, of which nothing says how it reads images.
        ModelError: it reads something else than images, or Keras runs on something else than torch.
    """
    kind = _library(model)
    if kind == "transformers":
        raise UsageError(
            f"nothing says how '{name}', a {type(model).__name__}, reads images",
            expected="wrap(model, processor=…), or wrap(model, mean=…, std=…, size=…)",
        )
    if not kind and isinstance(model, nn.Module):
        return model
    return _KINDS.get(kind, _of_torch)(model, name).classifier(channels)


def _library(model: object) -> str:
    """Return the library that a model is of, empty for torch and none; nothing is imported for it."""
    bases = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    return next((library for library, kind in _CLASSES.items() if (library, kind) in bases), "")


_CLASSES = {"keras": "Model", "onnxruntime": "InferenceSession", "transformers": "PreTrainedModel"}
"""What is told apart from an `nn.Module` and from a function, by the name of its class."""


def _of_torch(model: Any, name: str) -> ForeignNetwork:
    """Return an `nn.Module` as a network, or a function of images."""
    if isinstance(model, nn.Module):
        return ForeignNetwork(Logits(model))
    if isinstance(model, type) or not callable(model):
        raise UsageError(
            f"'{name}' is no model",
            expected="an nn.Module, a model of Keras, an ONNX session or a function of images",
            got=model.__name__ if isinstance(model, type) else type(model).__name__,
            hint=f"load_model({model!r}) loads one" if isinstance(model, str) else "",
        )
    return ForeignNetwork(Predictor(model, None, name))


def _of_keras(model: Any, name: str) -> ForeignNetwork:
    from transferzoo.models.sources.keras_file import network_of

    return network_of(model, name)


def _of_onnx(model: Any, name: str) -> ForeignNetwork:
    from transferzoo.models.sources.onnx_file import network_of

    return network_of(model, name)


_KINDS: dict[str, Callable[[Any, str], ForeignNetwork]] = {"keras": _of_keras, "onnxruntime": _of_onnx}
"""How a model of a library becomes a network; all others are of torch, or functions."""
